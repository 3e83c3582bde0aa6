/** Calls to Cambio: what an app's server needs, and nothing that belongs into a browser. Web APIs only, so it runs anywhere. */

import type { components, paths } from "./openapi.js";

/** Every request and answer of the API, as its openapi.yaml describes them. */
export type { components, paths };
type Schemas = components["schemas"];

/** How to reach Cambio, and how it knows this app. */
export interface CambioOptions {
  /** Where Cambio is, like `https://auth.example.com`; the environment's `CAMBIO_URL` unless set. */
  url?: string | undefined;
  /** The name of this app at Cambio; `CAMBIO_CLIENT_ID` unless set. */
  clientId?: string | undefined;
  /** Its secret; `CAMBIO_CLIENT_SECRET` unless set. */
  clientSecret?: string | undefined;
  /** How long to wait for an answer, in milliseconds; 10,000 unless set. */
  timeout?: number;
  /** Another `fetch`; the global one unless set. */
  fetch?: typeof globalThis.fetch;
}

/** A user, as Cambio knows them: `id` is the same for ever. */
export type User = Schemas["User"];
/** The signed-in user's own account, with what an app keeps with it. */
export type Account = Schemas["Account"];

/** Tokens of our own API, and whose they are. */
export interface Grant {
  accessToken: string;
  /** When the access token expires, in milliseconds since the epoch, by the clock of this machine. */
  expiresAt: number;
  refreshToken: string;
  scope?: string;
  user: User;
  /** Whether this sign-in created the user; only after a sign-in. */
  isNewUser?: boolean;
  /** Whether another user has the same verified address; only after a sign-in. */
  emailInUse?: boolean;
}

/** What a provider gave out at a sign-in: next-auth's `account` is one. */
export interface ProviderTokens {
  provider: string;
  id_token?: string | null;
  access_token?: string | null;
}

/**
 * Why there is no answer as wished:
 *
 * - `refused`: the provider's token was not accepted; signing in again may help.
 * - `denied`: this user is not let in.
 * - `ended`: the session is over, or the access token not good any more.
 * - `unavailable`: Cambio or the provider does not answer; the same call may be repeated.
 * - `misconfigured`: Cambio and this app do not agree on something that is no user's fault.
 */
export type CambioErrorKind = "refused" | "denied" | "ended" | "unavailable" | "misconfigured";

/** Why a call failed. No token is in its message. */
export class CambioError extends Error {
  override readonly name = "CambioError";

  constructor(
    readonly kind: CambioErrorKind,
    message: string,
    /** The status of the answer, if there was one. */
    readonly status?: number,
    /** Cambio's own word for it: `invalid_grant`, … */
    readonly code?: string,
  ) {
    super(message);
  }
}

/** What Cambio does for an app's server. Every call fails with a {@link CambioError} and with nothing else. */
export interface CambioClient {
  /** Trades what a provider gave out at a sign-in for a grant (RFC 8693). */
  exchange(tokens: ProviderTokens, options?: { userAgent?: string }): Promise<Grant>;
  /**
   * Trades a refresh token for the next grant (RFC 6749, section 6). Any number of requests may do so with the same one, at the
   * same time or again after a lost answer: all of them get the same next one.
   */
  refresh(refreshToken: string): Promise<Grant>;
  /** Ends the session of a token (RFC 7009). */
  revoke(token: string): Promise<void>;
  /** The user of an access token. */
  me(accessToken: string): Promise<Account>;
}

const GRANT_TYPE = "urn:ietf:params:oauth:grant-type:token-exchange";
const TOKEN_TYPE = "urn:ietf:params:oauth:token-type:";
/** A request that may be repeated is repeated once, after at most so many milliseconds. */
const LONGEST_WAIT = 2000;

/** The kinds of those errors that are about a user; any other 4xx is about this app. */
const KINDS: Record<string, CambioErrorKind> = {
  access_denied: "denied",
  invalid_grant: "ended",
  invalid_request: "refused",
  temporarily_unavailable: "unavailable",
  server_error: "unavailable",
};

/** Not everywhere, and then without these variables. */
declare const process: { env: Record<string, string | undefined> } | undefined;

/** Asked for at a call, so that an app can be built where its settings are not. */
function setting(option: string | undefined, variable: string): string {
  const value = option || (typeof process === "object" && process.env[variable]);
  if (!value) throw new CambioError("misconfigured", `${variable} is not set`);
  return value;
}

