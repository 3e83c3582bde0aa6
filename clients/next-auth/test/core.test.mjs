// @ts-check
import assert from "node:assert/strict";
import { once } from "node:events";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { test } from "node:test";
import { CambioError, createClient, isCambioError } from "@cambio/next-auth";
import { cambioFetch } from "@cambio/next-auth/fetch";
import createApi from "openapi-fetch";
import { grant, serverOfTests, USER } from "./server.mjs";

const server = await serverOfTests();
const client = createClient({ url: `${server.url}/`, clientId: "next js", clientSecret: "a:b+c", timeout: 500 });

/**
 * Returns the time at which a call to a hanging Cambio ends, in milliseconds of a test clock, and the request count.
 * @param {import("node:test").TestContext} t @param {number} timeout
 */
async function endOfSilence(t, timeout) {
  t.mock.timers.enable({ apis: ["setTimeout", "Date"], now: 0 });
  /** @param {RequestInit} init @returns {Promise<Response>} */
  const hang = ({ signal }) => new Promise((_, reject) => signal?.addEventListener("abort", () => reject(signal.reason)));
  const { client, calls } = injected(hang, { timeout });
  /** @type {number | undefined} */
  let end;
  const call = failsWith(client.refresh("refresh-1"), "unavailable").then(() => (end = Date.now()));
  while (end === undefined && Date.now() < 10 * timeout) {
    await new Promise(setImmediate);
    t.mock.timers.tick(100);
    await new Promise(setImmediate);
  }
  if (end !== undefined) await call;
  return { end, calls: calls.length };
}

/** As the README shows it. @param {string} url */
function openapi(url) {
  /** @type {import("openapi-fetch").Client<import("@cambio/next-auth").paths>} */
  const api = createApi({ baseUrl: url, fetch: cambioFetch({ accessToken: "access-1" }, url) });
  return api;
}

/** @param {Promise<unknown>} call @param {string} kind */
async function failsWith(call, kind) {
  await assert.rejects(call, (/** @type {unknown} */ error) => {
    assert.ok(error instanceof CambioError, String(error));
    assert.equal(error.kind, kind, error.message);
    assert.doesNotMatch(error.message, /gho_|eyJ|refresh-|a:b/);
    return true;
  });
}

/**
 * Returns a client whose `fetch` is a function of the test.
 * @param {(init: RequestInit) => Response | Promise<Response>} answer
 * @param {import("@cambio/next-auth").CambioOptions} [options]
 */
function injected(answer = () => Response.json(grant(1)), options) {
  /** @type {{ url: string, init: RequestInit }[]} */
  const calls = [];
  /** @type {typeof globalThis.fetch} */
  const fetch = async (url, init = {}) => {
    calls.push({ url: String(url), init });
    return answer(init);
  };
  const url = "https://auth.example.com";
  return { client: createClient({ url, clientId: "a", clientSecret: "b", fetch, ...options }), calls };
}

test("the nonce goes with an ID token, and with no access token", async () => {
  const client = createClient({ url: server.url, clientId: "nextjs", clientSecret: "secret" });
  await client.exchange({ provider: "google", id_token: "eyJ1", nonce: "n-1" });
  await client.exchange({ provider: "google", id_token: "eyJ1", nonce: null });
  await client.exchange({ provider: "github", access_token: "gho_1", nonce: "n-1" });
  assert.deepEqual(
    server.requests.map(({ form }) => form.nonce),
    ["n-1", undefined, undefined],
  );
});

