// @ts-check
/**
 * Access tokens on the server, through the real handlers of next-auth 4 and Auth.js 5, and calls to the API with
 * them.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { isCambioError } from "@cambio/next-auth";
import { cambioFetch } from "@cambio/next-auth/fetch";
import { cambio as plugin } from "@cambio/next-auth/better-auth";
import * as v4 from "@cambio/next-auth/v4";
import * as v5 from "@cambio/next-auth/v5";
import { betterAuth } from "better-auth";
import { genericOAuth } from "better-auth/plugins";
import { appWith4, appWith5, cookieJar, providerAnswer } from "./handlers.mjs";
import { genericGitHub, grant, serverOfTests } from "./server.mjs";

const server = await serverOfTests();

const MINUTE = 60_000;
/** Refresh tokens in Cambio's format: two generations of the first session, and one of another session. */
const [FIRST, NEXT] = ["a", "b"].map((generation) => `cbr_${"s".repeat(44)}${generation.repeat(40)}`);

/**
 * Answers as Cambio, for sessions whose first refresh token is FIRST.
 * @param {number} nth of the access token after a refresh
 * @param {object} [more]
 */
function refreshes(nth, more) {
  server.answer = ({ path, form }) => {
    if (path !== "/token") return providerAnswer(path) ?? {};
    const isRefresh = form.grant_type === "refresh_token";
    return { body: grant(isRefresh ? nth : 1, { refresh_token: isRefresh ? NEXT : FIRST, ...more }) };
  };
}

/** Returns the refresh tokens that Cambio received. */
const refreshed = () => server.requests.map(({ form }) => form.refresh_token).filter(Boolean);

/**
 * @param {Promise<unknown>} call
 * @param {import("@cambio/next-auth").CambioErrorKind} kind
 * @param {RegExp} [message]
 */
async function failsWith(call, kind, message = /./) {
  await assert.rejects(call, (error) => isCambioError(error) && error.kind === kind && message.test(error.message));
}

