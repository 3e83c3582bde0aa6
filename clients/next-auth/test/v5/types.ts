// Only compiled: what an app with Auth.js 5 can rely on without declaring anything.
import NextAuth, { type NextAuthConfig, type Session } from "next-auth";
import { cambioFetch } from "@cambio/next-auth/fetch";
import { cambio, cambioProxy } from "@cambio/next-auth/v5";

const { options, accessTokenOf } = cambio({ url: "https://auth.example.com", clientId: "nextjs", clientSecret: "secret" });
export const config: NextAuthConfig = { providers: [], ...options };

export function header(session: Session): string {
  const token: string | undefined = session.accessToken;
  const problem: string | undefined = session.error;
  // @ts-expect-error a refresh token is not for browsers
  session.refreshToken;
  return problem ?? `Bearer ${token}`;
}

const { auth } = NextAuth(config);
export const getAccessToken = accessTokenOf(auth);
export const api = cambioFetch(getAccessToken, "https://api.example.com");
export const proxy = cambioProxy(auth);
export const ownProxy = cambioProxy(auth((request) => (request.auth ? undefined : Response.redirect("https://app.example.com/"))));

export const own = cambio({
  callbacks: {
    session: ({ session, token }) => ({ ...session, roles: token.cambio?.user.roles ?? [] }),
    jwt({ token }) {
      // @ts-expect-error no callback of an app gets the refresh token
      token.cambio?.refreshToken;
      return token;
    },
  },
});