test("an access token is sent with its provider's name", async () => {
  server.answer = () => ({ body: grant(1, { is_new_user: true, scope: "orders:read" }) });
  const asked = Date.now();

  const granted = await client.exchange({ provider: "github", access_token: "gho_1" }, { userAgent: "Firefox" });

  const [{ path, headers, form }] = server.requests;
  assert.equal(path, "/token");
  assert.equal(headers.authorization, `Basic ${btoa("next+js:a%3Ab%2Bc")}`);
  assert.equal(headers["user-agent"], "Firefox");
  assert.deepEqual(form, {
    grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
    subject_token: "gho_1",
    subject_token_type: "urn:ietf:params:oauth:token-type:access_token",
    subject_issuer: "github",
  });
  const { expiresAt, ...rest } = granted;
  assert.ok(expiresAt >= asked + 900_000 && expiresAt <= Date.now() + 900_000);
  assert.deepEqual(rest, { accessToken: "access-1", refreshToken: "refresh-1", scope: "orders:read", user: USER, isNewUser: true });
});

test("of an OpenID provider, the ID token is sent", async () => {
  await client.exchange({ provider: "google", id_token: "eyJ1", access_token: "ya29" });
  assert.deepEqual(server.requests[0].form, {
    grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
    subject_token: "eyJ1",
    subject_token_type: "urn:ietf:params:oauth:token-type:id_token",
  });
});

test("a provider that gave out no token is a mistake of the app", async () => {
  await failsWith(client.exchange({ provider: "email" }), "misconfigured");
  assert.equal(server.requests.length, 0);
});

for (const [status, error, kind] of /** @type {const} */ ([
  [400, "invalid_request", "refused"],
  [400, "access_denied", "denied"],
  [400, "invalid_grant", "ended"],
  [400, "invalid_scope", "misconfigured"],
  [400, "unauthorized_client", "misconfigured"],
  [401, "invalid_client", "misconfigured"],
  [404, undefined, "misconfigured"],
])) {
  test(`${status} ${error} is told as ${kind}, once`, async () => {
    server.answer = () => ({ status, body: { error, error_description: "why" } });
    await failsWith(client.refresh("refresh-1"), kind);
    assert.equal(server.requests.length, 1);
  });
}

test("a provider that is not configured is a mistake of the settings, and the error names those that are", async () => {
  // The text of Cambio's answer, whose code is also that of a refused token.
  const error_description = "no provider is configured for this subject token: those for access tokens are github";
  server.answer = () => ({ status: 400, body: { error: "invalid_request", error_description } });
  const call = client.exchange({ provider: "gitlab", access_token: "gho_1" });
  await assert.rejects(call, {
    kind: "misconfigured",
    code: "invalid_request",
    message: `Cambio answers ${server.url}/token with 400 invalid_request: ${error_description}`,
  });
});

test("a wrong CAMBIO_URL is in the error, with the cause", async () => {
  const options = { clientId: "a", clientSecret: "b", timeout: 200 };
  const closed = createServer().listen(0, "127.0.0.1");
  await once(closed, "listening");
  const { port } = /** @type {import("node:net").AddressInfo} */ (closed.address());
  closed.close();
  const nobody = createClient({ url: `http://127.0.0.1:${port}/auth/`, ...options });
  const failure = await nobody.refresh("refresh-1").catch((error) => error);
  assert.equal(failure.kind, "unavailable");
  assert.equal(failure.message, `Cambio does not answer http://127.0.0.1:${port}/auth/token`);
  assert.equal(failure.cause.cause.code, "ECONNREFUSED");

  server.answer = () => ({ status: 404, raw: "<html>" });
  await assert.rejects(client.refresh("refresh-1"), {
    kind: "misconfigured",
    message: `Cambio answers ${server.url}/token with 404: check CAMBIO_URL`,
  });

  for (const url of ["auth.example.com", "ftp://auth.example.com", "https://a:hunter2@auth.example.com", "https://auth.example.com?key=hunter2"]) {
    const call = createClient({ url, ...options }).refresh("refresh-1");
    await assert.rejects(call, { kind: "misconfigured", message: "CAMBIO_URL is not an http(s) URL" });
  }
});

test("an access token that is refused comes with Cambio's reason", async () => {
  const detail = "the access token has expired: refresh it, or sign in again";
  server.answer = () => ({ status: 401, body: { type: "urn:cambio:error:invalid_token", detail } });
  await assert.rejects(client.me("access-1"), { kind: "ended", message: `Cambio answers ${server.url}/me with 401: ${detail}` });
});

