/** Access tokens for the app's own server: that of the session, and others for other audiences. */
import type { Reading } from "./callbacks.js";
import type { AccessToken, AccessTokenOptions } from "./fetch.js";
import { type CambioClient, CambioError } from "./index.js";
import { type Kept, OF_SESSION, PATIENCE, REMEMBERED, state, type watcher, within } from "./keep.js";

type Watch = Pick<ReturnType<typeof watcher>, "report" | "emit">;

/** The time before a session is due in which no request sends its former refresh token, in milliseconds. */
const MARGIN = 2_000;
/** The most tokens that a process keeps for other audiences; the one that was used least recently is dropped first. */
const MOST = 1_000;

/** A token of one session for one audience, and the call for the next one. */
interface Entry {
  token?: AccessToken;
  /** The time of the next call, in milliseconds since the epoch. */
  renewAt: number;
  /** The roles of the user at the last call. */
  roles?: string;
  next?: Promise<AccessToken> | undefined;
  startedAt: number;
}

/** The tokens of each client, by session and audience. They are in memory only. */
const caches = new WeakMap<CambioClient, Map<string, Entry>>();

/**
 * Returns the access token of a session that the app has read.
 *
 * @param found The app's session.
 * @throws CambioError
 */
export async function read(found: unknown, reading: Reading, asked: AccessTokenOptions, client: CambioClient, watch: Watch): Promise<AccessToken> {
  if (found && !("kept" in reading)) throw new CambioError("misconfigured", "accessTokenOf: the session is cached");
  const { kept } = reading;
  if (found && !kept) throw new CambioError("ended", "the sign-in has no token of a provider");
  return issued(kept, asked, client, watch);
}

/**
 * Returns an access token of a session that is fresh.
 *
 * @throws CambioError
 */
export async function issued(kept: Kept | undefined, { audience, refused }: AccessTokenOptions, client: CambioClient, watch: Watch): Promise<AccessToken> {
  if (kept && audience && !kept.hasEnded) return forAudience(kept, audience, refused, client, watch);
  const shown = kept && state(kept);
  if (shown && "accessToken" in shown) return { token: shown.accessToken, expiresAt: shown.expiresAt };
  throw new CambioError(shown?.error === "Unavailable" ? "unavailable" : "ended", "the session has no access token");
}

/**
 * Returns an access token of a session for an audience. Simultaneous requests share one call.
 *
 * The call sends the session's refresh token and drops the successor: the next refresh of the session gets the same
 * successor, and stores it. So the call changes neither the session nor its cookie.
 *
 * While the known token is good, a request waits for the next one for at most one second.
 */
async function forAudience(kept: Kept, audience: string, refused: string | undefined, client: CambioClient, { report, emit }: Watch): Promise<AccessToken> {
  const now = Date.now();
  const entry = entryOf(client, `${kept.refreshToken.slice(0, OF_SESSION)} ${audience}`);
  const { token } = entry;
  const { id: userId } = kept.user;
  const roles = kept.user.roles.join();
  const isGood = token && now < token.expiresAt && token.token !== refused;
  if (isGood && now < entry.renewAt && entry.roles === roles) return token;

  async function call(): Promise<AccessToken> {
    try {
      const [refreshToken, signal] = await sendable(kept);
      const { accessToken, expiresAt } = await client.refresh(refreshToken, { audience, signal });
      entry.renewAt = expiresAt - (expiresAt - Date.now()) / 4;
      entry.token = { token: accessToken, expiresAt };
      emit({ type: "refresh", userId, audience });
      return entry.token;
    } catch (failure) {
      const error = failure as CambioError;
      // Until then, requests use the token that is still good.
      entry.renewAt = Date.now() + REMEMBERED;
      report(error, `there is no token for ${audience}: `);
      emit({ type: "refreshFailed", userId, audience, error });
      throw failure;
    } finally {
      entry.roles = roles;
      entry.next = undefined;
    }
  }

  if (!entry.next) {
    entry.startedAt = now;
    entry.next = call();
  }
  if (!isGood) return entry.next;
  const patience = Math.max(entry.startedAt + PATIENCE - now, 0);
  return (await within(patience, entry.next).catch(() => undefined)) ?? token;
}

function entryOf(client: CambioClient, key: string): Entry {
  const cache = caches.get(client) ?? new Map<string, Entry>();
  caches.set(client, cache);
  const entry = cache.get(key) ?? { renewAt: 0, startedAt: 0 };
  // A map has the order of its insertions.
  cache.delete(key);
  cache.set(key, entry);
  for (const oldest of cache.keys()) {
    if (cache.size <= MOST) break;
    cache.delete(oldest);
  }
  return entry;
}

/**
 * Returns the refresh token to send for a session, and a signal that ends the call in time.
 *
 * Cambio ends a session if it receives a refresh token whose successor was used. So the current token is used first
 * when the session is due: by then, no request with the cookie before is under way any more. Until then, the former
 * token stands in for it, and Cambio returns the current one as its successor again.
 */
export async function sendable({ refreshAt, refreshToken, former }: Kept): Promise<[refreshToken: string, signal?: AbortSignal]> {
  const left = refreshAt - Date.now();
  if (!former || left <= 0) return [refreshToken];
  if (left > MARGIN) return [refreshToken.slice(0, OF_SESSION) + former, AbortSignal.timeout(left)];
  await within(left, new Promise(() => {}));
  return [refreshToken];
}
