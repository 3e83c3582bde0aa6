import type { NextAuthOptions } from "next-auth";
import GitHubProvider from "next-auth/providers/github";
import { exchange } from "@/lib/cambio";
import { env } from "@/lib/env";

/** A function, so that building the app needs no settings. */
export function authOptions(): NextAuthOptions {
  const { GITHUB_ID, GITHUB_SECRET, GITHUB_URL, GITHUB_API_URL } = env();
  return {
    providers: [
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
        const grant = await exchange(account?.access_token ?? "");
        if (typeof grant === "string") return `/auth/error?reason=${grant}`;
        user.cambio = grant;
        return true;
      },

      /** `user` is there at sign-in only; from then on, the encrypted session cookie holds what it brought. */
      jwt({ token, user }) {
        if (!user?.cambio) return token;
        const { accessToken, expiresAt, user: profile } = user.cambio;
        return {
          sub: profile.id,
          name: profile.name,
          email: profile.email,
          picture: profile.picture,
          accessToken,
          expiresAt,
        };
      },

      session({ session, token }) {
        if (Date.now() < token.expiresAt) session.accessToken = token.accessToken;
        else session.error = "AccessTokenExpired";
        return session;
      },
    },
  };
}