test("what passes is tried once more", async () => {
  const client = createClient({ url: server.url, clientId: "a", clientSecret: "b" });
  for (const first of [
    { status: 503, body: { error: "temporarily_unavailable" }, headers: { "Retry-After": "1" } },
    { status: 502, raw: "<html>" },
    { status: 429, body: { message: "Too Many Requests" } },
  ]) {
    server.requests.length = 0;
    server.answer = () => (server.requests.length === 1 ? first : { body: grant(2) });
    assert.equal((await client.refresh("refresh-1")).accessToken, "access-2");
    assert.equal(server.requests.length, 2);
  }
});

test("what stays is told, and what asks for a long wait is not waited for", async () => {
  server.answer = () => ({ status: 503, body: { error: "temporarily_unavailable" } });
  await failsWith(client.refresh("refresh-1"), "unavailable");
  assert.equal(server.requests.length, 2);
  server.answer = () => ({ status: 503, headers: { "Retry-After": "60" } });
  await failsWith(client.refresh("refresh-1"), "unavailable");
  assert.equal(server.requests.length, 3);
});

test("silence, a broken answer and nobody there are unavailable", async () => {
  server.answer = () => ({ hang: true });
  await failsWith(client.refresh("refresh-1"), "unavailable");
  server.answer = () => ({ raw: '{"access_token":' });
  await failsWith(client.refresh("refresh-1"), "unavailable");
  const nobody = createClient({ url: "http://127.0.0.1:1", clientId: "a", clientSecret: "b" });
  await failsWith(nobody.refresh("refresh-1"), "unavailable");
});

test("what is not set comes from the environment, and is missed at a call and not before", async () => {
  const bare = createClient();
  await failsWith(bare.refresh("refresh-1"), "misconfigured");
  await assert.rejects(bare.me("access-1"), /CAMBIO_URL is not set/);
  await failsWith(createClient({ url: "auth.example.com" }).me("access-1"), "misconfigured");
  assert.equal(server.requests.length, 0);
  Object.assign(process.env, { CAMBIO_URL: server.url, CAMBIO_CLIENT_ID: "id", CAMBIO_CLIENT_SECRET: "secret" });
  await bare.refresh("refresh-1");
  assert.equal(server.requests[0].headers.authorization, `Basic ${btoa("id:secret")}`);
});

test("a redirect is a mistake in the settings, and is not followed with the client's secret", async () => {
  server.answer = () => ({ status: 302, headers: { Location: `${server.url}/elsewhere?token=eyJ` } });
  await failsWith(client.refresh("refresh-1"), "misconfigured");
  await failsWith(client.me("access-1"), "misconfigured");
  await assert.rejects(client.refresh("refresh-1"), /answers http:\/\/127.0.0.1:\d+\/token with a redirect to http:\/\/127.0.0.1:\d+: set CAMBIO_URL/);
  assert.deepEqual(
    server.requests.map(({ path }) => path),
    ["/token", "/me", "/token"],
  );
});

test("a redirect that fetch hides is a mistake in the settings too", async () => {
  const opaque = Object.defineProperties(Response.error(), { type: { value: "opaqueredirect" } });
  const { client, calls } = injected(() => opaque);
  await failsWith(client.refresh("refresh-1"), "misconfigured");
  await assert.rejects(client.me("access-1"), /answers https:\/\/auth.example.com\/me with a redirect: set CAMBIO_URL/);
  assert.deepEqual(
    calls.map(({ init }) => init.redirect),
    ["manual", "manual"],
  );
});

test("where fetch has no cache, none is asked for", async () => {
  const { client, calls } = injected();
  await client.refresh("refresh-1");
  const Standard = globalThis.Request;
  globalThis.Request = /** @type {typeof Request} */ (/** @type {unknown} */ (class {}));
  try {
    await client.refresh("refresh-1");
  } finally {
    globalThis.Request = Standard;
  }
  assert.deepEqual(
    calls.map(({ init }) => init.cache),
    ["no-store", undefined],
  );
});