/** A client of Cambio. */
export function createClient({ timeout = 10_000, fetch = globalThis.fetch, ...options }: CambioOptions = {}): CambioClient {
  function authorization(): string {
    const credentials = [setting(options.clientId, "CAMBIO_CLIENT_ID"), setting(options.clientSecret, "CAMBIO_CLIENT_SECRET")];
    // RFC 6749, section 2.3.1: each is form-urlencoded first.
    const encoded = credentials.map((text) => new URLSearchParams({ "": text }).toString().slice(1));
    return `Basic ${btoa(encoded.join(":"))}`;
  }

  async function send(path: string, init: RequestInit): Promise<Response> {
    const base = setting(options.url, "CAMBIO_URL").replace(/\/+$/, "");
    if (!/^https?:\/\//.test(base)) throw new CambioError("misconfigured", "CAMBIO_URL is not an http(s) URL");
    try {
      // Never from a cache: Next.js would keep what `fetch` answers.
      return await fetch(`${base}${path}`, { ...init, cache: "no-store", redirect: "error", signal: AbortSignal.timeout(timeout) });
    } catch (cause) {
      throw Object.assign(new CambioError("unavailable", `Cambio does not answer ${path}`), { cause });
    }
  }

  async function post(path: string, form: Record<string, string>, headers?: Record<string, string>): Promise<Response> {
    const init = { method: "POST", headers: { ...headers, Authorization: authorization() }, body: new URLSearchParams(form) };
    for (let attempt = 0; ; attempt++) {
      const answer = await send(path, init).catch((error: CambioError) => error);
      const failure = answer instanceof CambioError ? answer : answer.ok ? undefined : await failureOf(path, answer);
      if (!failure) return answer as Response;
      if (failure.kind !== "unavailable" || attempt > 0) throw failure;
      const seconds = answer instanceof CambioError ? 0 : Number(answer.headers.get("Retry-After") ?? 0);
      if (!(seconds * 1000 <= LONGEST_WAIT)) throw failure;
      await new Promise((resolve) => setTimeout(resolve, Math.max(seconds * 1000, 100)));
    }
  }

  async function grant(form: Record<string, string>, headers?: Record<string, string>): Promise<Grant> {
    const askedAt = Date.now();
    const answer = await json<Schemas["Grant"]>(await post("/token", form, headers), "/token");
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
    async exchange({ provider, id_token, access_token }, { userAgent } = {}) {
      // An ID token says whose it is and for which app; an access token is for its provider to read.
      const subject: Record<string, string> = id_token
        ? { subject_token: id_token, subject_token_type: `${TOKEN_TYPE}id_token` }
        : { subject_token: access_token ?? "", subject_token_type: `${TOKEN_TYPE}access_token`, subject_issuer: provider };
      if (!subject.subject_token) throw new CambioError("misconfigured", `next-auth has no token of ${provider}`);
      return grant({ grant_type: GRANT_TYPE, ...subject }, userAgent ? { "User-Agent": userAgent } : undefined);
    },
    async refresh(refreshToken) {
      return grant({ grant_type: "refresh_token", refresh_token: refreshToken });
    },
    async revoke(token) {
      await post("/revoke", { token });
    },
    async me(accessToken) {
      const answer = await send("/me", { headers: { Authorization: `Bearer ${accessToken}` } });
      if (answer.ok) return json<Account>(answer, "/me");
      throw answer.status === 401 ? new CambioError("ended", "the access token is not good any more", 401) : await failureOf("/me", answer);
    },
  };
}

/**
 * `fetch` for your own API at `url`, with the session's access token, which goes nowhere else.
 *
 * Fails with a {@link CambioError} where the session has no token: `ended` says sign in again, `unavailable` try again later.
 */
export function cambioFetch(
  session: { accessToken?: string; error?: string } | null | undefined,
  url: string,
  fetch: typeof globalThis.fetch = globalThis.fetch,
): (path: string, init?: RequestInit) => Promise<Response> {
  return async (path, init) => {
    const target = new URL(path, url);
    if (target.origin !== new URL(url).origin) throw new CambioError("misconfigured", `${target.origin} is not the API at ${url}`);
    const token = session?.accessToken;
    if (!token) throw new CambioError(session?.error === "Unavailable" ? "unavailable" : "ended", "the session has no access token");
    const headers = new Headers(init?.headers);
    headers.set("Authorization", `Bearer ${token}`);
    return fetch(target, { ...init, headers });
  };
}

/** The token endpoint's own answers; whatever is not one of them is about what is in between. */
async function failureOf(path: string, answer: Response): Promise<CambioError> {
  const body = await answer.json().catch(() => undefined);
  const code: string | undefined = typeof body?.error === "string" ? body.error : undefined;
  const isOurs = answer.status < 500 && answer.status !== 429 && answer.status !== 408;
  const kind = (code && KINDS[code]) || (isOurs ? "misconfigured" : "unavailable");
  const detail = typeof body?.error_description === "string" ? `: ${body.error_description}` : "";
  return new CambioError(kind, `Cambio answers ${path} with ${answer.status} ${code ?? ""}${detail}`, answer.status, code);
}

async function json<T>(answer: Response, path: string): Promise<T> {
  try {
    return await answer.json();
  } catch {
    throw new CambioError("unavailable", `the answer of ${path} broke off`, answer.status);
  }
}
