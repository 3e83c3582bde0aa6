// @ts-check
/**
 * `cambioFetch` and the calls with an access token on React Native, which has no AbortSignal.timeout, no
 * AbortSignal.any and no `cache` of a Request. The `URL` is that of Expo.
 */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { createClient } from "@cambio/next-auth";
import { cambioFetch } from "@cambio/next-auth/fetch";
import { URL as ExpoUrl, URLSearchParams as ExpoUrlSearchParams } from "whatwg-url-minimum";
import { serverOfTests, USER } from "./server.mjs";

const server = await serverOfTests();
const standard = {
  URL,
  URLSearchParams,
  timeout: AbortSignal.timeout,
  any: AbortSignal.any,
  cache: Object.getOwnPropertyDescriptor(Request.prototype, "cache"),
};

before(() => {
  Object.assign(globalThis, { URL: ExpoUrl, URLSearchParams: ExpoUrlSearchParams });
  Object.assign(AbortSignal, { timeout: undefined, any: undefined });
  Reflect.deleteProperty(Request.prototype, "cache");
});
after(() => {
  const { URL, URLSearchParams, timeout, any, cache } = standard;
  Object.assign(globalThis, { URL, URLSearchParams });
  Object.assign(AbortSignal, { timeout, any });
  Object.defineProperty(Request.prototype, "cache", /** @type {PropertyDescriptor} */ (cache));
});

test("with the URL of Expo, cambioFetch calls the API and nothing outside of it", async () => {
  assert.notEqual(URL, standard.URL);
  const url = `${server.url}/v1`;
  const api = cambioFetch({ accessToken: "access-1" }, url);

  for (const target of ["/orders", `${url}/orders`, new Request(`${url}/orders`)]) await api(target);
  for (const target of ["/../me", "/%2e%2e/me", `${url}x/orders`, `${server.url}/me`, "//example.com/v1/orders", "https://example.com/v1"]) {
    await assert.rejects(api(target), { kind: "misconfigured" }, target);
  }

  assert.deepEqual(
    server.requests.map(({ path }) => path),
    ["/v1/orders", "/v1/orders", "/v1/orders"],
  );
});

test("with the URL of Expo, the calls to Cambio work and name a redirect", async () => {
  const client = createClient({ url: server.url, clientId: "app", clientSecret: "a b" });
  server.answer = () => ({ body: USER });
  assert.equal((await client.me("access-1")).name, "Ada");

  server.answer = () => ({ status: 302, headers: { Location: "https://elsewhere.example.com/x" } });
  await assert.rejects(client.me("access-1"), { kind: "misconfigured", message: /redirect to https:\/\/elsewhere\.example\.com:/ });
});
