/** Calls from an app's server to Cambio. They use Web APIs only. */

import type { components, paths } from "./openapi.js";

/** Types of every request and answer of the API, generated from its openapi.yaml. */
export type { components, paths };
type Schemas = components["schemas"];

/** The address of Cambio, and the credentials of this app. */
export interface CambioOptions {
  /** The URL of Cambio, for example `https://auth.example.com`; the environment variable `CAMBIO_URL` by default. */
  url?: string | undefined;
  /** The client id of this app at Cambio; the environment variable `CAMBIO_CLIENT_ID` by default. */
  clientId?: string | undefined;
  /** The client secret of this app; the environment variable `CAMBIO_CLIENT_SECRET` by default. */
  clientSecret?: string | undefined;
  /** The longest time that a call takes, with its repetition, in milliseconds; 10,000 by default. */
  timeout?: number;
  /** Another `fetch`. By default, each call looks up the global one. */
  fetch?: typeof globalThis.fetch;
  /** The scope that each sign-in asks for, as scope-tokens with spaces between them; all that the app may have by default. */
  scope?: string | undefined;
  /** The API that each sign-in asks for a token for; the app's first audience at Cambio by default. */
  audience?: string | undefined;
}

/** Options of one call. */
export interface CallOptions {
  /** Ends the call early. The call then fails with an `unavailable` {@link CambioError} whose `cause` is the signal's reason. */
  signal?: AbortSignal | undefined;
}

/** Options of one call that returns a token. */
export interface GrantOptions extends CallOptions {
  /** Scope-tokens with spaces between them: a part of what the app, or the session, may have. */
  scope?: string | undefined;
  /** The API that the token is for: one of the app's audiences at Cambio. */
  audience?: string | undefined;
}

/** A user at Cambio. `id` never changes. */
export type User = Schemas["User"];
/** The signed-in user's own account, with the metadata that an app stores in it. */
export type Account = Schemas["Account"];

/** The tokens of a session, and its user. */
export interface Grant {
  accessToken: string;
  /** When the access token expires, in milliseconds since the epoch by the clock of this machine. */
  expiresAt: number;
  refreshToken: string;
  scope?: string;
  user: User;
  /** Whether this sign-in created the user; only after a sign-in. */
  isNewUser?: boolean;
  /** Whether another user has the same verified address; only after a sign-in. */
  emailInUse?: boolean;
}

/** The tokens that a provider issued at a sign-in. The `account` of next-auth has this shape. */
export interface ProviderTokens {
  provider: string;
  id_token?: string | null;
  access_token?: string | null;
}

/**
 * The reason why a call failed:
 *
 * - `refused`: Cambio did not accept the provider's token; another sign-in may succeed.
 * - `denied`: this user is not let in.
 * - `ended`: the session is over, or the access token is not valid any more.
 * - `unavailable`: Cambio or the provider does not answer; the same call may succeed later.
 * - `misconfigured`: the settings of Cambio and of this app do not fit.
 */
export type CambioErrorKind = "refused" | "denied" | "ended" | "unavailable" | "misconfigured";

/** Details of a {@link CambioError}. */
export interface CambioErrorDetails {
  status?: number | undefined;
  code?: string | undefined;
  requestId?: string | undefined;
  retryAfter?: number | undefined;
  cause?: unknown;
}

/** The failure of a call. Its message contains no token. */
export class CambioError extends Error {
  override readonly name = "CambioError";
  /** The status of the answer, if there was one. */
  readonly status: number | undefined;
  /** Cambio's error code, for example `invalid_grant`. */
  readonly code: string | undefined;
  /** The id of the request in Cambio's logs. */
  readonly requestId: string | undefined;
  /** How long Cambio asks to wait before the next attempt (`Retry-After`), in milliseconds. */
  readonly retryAfter: number | undefined;

  constructor(
    readonly kind: CambioErrorKind,
    message: string,
    { cause, ...details }: CambioErrorDetails = {},
  ) {
    super(message, cause === undefined ? {} : { cause });
    Object.assign(this, details);
  }
}

/**
 * Returns whether a value is a {@link CambioError}.
 *
 * `instanceof` fails where an app loads this package twice: once by `import` and once by `require`, or in two versions.
 *
 * @example
 * try {
 *   await client.me(accessToken);
 * } catch (error) {
 *   if (isCambioError(error) && error.kind === "ended") redirect("/api/auth/signin");
 *   throw error;
 * }
 */
export function isCambioError(error: unknown): error is CambioError {
  const { kind, name } = Object(error);
  return !!kind && name === "CambioError";
}