for (const [version, start] of /** @type {const} */ ([
  ["next-auth 4", (/** @type {object} */ more = {}) => started(v4.cambio, appWith4, more)],
  ["Auth.js 5", (/** @type {object} */ more = {}) => started(/** @type {any} */ (v5.cambio), appWith5, more)],
])) {
  test(`${version}: no access token reaches a browser by default`, async () => {
    refreshes(2);
    const { app, getAccessToken } = await start();
    const answer = await app.get("/api/auth/session");
    const { user, error } = JSON.parse(answer.body);
    assert.deepEqual([user.name, error], ["Ada", undefined]);
    assert.doesNotMatch(answer.body, /access-1/);
    assert.doesNotMatch(JSON.stringify(await app.onServer()), /access-1/, "a server component passes its session on");
    assert.equal((await getAccessToken()).token, "access-1");
    assert.doesNotMatch(JSON.stringify(await app.onServer()), /access-1/);
  });

  test(`${version}: with exposeAccessToken, the session has the token and when it expires`, async () => {
    refreshes(2);
    const { app, getAccessToken } = await start({ exposeAccessToken: true });
    const { accessToken, expiresAt } = JSON.parse((await app.get("/api/auth/session")).body);
    assert.equal(accessToken, "access-1");
    assert.deepEqual(await getAccessToken(), { token: accessToken, expiresAt });
  });

  test(`${version}: getAccessToken returns the token while it is good`, async () => {
    refreshes(2);
    const { getAccessToken } = await start();
    const { token, expiresAt, ...more } = await getAccessToken();
    assert.equal(token, "access-1");
    assert.ok(Math.abs(expiresAt - Date.now() - 15 * MINUTE) < MINUTE / 4);
    assert.deepEqual(more, {});
    assert.deepEqual(refreshed(), []);
  });

  test(`${version}: renders that cannot store what they refreshed log nobody out`, async (t) => {
    refreshes(2);
    const { app, getAccessToken } = await start();
    t.mock.timers.enable({ apis: ["Date"], now: Date.now() + 16 * MINUTE });

    const parallel = await Promise.all([getAccessToken(), getAccessToken()]);
    refreshes(3);
    t.mock.timers.setTime(Date.now() + MINUTE / 4);
    const later = await getAccessToken();

    assert.deepEqual(
      [...parallel, later].map(({ token }) => token),
      ["access-2", "access-2", "access-3"],
    );
    assert.deepEqual(refreshed(), [FIRST, FIRST], "each begins from the token in the cookie");
    t.mock.timers.setTime(Date.now() + MINUTE / 4);
    const session = await app.get("/api/auth/session");
    assert.equal(JSON.parse(session.body).error, undefined);
    assert.deepEqual(refreshed(), [FIRST, FIRST, FIRST]);
    await getAccessToken();
    assert.deepEqual(refreshed(), [FIRST, FIRST, FIRST], "the browser has stored the token");
  });

  test(`${version}: each request gets the token of its own session`, async () => {
    refreshes(2);
    const { app, ours, another } = await start();
    server.answer = ({ path }) => providerAnswer(path) ?? { body: grant(7) };
    const browsers = [app, await another()];
    let nth = 0;
    const getAccessToken = ours.accessTokenOf(() => browsers[nth++ % 2].onServer());
    const tokens = await Promise.all(Array.from({ length: 4 }, () => getAccessToken()));
    assert.deepEqual(
      tokens.map(({ token }) => token),
      ["access-1", "access-7", "access-1", "access-7"],
    );
  });

  test(`${version}: getAccessToken fails where there is no token, and says why`, async (t) => {
    refreshes(2);
    const { app, getAccessToken } = await start();
    const signedIn = new Map(app.cookies);
    app.cookies.clear();
    await failsWith(getAccessToken(), "ended");
    for (const [name, value] of signedIn) app.cookies.set(name, value);

    server.answer = () => ({ status: 503 });
    assert.equal((await getAccessToken()).token, "access-1", "it is good");
    t.mock.timers.enable({ apis: ["Date"], now: Date.now() + 16 * MINUTE });
    await failsWith(getAccessToken(), "unavailable");
    server.answer = () => ({ status: 400, body: { error: "invalid_grant" } });
    await failsWith(getAccessToken(), "ended");
  });

  test(`${version}: a cached session is a mistake in the app, which the error names`, async () => {
    refreshes(2);
    const { app, ours } = await start();
    const session = app.onServer();
    await session;
    await failsWith(ours.accessTokenOf(() => session)(), "misconfigured", /accessTokenOf/);
  });

  test(`${version}: what prevents the app's session is the failure of getAccessToken`, async () => {
    const { ours } = await start();
    // Next.js ends a prerender in this way.
    const dynamic = new Error("this page is dynamic");
    await assert.rejects(ours.accessTokenOf(() => Promise.reject(dynamic))(), (error) => error === dynamic);
  });

  test(`${version}: in place of a token that the API refused, there is another one, for ten calls by one refresh`, async (t) => {
    refreshes(2);
    const { getAccessToken } = await start();

    const tokens = await Promise.all(Array.from({ length: 10 }, () => getAccessToken({ refused: "access-1" })));

    for (const { token } of tokens) assert.equal(token, "access-2");
    assert.deepEqual(refreshed(), [FIRST]);
    assert.equal((await getAccessToken({ refused: "access-0" })).token, "access-1", "a token of before was refused");
    refreshes(3);
    assert.equal((await getAccessToken({ refused: "access-1" })).token, "access-2", "known for some seconds");
    assert.deepEqual(refreshed(), [FIRST]);
    t.mock.timers.enable({ apis: ["Date"], now: Date.now() + 14.5 * MINUTE });
    assert.equal((await getAccessToken()).token, "access-3");
    refreshes(4);
    assert.equal((await getAccessToken({ refused: "access-3" })).token, "access-4", "the one after the refresh was refused");
  });

  test(`${version}: while Cambio is down, a refused token has no successor`, async () => {
    refreshes(2);
    const { getAccessToken } = await start();
    server.answer = () => ({ status: 503 });
    assert.equal((await getAccessToken({ refused: "access-1" })).token, "access-1");
  });

  test(`${version}: cambioFetch takes getAccessToken, and refreshes a token that the API refuses`, async () => {
    refreshes(2);
    const { getAccessToken } = await start();
    const token = server.answer;
    server.answer = (request) => {
      if (request.path !== "/orders") return token(request);
      return request.headers.authorization === "Bearer access-2" ? { body: [1] } : { status: 401, body: {} };
    };
    const answer = await cambioFetch(getAccessToken, server.url)("/orders");
    assert.deepEqual(await answer.json(), [1]);
  });
}