test("without AbortSignal.timeout and AbortSignal.any, a call ends in time all the same", async (t) => {
  const { timeout, any } = AbortSignal;
  Object.assign(AbortSignal, { timeout: undefined, any: undefined });
  try {
    assert.equal((await client.refresh("refresh-1")).accessToken, "access-1");
    assert.deepEqual(await endOfSilence(t, 500), { end: 500, calls: 1 });
  } finally {
    Object.assign(AbortSignal, { timeout, any });
  }
});

test("a token is given back", async () => {
  server.answer = () => ({});
  await client.revoke("refresh-1");
  assert.equal(server.requests[0].path, "/revoke");
  assert.deepEqual(server.requests[0].form, { token: "refresh-1" });
});

test("a call takes no longer than the timeout, with its repetition", async (t) => {
  assert.deepEqual(await endOfSilence(t, 500), { end: 500, calls: 1 });
});

test("Retry-After is waited for up to 10 s, if the timeout has room for it", async (t) => {
  /** @param {string} retryAfter @param {number} timeout */
  async function callsAfter(retryAfter, timeout) {
    t.mock.timers.reset();
    t.mock.timers.enable({ apis: ["setTimeout", "Date"], now: 0 });
    const headers = { "Retry-After": retryAfter };
    let isDone = false;
    const { client, calls } = injected(() => (calls.length > 1 ? Response.json(grant(2)) : new Response(null, { status: 503, headers })), { timeout });
    const call = client
      .refresh("refresh-1")
      .catch(() => {})
      .then(() => (isDone = true));
    while (!isDone && Date.now() < 20_000) {
      await new Promise(setImmediate);
      t.mock.timers.tick(100);
    }
    await call;
    return { calls: calls.length, seconds: Math.floor(Date.now() / 1000) };
  }
  assert.deepEqual(await callsAfter("9", 10_000), { calls: 2, seconds: 9 });
  assert.deepEqual(await callsAfter("10", 60_000), { calls: 2, seconds: 10 });
  assert.deepEqual(await callsAfter(new Date(5_000).toUTCString(), 10_000), { calls: 2, seconds: 5 });
  assert.deepEqual(await callsAfter("10", 10_000), { calls: 1, seconds: 0 });
  assert.deepEqual(await callsAfter("11", 60_000), { calls: 1, seconds: 0 });
  assert.deepEqual(await callsAfter("soon", 10_000), { calls: 2, seconds: 0 });
});

test("a call that its caller gives up ends at once, and is not repeated", async () => {
  server.answer = () => ({ hang: true });
  const patient = createClient({ url: server.url, clientId: "a", clientSecret: "b" });
  for (const call of [
    /** @param {AbortSignal} signal */
    (signal) => patient.exchange({ provider: "github", access_token: "gho_1" }, { signal }),
    /** @param {AbortSignal} signal */
    (signal) => patient.refresh("refresh-1", { signal }),
    /** @param {AbortSignal} signal */
    (signal) => patient.revoke("refresh-1", { signal }),
    /** @param {AbortSignal} signal */
    (signal) => patient.me("access-1", { signal }),
  ]) {
    server.requests.length = 0;
    const reason = new Error("navigated away");
    const controller = new AbortController();
    const begun = Date.now();
    setTimeout(() => controller.abort(reason), 50);
    await assert.rejects(call(controller.signal), { name: "CambioError", kind: "unavailable", cause: reason });
    assert.ok(Date.now() - begun < 2000);
    assert.equal(server.requests.length, 1);
    await assert.rejects(call(AbortSignal.abort(reason)), { kind: "unavailable", cause: reason });
    assert.equal(server.requests.length, 1);
  }
});