/** The calls to Cambio. Each one fails with a {@link CambioError} and with no other error. */
export interface CambioClient {
  /** Exchanges the provider's token of a sign-in for a grant (RFC 8693). */
  exchange(tokens: ProviderTokens, options?: GrantOptions & { userAgent?: string }): Promise<Grant>;
  /**
   * Exchanges a refresh token for the next grant (RFC 6749, section 6). Several requests may send the same refresh token, at the
   * same time or again after a lost answer: all of them get the same next refresh token.
   */
  refresh(refreshToken: string, options?: GrantOptions): Promise<Grant>;
  /** Ends the session of a token (RFC 7009). */
  revoke(token: string, options?: CallOptions): Promise<void>;
  /** Returns the account of the user of an access token. */
  me(accessToken: string, options?: CallOptions): Promise<Account>;
}

const GRANT_TYPE = "urn:ietf:params:oauth:grant-type:token-exchange";
const TOKEN_TYPE = "urn:ietf:params:oauth:token-type:";
/** The longest `Retry-After` that a call waits for, in milliseconds. */
const LONGEST_WAIT = 10_000;
/** The shortest time between two attempts, in milliseconds. */
const SHORTEST_WAIT = 100;
/** The longest delay of a timer, in milliseconds: a longer one ends at once. */
const LONGEST_TIMEOUT = 2 ** 31 - 1;

/** The kinds of the error codes about a user. Any other 4xx is `misconfigured`. */
const KINDS: Record<string, CambioErrorKind> = {
  access_denied: "denied",
  invalid_grant: "ended",
  invalid_request: "refused",
  temporarily_unavailable: "unavailable",
  server_error: "unavailable",
};

/** Missing in some runtimes, which then have no environment variables. */
declare const process: { env: Record<string, string | undefined> } | undefined;

/** Returns a setting. A call reads it, not `createClient`: a build often has no settings. */
function setting(option: string | undefined, variable: string): string {
  const value = option || (typeof process === "object" && process.env[variable]);
  if (!value) throw new CambioError("misconfigured", `${variable} is not set`);
  return value;
}

/**
 * Returns a client of Cambio.
 *
 * Each call that fails as `unavailable` is repeated once, because the same call is safe to repeat. Both attempts and the wait
 * between them end within `timeout`.
 *
 * @example
 * const client = createClient({ timeout: 5_000 });
 * const { name } = await client.me(accessToken);
 */
