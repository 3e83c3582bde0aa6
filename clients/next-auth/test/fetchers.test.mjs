// @ts-check
/** `cambioFetch` as the `fetch` of published clients, with a session and with `getAccessToken`. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { CambioError, isCambioError } from "@cambio/next-auth";
import { cambioFetch } from "@cambio/next-auth/fetch";
import ky from "ky";
import { createFetch } from "ofetch";
import { serverOfTests, USER } from "./server.mjs";

const server = await serverOfTests();

/** The calls of an app with each client, on an API at `url` with a session. */
const CLIENTS = {
  /** @param {string} url @param {typeof globalThis.fetch} fetch */
  ofetch(url, fetch) {
    const api = createFetch({ fetch, defaults: { baseURL: url } });
    return {
      read: () => api("/orders", { query: { page: 2 } }),
      write: () => api("/orders", { method: "POST", body: { item: "tea" }, headers: { "X-Own": "1" } }),
      /** @param {string} target */
      ask: (target) => api(target),
      statusOf: (/** @type {any} */ error) => error.status,
      causeOf: (/** @type {any} */ error) => error.cause,
    };
  },
  /** @param {string} url @param {typeof globalThis.fetch} fetch */
  ky(url, fetch) {
    const api = ky.create({ prefixUrl: url, fetch, retry: 0 });
    return {
      read: () => api.get("orders", { searchParams: { page: 2 } }).json(),
      write: () => api.post("orders", { json: { item: "tea" }, headers: { "X-Own": "1" } }).json(),
      /** @param {string} target */
      ask: (target) => api.extend({ prefixUrl: "" }).get(target).json(),
      statusOf: (/** @type {any} */ error) => error.response?.status,
      causeOf: (/** @type {any} */ error) => error,
    };
  },
};

for (const [name, client] of Object.entries(CLIENTS)) {
  /** @param {{ accessToken?: string, error?: string } | null} session */
  const apiOf = (session) => client(`${server.url}/v1`, cambioFetch(session, `${server.url}/v1`));

  test(`${name} reads and writes with the token of the session, below the base path`, async () => {
    server.answer = () => ({ body: USER });
    const api = apiOf({ accessToken: "access-1" });

    assert.equal((await api.read()).name, "Ada");
    assert.equal((await api.write()).name, "Ada");

    const [read, write] = server.requests;
    assert.deepEqual([read.path, read.headers.authorization], ["/v1/orders?page=2", "Bearer access-1"]);
    assert.deepEqual([write.path, write.headers.authorization, write.headers["x-own"]], ["/v1/orders", "Bearer access-1", "1"]);
    assert.match(String(write.headers["content-type"]), /^application\/json/);
    assert.deepEqual(Object.keys(write.form), ['{"item":"tea"}']);
  });

  test(`${name} gets the answer of the API where that is an error`, async () => {
    server.answer = () => ({ status: 404, body: { error: "not_found" } });
    const api = apiOf({ accessToken: "access-1" });

    await assert.rejects(
      async () => void (await api.read()),
      (/** @type {unknown} */ error) => api.statusOf(error) === 404,
    );
  });

  test(`${name} fails with the error of the session where that has no token`, async () => {
    const api = apiOf({ error: "Unavailable" });

    await assert.rejects(
      async () => void (await api.read()),
      (/** @type {unknown} */ error) => api.causeOf(error).kind === "unavailable",
    );
    assert.equal(server.requests.length, 0);
  });

  test(`${name} does not send the token to another address`, async () => {
    const api = apiOf({ accessToken: "access-1" });

    for (const target of [`${server.url}/v2/orders`, "http://127.0.0.1:9/v1/orders"]) {
      await assert.rejects(
        async () => void (await api.ask(target)),
        (/** @type {unknown} */ error) => api.causeOf(error).kind === "misconfigured",
      );
    }
    assert.equal(server.requests.length, 0);
  });

  /** A source of tokens as `getAccessToken`, and what it was asked for. */
  function source() {
    /** @type {object[]} */
    const asked = [];
    const tokens = async (/** @type {{ refused?: string, audience?: string | undefined }} */ options = {}) => {
      asked.push(options);
      return { token: options.refused ? "new" : "old", expiresAt: Infinity };
    };
    return { asked, tokens };
  }

  test(`${name} calls with getAccessToken, and a call that the API refuses is repeated with its body and another token`, async () => {
    server.answer = ({ headers }) => (headers.authorization === "Bearer new" ? { body: USER } : { status: 401, body: {} });
    const { asked, tokens } = source();
    const api = client(`${server.url}/v1`, cambioFetch(tokens, `${server.url}/v1`, { audience: "https://orders.example.com" }));

    assert.equal((await api.read()).name, "Ada");
    assert.equal((await api.write()).name, "Ada");

    const audience = "https://orders.example.com";
    assert.deepEqual(asked, [{ audience }, { refused: "old", audience }, { audience }, { refused: "old", audience }]);
    assert.deepEqual(
      server.requests.map(({ method, path, headers, form }) => [method, path, headers.authorization, Object.keys(form)]),
      [
        ["GET", "/v1/orders?page=2", "Bearer old", []],
        ["GET", "/v1/orders?page=2", "Bearer new", []],
        ["POST", "/v1/orders", "Bearer old", ['{"item":"tea"}']],
        ["POST", "/v1/orders", "Bearer new", ['{"item":"tea"}']],
      ],
    );
  });

  test(`${name} gets a second 401 as the answer of the API`, async () => {
    server.answer = () => ({ status: 401, body: {} });
    const api = client(`${server.url}/v1`, cambioFetch(source().tokens, `${server.url}/v1`));
    await assert.rejects(
      async () => void (await api.read()),
      (/** @type {unknown} */ error) => api.statusOf(error) === 401,
    );
    assert.equal(server.requests.length, 2);
  });

  test(`${name} fails with the error of getAccessToken`, async () => {
    const ended = () => Promise.reject(new CambioError("ended", "the session has no access token"));
    const api = client(`${server.url}/v1`, cambioFetch(ended, `${server.url}/v1`));
    await assert.rejects(
      async () => void (await api.read()),
      (/** @type {unknown} */ error) => api.causeOf(error).kind === "ended",
    );
    assert.equal(server.requests.length, 0);
  });
}

test("a session has the token of no other audience, so a call with one fails and sends nothing", async () => {
  const call = cambioFetch({ accessToken: "access-1" }, server.url, { audience: "https://orders.example.com" })("/orders");
  await assert.rejects(call, (error) => isCambioError(error) && error.kind === "misconfigured" && /getAccessToken/.test(error.message));
  assert.equal(server.requests.length, 0);
});
