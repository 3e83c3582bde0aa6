// @ts-check
/** Tests a second sign-in without a sign-out: the replaced session ends at Cambio. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { cambio as plugin } from "@cambio/next-auth/better-auth";
import * as v4 from "@cambio/next-auth/v4";
import * as v5 from "@cambio/next-auth/v5";
import { betterAuth } from "better-auth";
import { memoryAdapter } from "better-auth/adapters/memory";
import { genericOAuth } from "better-auth/plugins";
import { appWith4, appWith5, providerAnswer } from "./handlers.mjs";
import { genericGitHub, grant, serverOfTests } from "./server.mjs";

const server = await serverOfTests();
const settings = () => ({ url: server.url, clientId: "nextjs", clientSecret: "secret" });

/**
 * Returns a refresh token in Cambio's format: its first 48 characters identify user and session.
 * @param {string} session
 * @param {string} generation
 */
const token = (session, generation = "0") => `cbr_${session.repeat(44)}${generation.repeat(40)}`;

/**
 * Sets Cambio's answer to each further sign-in and refresh.
 * @param {string} refreshToken
 * @param {number} [nth]
 */
function grants(refreshToken, nth = 1) {
  server.answer = ({ path }) => providerAnswer(path) ?? (path === "/revoke" ? {} : { body: grant(nth, { refresh_token: refreshToken }) });
}

/** Returns the tokens that were revoked. */
const revoked = () => server.requests.filter(({ path }) => path === "/revoke").map(({ form }) => form.token);

for (const [version, start] of /** @type {const} */ ([
  ["next-auth 4", (/** @type {object} */ more = {}) => started(v4.cambio, appWith4, more)],
  ["Auth.js 5", (/** @type {object} */ more = {}) => started(/** @type {any} */ (v5.cambio), appWith5, more)],
])) {
  test(`${version}: a first sign-in ends no session`, async () => {
    grants(token("a"));
    const { app } = start();
    await app.signIn();
    assert.deepEqual(revoked(), []);
  });

  test(`${version}: a sign-in ends the session that it replaces, and the new one goes on`, async () => {
    const { app, getAccessToken } = start();
    grants(token("a"));
    await app.signIn();
    grants(token("b"), 2);

    assert.equal((await app.signIn()).status, 302);

    assert.deepEqual(revoked(), [token("a")]);
    assert.equal((await getAccessToken()).token, "access-2");
  });

  test(`${version}: a session that is repeated, or of another browser, does not end`, async () => {
    const { app, another } = start();
    grants(token("a", "0"));
    await app.signIn();
    await another().signIn();
    grants(token("a", "1"));
    await app.signIn();
    assert.deepEqual(revoked(), []);
  });

  test(`${version}: an expired session that is replaced is not refreshed first`, async (t) => {
    const { app } = start();
    grants(token("a"));
    await app.signIn();
    t.mock.timers.enable({ apis: ["Date"], now: Date.now() + 16 * 60_000 });
    grants(token("b"));
    await app.signIn();
    assert.deepEqual(revoked(), [token("a")]);
    assert.ok(server.requests.every(({ form }) => form.grant_type !== "refresh_token"));
  });

  test(`${version}: a sign-in that fails ends no session`, async () => {
    const { app, getAccessToken } = start();
    grants(token("a"));
    await app.signIn();
    server.answer = ({ path }) => providerAnswer(path) ?? { status: 400, body: { error: "access_denied" } };
    await app.signIn();
    assert.deepEqual(revoked(), []);
    assert.equal((await getAccessToken()).token, "access-1");
  });

  test(`${version}: with after, a sign-in does not wait for the end of the former session`, async () => {
    /** @type {Promise<void>[]} */
    const tasks = [];
    const { app, getAccessToken } = start({ after: (/** @type {Promise<void>} */ task) => void tasks.push(task) });
    grants(token("a"));
    await app.signIn();
    server.answer = ({ path }) => providerAnswer(path) ?? (path === "/revoke" ? { hang: true } : { body: grant(2, { refresh_token: token("b") }) });
    await app.signIn();
    assert.equal(tasks.length, 1);
    assert.equal((await getAccessToken()).token, "access-2");
    await tasks[0];
    assert.deepEqual(revoked(), [token("a")]);
  });

  test(`${version}: without after, a sign-in waits for 2 seconds at most, and does not fail`, async () => {
    const { app, getAccessToken } = start();
    grants(token("a"));
    await app.signIn();
    server.answer = ({ path }) => providerAnswer(path) ?? (path === "/revoke" ? { hang: true } : { body: grant(2, { refresh_token: token("b") }) });
    const began = Date.now();
    assert.equal((await app.signIn()).status, 302);
    assert.ok(Date.now() - began < 3_000);
    assert.equal((await getAccessToken()).token, "access-2");
  });

  test(`${version}: a late answer of the replaced session does not bring it back`, async () => {
    /** @type {Map<string, string>} */
    const stored = new Map();
    const cookies = () => ({
      get: (/** @type {string} */ name) => (stored.has(name) ? { value: stored.get(name) } : undefined),
      set: (/** @type {string} */ name, /** @type {string} */ value) => void stored.set(name, value),
    });
    const { app } = start({ cookies });
    grants(token("a"));
    await app.signIn();
    const late = new Map(app.cookies);
    grants(token("b"), 2);
    await app.signIn();
    for (const [name, value] of late) app.cookies.set(name, value);
    assert.equal(await app.onServer(), null);
  });

  test(`${version}: where the former session cannot be read, a sign-in works`, async () => {
    const ours = start().ours;
    const app = (version === "Auth.js 5" ? appWith5 : appWith4)(server.url, ours);
    ours.accessTokenOf(() => Promise.reject(new Error("headers() was called outside a request scope")));
    grants(token("a"));
    assert.equal((await app.signIn()).headers.get("Location"), "http://localhost:3000");
    assert.deepEqual(revoked(), []);
  });
}

