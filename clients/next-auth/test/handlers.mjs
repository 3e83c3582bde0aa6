// @ts-check
/**
 * The real handlers of next-auth 4 and Auth.js 5, with a browser that keeps cookies, and a provider beside the Cambio
 * of server.mjs.
 */
import { generateKeyPairSync, sign } from "node:crypto";
import { createRequire, register } from "node:module";

// Next.js has no `exports`, so that Node finds its modules by their file names only.
const resolve = "export const resolve = (name, context, next) => next(/^next\\/\\w+$/.test(name) ? `${name}.js` : name, context);";
register(`data:text/javascript,${encodeURIComponent(resolve)}`);
const { default: NextAuth5 } = await import("next-auth-5");
const { NextRequest } = await import("next/server.js");
const require = createRequire(import.meta.url);
/**
 * Each call passes only the members of a request that the handler reads.
 * @type {(request: object, response: object, options: object) => Promise<unknown>}
 */
const NextAuth4 = require("next-auth").default;
/** @type {(request: object, response: object, options: object) => Promise<unknown>} */
const getServerSession = require("next-auth/next").getServerSession;

const APP = "http://localhost:3000";
Object.assign(process.env, { NEXTAUTH_URL: APP, NEXTAUTH_SECRET: "s".repeat(32), AUTH_SECRET: "s".repeat(32), AUTH_TRUST_HOST: "true" });

/** The tokens that the provider issues at a sign-in; no browser may get them. */
export const PROVIDER_TOKENS = { access_token: "gho_secret", refresh_token: "ghr_secret", token_type: "bearer", scope: "read:user" };

const { publicKey, privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });

/** An ID token of the OIDC provider. @param {string} issuer */
function idToken(issuer) {
  const now = Math.floor(Date.now() / 1000);
  const claims = { iss: issuer, aud: "id", sub: "1", name: "Octocat", email: "octocat@example.com", iat: now, exp: now + 300 };
  const text = [{ alg: "RS256", kid: "1" }, claims].map((part) => Buffer.from(JSON.stringify(part)).toString("base64url")).join(".");
  return `${text}.${sign("sha256", Buffer.from(text), privateKey).toString("base64url")}`;
}

/** What the provider answers. @param {string} path @param {string} [host] of the request, for an ID token */
export function providerAnswer(path, host) {
  if (path === "/oidc/token") return { body: { ...PROVIDER_TOKENS, id_token: idToken(`http://${host}/oidc`) } };
  if (path === "/oidc/jwks") return { body: { keys: [{ ...publicKey.export({ format: "jwk" }), kid: "1", alg: "RS256", use: "sig" }] } };
  if (path === "/provider/token") return { body: PROVIDER_TOKENS };
  if (path === "/provider/user") return { body: { id: 1, name: "Octocat", email: "octocat@example.com" } };
}

/** @param {string} url */
export function provider(url) {
  return {
    id: "github",
    name: "GitHub",
    type: /** @type {const} */ ("oauth"),
    clientId: "id",
    clientSecret: "secret",
    issuer: `${url}/provider`,
    authorization: `${url}/provider/authorize`,
    token: `${url}/provider/token`,
    userinfo: `${url}/provider/user`,
    checks: /** @type {["none"]} */ (["none"]),
    profile: (/** @type {any} */ { id, name, email }) => ({ id: String(id), name, email }),
  };
}

/** An OIDC provider, for both versions. @param {string} url @param {4 | 5} version */
export function oidcProvider(url, version) {
  const profile = (/** @type {any} */ { sub, name, email }) => ({ id: sub, name, email });
  const own = version === 4 ? { type: "oauth", idToken: true, jwks_endpoint: `${url}/oidc/jwks` } : { type: "oidc" };
  const endpoints = { issuer: `${url}/oidc`, authorization: `${url}/oidc/authorize`, token: `${url}/oidc/token`, userinfo: `${url}/oidc/user` };
  return { ...provider(url), ...endpoints, id: "oidc", name: "OIDC", profile, ...own };
}

/**
 * @typedef {{ body: string, headers: Headers, status: number }} Seen
 * @typedef {{
 *   cookies: Map<string, string>,
 *   signIn: () => Promise<Seen>,
 *   get: (path: string) => Promise<Seen>,
 *   post: (path: string, form: Record<string, string>) => Promise<Seen>,
 *   onServer: () => Promise<unknown>,
 *   proxy?: (path: string, wrap?: (auth: any) => any) => Promise<Response>,
 * }} App
 */

