import type { NextAuthOptions } from "next-auth";
import type { JWT } from "next-auth/jwt";
import GitHubProvider from "next-auth/providers/github";
import type { OAuthConfig } from "next-auth/providers/oauth";
import { headers } from "next/headers";
import { exchange, type Grant, refresh, revoke } from "@/lib/cambio";
import { env } from "@/lib/env";

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
    callbacks: {
      /** Cambio decides who this is. A refusal returns a page, because a throw would put its message into the URL. */
      async signIn({ user, account }) {
        const userAgent = (await headers()).get("user-agent") ?? "unknown";
        if (!account) return false;
        const grant = await exchange(account, userAgent);
        if (typeof grant === "string") return `/auth/error?reason=${grant}`;
        user.cambio = grant;
        return true;
      },

      /** `user` is there at sign-in only; from then on, the encrypted session cookie holds what it brought. */
      async jwt({ token, user }) {
        if (user?.cambio) return kept(user.cambio);
        return token.hasEnded || Date.now() < token.refreshAt ? token : refreshed(token);
      },

      session({ session, token }) {
        if (token.hasEnded) session.error = "SessionEnded";
        else if (Date.now() < token.expiresAt) session.accessToken = token.accessToken;
        else session.error = "Unavailable";
        return session;
      },
    },
    events: {
      async signOut({ token }) {
        if (token?.refreshToken) await revoke(token.refreshToken);
      },
    },
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

function kept({ accessToken, expiresAt, refreshAt, refreshToken, user }: Grant): JWT {
  return { sub: user.id, name: user.name, email: user.email, picture: user.picture, accessToken, expiresAt, refreshAt, refreshToken };
}

/**
 * What the session goes on with. Only Cambio's own word ends it: when it cannot be reached, all stays as it is, and the next
 * request tries again.
 *
 * A server component cannot write the cookie, so what it gets here is good for its one page, and the next page asks again with
 * the same refresh token, which Cambio answers with the same successor. That is stored, and only then ever used, when the
 * browser next asks for /api/auth/session; `SessionProvider` sees to that.
 */
async function refreshed(token: JWT): Promise<JWT> {
  const grant = await refresh(token.refreshToken);
  if (typeof grant !== "string") return kept(grant);
  return grant === "refused" ? { ...token, accessToken: "", refreshToken: "", hasEnded: true } : token;
}
