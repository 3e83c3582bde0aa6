/** Calls from an app's server to Cambio. They use Web APIs only. */

import type { components, paths } from "./openapi.js";

/** Types of every request and answer of the API, generated from its openapi.yaml. */
export type { components, paths };
type Schemas = components["schemas"];

/**
 * The address of Cambio, and the credentials of this app.
 *
 * @example
 * ```ts
 * import type { CambioOptions } from "@cambio/next-auth";
 *
 * export const options: CambioOptions = { url: "https://auth.example.com", clientId: "web", scope: "orders:read" };
 * ```
 */
export interface CambioOptions {
  /** The URL of Cambio, for example `https://auth.example.com`; the environment variable `CAMBIO_URL` by default. */
  url?: string | undefined;
  /** The client id of this app at Cambio; the environment variable `CAMBIO_CLIENT_ID` by default. */
  clientId?: string | undefined;
  /** The client secret of this app; the environment variable `CAMBIO_CLIENT_SECRET` by default. */
  clientSecret?: string | undefined;
  /** Another way to authenticate this app than its secret: `privateKey()` of `@cambio/next-auth/private-key`. */
  clientAuth?: ClientAuth | undefined;
  /** The longest time that a call takes, with its repetition, in milliseconds; 10,000 by default. */
  timeout?: number;
  /** Another `fetch`. By default, each call looks up the global one. */
  fetch?: typeof globalThis.fetch;
  /**
   * The scope that each sign-in asks for, as scope-tokens with spaces between them; all that the app may have by
   * default.
   */
  scope?: string | undefined;
  /** The API that each sign-in asks for a token for; the app's first audience at Cambio by default. */
  audience?: string | undefined;
}

/**
 * Returns the form parameters that authenticate a client at an endpoint. It is called for each attempt of a request
 * and fails with a {@link CambioError}.
 *
 * @example
 * ```ts
 * import { type ClientAuth, createClient } from "@cambio/next-auth";
 *
 * const clientAuth: ClientAuth = async (clientId) => ({ client_id: clientId, client_secret: clientSecret });
 * export const client = createClient({ clientAuth });
 * ```
 */
export type ClientAuth = (clientId: string, endpoint: string) => Promise<Record<string, string>>;

/**
 * Options of one call.
 *
 * @example
 * ```ts
 * import { createClient } from "@cambio/next-auth";
 *
 * const account = await createClient().me(accessToken, { signal: AbortSignal.timeout(2_000) });
 * ```
 */
export interface CallOptions {
  /**
   * Ends the call early. The call then fails with an `unavailable` {@link CambioError} whose `cause` is the signal's
   * reason.
   */
  signal?: AbortSignal | undefined;
}

/**
 * Options of one call that returns a token.
 *
 * @example
 * ```ts
 * import { createClient } from "@cambio/next-auth";
 *
 * const grant = await createClient().refresh(refreshToken, { scope: "orders:read", audience: "https://orders.example.com" });
 * ```
 */
export interface GrantOptions extends CallOptions {
  /** Scope-tokens with spaces between them: a part of what the app, or the session, may have. */
  scope?: string | undefined;
  /** The API that the token is for: one of the app's audiences at Cambio. */
  audience?: string | undefined;
}

/**
 * A user at Cambio. `id` never changes.
 *
 * @example
 * ```ts
 * import type { User } from "@cambio/next-auth";
 *
 * export const isAdmin = ({ roles }: User): boolean => roles.includes("admin");
 * ```
 */
export type User = Schemas["User"];
/**
 * The signed-in user's own account, with the metadata that an app stores in it.
 *
 * @example
 * ```ts
 * import { type Account, createClient } from "@cambio/next-auth";
 *
 * const account: Account = await createClient().me(accessToken);
 * ```
 */
export type Account = Schemas["Account"];

/**
 * The tokens of a session, and its user.
 *
 * @example
 * ```ts
 * import { createClient, type Grant } from "@cambio/next-auth";
 *
 * const { accessToken, expiresAt }: Grant = await createClient().refresh(refreshToken);
 * ```
 */
