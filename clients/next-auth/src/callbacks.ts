import { AsyncLocalStorage } from "node:async_hooks";
import type { AccessToken, AccessTokenOptions } from "./fetch.js";
import { type CambioClient, CambioError, type CambioOptions, createClient, type Grant, type ProviderTokens, type User } from "./index.js";
import { keeper, type Kept, OF_SESSION, type RefreshOptions, type Refusal, type SessionProblem, state, watcher, type WatchOptions, within } from "./keep.js";
import type { Vouch } from "./vouch.js";

/** Options of sign-ins and sessions. */
export interface SessionOptions extends CambioOptions, RefreshOptions, WatchOptions {
  /**
   * The page for a failed sign-in; `/api/auth/error` by default. Its `?error=` is `AccessDenied` if the user is not
   * admitted, or `CambioRefused`, `CambioUnavailable` (try again) or `CambioMisconfigured`.
   */
  errorPage?: string;
  /** Returns the user agent for the user's list of sessions: `async () => (await headers()).get("user-agent")`. */
  userAgent?: () => string | null | undefined | Promise<string | null | undefined>;
  /**
   * Shows `accessToken` and `expiresAt` in the session, for calls of your own scripts; false by default, so that the
   * browser gets no token.
   */
  exposeAccessToken?: boolean;
  /**
   * Passes the provider's tokens to your own `jwt` callback in `account`; false by default, so that no session
   * contains one.
   */
  providerTokens?: boolean;
  /**
   * Signs for the users of sign-ins without a token of a provider: `vouch()` of `@cambio/next-auth/vouch`. By default,
   * the key in the environment variable `CAMBIO_PRIVATE_KEY` does, if it is set.
   */
  vouch?: Vouch | undefined;
  /**
   * The providers whose tokens Cambio cannot check: the app vouches for their users, who get the id
   * `<provider>:<id at the provider>` at Cambio.
   */
  vouchFor?: readonly string[] | undefined;
  /**
   * Continues a sign-out at Cambio after the app's answer: `after` of `next/server`, or `waitUntil` of your platform.
   * Without it, a sign-out waits for Cambio, for 2 seconds at most.
   */
  after?: (task: Promise<void>) => void;
  /**
   * `cookies` of `next/headers`. With it, a cookie lists the sessions that were signed out within the last day, so
   * that an answer that was under way at the sign-out does not sign the user in again.
   */
  cookies?: () => CookieStore | Promise<CookieStore>;
  /**
   * The `session` options of next-auth. The strategy is `jwt`, with a database adapter too, because the cookie of the
   * session contains the tokens.
   */
  session?: { strategy?: "jwt" | "database" | undefined } | undefined;
}

/** The methods of `cookies` of `next/headers` that the package calls. */
export interface CookieStore {
  get(name: string): { value: string } | undefined;
  set(name: string, value: string, options: { httpOnly: true; sameSite: "lax"; path: "/"; maxAge: number }): unknown;
}

/** The members that Cambio adds to a session. */
export interface CambioSession {
  /** The access token for calls to your own API, until it expires; with `exposeAccessToken` only. */
  accessToken?: string;
  /** The time at which the access token expires, in milliseconds since the epoch. */
  expiresAt?: number;
  /** `SessionEnded`: the user has to sign in again. `Unavailable`: still signed in, but Cambio does not answer. */
  error?: SessionProblem;
}

/**
 * {@link CambioSession} as next-auth's `Session` extends it. An app that declares `error` or `accessToken` of
 * `Session` itself narrows these, so they are as wide as such declarations.
 */
export interface DeclaredSession extends Omit<CambioSession, "accessToken" | "error"> {
  /** The access token for calls to your own API, until it expires. */
  accessToken?: string | undefined;
  /** {@link CambioSession.error}, or an error that your own `session` callback sets. */
  error?: SessionProblem | (string & {}) | undefined;
}

/**
 * Returns the access token of the signed-in user, refreshed if necessary.
 *
 * A server component cannot store a refreshed session and does not have to: Cambio returns the same next refresh
 * token for each refresh of the same session.
 *
 * Fails with a {@link CambioError} if there is no token: `ended` means that the user has to sign in again,
 * `unavailable` that a later call may succeed.
 *
 * @example
 * ```ts
 * import type { GetAccessToken } from "@cambio/next-auth/v4";
 *
 * export async function authorization(getAccessToken: GetAccessToken): Promise<string> {
 *   const { token } = await getAccessToken();
 *   return `Bearer ${token}`;
 * }
 * ```
 */
export type GetAccessToken = (options?: AccessTokenOptions) => Promise<AccessToken>;

