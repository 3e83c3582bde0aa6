/** The entry for better-auth. */
import type { AuthContext, BetterAuthPlugin, GenericEndpointContext } from "better-auth";
import { APIError, createAuthEndpoint, createAuthMiddleware, getSessionFromCtx } from "better-auth/api";
import { createSessionStore, getChunkedCookie } from "better-auth/cookies";
import { symmetricDecodeJWT, symmetricDecrypt, symmetricEncodeJWT, symmetricEncrypt } from "better-auth/crypto";
import { issued } from "./access-tokens.js";
import { type CambioSession, exchanged, fitting, type GetAccessToken, revoker } from "./callbacks.js";
import type { AccessToken, AccessTokenOptions } from "./fetch.js";
import { type CambioClient, CambioError, type CambioOptions, createClient, type Grant, type ProviderTokens, type User } from "./index.js";
import { type Keeper, keeper, type Kept, OF_SESSION, type RefreshOptions, type Refusal, state, watcher, type WatchOptions } from "./keep.js";
import { vouched } from "./sign-in.js";
import type { Vouch } from "./vouch.js";

export type { GetAccessToken } from "./callbacks.js";
export type { CambioEvent, Logger } from "./keep.js";

/**
 * The settings of Cambio and of its sessions.
 *
 * @example
 * ```ts
 * import { type BetterAuthCambioOptions, cambio } from "@cambio/next-auth/better-auth";
 *
 * const options: BetterAuthCambioOptions = { url: "https://auth.example.com", refreshBefore: 120_000 };
 * export const plugins = [cambio(options)];
 * ```
 */
export interface BetterAuthCambioOptions extends CambioOptions, RefreshOptions, WatchOptions {
  /** Shows `accessToken` and `expiresAt` to the browser; false by default. `auth.api.cambioSession` always has them. */
  exposeAccessToken?: boolean;
  /**
   * Signs for the users of sign-ins without a token of a provider, such as one with a password: `vouch()` of
   * `@cambio/next-auth/vouch`. By default, the key in the environment variable `CAMBIO_PRIVATE_KEY` does, if it is
   * set.
   */
  vouch?: Vouch | undefined;
}

/**
 * A session at Cambio, beside the one of better-auth.
 *
 * @example
 * ```ts
 * import type { CambioSessionAnswer } from "@cambio/next-auth/better-auth";
 *
 * export const isOver = (session: CambioSessionAnswer | null): boolean => !session || session.error === "SessionEnded";
 * ```
 */
export interface CambioSessionAnswer extends CambioSession {
  /**
   * The user at Cambio, without the identities; missing for a session that began without Cambio. The picture is null
   * if its URL is too long for a cookie; `me()` returns both.
   */
  user?: Omit<User, "identities">;
}

/** The state of a sign-in within one request. */
interface SignIn {
  tokens?: ProviderTokens;
  grant?: Grant;
  createsUser?: boolean;
}

/** The state of ending sessions within one request. */
interface Ending {
  /** The sessions of the user before the request, if better-auth runs no hooks when they end. */
  before: { id: string; token: string }[];
  /** The ended sessions by id, each with whether Cambio had a record of it. */
  told: Map<string, Promise<boolean>>;
}

/** The members that this module reads of the account that better-auth stores at a sign-in. */
interface Account {
  providerId?: string | undefined;
  idToken?: string | null | undefined;
  accessToken?: string | null | undefined;
}

/** The content of the plugin's cookie, which belongs to one session of better-auth. */
interface Cookie {
  sessionId: string;
  kept: Kept;
}

/** The errors for better-auth if a sign-in fails; each name is the `?error=` of its error page. */
const REFUSALS: Record<Refusal, { status: ConstructorParameters<typeof APIError>[0]; message: string }> = {
  AccessDenied: { status: "FORBIDDEN", message: "This account may not sign in here" },
  CambioRefused: { status: "UNAUTHORIZED", message: "This sign-in was not confirmed" },
  CambioUnavailable: { status: "SERVICE_UNAVAILABLE", message: "Signing in is unavailable for the moment" },
  CambioMisconfigured: { status: "INTERNAL_SERVER_ERROR", message: "This app is not set up correctly" },
};
const SALT = "cambio";

/** The cookie that lists the sessions which this browser ended, its life in seconds, and the length of the list. */
const ENDED = "ended_sessions";
const ENDED_FOR = 86_400;
const ENDED_SESSIONS = 4;