/** @param {typeof v4.cambio} cambio @param {typeof appWith4} appWith @param {object} [more] */
function started(cambio, appWith, more) {
  const ours = cambio({ ...settings(), ...more });
  const another = () => appWith(server.url, ours);
  const app = another();
  let asks = app;
  const getAccessToken = ours.accessTokenOf(() => asks.onServer());
  return {
    ours,
    app,
    getAccessToken,
    /** Signs in with another browser, whose request stays under way. */
    another() {
      asks = another();
      const signIn = asks.signIn;
      return { ...asks, signIn: () => signIn().finally(() => (asks = app)) };
    },
  };
}

for (const [kept, storage] of /** @type {const} */ ([
  ["in a database", () => ({ database: memoryAdapter({ user: [], session: [], account: [], verification: [] }) })],
  ["in cookies", () => ({})],
])) {
  test(`better-auth, ${kept}: a sign-in ends the session that it replaces, and the new one goes on`, async () => {
    const { signIn, session } = browserOf(storage());
    grants(token("a"));
    await signIn();
    assert.deepEqual(revoked(), []);
    grants(token("b"), 2);
    await signIn();
    assert.deepEqual(revoked(), [token("a")]);
    assert.equal((await session()).accessToken, "access-2");
  });

  test(`better-auth, ${kept}: a session that is repeated does not end`, async () => {
    const { signIn } = browserOf(storage());
    grants(token("a"));
    await signIn();
    grants(token("a", "1"));
    await signIn();
    assert.deepEqual(revoked(), []);
  });

  test(`better-auth, ${kept}: while Cambio hangs, a sign-in waits for the end of the former session for 2 seconds at most`, async () => {
    const { signIn, session } = browserOf(storage());
    grants(token("a"));
    await signIn();
    server.answer = ({ path }) => (path === "/revoke" ? { hang: true } : { body: grant(2, { refresh_token: token("b") }) });
    const began = Date.now();
    await signIn();
    assert.ok(Date.now() - began < 3_000);
    assert.equal((await session()).accessToken, "access-2");
  });

  test(`better-auth, ${kept}: with a handler of background tasks, a sign-in does not wait`, async () => {
    /** @type {Promise<unknown>[]} */
    const tasks = [];
    const handler = (/** @type {Promise<unknown>} */ task) => void tasks.push(task);
    const { signIn } = browserOf({ ...storage(), advanced: { backgroundTasks: { handler } } });
    grants(token("a"));
    await signIn();
    server.answer = ({ path }) => (path === "/revoke" ? { hang: true } : { body: grant(2, { refresh_token: token("b") }) });
    const began = Date.now();
    await signIn();
    assert.ok(Date.now() - began < 1_500);
    assert.ok(tasks.length > 0);
    await Promise.all(tasks);
    assert.deepEqual(revoked(), [token("a")]);
  });
}

/** A better-auth, and a browser that keeps its cookies. @param {object} options */
function browserOf(options) {
  const github = genericGitHub();
  const origin = "http://localhost:3000";
  const auth = betterAuth({
    baseURL: origin,
    secret: "a secret of the unit tests, and of nothing else",
    logger: { disabled: true },
    ...options,
    plugins: [plugin({ ...settings(), exposeAccessToken: true }), genericOAuth({ config: [github] })],
  });
  /** @type {Map<string, string>} */
  const cookies = new Map();
  /** @param {string} path @param {object} [body] */
  async function ask(path, body) {
    const headers = { cookie: [...cookies].map((pair) => pair.join("=")).join("; "), origin, "content-type": "application/json" };
    const init = body ? { method: "POST", headers, body: JSON.stringify(body) } : { headers };
    const answer = await auth.handler(new Request(`${origin}/api/auth/${path}`, init));
    for (const cookie of answer.headers.getSetCookie()) {
      const [, name, value] = /** @type {RegExpExecArray} */ (/^([^=]+)=([^;]*)/.exec(cookie));
      if (/max-age=0/i.test(cookie)) cookies.delete(name);
      else cookies.set(name, value);
    }
    return answer;
  }
  return {
    async signIn() {
      const { url } = await (await ask("sign-in/social", { provider: "github", callbackURL: "/", errorCallbackURL: "/oops" })).json();
      const answer = await ask(`callback/github?${new URLSearchParams({ code: "code", state: new URL(url).searchParams.get("state") ?? "" })}`);
      assert.equal(new URL(answer.headers.get("location") ?? "", origin).pathname, "/");
    },
    session: async () => (await ask("cambio/session")).json(),
  };
}
