import { cambio } from "@cambio/next-auth/v4";
import { getServerSession, type NextAuthOptions } from "next-auth";
import GitHubProvider from "next-auth/providers/github";
import type { OAuthConfig } from "next-auth/providers/oauth";
import { cookies, headers } from "next/headers";
import { env } from "@/lib/env";

/** Cambio's part, once for the whole process, so that simultaneous refreshes share one call. */
const { options, accessTokenOf } = cambio({
  cookies,
  errorPage: "/auth/error",
  userAgent: async () => (await headers()).get("user-agent"),
});

/** Returns the user's access token, refreshed if necessary. No browser gets it. */
export const getAccessToken = accessTokenOf(() => getServerSession(authOptions()));

/** Returns the options. It is a function so that the build needs no settings. */
export function authOptions(): NextAuthOptions {
  const { GITHUB_ID, GITHUB_SECRET, GITHUB_URL, GITHUB_API_URL } = env();
  return {
    providers: [
      ...openIdProviders(),
      GitHubProvider({
        clientId: GITHUB_ID,
        clientSecret: GITHUB_SECRET,
        client: { token_endpoint_auth_method: "client_secret_post" },
        // The URLs of GitHub, GitHub Enterprise or a local stand-in; those of the provider are github.com's.
        issuer: `${GITHUB_URL}/login/oauth`,
        authorization: {
          url: `${GITHUB_URL}/login/oauth/authorize`,
          params: { scope: "read:user user:email" },
        },
        token: `${GITHUB_URL}/login/oauth/access_token`,
        userinfo: {
          url: `${GITHUB_API_URL}/user`,
          // Without the provider's extra call for the e-mail address, because Cambio reads the verified one itself.
          request: ({ client, tokens }) => client.userinfo(tokens.access_token ?? ""),
        },
      }),
    ],
    pages: { signIn: "/", error: "/auth/error" },
    ...options,
  };
}

/** Any OpenID provider; those of next-auth (Google, Auth0, ...) work in the same way. */
function openIdProviders(): OAuthConfig<{ sub: string; name?: string; email?: string }>[] {
  const { openId } = env();
  if (!openId) return [];
  return [
    {
      id: "oidc",
      name: "OpenID",
      type: "oauth",
      wellKnown: `${openId.issuer}/.well-known/openid-configuration`,
      clientId: openId.clientId,
      clientSecret: openId.clientSecret,
      authorization: { params: { scope: "openid profile email" } },
      checks: ["pkce", "state", "nonce"],
      idToken: true,
      profile: ({ sub, name, email }) => ({ id: sub, name: name ?? null, email: email ?? null }),
    },
  ];
}