export function createClient({ timeout = 10_000, ...options }: CambioOptions = {}): CambioClient {
  if (!(timeout >= 1 && timeout <= LONGEST_TIMEOUT)) {
    throw new CambioError("misconfigured", `timeout is ${timeout}: write a number of milliseconds from 1 to ${LONGEST_TIMEOUT}, for example 10000`);
  }

  function authorization(): string {
    const credentials = [setting(options.clientId, "CAMBIO_CLIENT_ID"), setting(options.clientSecret, "CAMBIO_CLIENT_SECRET")];
    // RFC 6749, section 2.3.1: each is form-urlencoded first.
    const encoded = credentials.map((text) => new URLSearchParams({ "": text }).toString().slice(1));
    return `Basic ${btoa(encoded.join(":"))}`;
  }

  async function attempt<T>(path: string, init: RequestInit, read: (answer: Response) => Promise<T>): Promise<T> {
    const base = setting(options.url, "CAMBIO_URL").replace(/\/+$/, "");
    if (!/^https?:\/\//.test(base)) throw new CambioError("misconfigured", "CAMBIO_URL is not an http(s) URL");
    // Next.js may cache what `fetch` answers. Cloudflare Workers before 2024-11-11 and React Native have no `cache`.
    const cache: RequestInit = typeof Request === "function" && "cache" in Request.prototype ? { cache: "no-store" } : {};
    let answer: Response;
    try {
      // Cloudflare Workers have no `redirect: "error"`.
      answer = await (options.fetch ?? globalThis.fetch)(`${base}${path}`, { ...init, ...cache, redirect: "manual" });
    } catch (cause) {
      throw new CambioError("unavailable", `Cambio does not answer ${path}`, { cause });
    }
    if (!answer.ok) throw await failureOf(path, answer, base);
    try {
      return await read(answer);
    } catch (cause) {
      throw new CambioError("unavailable", `the answer of ${path} broke off`, { ...detailsOf(answer), cause });
    }
  }

  async function call<T>(path: string, init: RequestInit, { signal }: CallOptions, read: (answer: Response) => Promise<T>): Promise<T> {
    // React Native has neither AbortSignal.timeout nor AbortSignal.any.
    const controller = new AbortController();
    const abort = () => controller.abort(signal?.reason);
    if (signal?.aborted) abort();
    signal?.addEventListener("abort", abort);
    const endsAt = Date.now() + timeout;
    const timer = setTimeout(() => controller.abort(new Error(`no answer within ${timeout} ms`)), timeout);
    const once = () => attempt(path, { ...init, signal: controller.signal }, read);
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

  function post<T>(
    path: string,
    form: Record<string, string | undefined>,
    options: CallOptions & { userAgent?: string | undefined },
    read: (answer: Response) => Promise<T>,
  ): Promise<T> {
    const headers: Record<string, string> = { Authorization: authorization() };
    if (options.userAgent) headers["User-Agent"] = options.userAgent;
    const body = new URLSearchParams();
    for (const [name, value] of Object.entries(form)) if (value) body.set(name, value);
    return call(path, { method: "POST", headers, body }, options, read);
  }

  async function grant(form: Record<string, string | undefined>, options: GrantOptions & { userAgent?: string }): Promise<Grant> {
    const askedAt = Date.now();
    const { scope, audience } = options;
    const answer = await post<Schemas["Grant"]>("/token", { ...form, scope, audience }, options, (answer) => answer.json());
    return {
      accessToken: answer.access_token,
      expiresAt: askedAt + answer.expires_in * 1000,
      refreshToken: answer.refresh_token,
      user: answer.user,
      ...(answer.scope && { scope: answer.scope }),
      ...(answer.is_new_user !== undefined && { isNewUser: answer.is_new_user }),
      ...(answer.email_in_use && { emailInUse: true }),
    };
  }

  return {
    async exchange({ provider, id_token, access_token }, more) {
      // An ID token names its issuer. An access token is opaque, so the provider's name goes with it.
      const subject = id_token
        ? { subject_token: id_token, subject_token_type: `${TOKEN_TYPE}id_token` }
        : { subject_token: access_token ?? "", subject_token_type: `${TOKEN_TYPE}access_token`, subject_issuer: provider };
      if (!subject.subject_token) throw new CambioError("misconfigured", `next-auth has no token of ${provider}`);
      const { scope, audience } = options;
      return grant({ grant_type: GRANT_TYPE, ...subject }, { scope, audience, ...more });
    },
    async refresh(refreshToken, more = {}) {
      return grant({ grant_type: "refresh_token", refresh_token: refreshToken }, more);
    },
    async revoke(token, more = {}) {
      await post("/revoke", { token }, more, async () => {});
    },
    async me(accessToken, more = {}) {
      const headers = { Authorization: `Bearer ${accessToken}` };
      return call<Account>("/me", { headers }, more, (answer) => answer.json());
    },
  };
}

/** Options of one request for an access token. */
export interface AccessTokenOptions {
  /** An access token that the API refused with 401, so that another one takes its place. */
  refused?: string;
}

/** A function that returns an access token for each call; `getAccessToken` of your app is one. */
export type TokenSource = (options?: AccessTokenOptions) => PromiseLike<{ token: string }>;

/**
 * Returns a `fetch` for your own API at `url`, which sends an access token. It fits openapi-fetch, ofetch and ky.
 *
 * A path is joined to `url`. The token goes to no other origin and to no path outside of that of `url`: such a call fails with a
 * `misconfigured` {@link CambioError}. For the same reason a redirect is not followed unless the call itself sets `redirect`.
 *
 * With `getAccessToken`, a call that the API answers with 401 is sent once more with a refreshed token, unless its body is a stream.
 * For that, a `Request` with a body is copied.
 *
 * A call fails with a {@link CambioError} where there is no token: `ended` means that the user signs in again, `unavailable` that a
 * later call may succeed. All other errors are those of `fetch`.
 *
 * @param from `getAccessToken`, or a session that shows its access token (`exposeAccessToken`).
 *
 * @example
 * const api = cambioFetch(getAccessToken, "https://api.example.com/v1");
 * const answer = await api("/orders"); // GET https://api.example.com/v1/orders
 *
 * @example
 * import createClient from "openapi-fetch";
 * const baseUrl = "https://auth.example.com";
 * const api = createClient<paths>({ baseUrl, fetch: cambioFetch(getAccessToken, baseUrl) });
 * const { data } = await api.GET("/me");
 */
export function cambioFetch(
  from: TokenSource | { accessToken?: string; error?: string } | null | undefined,
  url: string,
  fetch?: typeof globalThis.fetch,
): (input: string | URL | Request, init?: RequestInit) => Promise<Response> {
  return async (input, init) => {
    const request = "url" in Object(input) ? (input as Request) : undefined;
    const target = within(url, request ? request.url : String(input));
    const send = (token: string, input: string | Request) => {
      const headers = new Headers(init?.headers ?? request?.headers);
      headers.set("Authorization", `Bearer ${token}`);
      return (fetch ?? globalThis.fetch)(input, { redirect: "manual", ...init, headers });
    };
    if (typeof from !== "function") {
      if (from?.accessToken) return send(from.accessToken, request ?? target);
      throw new CambioError(from?.error === "Unavailable" ? "unavailable" : "ended", "the session has no access token");
    }
    const { token } = await from();
    // The body of a request is gone with the first attempt.
    const copy = request?.clone() ?? target;
    const answer = await send(token, request ?? target);
    // A stream, and the chunks that Node.js takes as well, can be read once.
    if (answer.status !== 401 || Symbol.asyncIterator in Object(init?.body)) return answer;
    const next = await from({ refused: token });
    if (next.token === token) return answer;
    // Frees the connection. `cancel` would wait for the copies that Next.js makes of an answer.
    await answer.text();
    return send(next.token, copy);
  };
}

/** Returns the URL of a path below `url`, or of an absolute URL that is `url` or below it. */
function within(url: string, path: string): string {
  const base = parsed(url);
  if (!base || !/^https?:$/.test(base.protocol)) throw new CambioError("misconfigured", `"${url}" is not an http(s) URL`);
  const root = base.origin + base.pathname.replace(/\/+$/, "");
  const isAbsolute = /^([a-z][a-z\d+.-]*:)?\/\//i.test(path);
  // The text after the host begins with one of these, so no path can extend the host.
  const target = isAbsolute ? parsed(path, root) : parsed(root + (/^([/?#]|$)/.test(path) ? path : `/${path}`));
  if (!target || !`${target.origin}${target.pathname}/`.startsWith(`${root}/`)) {
    throw new CambioError("misconfigured", `the call is not for the API at ${root}`);
  }
  return target.href;
}

/** Resolves after `wait` milliseconds, and earlier when the signal aborts. */
function pause(wait: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, wait);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}

/** Returns the failure that an answer reports. An answer without an error code of Cambio's may come from a proxy in between. */
async function failureOf(path: string, answer: Response, base: string): Promise<CambioError> {
  const details = detailsOf(answer);
  const where = details.requestId ? ` (request ${details.requestId})` : "";
  // A browser hides the status of a redirect.
  if (answer.type === "opaqueredirect" || (answer.status >= 300 && answer.status < 400)) {
    const location = answer.headers.get("Location");
    const target = location && parsed(location, base);
    const what = `Cambio answers ${path} with a redirect${target ? ` to ${target.origin}` : ""}`;
    return new CambioError("misconfigured", `${what}: set CAMBIO_URL to an address that does not redirect${where}`, details);
  }
  const body = await answer.json().catch(() => undefined);
  const code: string | undefined = typeof body?.error === "string" ? body.error : undefined;
  const isOurs = answer.status < 500 && answer.status !== 429 && answer.status !== 408;
  // At the token endpoint, 401 is about the client; here it is about the access token.
  const isEnded = path === "/me" && answer.status === 401;
  const kind = isEnded ? "ended" : (code && KINDS[code]) || (isOurs ? "misconfigured" : "unavailable");
  const detail = typeof body?.error_description === "string" ? `: ${body.error_description}` : "";
  const message = isEnded ? "the access token is not valid any more" : `Cambio answers ${path} with ${answer.status}${code ? ` ${code}` : ""}${detail}`;
  return new CambioError(kind, `${message}${where}`, { ...details, code });
}

function parsed(url: string, base?: string): URL | undefined {
  try {
    return new URL(url, base);
  } catch {
    return undefined;
  }
}

function detailsOf({ status, headers }: Response): CambioErrorDetails {
  const requestId = headers.get("apigw-requestid") ?? headers.get("x-amzn-requestid") ?? undefined;
  return { status, requestId, retryAfter: milliseconds(headers.get("Retry-After")) };
}

/** Returns how long `Retry-After` asks to wait; it holds seconds or a date (RFC 9110, section 10.2.3). */
function milliseconds(retryAfter: string | null): number | undefined {
  if (!retryAfter) return undefined;
  const wait = /^\d+$/.test(retryAfter) ? Number(retryAfter) * 1000 : Date.parse(retryAfter) - Date.now();
  return wait >= 0 ? wait : undefined;
}