export interface Grant {
  /** The access token for calls to your own API. */
  accessToken: string;
  /** The time at which the access token expires, in milliseconds since the epoch by the clock of this machine. */
  expiresAt: number;
  /** The refresh token, which belongs on a server only. */
  refreshToken: string;
  /** The scope of the access token, if it has one. */
  scope?: string | undefined;
  /** The user of the session. */
  user: User;
  /** Set to true if this sign-in created the user; only after a sign-in. */
  isNewUser?: boolean | undefined;
  /** Set to true if another user has the same verified address; only after a sign-in. */
  emailInUse?: boolean;
}

/**
 * The tokens that a provider issued at a sign-in. The `account` of next-auth has this shape.
 *
 * @example
 * ```ts
 * import { createClient, type ProviderTokens } from "@cambio/next-auth";
 *
 * const tokens: ProviderTokens = { provider: "github", access_token: accessToken };
 * const { user, isNewUser } = await createClient().exchange(tokens);
 * ```
 */
export interface ProviderTokens {
  /** The provider's name in the settings of Cambio. */
  provider: string;
  /** The ID token; the client sends it if there is one. */
  id_token?: string | null;
  /** The provider's access token; the client sends it if there is no ID token. */
  access_token?: string | null;
  /** A JWT of `vouch()`, by which the app vouches for the user; the client sends it before any other token. */
  jwt?: string | null;
  /** The nonce that the app sent to the provider. Cambio refuses an ID token with another one. */
  nonce?: string | null | undefined;
}

/**
 * The reason why a call failed:
 *
 * - `refused`: Cambio did not accept the provider's token; another sign-in may succeed.
 * - `denied`: this user is not admitted.
 * - `ended`: the session is over, or the access token is no longer valid.
 * - `unavailable`: Cambio or the provider does not answer; the same call may succeed later.
 * - `misconfigured`: the settings of Cambio and of this app do not match.
 *
 * @example
 * ```ts
 * import type { CambioErrorKind } from "@cambio/next-auth";
 *
 * export const isWorthAnotherTry = (kind: CambioErrorKind): boolean => kind === "unavailable";
 * ```
 */
export type CambioErrorKind = "refused" | "denied" | "ended" | "unavailable" | "misconfigured";

/**
 * Details of a {@link CambioError}.
 *
 * @example
 * ```ts
 * import { CambioError, type CambioErrorDetails } from "@cambio/next-auth";
 *
 * const details: CambioErrorDetails = { status: 503, retryAfter: 1_000 };
 * export const failure = new CambioError("unavailable", "made by a test", details);
 * ```
 */
export interface CambioErrorDetails {
  /** {@inheritDoc CambioError.status} */
  status?: number | undefined;
  /** {@inheritDoc CambioError.code} */
  code?: string | undefined;
  /** {@inheritDoc CambioError.requestId} */
  requestId?: string | undefined;
  /** {@inheritDoc CambioError.retryAfter} */
  retryAfter?: number | undefined;
  /** The error that caused this one. */
  cause?: unknown;
}

/**
 * The failure of a call. Its message contains no token.
 *
 * @example
 * ```ts
 * import { isCambioError } from "@cambio/next-auth";
 * import { cambioFetch } from "@cambio/next-auth/fetch";
 *
 * const failure: unknown = await cambioFetch(session, "https://api.example.com")("/orders").catch((error) => error);
 * if (isCambioError(failure)) console.error(failure.kind, failure.status, failure.requestId);
 * ```
 */
export class CambioError extends Error {
  /** The name of the class, which stays the same in a bundle that renames classes. */
  override readonly name = "CambioError";
  /** The status of the answer, if there was one. */
  readonly status: number | undefined;
  /** Cambio's error code, for example `invalid_grant`. */
  readonly code: string | undefined;
  /** The id of the request in Cambio's logs. */
  readonly requestId: string | undefined;
  /** The time to wait before the next attempt (`Retry-After`), in milliseconds. */
  readonly retryAfter: number | undefined;

