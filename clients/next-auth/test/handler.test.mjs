// @ts-check
/** Tests the caching of answers of next-auth's routes, and the cookies that a browser keeps. */
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { test } from "node:test";
import { cambioHandler } from "@cambio/next-auth/handler";
import { cambio as plugin } from "@cambio/next-auth/better-auth";
import * as v4 from "@cambio/next-auth/v4";
import * as v5 from "@cambio/next-auth/v5";
import { betterAuth } from "better-auth";
import { genericOAuth } from "better-auth/plugins";
import { appWith5, cookieJar, providerAnswer } from "./handlers.mjs";
import { genericGitHub, grant, serverOfTests } from "./server.mjs";

const require = createRequire(import.meta.url);
/**
 * Changes the answer of a route handler as Next.js does after `cookies().set`.
 * @type {{ appendMutableCookies: (headers: Headers, cookies: unknown) => boolean, MutableRequestCookiesAdapter: any }}
 */
const { appendMutableCookies, MutableRequestCookiesAdapter } = require("next/dist/server/web/spec-extension/adapters/request-cookies.js");
const { RequestCookies } = require("next/dist/compiled/@edge-runtime/cookies");

const server = await serverOfTests();

/** The cookies of an answer after Next.js has added one of `cookies().set`. @param {Response} answer */
function added(answer) {
  const cookies = MutableRequestCookiesAdapter.wrap(new RequestCookies(new Headers()), () => {});
  cookies.set("cambio.ended", "id");
  const headers = new Headers(answer.headers);
  assert.ok(appendMutableCookies(headers, cookies));
  return headers.getSetCookie();
}

test("an answer that sets a cookie is private, and no cache stores it", async () => {
  const seen = await cambioHandler(async () => new Response(null, { status: 302, headers: { location: "/", "set-cookie": "session=1; Path=/" } }))();
  assert.equal(seen.headers.get("Cache-Control"), "private, no-store");
  assert.deepEqual(seen.headers.getSetCookie(), ["session=1; Path=/"]);
  const plain = await cambioHandler(async () => new Response("{}"))();
  assert.equal(plain.headers.get("Cache-Control"), null);
});

test("Next.js keeps the removal of a cookie", async () => {
  const removal = () =>
    new Response(null, {
      headers: [
        ["set-cookie", "session=; Max-Age=0; Path=/"],
        ["set-cookie", "other=1; Max-Age=05; Path=/"],
      ],
    });
  assert.deepEqual(
    added(removal()).filter((cookie) => cookie.startsWith("session=")),
    ["session=; Path=/"],
    "the defect of Next.js that this is for",
  );

  const cookies = added(await cambioHandler(async () => removal())());

  assert.match(String(cookies.find((cookie) => cookie.startsWith("session="))), /Expires=Thu, 01 Jan 1970/);
  assert.doesNotMatch(String(cookies.find((cookie) => cookie.startsWith("other="))), /1970/);
  assert.ok(cookies.some((cookie) => cookie.startsWith("cambio.ended=id")));
});

test("a handler gets what Next.js passes", async () => {
  const handler = cambioHandler(async (/** @type {string[]} */ ...parameters) => new Response(parameters.join()));
  assert.equal(await (await handler("request", "context")).text(), "request,context");
});

test("the handlers of Auth.js 5: the redirect of a sign-in is private", async () => {
  server.answer = ({ path }) => providerAnswer(path) ?? { body: grant(1) };
  const app = appWith5(server.url, v5.cambio({ url: server.url, clientId: "nextjs", clientSecret: "secret" }), cambioHandler);
  const { status, headers } = await app.signIn();
  assert.equal(status, 302);
  assert.equal(headers.get("Cache-Control"), "private, no-store");
});

