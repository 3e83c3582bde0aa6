import { type CambioClient, CambioError, type Grant, type User } from "./index.js";

/** What an encrypted session cookie holds of a grant. */
export interface Kept {
  accessToken: string;
  expiresAt: number;
  /** From when on it is refreshed. */
  refreshAt: number;
  refreshToken: string;
  user: User;
  /** The session is over: Cambio itself said so. */
  hasEnded?: true;
}

/** What is wrong with a session: it is over, and the user signs in again; or it cannot be gone on with right now. */
export type SessionProblem = "SessionEnded" | "Unavailable";

/** The access token, while it is good; or why there is none. */
export function state({ accessToken, expiresAt, hasEnded }: Kept): { accessToken: string } | { error: SessionProblem } {
  if (hasEnded) return { error: "SessionEnded" };
  return Date.now() < expiresAt ? { accessToken } : { error: "Unavailable" };
}

/** What is refreshed is known for so many milliseconds to those who come a moment later, and to renderings that could not store it. */
const REMEMBERED = 5_000;

/** Keeps sessions fresh. */
export interface Keeper {
  /** What to keep of a grant. */
  opened(grant: Grant): Kept;
  /**
   * The session as it goes on. Requests that come at the same time with the same refresh token share one call; what other
   * processes do is made safe by Cambio, which gives all of them the same successor.
   *
   * Only Cambio's own word ends a session: when it cannot be reached, all stays as it is, and the next request tries again.
   */
  fresh(session: Kept): Promise<Kept>;
}

export function keeper(client: CambioClient, refreshBefore = 60_000): Keeper {
  /** By the refresh token that they go on from. */
  const runs = new Map<string, { next: Promise<Kept>; forgottenAt: number }>();

  function opened({ accessToken, expiresAt, refreshToken, user }: Grant): Kept {
    // Of a short life, at most a quarter: who refreshed at each request would run ahead of those who are still on their way.
    const early = Math.min(refreshBefore, (expiresAt - Date.now()) / 4);
    return { accessToken, expiresAt, refreshAt: expiresAt - early, refreshToken, user };
  }

  async function refreshed(session: Kept): Promise<Kept> {
    try {
      return opened(await client.refresh(session.refreshToken));
    } catch (error) {
      if (error instanceof CambioError && error.kind === "ended") return { ...session, accessToken: "", refreshToken: "", hasEnded: true };
      console.error("[cambio] the session was not refreshed:", error instanceof Error ? error.message : error);
      return session;
    }
  }

  async function fresh(session: Kept): Promise<Kept> {
    const now = Date.now();
    if (session.hasEnded || now < session.refreshAt) return session;
    for (const [token, { forgottenAt }] of runs) if (forgottenAt <= now) runs.delete(token);
    const key = session.refreshToken;
    const known = runs.get(key);
    if (known) return known.next;
    const run = { next: refreshed(session), forgottenAt: Infinity };
    runs.set(key, run);
    const next = await run.next;
    // What failed is tried again by the next request.
    if (next === session) runs.delete(key);
    else run.forgottenAt = Date.now() + REMEMBERED;
    return next;
  }

  return { opened, fresh };
}