test("a timeout that is no number of milliseconds is refused when the client is made", () => {
  for (const timeout of [Infinity, NaN, 0, -1, 2 ** 31, /** @type {number} */ (/** @type {unknown} */ ("10s"))]) {
    assert.throws(() => createClient({ timeout }), {
      name: "CambioError",
      kind: "misconfigured",
      message: `timeout is ${timeout}: write a number of milliseconds from 1 to 2147483647`,
    });
  }
  createClient({ timeout: 1 });
  createClient({ timeout: 2 ** 31 - 1 });
});

test("fetch is looked up at each call", async (t) => {
  const own = createClient({ url: "https://auth.example.com", clientId: "a", clientSecret: "b" });
  const api = cambioFetch({ accessToken: "access-1" }, "https://api.example.com");
  const patched = t.mock.method(globalThis, "fetch", async () => Response.json(grant(7)));
  assert.equal((await own.refresh("refresh-1")).accessToken, "access-7");
  await api("/orders");
  assert.equal(patched.mock.callCount(), 2);
});

test("an error of the other copy of this package is recognised", async () => {
  const { createClient: required, CambioError: Other } = createRequire(import.meta.url)("@cambio/next-auth");
  const error = await required({ url: "x" })
    .me("access-1")
    .catch((/** @type {unknown} */ error) => error);
  assert.ok(!(error instanceof CambioError) && error instanceof Other);
  assert.ok(isCambioError(error) && error.kind === "misconfigured");
  assert.ok(isCambioError(new CambioError("ended", "over")));
  for (const other of [new Error("x"), Object.assign(new Error("x"), { kind: "ended" }), null, undefined, "CambioError", {}]) {
    assert.equal(isCambioError(other), false);
  }
});

test("an error names the request, the status and the cause", async () => {
  const body = JSON.stringify({ error: "invalid_scope", error_description: "why" });
  for (const name of ["apigw-requestid", "x-amzn-requestid"]) {
    const { client } = injected(() => new Response(body, { status: 400, headers: { [name]: "JKJaXmPLvHcESHA=" } }));
    await assert.rejects(client.refresh("refresh-1"), {
      message: "Cambio answers https://auth.example.com/token with 400 invalid_scope: why (request JKJaXmPLvHcESHA=)",
      status: 400,
      code: "invalid_scope",
      requestId: "JKJaXmPLvHcESHA=",
    });
  }
  const wordless = injected(() => new Response("<html>", { status: 404, headers: { "apigw-requestid": "r0" } })).client;
  await assert.rejects(wordless.refresh("refresh-1"), { message: "Cambio answers https://auth.example.com/token with 404: check CAMBIO_URL (request r0)" });
  const ended = injected(() => new Response(null, { status: 401, headers: { "apigw-requestid": "r1" } })).client;
  await assert.rejects(ended.me("access-1"), { kind: "ended", status: 401, requestId: "r1" });
  const broken = injected(() => new Response("{", { headers: { "apigw-requestid": "r2" } })).client;
  await assert.rejects(broken.refresh("refresh-1"), { kind: "unavailable", status: 200, requestId: "r2" });
  const cause = new TypeError("fetch failed");
  const silent = injected(() => {
    throw cause;
  }).client;
  await assert.rejects(silent.me("access-1"), { kind: "unavailable", status: undefined, requestId: undefined, cause });
});

test("scope and audience are sent as they are asked for", async () => {
  const app = createClient({ url: server.url, clientId: "a", clientSecret: "b", scope: "orders:read", audience: "https://api.example.com" });
  await app.exchange({ provider: "github", access_token: "gho_1" });
  await app.exchange({ provider: "github", access_token: "gho_1" }, { scope: "orders:write", audience: "https://other.example.com" });
  // A session keeps both, so a refresh sends only the differences of this token.
  await app.refresh("refresh-1");
  await app.refresh("refresh-1", { scope: "orders:write", audience: "https://other.example.com" });
  await client.exchange({ provider: "github", access_token: "gho_1" });
  assert.deepEqual(
    server.requests.map(({ form: { scope, audience } }) => ({ scope, audience })),
    [
      { scope: "orders:read", audience: "https://api.example.com" },
      { scope: "orders:write", audience: "https://other.example.com" },
      { scope: undefined, audience: undefined },
      { scope: "orders:write", audience: "https://other.example.com" },
      { scope: undefined, audience: undefined },
    ],
  );
});