  constructor(
    /** The reason why the call failed. */
    readonly kind: CambioErrorKind,
    message: string,
    { cause, ...details }: CambioErrorDetails = {},
  ) {
    super(message, cause ? { cause } : {});
    Object.assign(this, details);
  }
}

/**
 * Returns whether a value is a {@link CambioError}.
 *
 * `instanceof` fails if an app loads this package twice: once by `import` and once by `require`, or in two versions.
 *
 * @example
 * ```ts
 * import { createClient, isCambioError } from "@cambio/next-auth";
 *
 * try {
 *   await createClient().me(accessToken);
 * } catch (error) {
 *   if (!isCambioError(error) || error.kind !== "ended") throw error;
 *   location.assign("/api/auth/signin");
 * }
 * ```
 */
export function isCambioError(error: unknown): error is CambioError {
  const { kind, name } = Object(error);
  return !!kind && name === "CambioError";
}

/**
 * The calls to Cambio. Each one fails with a {@link CambioError} and with no other error.
 *
 * @example
 * ```ts
 * import { type CambioClient, createClient } from "@cambio/next-auth";
 *
 * const client: CambioClient = createClient();
 * const { accessToken } = await client.exchange({ provider: "google", id_token: idToken });
 * await client.revoke(accessToken);
 * ```
 */
export interface CambioClient {
  /** Exchanges the provider's token of a sign-in for a grant (RFC 8693). */
  exchange(tokens: ProviderTokens, options?: GrantOptions & { userAgent?: string | null | undefined }): Promise<Grant>;
  /**
   * Exchanges a refresh token for the next grant (RFC 6749, section 6). Several requests may send the same refresh
   * token, at the same time or again after a lost answer: all of them get the same next refresh token.
   */
  refresh(refreshToken: string, options?: GrantOptions): Promise<Grant>;
  /** Ends the session of a token (RFC 7009). */
  revoke(token: string, options?: CallOptions): Promise<void>;
  /** Returns the account of the user of an access token. */
  me(accessToken: string, options?: CallOptions): Promise<Account>;
}

/** The parameters of a request, without those that are undefined. */
type Form = Record<string, string | undefined>;
/** Returns the request of one attempt. */
type Builder = (endpoint: string) => RequestInit | Promise<RequestInit>;

const GRANT_TYPE = "urn:ietf:params:oauth:grant-type:token-exchange";
const TOKEN_TYPE = "urn:ietf:params:oauth:token-type:";
/** The longest `Retry-After` that a call waits for, in milliseconds. */
const LONGEST_WAIT = 10_000;
/** The shortest time between two attempts, in milliseconds. */
const SHORTEST_WAIT = 100;
/** The longest delay of a timer, in milliseconds: a longer one ends at once. */
const LONGEST_TIMEOUT = 2 ** 31 - 1;

/** The kinds of the error codes about a user. Any other 4xx is `misconfigured`, and any 5xx `unavailable`. */
const KINDS: Record<string, CambioErrorKind> = {
  access_denied: "denied",
  invalid_grant: "ended",
  invalid_request: "refused",
};

/** The environment; missing in some runtimes. */
declare const process: { env: Record<string, string | undefined> } | undefined;

/** Returns a setting. Each call reads it, because a build often has no settings. */
function setting(option: string | undefined, variable: string): string {
  const value = option || (typeof process === "object" && process.env[variable]);
  if (!value) throw new CambioError("misconfigured", `${variable} is not set`);
  return value;
}

/**
 * Returns a client of Cambio.
 *
 * Each call that fails as `unavailable` is repeated once, because the same call is safe to repeat. Both attempts and
 * the wait between them end within `timeout`.
 *
 * @example
 * ```ts
 * import { createClient } from "@cambio/next-auth";
 *
 * const client = createClient({ timeout: 5_000 });
 * const { name } = await client.me(accessToken);
 * ```
 */
