/** For better-auth. */
import type { AuthContext, BetterAuthPlugin, GenericEndpointContext } from "better-auth";
import { APIError, createAuthEndpoint, createAuthMiddleware, getSessionFromCtx, isAPIError } from "better-auth/api";
import { createSessionStore, getChunkedCookie } from "better-auth/cookies";
import { symmetricDecodeJWT, symmetricDecrypt, symmetricEncodeJWT, symmetricEncrypt } from "better-auth/crypto";
import { type CambioSession, exchanged, OF_SESSION, revoker } from "./callbacks.js";
import { type CambioOptions, createClient, type Grant, type ProviderTokens, type User } from "./index.js";
import { type Keeper, keeper, type Kept, type RefreshOptions, type Refusal, state, watcher, type WatchOptions } from "./keep.js";

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
  /** Whether the browser gets `accessToken` and `expiresAt` too; false by default. `auth.api.cambioSession` has them in any case. */
  exposeAccessToken?: boolean;
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
  /** The user as your API knows them; not there for a session that Cambio never knew. */
  user?: User;
}

/** What a request has brought so far on its way to a session. */
interface SignIn {
  tokens?: ProviderTokens;
  grant?: Grant;
  createsUser?: boolean;
}

/** What a request has brought so far on the way to the end of sessions. */
interface Ending {
  /** The sessions of the user before it, where better-auth runs no hooks for their end. */
  before: { id: string; token: string }[];
  /** By the id of each session that it has ended: whether Cambio was told. */
  told: Map<string, Promise<boolean>>;
}

/** What better-auth stores of an account at a sign-in, as far as it is looked at here. */
interface Account {
  providerId?: string | undefined;
  idToken?: string | null | undefined;
  accessToken?: string | null | undefined;
}

/** What our cookie holds: whoever holds another session of better-auth has no use for it. */
interface Cookie {
  sessionId: string;
  kept: Kept;
}

/** What better-auth is told of a sign-in that failed; each name is the `?error=` of the page that it ends on. */
const REFUSALS: Record<Refusal, { status: ConstructorParameters<typeof APIError>[0]; message: string }> = {
  AccessDenied: { status: "FORBIDDEN", message: "This account may not sign in here" },
  CambioRefused: { status: "UNAUTHORIZED", message: "This sign-in was not confirmed" },
  CambioUnavailable: { status: "SERVICE_UNAVAILABLE", message: "Signing in is unavailable for the moment" },
  CambioMisconfigured: { status: "INTERNAL_SERVER_ERROR", message: "This app is not set up correctly" },
};
const SALT = "cambio";

/** Where better-auth ends sessions, and with them perhaps that of the browser that asks. */
const ENDS_SESSIONS = ["/sign-out", "/revoke-session", "/revoke-sessions", "/revoke-other-sessions", "/change-password", "/delete-user", "/delete-user/callback"];

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
    /** `GET /cambio/session`: the session at Cambio, refreshed in time. */
    cambioSession: ReturnType<typeof sessionEndpoint>;
  };
  /** Ends sessions at Cambio with those of better-auth. */
  hooks: NonNullable<BetterAuthPlugin["hooks"]>;
}

