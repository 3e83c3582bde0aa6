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
  const { GITHUB_ID, GITHUB_SECRET, GITHUB_URL: github } = env();
  return {
    providers: [
      ...openIdProviders(),
      GitHubProvider({
        clientId: GITHUB_ID,
        clientSecret: GITHUB_SECRET,
        // The URLs of a GitHub Enterprise Server or of the stand-in; by default, those of the provider, github.com's.
        ...(github && {
          issuer: `${github}/login/oauth`,
          authorization: `${github}/login/oauth/authorize`,
          token: `${github}/login/oauth/access_token`,
          // Without the provider's extra call for the e-mail address, which goes to github.com.
          userinfo: { url: `${github}/api/v3/user`, request: ({ client, tokens }) => client.userinfo(tokens.access_token ?? "") },
        }),
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
