import type { CambioClient, CambioError, Grant, User } from "./index.js";

/** Options of the refresh of sessions. */
export interface RefreshOptions {
  /**
   * The time between a refresh and the expiry of the token, in milliseconds; 60,000 by default, at most a quarter of
   * its life.
   */
  refreshBefore?: number;
}

/** Options of the log and of events. */
export interface WatchOptions {
  /**
   * The log: `console` by default, or for example pino. A refused sign-in is `info`; a failure of Cambio or of the
   * settings is `error`.
   */
  logger?: Logger;
  /** Called for each event. Events contain no token. The package does not wait for the call, and logs its errors. */
  onEvent?: (event: CambioEvent) => unknown;
}

/**
 * The part of a logger that the package uses.
 *
 * @example
 * ```ts
 * import { cambio, type Logger } from "@cambio/next-auth/v4";
 *
 * const logger: Logger = { error: (message) => console.error(message), info: () => {} };
 * export const { options } = cambio({ logger });
 * ```
 */
export interface Logger {
  /** Logs a failure of Cambio or of the settings. */
  error(message: string): void;
  /** Logs a refused sign-in, and one without a token of a provider. */
  info(message: string): void;
}

/**
 * An event of a sign-in or of a session.
 *
 * @example
 * ```ts
 * import type { CambioEvent } from "@cambio/next-auth/v4";
 *
 * export function onEvent(event: CambioEvent): void {
 *   if (event.type === "signInFailed") console.warn(event.provider, event.page, event.error.code);
 * }
 * ```
 */
export type CambioEvent =
  /** Cambio accepted a sign-in. */
  | { type: "signIn"; userId: string; provider: string; isNewUser: boolean | undefined }
  /** A sign-in failed; `page` is the `?error=` of the error page. */
  | { type: "signInFailed"; provider: string; page: Refusal; error: CambioError }
  /** A session has new tokens, or a token for another `audience`. */
  | { type: "refresh"; userId: string; audience?: string }
  /** A refresh failed; the session continues, and a later request tries again. */
  | { type: "refreshFailed"; userId: string; audience?: string; error: CambioError }
  /** Cambio ended the session: the user has to sign in again. */
  | { type: "sessionEnded"; userId: string }
  /** The user signed out. */
  | { type: "signOut"; userId: string };

/** The reason why a sign-in failed, as its error page gets it. */
export type Refusal = "AccessDenied" | "CambioRefused" | "CambioUnavailable" | "CambioMisconfigured";

/** The part of a grant that an encrypted session cookie contains. */
export interface Kept {
  accessToken: string;
  expiresAt: number;
  /** The time of the next refresh, in milliseconds since the epoch. */
  refreshAt: number;
  refreshToken: string;
  /**
   * The end of the refresh token that the last refresh sent; it begins like the current one. Missing after a sign-in.
   */
  former?: string | undefined;
  user: User;
  /** Set if Cambio ended the session. */
  hasEnded?: true;
  /** A random id of this sign-in, for next-auth; unknown to Cambio. It is unique among the few of one browser. */
  id?: string | undefined;
}

/** The problem of a session: it is over and the user has to sign in again, or Cambio does not answer. */
export type SessionProblem = "SessionEnded" | "Unavailable";

/** Returns the access token until it expires, or the reason why there is none. */
export function state({ accessToken, expiresAt, hasEnded }: Kept): { accessToken: string; expiresAt: number } | { error: SessionProblem } {
  if (hasEnded) return { error: "SessionEnded" };
  return Date.now() < expiresAt ? { accessToken, expiresAt } : { error: "Unavailable" };
}

/** The length of the prefix that all refresh tokens of a session share: `cbr_`, its user and its id. */
export const OF_SESSION = 48;

/** The time for which later requests share the result of a refresh, in milliseconds. */
export const REMEMBERED = 5_000;
/** The longest time that a request waits for a refresh while its token is good, in milliseconds. */
export const PATIENCE = 1_000;

/** Keeps sessions fresh. */
export interface Keeper {
  /** Returns the part of a grant that the cookie contains. */
  opened(grant: Grant): Kept;
  /**
   * Returns the session, refreshed if necessary. Simultaneous requests with the same refresh token share one call.
   * Cambio returns the same successor to all processes.
   *
   * Only an answer of Cambio ends a session. If Cambio does not answer, the session stays as it is, and a later
   * request tries again. Until the token expires, a request waits for at most one second, the refresh continues in
   * the background, and a failed refresh is repeated after some seconds. With an expired token, the next request
   * tries again.
   *
   * @param refused An access token that the API refused. It is refreshed although it has not expired.
   */
  fresh(session: Kept, refused?: string): Promise<Kept>;
}