/** Paths that end sessions at better-auth, including that of the browser. */
const ENDS_SESSIONS = [
  "/sign-out",
  "/revoke-session",
  "/revoke-sessions",
  "/revoke-other-sessions",
  "/change-password",
  "/delete-user",
  "/delete-user/callback",
];

/**
 * The plugin of better-auth.
 *
 * @example
 * ```ts
 * import { cambio, type CambioPlugin } from "@cambio/next-auth/better-auth";
 *
 * export const plugin: CambioPlugin = cambio();
 * ```
 */
export interface CambioPlugin {
  /** The name of the plugin. */
  id: "cambio";
  /** Adds the hooks of the database. */
  init: NonNullable<BetterAuthPlugin["init"]>;
  /** The endpoints that the plugin adds. */
  endpoints: {
    /** `GET /cambio/session`: the session at Cambio, refreshed if necessary. */
    cambioSession: ReturnType<typeof sessionEndpoint>;
    /** An access token, for `accessTokenOf` on the app's own server only. */
    cambioAccessToken: ReturnType<typeof accessTokenEndpoint>;
  };
  /** Ends sessions at Cambio with those of better-auth. */
  hooks: NonNullable<BetterAuthPlugin["hooks"]>;
}

/**
 * Exchanges each sign-in for a token of your own API, refreshes the token, and revokes it at sign-out.
 *
 * The plugin stores the grant in an encrypted cookie of its own, so it needs neither a database nor a migration.
 *
 * @example
 * ```ts
 * import { betterAuth } from "better-auth";
 * import { cambio } from "@cambio/next-auth/better-auth";
 *
 * export const auth = betterAuth({ plugins: [cambio()] });
 * ```
 */