export function createClient({ timeout = 10_000, ...options }: CambioOptions = {}): CambioClient {
  if (!(timeout >= 1 && timeout <= LONGEST_TIMEOUT)) {
    throw new CambioError("misconfigured", `timeout is ${timeout}: write a number of milliseconds from 1 to ${LONGEST_TIMEOUT}`);
  }

  /** Returns a request with a form, and with the credentials of this app. */
  async function withForm(endpoint: string, form: Form, userAgent?: string | null): Promise<RequestInit> {
    const clientId = setting(options.clientId, "CAMBIO_CLIENT_ID");
    const proof = await options.clientAuth?.(clientId, endpoint);
    const headers: Record<string, string> = userAgent ? { "User-Agent": userAgent } : {};
    if (!proof) {
      const credentials = [clientId, setting(options.clientSecret, "CAMBIO_CLIENT_SECRET")];
      // RFC 6749, section 2.3.1: each is form-urlencoded first.
      const encoded = credentials.map((text) => `${new URLSearchParams({ "": text })}`.slice(1));
      headers.Authorization = `Basic ${btoa(encoded.join(":"))}`;
    }
    const body = new URLSearchParams();
    for (const [name, value] of Object.entries({ ...form, ...proof })) if (value) body.set(name, value);
    return { method: "POST", headers, body };
  }

  async function attempt<T>(path: string, request: Builder, signal: AbortSignal, read: (answer: Response) => Promise<T>): Promise<T> {
    const base = setting(options.url, "CAMBIO_URL").replace(/\/+$/, "");
    // Errors contain the URL, so it has no user name, no password and no query.
    if (!/^https?:\/\/[^@?#]+$/.test(base)) throw new CambioError("misconfigured", "CAMBIO_URL is not an http(s) URL");
    const url = `${base}${path}`;
    const init = await request(url);
    // Next.js may cache what `fetch` answers. Cloudflare Workers before 2024-11-11 and React Native have no `cache`.
    const cache = "cache" in Object(globalThis.Request?.prototype) && ({ cache: "no-store" } as const);
    let answer: Response;
    try {
      // Cloudflare Workers have no `redirect: "error"`.
      answer = await (options.fetch ?? globalThis.fetch)(url, { ...init, ...cache, signal, redirect: "manual" });
    } catch (cause) {
      throw new CambioError("unavailable", `Cambio does not answer ${url}`, { cause });
    }
    if (!answer.ok) throw await failureOf(url, answer);
    try {
      return await read(answer);
    } catch (cause) {
      throw new CambioError("unavailable", `the answer of ${url} broke off`, { ...detailsOf(answer), cause });
    }
  }

  async function call<T>(path: string, request: Builder, read: (answer: Response) => Promise<T>, { signal }: CallOptions = {}): Promise<T> {
    // React Native has neither AbortSignal.timeout nor AbortSignal.any.
    const controller = new AbortController();
    const abort = () => controller.abort(signal?.reason);
    if (signal?.aborted) abort();
    signal?.addEventListener("abort", abort);
    const endsAt = Date.now() + timeout;
    const timer = setTimeout(() => controller.abort(new Error(`no answer within ${timeout} ms`)), timeout);
    const once = () => attempt(path, request, controller.signal, read);
    try {
      return await once().catch(async (failure: CambioError) => {
        const wait = Math.max(failure.retryAfter ?? 0, SHORTEST_WAIT);
        const isWorthIt = failure.kind === "unavailable" && wait <= LONGEST_WAIT && Date.now() + wait < endsAt;
        if (!isWorthIt || controller.signal.aborted) throw failure;
        await pause(wait, controller.signal);
        return once();
      });
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
    }
  }

  async function grant(form: Form, options: GrantOptions & { userAgent?: string | null | undefined } = {}): Promise<Grant> {
    const askedAt = Date.now();
    const { scope, audience } = options;
    const answer = await call<Schemas["Grant"]>("/token", (endpoint) => withForm(endpoint, { ...form, scope, audience }, options.userAgent), json, options);
    return {
      accessToken: answer.access_token,
      expiresAt: askedAt + answer.expires_in * 1000,
      refreshToken: answer.refresh_token,
      user: answer.user,
      scope: answer.scope,
      isNewUser: answer.is_new_user,
      ...(answer.email_in_use && { emailInUse: true }),
    };
  }

  return {
    async exchange({ provider, jwt, id_token, access_token, nonce }, more) {
      // A JWT names its issuer. An access token is opaque, so the provider's name goes with it.
      const subject = jwt
        ? { subject_token: jwt, subject_token_type: `${TOKEN_TYPE}jwt` }
        : id_token
          ? { subject_token: id_token, subject_token_type: `${TOKEN_TYPE}id_token`, nonce: nonce ?? "" }
          : { subject_token: access_token ?? "", subject_token_type: `${TOKEN_TYPE}access_token`, subject_issuer: provider };
      if (!subject.subject_token) throw new CambioError("misconfigured", `the sign-in has no token of ${provider}`);
      const { scope, audience } = options;
      return grant({ grant_type: GRANT_TYPE, ...subject }, { scope, audience, ...more });
    },
    async refresh(refreshToken, more) {
      return grant({ grant_type: "refresh_token", refresh_token: refreshToken }, more);
    },
    async revoke(token, more) {
      await call(
        "/revoke",
        (endpoint) => withForm(endpoint, { token }),
        async () => {},
        more,
      );
    },
    async me(accessToken, more) {
      const headers = { Authorization: `Bearer ${accessToken}` };
      return call<Account>("/me", () => ({ headers }), json, more);
    },
  };
}

const json = (answer: Response) => answer.json();

/** Resolves after `wait` milliseconds, and earlier when the signal aborts. */
function pause(wait: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, wait);
    signal.addEventListener("abort", () => resolve(clearTimeout(timer)));
  });
}

