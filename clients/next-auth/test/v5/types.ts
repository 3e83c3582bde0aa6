// Only compiled: what an app with Auth.js 5 can rely on without declaring anything.
import type { NextAuthConfig, Session } from "next-auth";
import { cambio } from "@cambio/next-auth/v5";

const { options } = cambio({ url: "https://auth.example.com", clientId: "nextjs", clientSecret: "secret" });
export const config: NextAuthConfig = { providers: [], ...options };

export function header(session: Session): string {
  const token: string | undefined = session.accessToken;
  const problem: "SessionEnded" | "Unavailable" | undefined = session.error;
  // @ts-expect-error a refresh token is not for browsers
  session.refreshToken;
  return problem ?? `Bearer ${token}`;
}