export function cambio(options: BetterAuthCambioOptions = {}): CambioPlugin {
  const client = createClient(options);
  const watch = watcher(options);
  const { report, emit } = watch;
  const keep = keeper(client, options);
  const revoke = revoker(options);
  const signIns = new WeakMap<object, SignIn>();
  const endings = new WeakMap<object, Ending>();
  /** The cookies of an ended session that a request sent, by the context of the request. */
  const hidden = new WeakMap<object, string[]>();

  /** Returns the sign-in of a request; better-auth creates a context for each request. */
  function signInOf({ context }: GenericEndpointContext): SignIn {
    const signIn = signIns.get(context) ?? {};
    signIns.set(context, signIn);
    return signIn;
  }

  /** Returns the sessions that a request ends. */
  function endingOf({ context }: GenericEndpointContext): Ending {
    const ending = endings.get(context) ?? { before: [], told: new Map() };
    endings.set(context, ending);
    return ending;
  }

  /** Ends a session at Cambio that ended at better-auth. Returns whether it had a record. Never throws. */
  async function end(auth: AuthContext, sessionId: string): Promise<boolean> {
    try {
      const stored = await auth.internalAdapter.consumeVerificationValue(recordOf(sessionId));
      if (!stored) return false;
      await revoke(await symmetricDecrypt({ key: auth.secretConfig, data: stored.value }));
    } catch (error) {
      report(error);
    }
    return true;
  }

  /** Ends the session at Cambio that a sign-in replaces in its browser. Never throws. */
  async function replace(auth: AuthContext, { sessionId, kept: { refreshToken } }: Cookie, grant: Grant): Promise<void> {
    const isSame = grant.refreshToken.startsWith(refreshToken.slice(0, OF_SESSION));
    if (!isSame && !(await end(auth, sessionId))) await revoke(refreshToken);
  }

  /** @throws APIError, which better-auth turns into its error page's URL. */
  async function exchange(signIn: SignIn, context: GenericEndpointContext): Promise<void> {
    if (!signIn.tokens || signIn.grant) return;
    const grant = await exchanged(client, watch, signIn.tokens, context.headers?.get("user-agent"));
    if (typeof grant === "string") throw refused(grant);
    signIn.grant = grant;
  }

  /** Exchanges a sign-in without a token of a provider, if the app vouches for its users. @throws APIError */
  async function exchangeByApp(userId: string, context: GenericEndpointContext): Promise<void> {
    const user = { ...(await context.context.internalAdapter.findUserById(userId)), id: userId };
    const grant = await vouched({ provider: "better-auth" }, user, options, client, watch, context.headers?.get("user-agent"));
    if (typeof grant === "string") throw refused(grant);
    if (grant) signInOf(context).grant = grant;
  }

  /** Takes the provider's tokens from the account that better-auth stores at each sign-in. */
  async function passes(account: Account, context: GenericEndpointContext | null): Promise<void> {
    if (!context || !account.providerId || !(account.idToken || account.accessToken)) return;
    const signIn = signInOf(context);
    const { options, secretConfig } = context.context;
    let access_token = account.accessToken ?? null;
    if (access_token && options.account?.encryptOAuthTokens) access_token = await symmetricDecrypt({ key: secretConfig, data: access_token });
    // A sign-in by an ID token that the app has names its nonce. That of a redirect is checked before.
    const nonce: string | undefined = context.body?.idToken?.nonce;
    signIn.tokens = { provider: account.providerId, id_token: account.idToken ?? null, access_token, nonce };
    // Within the transaction that creates the user, so that a refused sign-in stores nothing.
    if (signIn.createsUser) await exchange(signIn, context);
  }

  return {
    id: "cambio",
    init(auth) {
      const { options } = auth;
      if (options.account?.updateAccountOnSignIn === false) {
        throw new Error("Cambio needs the provider's token of each sign-in: leave account.updateAccountOnSignIn as it is");
      }
      return {
        options: {
          databaseHooks: {
            user: {
              create: {
                async before(_, context) {
                  if (context) signInOf(context).createsUser = true;
                },
              },
            },
            account: { create: { before: passes }, update: { before: passes } },
            session: {
              create: {
                async before(session, context) {
                  if (!context) return;
                  const signIn = signInOf(context);
                  await exchange(signIn, context);
                  // The session of an administrator who acts as the user is no sign-in of the user.
                  if (!signIn.tokens && !("impersonatedBy" in session && session.impersonatedBy)) await exchangeByApp(session.userId, context);
                },
                async after({ id, expiresAt }, context) {
                  const grant = context && signInOf(context).grant;
                  if (!grant) return;
                  const former = await read(context);
                  await store(context, { sessionId: id, kept: await shortened(keep.opened(grant)) });
                  await record(auth, id, grant.refreshToken, expiresAt).catch(report);
                  if (former) await auth.runInBackgroundOrAwait(replace(auth, former, grant));
                },
              },
              update: {
                async after({ id, expiresAt }) {
                  if (id && expiresAt) await prolong(auth, id, expiresAt).catch(report);
                },
              },
              delete: {
                async after({ id }, context) {
                  const told = end(auth, id);
                  // Sessions end in parallel; the answer waits for all of them.
                  if (context) endingOf(context).told.set(id, told);
                  else await told;
                },
              },
            },
          },
        },
      };
    },
    endpoints: {
      cambioSession: sessionEndpoint(keep, options.exposeAccessToken),
      cambioAccessToken: accessTokenEndpoint(keep, client, watch),
    },
    hooks: {
      before: [
        {
          // An answer that was under way at the sign-out may have set the cookies of the session again.
          matcher: ({ headers }) => Boolean(headers?.get("cookie")?.includes(`${ENDED}=`)),
          handler: createAuthMiddleware(async (context) => {
            const token = sessionTokenOf(context);
            if (!token || !endedIn(context).includes(await markOf(token))) return;
            const { authCookies } = context.context;
            const names = [authCookies.sessionToken.name, authCookies.sessionData.name, cookieOf(context).name];
            const nameOf = (cookie: string) => cookie.slice(0, cookie.indexOf("="));
            const isOfSession = (cookie: string) => names.some((name) => nameOf(cookie) === name || nameOf(cookie).startsWith(`${name}.`));
            const cookies = (context.headers?.get("cookie") ?? "").split(/; */);
            hidden.set(context.context, cookies.filter(isOfSession).map(nameOf));
            return { context: { headers: new Headers({ cookie: cookies.filter((cookie) => !isOfSession(cookie)).join("; ") }) } };
          }),
        },
        {
          // better-auth runs no hooks for sessions that it keeps in a secondary storage alone.
          matcher: ({ path, context }) => endsSessions(path) && Boolean(context.options.secondaryStorage) && !context.options.session?.storeSessionInDatabase,
          handler: createAuthMiddleware(async (context) => {
            const current = await getSessionFromCtx(context, { disableCookieCache: true });
            if (current) endingOf(context).before = await context.context.internalAdapter.listSessions(current.user.id);
          }),
        },
      ],
      after: [
        {
          matcher: ({ path, context }) => endsSessions(path) || endings.has(context),
          handler: createAuthMiddleware(async (context) => {
            const { internalAdapter, authCookies, responseHeaders } = context.context;
            const { before, told } = endingOf(context);
            const isOver = await Promise.all(before.map(async ({ token }) => !(await internalAdapter.findSession(token))));
            for (const { id } of before.filter((_, nth) => isOver[nth])) told.set(id, end(context.context, id));
            // Without a store, the removed cookie is the only sign that the session of this browser ended.
            const cookies = responseHeaders?.getSetCookie() ?? [];
            if (cookies.some((cookie) => cookie.startsWith(`${authCookies.sessionToken.name}=;`))) {
              const held = await read(context);
              clear(context);
              const token = sessionTokenOf(context);
              if (token) {
                const { name, attributes } = context.context.createAuthCookie(ENDED, { maxAge: ENDED_FOR });
                const marks = [await markOf(token), ...endedIn(context)].slice(0, ENDED_SESSIONS);
                context.setCookie(name, marks.join("."), attributes);
              }
              if (held && context.path === "/sign-out") emit({ type: "signOut", userId: held.kept.user.id });
              if (held?.kept.refreshToken && !(await told.get(held.sessionId))) await revoke(held.kept.refreshToken);
            }
            await Promise.all(told.values());
          }),
        },
        {
          matcher: ({ context }) => hidden.has(context),
          handler: createAuthMiddleware(async (context) => {
            const { authCookies, responseHeaders } = context.context;
            const { attributes } = authCookies.sessionToken;
            const cookies = responseHeaders?.getSetCookie() ?? [];
            // Unless the request began another session.
            if (cookies.some((cookie) => cookie.startsWith(`${authCookies.sessionToken.name}=`))) return;
            for (const name of hidden.get(context.context) ?? []) context.setCookie(name, "", { ...attributes, maxAge: 0 });
          }),
        },
      ],
    },
  };
}