test("better-auth: the app's own server gets the token, and its browsers do with exposeAccessToken only", async () => {
  refreshes(2);
  for (const exposeAccessToken of [false, true]) {
    const options = { url: server.url, clientId: "nextjs", clientSecret: "secret", exposeAccessToken };
    const github = genericGitHub();
    const baseURL = "http://localhost:3000";
    const auth = betterAuth({
      baseURL,
      secret: "a secret of the unit tests, and of nothing else",
      plugins: [plugin(options), genericOAuth({ config: [github] })],
    });
    const jar = cookieJar();
    const ask = async (/** @type {string} */ path, /** @type {RequestInit} */ init = {}) => {
      const headers = { cookie: jar.header(), origin: baseURL, "content-type": "application/json" };
      const answer = await auth.handler(new Request(`${baseURL}/api/auth/${path}`, { headers, ...init }));
      jar.store(answer.headers);
      return answer;
    };
    const { url } = await (await ask("sign-in/social", { method: "POST", body: '{"provider":"github","callbackURL":"/"}' })).json();
    await ask(`callback/github?code=code&state=${new URL(url).searchParams.get("state")}`);

    const shown = await (await ask("cambio/session")).json();
    const session = await auth.api.cambioSession({ headers: new Headers({ cookie: jar.header() }) });

    assert.equal(shown.user.name, "Ada");
    assert.deepEqual([shown.accessToken, shown.expiresAt], exposeAccessToken ? ["access-1", session?.expiresAt] : [undefined, undefined]);
    assert.equal(session?.accessToken, "access-1");
    assert.equal(typeof session?.expiresAt, "number");
  }
});

/**
 * Starts an app with a signed-in browser.
 * @param {typeof v4.cambio} cambio
 * @param {typeof appWith4} appWith
 * @param {object} [more]
 */
async function started(cambio, appWith, more) {
  const ours = cambio({ url: server.url, clientId: "nextjs", clientSecret: "secret", ...more });
  /** Signs in with another browser at the same server. */
  async function another() {
    const app = appWith(server.url, ours);
    await app.signIn();
    return app;
  }
  const app = await another();
  return { ours, app, another, getAccessToken: ours.accessTokenOf(() => app.onServer()) };
}

/** Returns a source of tokens that records its calls. */
function source() {
  /** @type {(string | undefined)[]} */
  const refused = [];
  return {
    refused,
    /** @param {{ refused?: string }} [options] */
    async tokens(options) {
      refused.push(options?.refused);
      return { token: options?.refused ? "new" : "old" };
    },
  };
}

/** An API that knows one token. @param {string} known */
function knows(known) {
  server.answer = ({ headers, form }) => (headers.authorization === `Bearer ${known}` ? { body: form } : { status: 401, body: { error: "invalid_token" } });
}

const seen = () => server.requests.map(({ headers, form }) => [headers.authorization, form.a]);

