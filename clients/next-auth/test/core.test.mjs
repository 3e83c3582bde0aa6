// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { CambioError, cambioFetch, createClient } from "@cambio/next-auth";
import { grant, serverOfTests, USER } from "./server.mjs";

const server = await serverOfTests();
const client = createClient({ url: `${server.url}/`, clientId: "next js", clientSecret: "a:b+c", timeout: 500 });

/** @param {Promise<unknown>} call @param {string} kind */
async function failsWith(call, kind) {
  await assert.rejects(call, (/** @type {unknown} */ error) => {
    assert.ok(error instanceof CambioError, String(error));
    assert.equal(error.kind, kind, error.message);
    assert.doesNotMatch(error.message, /gho_|eyJ|refresh-|a:b/);
    return true;
  });
}

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

test("what passes is tried once more", async () => {
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

test("a redirect is not followed with the client's secret", async () => {
  server.answer = () => ({ status: 302, headers: { Location: `${server.url}/elsewhere` } });
  await failsWith(client.refresh("refresh-1"), "unavailable");
  assert.ok(server.requests.every(({ path }) => path === "/token"));
});

test("a token is given back", async () => {
  server.answer = () => ({});
  await client.revoke("refresh-1");
  assert.equal(server.requests[0].path, "/revoke");
  assert.deepEqual(server.requests[0].form, { token: "refresh-1" });
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
