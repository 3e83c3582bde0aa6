// Only compiled: what an app can rely on without declaring anything.
import type { NextAuthOptions, Session } from "next-auth";
import { cambio } from "@cambio/next-auth/v4";
import { cambioOptions } from "./app.js";

export const options: NextAuthOptions = { providers: [], ...cambioOptions };

export function header(session: Session): string {
  const token: string | undefined = session.accessToken;
  const problem: string | undefined = session.error;
  // @ts-expect-error a refresh token is not for browsers
  session.refreshToken;
  return problem ?? `Bearer ${token}`;
}

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
