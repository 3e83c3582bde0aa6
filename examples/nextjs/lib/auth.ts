import { cambio } from "@cambio/next-auth/v4";
import { getServerSession, type NextAuthOptions } from "next-auth";
import GitHubProvider from "next-auth/providers/github";
import type { OAuthConfig } from "next-auth/providers/oauth";
import { cookies, headers } from "next/headers";
import { env } from "@/lib/env";

/** Once for the whole process: requests that refresh at the same time share one call. */
const { options, accessTokenOf } = cambio({
  cookies,
  errorPage: "/auth/error",
  userAgent: async () => (await headers()).get("user-agent"),
});

/** Returns the user's access token, which no browser gets; refreshed as needed. */
export const getAccessToken = accessTokenOf(() => getServerSession(authOptions()));

/** A function, so that building the app needs no settings. */
export function authOptions(): NextAuthOptions {
  const { GITHUB_ID, GITHUB_SECRET, GITHUB_URL, GITHUB_API_URL } = env();
  return {
    providers: [
      ...openIdProviders(),
      GitHubProvider({
        clientId: GITHUB_ID,
        clientSecret: GITHUB_SECRET,
        client: { token_endpoint_auth_method: "client_secret_post" },
        // The provider's own URLs are github.com's; these also reach GitHub Enterprise and a local stand-in.
        issuer: `${GITHUB_URL}/login/oauth`,
        authorization: {
          url: `${GITHUB_URL}/login/oauth/authorize`,
          params: { scope: "read:user user:email" },
        },
        token: `${GITHUB_URL}/login/oauth/access_token`,
        userinfo: {
          url: `${GITHUB_API_URL}/user`,
          // Without the provider's extra call for the e-mail address: Cambio finds the verified one itself.
          request: ({ client, tokens }) => client.userinfo(tokens.access_token ?? ""),
        },
      }),
    ],
    pages: { signIn: "/", error: "/auth/error" },
    ...options,
  };
}

/** Any OpenID provider; next-auth's own (Google, Auth0, ...) work the same. */
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
