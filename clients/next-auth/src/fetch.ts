/** Calls to your own API with an access token. They use Web APIs only and read no secret. */
import { CambioError } from "./index.js";

/**
 * An access token for your own API.
 *
 * @example
 * ```ts
 * import type { AccessToken } from "@cambio/next-auth/fetch";
 *
 * export const isGood = ({ expiresAt }: AccessToken): boolean => Date.now() < expiresAt;
 * ```
 */
export interface AccessToken {
  /** The access token. */
  token: string;
  /** The time at which the token expires, in milliseconds since the epoch. */
  expiresAt: number;
}

/**
 * Options of one request for an access token.
 *
 * @example
 * ```ts
 * import type { AccessTokenOptions } from "@cambio/next-auth/fetch";
 *
 * export const afterA401 = (token: string): AccessTokenOptions => ({ refused: token });
 * ```
 */
export interface AccessTokenOptions {
  /** An access token that the API refused with 401. The next token replaces it although it has not expired. */
  refused?: string;
  /**
   * The API that the token is for: one of the app's audiences at Cambio. Each audience has a token of its own, which
   * the process keeps until it expires. By default, the token is that of the session.
   */
  audience?: string | undefined;
}

/**
 * A function that returns an access token for each call, for example `getAccessToken` of your app.
 *
 * @example
 * ```ts
 * import { cambioFetch, type TokenSource } from "@cambio/next-auth/fetch";
 *
 * const fixed: TokenSource = async () => ({ token: accessToken });
 * export const api = cambioFetch(fixed, "https://api.example.com");
 * ```
 */
export type TokenSource = (options?: AccessTokenOptions) => PromiseLike<Pick<AccessToken, "token">>;

/**
 * Options of the calls to one API.
 *
 * @example
 * ```ts
 * import { cambioFetch, type CambioFetchOptions } from "@cambio/next-auth/fetch";
 *
 * const options: CambioFetchOptions = { audience: "https://orders.example.com" };
 * export const orders = cambioFetch(getAccessToken, "https://orders.example.com", options);
 * ```
 */
export interface CambioFetchOptions {
  /** The audience of the API, if its token is not that of the session. It requires `getAccessToken`. */
  audience?: string | undefined;
  /** Another `fetch`. By default, each call looks up the global one. */
  fetch?: typeof globalThis.fetch | undefined;
}

/**
 * Returns a `fetch` for your own API at `url`, which sends an access token. It fits openapi-fetch, ofetch and ky.
 *
 * A path is joined to `url`. The token goes to no other origin and to no path outside of that of `url`: such a call
 * fails with a `misconfigured` {@link CambioError}. For the same reason a redirect is not followed unless the call
 * itself sets `redirect`.
 *
 * With `getAccessToken`, a call that the API answers with 401 is sent once more with a refreshed token, unless its
 * body is a stream. For that, a `Request` with a body is copied.
 *
 * A call fails with a {@link CambioError} if there is no token: `ended` means that the user has to sign in again,
 * `unavailable` that a later call may succeed. All other errors are those of `fetch`.
 *
 * @param from `getAccessToken`, or a session that has its access token (`exposeAccessToken`).
 * @param options The audience of the API, or another `fetch`.
 *
 * @example
 * ```ts
 * import { cambioFetch } from "@cambio/next-auth/fetch";
 *
 * const api = cambioFetch(getAccessToken, "https://api.example.com/v1");
 * const answer = await api("/orders"); // GET https://api.example.com/v1/orders
 * ```
 *
 * @example
 * ```ts
 * import type { paths } from "@cambio/next-auth";
 * import { cambioFetch } from "@cambio/next-auth/fetch";
 * import createClient from "openapi-fetch";
 *
 * const baseUrl = "https://auth.example.com";
 * const api = createClient<paths>({ baseUrl, fetch: cambioFetch(getAccessToken, baseUrl) });
 * const { data } = await api.GET("/me");
 * ```
 */
export function cambioFetch(
  from: TokenSource | { accessToken?: string | undefined; error?: string | undefined } | null | undefined,
  url: string,
  options: CambioFetchOptions | typeof globalThis.fetch = {},
): (input: string | URL | Request, init?: RequestInit) => Promise<Response> {
  const { audience, fetch } = typeof options === "function" ? { fetch: options } : options;
  return async (input, init) => {
    const request = "url" in Object(input) ? (input as Request) : undefined;
    const target = within(url, request ? request.url : String(input));
    const send = (token: string, input: string | Request) => {
      const headers = new Headers(init?.headers ?? request?.headers);
      headers.set("Authorization", `Bearer ${token}`);
      return (fetch ?? globalThis.fetch)(input, { redirect: "manual", ...init, headers });
    };
    if (typeof from !== "function") {
      if (audience) throw new CambioError("misconfigured", "cambioFetch: a session has no token for another audience: pass getAccessToken");
      if (from?.accessToken) return send(from.accessToken, request ?? target);
      throw new CambioError(from?.error === "Unavailable" ? "unavailable" : "ended", "the session has no access token");
    }
    const { token } = await from(audience ? { audience } : undefined);
    // A stream, or the chunks that Node.js accepts as well, can be read once. The first attempt consumes the body of
    // a request.
    const copy = Symbol.asyncIterator in Object(init?.body) ? undefined : (request?.clone() ?? target);
    const answer = await send(token, request ?? target);
    if (answer.status !== 401 || !copy) return answer;
    const next = await from({ refused: token, audience });
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

function parsed(url: string, base?: string): URL | undefined {
  try {
    return new URL(url, base);
  } catch {
    return undefined;
  }
}