function refused(refusal: Refusal): APIError {
  const { status, message } = REFUSALS[refusal];
  return new APIError(status, { code: refusal, message });
}

/**
 * Returns `getAccessToken` of your app: the access token of the signed-in user, refreshed if necessary.
 *
 * @param auth Your `betterAuth({ plugins: [cambio()] })`.
 * @param headers Returns the headers of the current request: `headers` of `next/headers`.
 *
 * @example
 * ```ts
 * import { betterAuth } from "better-auth";
 * import { accessTokenOf, cambio } from "@cambio/next-auth/better-auth";
 *
 * const auth = betterAuth({ plugins: [cambio()] });
 * export const tokenOf = (request: Request) => accessTokenOf(auth, () => request.headers)();
 * ```
 */
export function accessTokenOf(auth: { api: object }, headers: () => Headers | Promise<Headers>): GetAccessToken {
  return async (asked = {}) => {
    const { cambioAccessToken } = auth.api as Partial<Record<string, (input: object) => Promise<AccessToken>>>;
    if (!cambioAccessToken) throw new CambioError("misconfigured", "accessTokenOf: betterAuth has no plugin cambio()");
    return cambioAccessToken({ headers: await headers(), body: asked });
  };
}

function endsSessions(path: string | undefined): boolean {
  return path !== undefined && ENDS_SESSIONS.includes(path);
}

/**
 * The time from the end of a session to that of its record, so that the return to an expired session ends it at
 * Cambio.
 */
const OUTLIVES = 30 * 24 * 60 * 60 * 1000;

function expiryOf(session: Date): Date {
  return new Date(session.getTime() + OUTLIVES);
}

/** Returns the identifier of a session's record in better-auth's table of verifications. */
function recordOf(sessionId: string): string {
  return `cambio-session-${sessionId}`;
}

/**
 * Stores a refresh token of a session. Any refresh token of a session ends it at Cambio, so a refresh does not update
 * the record.
 */
async function record({ internalAdapter, secretConfig }: AuthContext, sessionId: string, refreshToken: string, expiresAt: Date): Promise<void> {
  const value = await symmetricEncrypt({ key: secretConfig, data: refreshToken });
  await internalAdapter.createVerificationValue({ identifier: recordOf(sessionId), value, expiresAt: expiryOf(expiresAt) });
}