/**
 * Trades each sign-in for a token of your own API, keeps it fresh, and gives it back at sign-out.
 *
 * The grant is in an encrypted cookie of its own, so neither a database nor a migration is needed.
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
  const { report } = watch;
  const keep = keeper(client, options);
  const revoke = revoker(options);
  const signIns = new WeakMap<object, SignIn>();
  const endings = new WeakMap<object, Ending>();

  /** The sign-in that a request is about; better-auth makes a context for each request. */
  function signInOf({ context }: GenericEndpointContext): SignIn {
    const signIn = signIns.get(context) ?? {};
    signIns.set(context, signIn);
    return signIn;
  }

  /** The end of sessions that a request is about. */
  function endingOf({ context }: GenericEndpointContext): Ending {
    const ending = endings.get(context) ?? { before: [], told: new Map() };
    endings.set(context, ending);
    return ending;
  }

  /** Ends at Cambio a session that is over at better-auth; says whether there was a record of it. Never throws. */
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

  /** Ends the session at Cambio that a sign-in takes the place of in its browser. Never throws. */
  async function replace(auth: AuthContext, { sessionId, kept: { refreshToken } }: Cookie, grant: Grant): Promise<void> {
    const isSame = grant.refreshToken.startsWith(refreshToken.slice(0, OF_SESSION));
    if (!isSame && !(await end(auth, sessionId))) await revoke(refreshToken);
  }

  /** @throws APIError, which better-auth turns into its error page's URL. */
  async function exchange(signIn: SignIn, context: GenericEndpointContext): Promise<void> {
    if (!signIn.tokens || signIn.grant) return;
    const grant = await exchanged(client, watch, signIn.tokens, context.headers?.get("user-agent"));
    if (typeof grant === "string") throw new APIError(REFUSALS[grant].status, { code: grant, message: REFUSALS[grant].message });
    signIn.grant = grant;
  }

  /** better-auth stores an account at each sign-in: that is where the provider's tokens pass by. */
  async function passes(account: Account, context: GenericEndpointContext | null): Promise<void> {
    if (!context || !account.providerId || !(account.idToken || account.accessToken)) return;
    const signIn = signInOf(context);
    const { options, secretConfig } = context.context;
    let access_token = account.accessToken ?? null;
    if (access_token && options.account?.encryptOAuthTokens) access_token = await symmetricDecrypt({ key: secretConfig, data: access_token });
    signIn.tokens = { provider: account.providerId, id_token: account.idToken ?? null, access_token };
    // In the transaction that creates the user: who is refused leaves nothing behind.
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
                async before(_, context) {
                  if (context) await exchange(signInOf(context), context);
                },
                async after({ id, expiresAt }, context) {
                  const grant = context && signInOf(context).grant;
                  if (!grant) return;
                  const former = await read(context);
                  await store(context, { sessionId: id, kept: keep.opened(grant) });
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
                  // The next session does not wait for this one: the answer waits for all.
                  if (context) endingOf(context).told.set(id, told);
                  else await told;
                },
              },
            },
          },
        },
      };
    },
    endpoints: { cambioSession: sessionEndpoint(keep, options.exposeAccessToken) },
    hooks: {
      before: [
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
            // Without a store, better-auth only knows that the session of this browser is over: it takes its cookie away.
            const cookies = responseHeaders?.getSetCookie() ?? [];
            if (cookies.some((cookie) => cookie.startsWith(`${authCookies.sessionToken.name}=;`))) {
              const held = await read(context);
              clear(context);
              if (held?.kept.refreshToken && !(await told.get(held.sessionId))) await revoke(held.kept.refreshToken);
            }
            await Promise.all(told.values());
          }),
        },
      ],
    },
  };
}

function endsSessions(path: string | undefined): boolean {
  return path !== undefined && ENDS_SESSIONS.includes(path);
}

/** So many milliseconds after its session, a record expires: who comes back to an expired session ends it at Cambio. */
const OUTLIVES = 30 * 24 * 60 * 60 * 1000;

function expiryOf(session: Date): Date {
  return new Date(session.getTime() + OUTLIVES);
}

/** What better-auth's table of verifications calls the record by which a session is ended at Cambio. */
function recordOf(sessionId: string): string {
  return `cambio-session-${sessionId}`;
}

/** Any refresh token that a session had ends it at Cambio, so the one in the record need not follow those after it. */
async function record({ internalAdapter, secretConfig }: AuthContext, sessionId: string, refreshToken: string, expiresAt: Date): Promise<void> {
  const value = await symmetricEncrypt({ key: secretConfig, data: refreshToken });
  await internalAdapter.createVerificationValue({ identifier: recordOf(sessionId), value, expiresAt: expiryOf(expiresAt) });
}

/** A session that is used lives on, and its record with it. */
async function prolong({ internalAdapter }: AuthContext, sessionId: string, expiresAt: Date): Promise<void> {
  const identifier = recordOf(sessionId);
  // Not every adapter takes an update of what is not there.
  if (await internalAdapter.findVerificationValue(identifier)) await internalAdapter.updateVerificationByIdentifier(identifier, { expiresAt: expiryOf(expiresAt) });
}

/** The session at Cambio, refreshed in time; `null` for who is not signed in. */
function sessionEndpoint(keep: Keeper, exposeAccessToken = false) {
  return createAuthEndpoint(
    "/cambio/session",
    { method: "GET", requireHeaders: true, metadata: { noStore: true } },
    async (context): Promise<CambioSessionAnswer | null> => {
      const current = await getSessionFromCtx(context);
      if (!current) return null;
      const held = await read(context);
      // Signed in before Cambio was there, or without a provider.
      if (held?.sessionId !== current.session.id) return { error: "SessionEnded" };
      const next = await keep.fresh(held.kept);
      if (next !== held.kept) await store(context, { ...held, kept: next });
      const shown = state(next);
      // Where the app's own server asks, there is no request.
      return { ...(exposeAccessToken || !context.request || "error" in shown ? shown : {}), user: next.user };
    },
  );
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