test("each call is repeated once when the same call may succeed", async () => {
  for (const [call, body] of /** @type {const} */ ([
    [() => client.exchange({ provider: "github", access_token: "gho_1" }), grant(1)],
    [() => client.refresh("refresh-1"), grant(1)],
    [() => client.revoke("refresh-1"), {}],
    [() => client.me("access-1"), { ...USER, metadata: {} }],
  ])) {
    for (const first of [{ status: 503 }, { raw: '{"access_token":' }]) {
      if ("raw" in first && !("access_token" in body || "id" in body)) continue;
      server.requests.length = 0;
      server.answer = () => (server.requests.length === 1 ? first : { body });
      await call();
      assert.equal(server.requests.length, 2, `${call} after ${JSON.stringify(first)}`);
    }
  }
});

test("the user of an access token, or why there is none", async () => {
  server.answer = () => ({ body: { ...USER, metadata: {} } });
  assert.equal((await client.me("access-1")).name, "Ada");
  assert.equal(server.requests[0].headers.authorization, "Bearer access-1");
  server.answer = () => ({ status: 401, body: { type: "urn:cambio:error:invalid_token" } });
  await failsWith(client.me("access-1"), "ended");
  server.answer = () => ({ status: 503 });
  await failsWith(client.me("access-1"), "unavailable");
});

test("calls to the API carry the token, and nobody else gets it", async () => {
  const call = cambioFetch({ accessToken: "access-1" }, server.url);
  await call("/orders?page=2", { headers: { Accept: "text/plain" } });
  assert.equal(server.requests[0].path, "/orders?page=2");
  assert.equal(server.requests[0].headers.authorization, "Bearer access-1");
  assert.equal(server.requests[0].headers.accept, "text/plain");
  for (const elsewhere of ["https://evil.example/", "//evil.example/", "http://127.0.0.1:1/"]) await failsWith(call(elsewhere), "misconfigured");
  await failsWith(cambioFetch(null, server.url)("/orders"), "ended");
  await failsWith(cambioFetch({ error: "SessionEnded" }, server.url)("/orders"), "ended");
  await failsWith(cambioFetch({ error: "Unavailable" }, server.url)("/orders"), "unavailable");
  assert.equal(server.requests.length, 1);
});

test("a call to the API keeps the base path", async () => {
  for (const [base, path, expected] of [
    ["", "/orders", "/orders"],
    ["/", "orders", "/orders"],
    ["", "", "/"],
    ["/v1", "/orders", "/v1/orders"],
    ["/v1/", "/orders?page=2", "/v1/orders?page=2"],
    ["/v1/", "orders", "/v1/orders"],
    ["/v1", "", "/v1"],
    ["/v1", "?page=2", "/v1?page=2"],
    ["/v1?version=3#top", "/orders", "/v1/orders"],
    ["/v1", "/orders/../customers", "/v1/customers"],
    ["/v1", "/orders:export", "/v1/orders:export"],
    ["/v1", "/\\evil.example/", "/v1//evil.example/"],
    ["/v1", "/\t/evil.example/", "/v1//evil.example/"],
    ["/v1", "https:evil.example", "/v1/https:evil.example"],
    ["/v1", `${server.url}/v1/orders`, "/v1/orders"],
  ]) {
    server.requests.length = 0;
    await cambioFetch({ accessToken: "access-1" }, `${server.url}${base}`)(path);
    assert.deepEqual(
      server.requests.map(({ path }) => path),
      [expected],
      `${base} + ${path}`,
    );
    assert.equal(server.requests[0].headers.authorization, "Bearer access-1");
  }
});

