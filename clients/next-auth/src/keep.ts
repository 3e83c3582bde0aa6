import { type CambioClient, CambioError, type Grant, type User } from "./index.js";

/** What an encrypted session cookie holds of a grant. */
export interface Kept {
  accessToken: string;
  expiresAt: number;
  refreshToken: string;
  user: User;
  /** The session is over: Cambio itself said so. */
  hasEnded?: true;
}

/** What is wrong with a session: it is over, and the user signs in again; or it cannot be gone on with right now. */
export type SessionProblem = "SessionEnded" | "Unavailable";

export function kept({ accessToken, expiresAt, refreshToken, user }: Grant): Kept {
  return { accessToken, expiresAt, refreshToken, user };
}

/** The access token, while it is good; or why there is none. */
export function state({ accessToken, expiresAt, hasEnded }: Kept): { accessToken: string } | { error: SessionProblem } {
  if (hasEnded) return { error: "SessionEnded" };
  return Date.now() < expiresAt ? { accessToken } : { error: "Unavailable" };
}

/**
 * Keeps sessions fresh. Requests that come at the same time with the same refresh token share one call; what other processes do
 * is made safe by Cambio, which gives all of them the same successor.
 *
 * Only Cambio's own word ends a session: when it cannot be reached, all stays as it is, and the next request tries again.
 */
export function keeper(client: CambioClient, refreshBefore: number): (session: Kept) => Promise<Kept> {
  const running = new Map<string, Promise<Kept>>();

  async function refreshed(session: Kept): Promise<Kept> {
    try {
      return kept(await client.refresh(session.refreshToken));
    } catch (error) {
      if (error instanceof CambioError && error.kind === "ended") return { ...session, accessToken: "", refreshToken: "", hasEnded: true };
      console.error("[cambio] the session was not refreshed:", error instanceof Error ? error.message : error);
      return session;
    }
  }

  return (session) => {
    if (session.hasEnded || Date.now() < session.expiresAt - refreshBefore) return Promise.resolve(session);
    const key = session.refreshToken;
    let run = running.get(key);
    if (!run) {
      run = refreshed(session).finally(() => running.delete(key));
      running.set(key, run);
    }
    return run;
  };
}