/** A read of the session for its tokens, passed from `accessTokenOf` to the callbacks that next-auth calls. */
export interface Reading {
  refused?: string | undefined;
  /** Set if a sign-in has just replaced the session, which is then not refreshed. */
  isFormer?: true;
  /** The content of the cookie; missing until the `session` callback ran. */
  kept?: Kept | undefined;
}

/** Cambio's part of the token, as passed to the app's own callbacks. */
export type Visible = Omit<Kept, "refreshToken" | "former" | "user"> & {
  /** The user at Cambio. The picture is null if its URL is too long for a cookie; `client.me()` returns it. */
  user: Profile;
};

/** A user without the identities. */
type Profile = Omit<User, "identities">;
type Token = { cambio?: Visible };
/** A sign-in as next-auth passes it to the callbacks. */
export type SignIn = {
  account?: (ProviderTokens & { type?: string | undefined; providerAccountId?: string | null | undefined }) | null | undefined;
  user?: object | undefined;
};

/** The cookie that lists the sessions which were signed out, and the length of the list. */
const ENDED = "cambio.ended";
const ENDED_SESSIONS = 4;

const NOT_IN_DATABASES = 'a session in a database has no access token: set session.strategy to "jwt"';

/** Returns the callbacks that both versions of next-auth share. */
export function steps(options: SessionOptions) {
  const { exposeAccessToken, providerTokens, after, cookies } = options;
  const client = createClient(options);
  const watch = watcher(options);
  const { tried, emit, report } = watch;
  if (options.session?.strategy === "database") throw new CambioError("misconfigured", NOT_IN_DATABASES);
  const keep = keeper(client, options);
  const revoke = revoker(options);
  const readings = new AsyncLocalStorage<Reading>();
  /** Reads the session of the app; missing in an app that does not call `accessTokenOf`. */
  let readSession: () => Promise<unknown>;
  /** Set once the log says that the sessions are in a database. */
  let isReported = false;

  /** Returns the sessions that this browser signed out, the last one first. */
  async function ended(): Promise<{ ids: string[]; store?: CookieStore | undefined }> {
    try {
      const store = await cookies?.();
      return { ids: store?.get(ENDED)?.value.split(".") ?? [], store };
    } catch {
      // The call is outside a request of the `app` folder.
      return { ids: [] };
    }
  }

  /** Ends a session at Cambio and in this browser. Never fails. */
  async function end({ id, refreshToken }: Kept): Promise<void> {
    if (id) {
      const { ids, store } = await ended();
      const value = [id, ...ids].slice(0, ENDED_SESSIONS).join(".");
      await tried(() => store?.set(ENDED, value, { httpOnly: true, sameSite: "lax", path: "/", maxAge: 86_400 }));
    }
    if (!refreshToken) return;
    const isDone = revoke(refreshToken);
    const isLeft = after && (await tried(() => [after(isDone)]));
    if (!isLeft) await isDone;
  }

  /** Ends the session of this browser that a sign-in replaces. Never fails. */
  async function replace(refreshToken = ""): Promise<void> {
    const reading: Reading = { isFormer: true };
    try {
      await readings.run(reading, readSession);
    } catch {
      // There is no `readSession`, or no request of the `app` folder.
    }
    const { kept } = reading;
    // The same token of the provider, sent again, opens the same session.
    if (kept && !refreshToken.startsWith(kept.refreshToken.slice(0, OF_SESSION))) await end(kept);
  }

  return {
    client,

    /** Exchanges the sign-in. */
    signIn: async (parameters: SignIn) => (await rare()).signIn(parameters, options, client, watch),

    /** Stores the grant in the encrypted cookie. `account` is present at sign-in only. */
    async jwt<P extends SignIn & { token: Token; trigger?: string | undefined }, T extends Token | null>(
      parameters: P,
      own?: (parameters: P) => T | PromiseLike<T>,
    ): Promise<P["token"] | T | null> {
      const { account, trigger } = parameters;
      const reading = readings.getStore();
      if (reading?.isFormer) return parameters.token;
      // The cookie contains the refresh token, which the app's callbacks do not get.
      const held = keptIn(parameters.token);
      if (held?.id && !account && (await ended()).ids.includes(held.id)) return null;
      const grant = account && (await (await rare()).grantOf(parameters, options, client, watch));
      // Cambio does not admit the user.
      if (grant === null) return null;
      const cambio: Kept | undefined = grant
        ? { ...keep.opened(grant), id: crypto.randomUUID().slice(28) }
        : held && { ...(await keep.fresh(held, trigger === "update" ? held.accessToken : reading?.refused)), id: held.id };
      if (cambio) cambio.user = await fitting(cambio);
      const token = cambio ? { ...parameters.token, cambio: visible(cambio) } : parameters.token;
      const shown = own && account && !providerTokens && { account: (await rare()).withoutTokens(account) };
      const next = own ? await own({ ...parameters, token, ...shown }) : token;
      if (account) await replace(cambio?.refreshToken);
      // At a sign-in, a callback that returns a new token keeps the grant; later, a callback may remove `cambio`.
      return next && cambio && (account || next.cambio) ? { ...next, cambio } : next;
    },

    async session<P extends { session: { user?: object | undefined }; token?: Token }, S extends object>(
      parameters: P,
      own?: (parameters: P) => S | PromiseLike<S>,
    ): Promise<P["session"] | S> {
      const kept = keptIn(parameters.token);
      if (!parameters.token && !isReported) {
        isReported = true;
        report(NOT_IN_DATABASES);
      }
      const reading = readings.getStore();
      if (reading) reading.kept = kept;
      let mine = parameters;
      if (kept) {
        const { id, name, email, picture } = kept.user;
        const shown = state(kept);
        const { cambio, ...token } = parameters.token as Token;
        mine = {
          ...parameters,
          session: {
            ...parameters.session,
            ...(exposeAccessToken || "error" in shown ? shown : {}),
            user: { ...parameters.session?.user, id, name, email, image: picture },
          },
          token: { ...token, cambio: visible(kept) },
        };
        // In place: if a session has no `user`, the `auth` of Auth.js 5 shows the token of its own parameters.
        parameters.token = token;
      }
      return own ? withoutOurs((await own(mine)) ?? mine.session) : mine.session;
    },

    accessTokenOf(session: () => Promise<unknown>): GetAccessToken {
      readSession = session;
      return async (asked = {}) => {
        const reading: Reading = { refused: asked.refused };
        const found = await readings.run(reading, session);
        return (await rare()).read(found, reading, asked, client, watch);
      };
    },

    async signOut(token: object | null | undefined): Promise<void> {
      const kept = keptIn(token);
      if (!kept) return;
      emit({ type: "signOut", userId: kept.user.id });
      await end(kept);
    },
  };
}