test("the token goes to no other origin and to nothing outside of the base path", async () => {
  const call = cambioFetch({ accessToken: "access-1" }, `${server.url}/v1`);
  for (const elsewhere of [
    "https://evil.example/v1/",
    "//evil.example/v1/",
    "HTTP://evil.example/v1/",
    "http://127.0.0.1:1/v1/",
    `${server.url}@evil.example/v1/`,
    "/../admin",
    "../admin",
    "/%2e%2e/admin",
    "/orders/../../v10/orders",
    `${server.url}/`,
    `${server.url}/v10/orders`,
    `${server.url}/v1/../admin`,
    "http://",
  ]) {
    await failsWith(call(elsewhere), "misconfigured");
    if (!/^http:..[\d.]+:/.test(elsewhere)) continue;
    await failsWith(call(new URL(elsewhere)), "misconfigured");
    if (!elsewhere.includes("@")) await failsWith(call(new Request(elsewhere)), "misconfigured");
  }
  assert.equal(server.requests.length, 0);
  for (const url of ["api.example.com", "ftp://api.example.com", ""]) {
    await failsWith(cambioFetch({ accessToken: "access-1" }, url)("/orders"), "misconfigured");
  }
});

test("a redirect of the API is the answer, and the token does not follow it", async () => {
  server.answer = ({ path }) => (path === "/v1/orders" ? { status: 307, headers: { Location: "/admin" } } : { body: "followed" });
  const call = cambioFetch({ accessToken: "access-1" }, `${server.url}/v1`);

  assert.equal((await call("/orders")).status, 307);
  assert.equal((await call(new Request(`${server.url}/v1/orders`))).status, 307);
  assert.deepEqual(
    server.requests.map(({ path }) => path),
    ["/v1/orders", "/v1/orders"],
  );

  assert.equal(await (await call("/orders", { redirect: "follow" })).json(), "followed");
});

test("a call to the API takes what fetch takes", async () => {
  const call = cambioFetch({ accessToken: "access-1" }, `${server.url}/v1`);
  const url = new URL(`${server.url}/v1/orders`);
  const post = { method: "POST", body: new URLSearchParams({ item: "1" }), headers: { Accept: "text/plain", Authorization: "Basic x" } };

  await call(url, post);
  await call("/orders", post);
  await call(new Request(url, post));
  await call(new Request(url), post);
  await call(new Request(url, post), { headers: { Accept: "text/html" } });

  assert.equal(server.requests.length, 5);
  for (const [n, { path, headers, form }] of server.requests.entries()) {
    assert.equal(path, "/v1/orders");
    assert.deepEqual(form, { item: "1" });
    assert.equal(headers.authorization, "Bearer access-1");
    assert.equal(headers.accept, n < 4 ? "text/plain" : "text/html");
  }
});

test("a call to the API ends with the signal of its caller", async () => {
  server.answer = () => ({ hang: true });
  const call = cambioFetch({ accessToken: "access-1" }, server.url);
  for (const start of [
    /** @param {AbortSignal} signal */ (signal) => call("/orders", { signal }),
    /** @param {AbortSignal} signal */ (signal) => call(new Request(`${server.url}/orders`, { signal })),
  ]) {
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 50);
    await assert.rejects(start(controller.signal), { name: "AbortError" });
  }
});

test("openapi-fetch calls the API with the types of this package", async () => {
  const api = openapi(`${server.url}/v1`);
  server.answer = () => ({ body: { ...USER, metadata: { theme: "dark" } } });

  assert.equal((await api.GET("/me")).data?.name, "Ada");
  await api.DELETE("/me/sessions/{session_id}", { params: { path: { session_id: "s 1" } } });

  assert.deepEqual(
    server.requests.map(({ path, headers }) => [path, headers.authorization]),
    [
      ["/v1/me", "Bearer access-1"],
      ["/v1/me/sessions/s%201", "Bearer access-1"],
    ],
  );
});