/**
 * Starts an app with next-auth 4 in the `pages` folder.
 * @param {string} url
 * @param {{ options: object }} cambio
 * @returns {App}
 */
export function appWith4(url, { options: ours }) {
  const options = { providers: [provider(url)], ...ours };
  const browser = cookieJar();
  /** @param {string} path @param {Record<string, string>} [form] */
  async function ask(path, form) {
    const { pathname, searchParams } = new URL(path, APP);
    const query = { ...Object.fromEntries(searchParams), nextauth: pathname.split("/").slice(3) };
    const headers = { host: "localhost:3000", cookie: browser.header() };
    const { response, seen } = pagesResponse();
    await NextAuth4({ method: form ? "POST" : "GET", query, body: form, headers, cookies: Object.fromEntries(browser.cookies) }, response, options);
    browser.store(seen.headers);
    return seen;
  }
  return {
    cookies: browser.cookies,
    get: ask,
    post: ask,
    signIn: () => ask("/api/auth/callback/github?code=1"),
    onServer: () => getServerSession({ headers: {}, cookies: Object.fromEntries(browser.cookies) }, pagesResponse().response, options),
  };
}

/**
 * Starts an app with Auth.js 5.
 * @param {string} url
 * @param {{ options: object }} cambio
 * @param {(handler: any) => any} [wrap] of its handlers
 * @returns {App}
 */
export function appWith5(url, { options: ours }, wrap = (handler) => handler) {
  const { handlers, auth } = NextAuth5(/** @type {any} */ ({ providers: [provider(url)], trustHost: true, logger: { error() {}, warn() {} }, ...ours }));
  const browser = cookieJar();
  /** @param {string} path */
  const request = (path, init = {}) => new NextRequest(new URL(path, APP), { ...init, headers: { cookie: browser.header(), host: "localhost:3000" } });
  /** @param {string} path @param {Record<string, string>} [form] */
  async function ask(path, form) {
    const answer = form
      ? await wrap(handlers.POST)(request(path, { method: "POST", body: new URLSearchParams(form) }))
      : await wrap(handlers.GET)(request(path));
    browser.store(answer.headers);
    return { body: await answer.text(), headers: answer.headers, status: answer.status };
  }
  return {
    cookies: browser.cookies,
    get: ask,
    post: ask,
    signIn: () => ask("/api/auth/callback/github?code=1"),
    /** Calls `auth()` as in a server component. */
    async onServer() {
      let session;
      const seen = /** @type {any} */ (auth)((/** @type {any} */ request) => void (session = request.auth));
      await seen(request("/"), {});
      return session;
    },
    async proxy(path, wrap = (auth) => auth) {
      const answer = await wrap(auth)(request(path), {});
      browser.store(answer.headers);
      return answer;
    },
  };
}

/** Returns the cookies that a browser keeps. */
export function cookieJar() {
  /** @type {Map<string, string>} */
  const cookies = new Map();
  return {
    cookies,
    header: () => [...cookies].map(([name, value]) => `${name}=${value}`).join("; "),
    /** @param {Headers} headers */
    store(headers) {
      for (const cookie of headers.getSetCookie()) {
        const [, name, value] = /** @type {RegExpExecArray} */ (/^([^=]+)=([^;]*)/.exec(cookie));
        if (value && !/max-age=0/i.test(cookie)) cookies.set(name, decodeURIComponent(value));
        else cookies.delete(name);
      }
    },
  };
}

/** The members of a response that next-auth 4 uses. */
function pagesResponse() {
  const seen = { body: "", headers: new Headers(), status: 200 };
  const response = {
    status: (/** @type {number} */ status) => ((seen.status = status), response),
    getHeader: (/** @type {string} */ name) => (name === "Set-Cookie" ? seen.headers.getSetCookie() : seen.headers.get(name)),
    setHeader(/** @type {string} */ name, /** @type {string | string[]} */ value) {
      seen.headers.delete(name);
      for (const one of [value].flat()) seen.headers.append(name, one);
      return response;
    },
    json: (/** @type {unknown} */ body) => void (seen.body = JSON.stringify(body)),
    send: (/** @type {unknown} */ body) => void (seen.body = typeof body === "string" ? body : JSON.stringify(body)),
    end() {},
  };
  return { response, seen };
}