/**
 * Returns the failure that an answer reports. An answer without an error code of Cambio's may come from a proxy in
 * between.
 */
async function failureOf(url: string, answer: Response): Promise<CambioError> {
  const { status } = answer;
  const details = detailsOf(answer);
  const body = Object(await answer.json().catch(() => undefined));
  const code: string | undefined = typeof body.error === "string" ? body.error : undefined;
  const isOurs = status < 500 && ![408, 429].includes(status);
  let what = `${status}`;
  let reason: string | undefined = body.error_description ?? body.detail ?? (!code && isOurs && "check CAMBIO_URL");
  if (code) what += ` ${code}`;
  // In a browser, the status of a redirect is 0.
  if (status < 400) {
    what = "a redirect";
    reason = "set CAMBIO_URL to the final address";
    try {
      // The origin only, because the rest of the address may contain a secret.
      what += ` to ${new URL(answer.headers.get("Location") ?? "").origin}`;
    } catch {
      // The header is missing, hidden by a browser, or a path.
    }
  }
  if (reason) what += `: ${reason}`;
  if (details.requestId) what += ` (request ${details.requestId})`;
  // At the token endpoint, 401 is about the client; here it is about the access token.
  const isEnded = status === 401 && url.endsWith("/me");
  // The standard code for an unknown provider is also that of a refused token (RFC 8693, section 2.2.2).
  const isOfUser = code && !/^no provider/.test(reason as string);
  const kind = isEnded ? "ended" : (isOfUser && KINDS[code]) || (isOurs ? "misconfigured" : "unavailable");
  return new CambioError(kind, `Cambio answers ${url} with ${what}`, { ...details, code });
}

function detailsOf({ status, headers }: Response): CambioErrorDetails {
  const requestId = headers.get("apigw-requestid") ?? headers.get("x-amzn-requestid") ?? undefined;
  return { status, requestId, retryAfter: milliseconds(headers.get("Retry-After") ?? "") };
}

/** Returns how long `Retry-After` asks to wait; it holds seconds or a date (RFC 9110, section 10.2.3). */
function milliseconds(retryAfter: string): number | undefined {
  const wait = /^\d+$/.test(retryAfter) ? Number(retryAfter) * 1000 : Date.parse(retryAfter) - Date.now();
  return wait >= 0 ? wait : undefined;
}