/** Extends the record of a session with the session. */
async function prolong({ internalAdapter }: AuthContext, sessionId: string, expiresAt: Date): Promise<void> {
  const identifier = recordOf(sessionId);
  // Not every adapter accepts an update of a missing record.
  if (await internalAdapter.findVerificationValue(identifier))
    await internalAdapter.updateVerificationByIdentifier(identifier, { expiresAt: expiryOf(expiresAt) });
}

/**
 * Returns the session at Cambio of the current session of better-auth, refreshed if necessary, or the reason why there
 * is none.
 */
async function current(context: GenericEndpointContext, keep: Keeper, refused?: string): Promise<Kept | "signed out" | "without Cambio"> {
  const session = await getSessionFromCtx(context);
  if (!session) return "signed out";
  const held = await read(context);
  // The session began before the app had Cambio, or without a provider.
  if (held?.sessionId !== session.session.id) return "without Cambio";
  const next = await keep.fresh(held.kept, refused);
  if (next === held.kept) return next;
  const kept = await shortened(next);
  await store(context, { ...held, kept });
  return kept;
}

/** Returns the endpoint of the session at Cambio, which is `null` if the user is not signed in. */
function sessionEndpoint(keep: Keeper, exposeAccessToken = false) {
  return createAuthEndpoint(
    "/cambio/session",
    { method: "GET", requireHeaders: true, metadata: { noStore: true } },
    async (context): Promise<CambioSessionAnswer | null> => {
      const kept = await current(context, keep);
      if (typeof kept === "string") return kept === "signed out" ? null : { error: "SessionEnded" };
      const shown = state(kept);
      // A call from the app's own server has no request.
      return { ...(exposeAccessToken || !context.request || "error" in shown ? shown : {}), user: kept.user };
    },
  );
}

/** Returns the endpoint of access tokens, which browsers cannot call. */
function accessTokenEndpoint(keep: Keeper, client: CambioClient, watch: ReturnType<typeof watcher>) {
  return createAuthEndpoint(
    "/cambio/access-token",
    { method: "POST", requireHeaders: true, metadata: { SERVER_ONLY: true } },
    async (context): Promise<AccessToken> => {
      const asked: AccessTokenOptions = context.body ?? {};
      const kept = await current(context, keep, asked.refused);
      if (kept === "without Cambio") throw new CambioError("ended", "the sign-in has no token of a provider");
      return issued(kept === "signed out" ? undefined : kept, asked, client, watch);
    },
  );
}

/** Returns a session as its cookie contains it. */
async function shortened(kept: Kept): Promise<Kept> {
  return { ...kept, user: await fitting(kept) };
}

/** Returns better-auth's token of the session of a request, which its cookie has before the signature. */
function sessionTokenOf(context: GenericEndpointContext): string | undefined {
  return context.getCookie(context.context.authCookies.sessionToken.name)?.split(".")[0];
}

/** Returns the marks of the sessions that this browser ended, the last one first. */
function endedIn(context: GenericEndpointContext): string[] {
  return context.getCookie(context.context.createAuthCookie(ENDED).name)?.split(".") ?? [];
}

/** Returns the mark of a session in the list of ended ones, from which nobody can derive its token. */
async function markOf(token: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(token));
  return Array.from(new Uint8Array(digest, 0, 8), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function cookieOf({ context }: GenericEndpointContext) {
  return context.createAuthCookie("cambio", { maxAge: context.sessionConfig.expiresIn });
}

async function read(context: GenericEndpointContext): Promise<Cookie | null> {
  const value = getChunkedCookie(context, cookieOf(context).name);
  return value ? symmetricDecodeJWT<Cookie>(value, context.context.secretConfig, SALT) : null;
}

async function store(context: GenericEndpointContext, cookie: Cookie): Promise<void> {
  const { name, attributes } = cookieOf(context);
  const value = await symmetricEncodeJWT(cookie, context.context.secretConfig, SALT, attributes.maxAge);
  const chunks = createSessionStore(name, attributes, context);
  chunks.setCookies(chunks.chunk(value));
}

function clear(context: GenericEndpointContext): void {
  const { name, attributes } = cookieOf(context);
  const chunks = createSessionStore(name, attributes, context);
  chunks.setCookies(chunks.clean());
}