/** Returns what most requests do not need, which is loaded when it is first needed. */
const rare = () => import("./on-demand.js");

function visible({ refreshToken, former, ...rest }: Kept): Visible {
  return rest;
}

/**
 * The bytes that the two tokens, the name, the address and the picture may have together, in a cookie of at most
 * 4,000 bytes.
 */
const ROOM = 2_300;

/** Returns the user without the identities, and without a picture that does not fit into a cookie. */
export async function fitting({ accessToken, refreshToken, former, user: { identities, ...user } }: Kept): Promise<User> {
  const { length } = new TextEncoder().encode(accessToken + refreshToken + former + user.name + user.email + user.picture);
  if (length > ROOM) (await rare()).shorten(user, length);
  return user as User;
}

/** Returns Cambio's part of a stored token. */
function keptIn(token: Token | null | undefined): Kept | undefined {
  return token?.cambio as Kept | undefined;
}

/** Returns a session of the app without any copy of Cambio's part of the token or of a refresh token. */
function withoutOurs<S extends object>(session: S): S {
  const json = JSON.stringify(session, (name, value: unknown) =>
    name === "cambio" || (typeof value === "string" && value.startsWith("cbr_")) ? undefined : value,
  );
  return json === JSON.stringify(session) ? session : JSON.parse(json);
}

/** The longest time that a sign-out waits for Cambio, in milliseconds. */
const SIGN_OUT = 2_000;

/** Ends sessions at Cambio within 2 seconds. Never fails, because the user is signed out of the app in any case. */
export function revoker(options: CambioOptions & WatchOptions): (refreshToken: string) => Promise<void> {
  const { tried } = watcher(options);
  const client = createClient({ ...options, timeout: Math.min(options.timeout ?? SIGN_OUT, SIGN_OUT) });
  return (refreshToken) =>
    tried(async () => {
      const answer = client.revoke(refreshToken).then(() => true);
      if (!(await within(SIGN_OUT, answer))) throw new Error("Cambio does not answer /revoke");
    }, "a session was not ended: ");
}

/** Returns the grant, or the name of the error page's error. */
export async function exchanged(
  client: CambioClient,
  watch: ReturnType<typeof watcher>,
  account: ProviderTokens,
  userAgent?: string | null,
): Promise<Grant | Refusal> {
  const { provider } = account;
  try {
    const grant = await client.exchange(account, { userAgent });
    watch.emit({ type: "signIn", userId: grant.user.id, provider, isNewUser: grant.isNewUser });
    if (grant.isNewUser) (await rare()).markNewUser();
    return grant;
  } catch (failure) {
    return (await rare()).refusal(failure as CambioError, provider, watch);
  }
}