test("a call that the API answers with 401 is sent once more, with another token and with its body", async () => {
  const url = () => `${server.url}/orders`;
  const bodies = /** @type {[string, () => [string | Request, RequestInit?]][]} */ ([
    ["a text", () => ["/orders", { method: "POST", body: "a=1" }]],
    ["a form", () => ["/orders", { method: "PUT", body: new URLSearchParams({ a: "1" }) }]],
    ["a blob", () => ["/orders", { method: "POST", body: new Blob(["a=1"]) }]],
    ["bytes", () => ["/orders", { method: "POST", body: new TextEncoder().encode("a=1") }]],
    ["a request", () => [new Request(url(), { method: "PATCH", body: "a=1" })]],
    ["a request with another body", () => [new Request(url(), { method: "PATCH", body: "a=2" }), { body: "a=1" }]],
  ]);
  for (const [name, call] of bodies) {
    knows("new");
    server.requests.length = 0;
    const { tokens, refused } = source();
    const answer = await cambioFetch(tokens, server.url)(...call());
    assert.deepEqual(await answer.json(), { a: "1" }, name);
    assert.deepEqual(
      seen(),
      [
        ["Bearer old", "1"],
        ["Bearer new", "1"],
      ],
      name,
    );
    assert.deepEqual(refused, [undefined, "old"], name);
    assert.equal(new Set(server.requests.map(({ method }) => method)).size, 1, name);
  }
});

test("a body that can be read once is sent once", async () => {
  const stream = () => new Blob(["a=1"]).stream();
  async function* chunks() {
    yield new TextEncoder().encode("a=1");
  }
  for (const body of [stream(), chunks()]) {
    knows("new");
    server.requests.length = 0;
    const { tokens, refused } = source();
    const init = /** @type {RequestInit} */ ({ method: "POST", body, duplex: "half" });
    const answer = await cambioFetch(tokens, server.url)("/orders", init);
    assert.equal(answer.status, 401);
    assert.deepEqual(await answer.json(), { error: "invalid_token" });
    assert.deepEqual(seen(), [["Bearer old", "1"]]);
    assert.deepEqual(refused, [undefined]);
  }
});

test("a 401 whose body Next.js has copied for others does not stop the call", { timeout: 5_000 }, async () => {
  knows("new");
  /** @type {Response[]} */
  const copies = [];
  /** @type {typeof fetch} */
  const copying = async (...call) => {
    const answer = await fetch(...call);
    copies.push(answer.clone());
    return answer;
  };
  assert.equal((await cambioFetch(source().tokens, server.url, copying)("/orders")).status, 200);
  assert.equal(copies.length, 2);
});

test("a second 401 is the answer, and so is the first where there is no other token", async () => {
  knows("none");
  const { tokens, refused } = source();
  assert.equal((await cambioFetch(tokens, server.url)("/orders")).status, 401);
  assert.equal(server.requests.length, 2);
  assert.deepEqual(refused, [undefined, "old"]);

  server.requests.length = 0;
  const same = await cambioFetch(async () => ({ token: "old" }), server.url)("/orders");
  assert.deepEqual(await same.json(), { error: "invalid_token" });
  assert.equal((await cambioFetch({ accessToken: "old" }, server.url)("/orders")).status, 401);
  assert.equal(server.requests.length, 2);
});

test("no other status than 401 asks for another token", async () => {
  for (const status of [200, 400, 403, 503]) {
    server.answer = () => ({ status, body: {} });
    const { tokens, refused } = source();
    assert.equal((await cambioFetch(tokens, server.url)("/orders")).status, status);
    assert.deepEqual(refused, [undefined]);
  }
});

test("the failure of a source of tokens is the failure of the call, which then does not happen", async () => {
  const over = new Error("over");
  await assert.rejects(cambioFetch(() => Promise.reject(over), server.url)("/orders"), (error) => error === over);
  assert.equal(server.requests.length, 0);
  knows("new");
  const call = cambioFetch((/** @type {any} */ options) => (options ? Promise.reject(over) : Promise.resolve({ token: "old" })), server.url)("/orders");
  await assert.rejects(call, (error) => error === over);
});

test("a call for another origin asks for no token", async () => {
  const { tokens, refused } = source();
  await failsWith(cambioFetch(tokens, server.url)("https://example.org/orders"), "misconfigured");
  assert.deepEqual(refused, []);
});