/** @typedef {Promise<Response | { headers: Headers, status: number }>} SignedIn */
/** @type {[name: string, start: (options: object) => (wrap: (handler: any) => any) => SignedIn][]} */
const SIGN_INS = [
  // The handler of next-auth 4 in the `app` folder requires a running Next.js, so this calls its callbacks as it does.
  [
    "next-auth 4",
    (options) => (wrap) => {
      const { callbacks } = v4.cambio(options);
      const { signIn, jwt } = /** @type {Record<string, (parameters: object) => any>} */ (/** @type {unknown} */ (callbacks));
      const account = { provider: "github", access_token: "gho_1" };
      const handler = async () => {
        const allowed = await signIn({ user: {}, account });
        if (allowed === true) await jwt({ token: {}, user: {}, account });
        return new Response(null, { status: 302, headers: { location: allowed === true ? "http://localhost:3000/" : allowed } });
      };
      return wrap(handler)();
    },
  ],
  ["Auth.js 5", (options) => (wrap) => appWith5(server.url, v5.cambio(options), wrap).signIn()],
  [
    "better-auth",
    (options) => async (wrap) => {
      const plugins = [plugin(options), genericOAuth({ config: [genericGitHub()] })];
      const auth = betterAuth({ baseURL: "http://localhost:3000", secret: "s".repeat(32), logger: { disabled: true }, plugins });
      const { cookies, header, store } = cookieJar();
      const ask = async (/** @type {string} */ path, /** @type {RequestInit} */ init = {}) => {
        const headers = { cookie: header(), origin: "http://localhost:3000", "content-type": "application/json" };
        const answer = await wrap(auth.handler)(new Request(`http://localhost:3000/api/auth/${path}`, { ...init, headers }));
        store(answer.headers);
        return answer;
      };
      const body = JSON.stringify({ provider: "github", callbackURL: "http://localhost:3000/", errorCallbackURL: "/oops" });
      const { url } = await (await ask("sign-in/social", { method: "POST", body })).json();
      assert.ok(cookies.size);
      return ask(`callback/github?code=code&state=${new URL(url).searchParams.get("state")}`);
    },
  ],
];
for (const [version, start] of SIGN_INS) {
  const signIn = start({ url: server.url, clientId: "nextjs", clientSecret: "secret", logger: { error() {}, info() {} } });
  /**
   * Where a sign-in ends.
   * @param {object} answer of Cambio
   * @param {import("@cambio/next-auth/handler").CambioHandlerOptions} [options]
   */
  async function target(answer, options) {
    server.answer = ({ path }) => providerAnswer(path) ?? answer;
    const { status, headers } = await signIn((handler) => cambioHandler(handler, options));
    assert.equal(status, 302);
    return headers.get("Location");
  }

  test(`${version}: a sign-in that created its user ends on the page for new users, and each other one where it was for`, async () => {
    const created = { body: grant(1, { is_new_user: true }) };
    const known = { body: grant(1, { is_new_user: false }) };
    const usual = ["http://localhost:3000/", "http://localhost:3000"];

    const found = `${await target(created, { newUserPage: "/welcome" })}`;
    assert.ok(
      usual.some((page) => found === `/welcome?callbackUrl=${encodeURIComponent(page)}`),
      found,
    );
    assert.match(`${await target(created, { newUserPage: "/welcome?from=us" })}`, /^\/welcome\?from=us&callbackUrl=http/);
    assert.ok(usual.includes(`${await target(known, { newUserPage: "/welcome" })}`));
    assert.ok(usual.includes(`${await target(created)}`));
    const refused = { status: 400, body: { error: "access_denied" } };
    assert.match(`${await target(refused, { newUserPage: "/welcome" })}`, /error=AccessDenied/);
  });
}

test("sign-ins at the same time do not mix up their users", async () => {
  const { callbacks } = v4.cambio({ url: server.url, clientId: "nextjs", clientSecret: "secret" });
  const { signIn } = /** @type {Record<string, (parameters: object) => any>} */ (/** @type {unknown} */ (callbacks));
  const seen = [];
  /** @type {Record<string, boolean>} */
  const created = {};
  const handler = cambioHandler(
    async (/** @type {string} */ name) => {
      await signIn({ user: {}, account: { provider: "github", access_token: name } });
      return new Response(null, { status: 302, headers: { location: `/${name}` } });
    },
    { newUserPage: "/welcome" },
  );
  server.answer = ({ form }) => ({ body: grant(1, { is_new_user: (created[form.subject_token] = form.subject_token.startsWith("new")) }) });
  const names = Array.from({ length: 10 }, (_, index) => `${index % 3 ? "known" : "new"}-${index}`);
  for (const answer of await Promise.all(names.map((name) => handler(name)))) seen.push(answer.headers.get("Location"));
  assert.deepEqual(
    seen,
    names.map((name) => (created[name] ? `/welcome?callbackUrl=%2F${name}` : `/${name}`)),
  );
});