export function keeper(client: CambioClient, { refreshBefore = 60_000, ...options }: RefreshOptions & WatchOptions): Keeper {
  const { report, emit } = watcher(options);
  /** Refreshes by the refresh token that they send. */
  const runs = new Map<string, Run>();

  function opened({ accessToken, expiresAt, refreshToken, user }: Grant): Kept {
    // At most a quarter of a short life: a refresh at each request would invalidate the tokens of requests under way.
    const early = Math.min(refreshBefore, (expiresAt - Date.now()) / 4);
    return { accessToken, expiresAt, refreshAt: expiresAt - early, refreshToken, user };
  }

  /** Returns the next session, or `undefined` if Cambio does not answer. */
  async function refreshed(session: Kept, sent: string, signal?: AbortSignal): Promise<Kept | undefined> {
    const { refreshToken, refreshAt, former, user } = session;
    const userId = user.id;
    try {
      const next = opened(await client.refresh(sent, { signal }));
      emit({ type: "refresh", userId });
      // Another cookie may contain the same refresh token. Both are due at the same time.
      return sent === refreshToken ? { ...next, former: sent.slice(OF_SESSION) } : { ...next, refreshAt, former };
    } catch (failure) {
      const error = failure as CambioError;
      if (error.kind === "ended") {
        emit({ type: "sessionEnded", userId });
        return { ...session, accessToken: "", refreshToken: "", hasEnded: true };
      }
      report(error, "the session was not refreshed: ");
      emit({ type: "refreshFailed", userId, error });
      return undefined;
    }
  }

  function started(session: Kept, sent: string, signal?: AbortSignal): Run {
    const run: Run = {
      startedAt: Date.now(),
      forgottenAt: Infinity,
      next: refreshed(session, sent, signal).then((next) => {
        run.forgottenAt = Date.now() + REMEMBERED;
        run.accessToken = next ? next.accessToken : null;
        return next;
      }),
    };
    runs.set(sent, run);
    return run;
  }

  async function fresh(session: Kept, refused = ""): Promise<Kept> {
    if (session.hasEnded || (Date.now() < session.refreshAt && session.accessToken !== refused)) return session;
    const isEarly = session.former && Date.now() < session.refreshAt;
    const [sent, signal] = isEarly ? await (await import("./on-demand.js")).sendable(session) : [session.refreshToken];
    const now = Date.now();
    for (const [token, { forgottenAt }] of runs) if (forgottenAt <= now) runs.delete(token);
    const known = runs.get(sent);
    const isOfUse = known && (known.accessToken !== null || now < session.expiresAt) && known.accessToken !== refused;
    const { startedAt, next } = isOfUse ? known : started(session, sent, signal);
    const patience = Math.max(startedAt + PATIENCE - now, 0);
    // If the token expires while the request waits, the request needs the next token.
    const isGood = now + patience < session.expiresAt;
    return (await (isGood ? within(patience, next) : next)) ?? session;
  }

  return { opened, fresh };
}

/** A refresh that is under way or whose result is remembered. */
interface Run {
  startedAt: number;
  forgottenAt: number;
  /** The access token of the result; null if the refresh failed. */
  accessToken?: string | null;
  next: Promise<Kept | undefined>;
}

/** Returns the result of a promise, or `undefined` after a number of milliseconds. */
export function within<T>(milliseconds: number, promise: Promise<T>): Promise<T | undefined> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const timeout = new Promise<undefined>((resolve) => {
    timer = setTimeout(resolve, milliseconds, undefined);
  });
  return Promise.race([promise, timeout]).finally(() => clearTimeout(timer));
}

/** The members of an error that a log may show. */
interface Cause {
  message?: string;
  cause?: unknown;
  errors?: unknown[];
  name?: string;
  code?: string | number;
  hostname?: string;
  address?: string;
  port?: number;
}

/** Returns functions that log failures and emit events. None of them throws. */
export function watcher({ logger = console, onEvent }: WatchOptions) {
  /**
   * Logs a failure with the code and the host of its first cause, like `ECONNREFUSED 127.0.0.1:3001`, and nothing of
   * the request.
   */
  function report(error: unknown, what = "", level: keyof Logger = "error"): void {
    let first = error as Cause | null | undefined;
    for (let next: unknown = first; next; next = first?.errors?.[0] ?? first?.cause) first = next as Cause;
    const { name, code = name, hostname, address, port } = first ?? {};
    const host = [hostname ?? address, port].filter(Boolean).join(":");
    const cause = first === error ? "" : ` (${[typeof code === "string" ? code : name, host].filter(Boolean).join(" ")})`;
    logger[level](`[cambio] ${what}${(error as Cause | undefined)?.message ?? error}${cause}`);
  }

  /** Returns the result of a task. Logs its failure and returns nothing in that case. */
  async function tried<T>(task: () => T | PromiseLike<T>, what?: string): Promise<T | undefined> {
    try {
      return await task();
    } catch (error) {
      report(error, what);
      return undefined;
    }
  }

  const emit = (event: CambioEvent) => tried(() => onEvent?.(event), "onEvent: ");

  return { report, tried, emit };
}
