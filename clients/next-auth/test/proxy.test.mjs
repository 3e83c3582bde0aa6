// @ts-check
/** Tests the README's proxy.ts: the requests that it matches, and the caching of its answers. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { test } from "node:test";
import * as v5 from "@cambio/next-auth/v5";
import { appWith5, providerAnswer } from "./handlers.mjs";
import { grant, serverOfTests } from "./server.mjs";

/** @type {typeof import("next/experimental/testing/server.js")} */
const { unstable_doesMiddlewareMatch } = createRequire(import.meta.url)("next/experimental/testing/server");
const server = await serverOfTests();

const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");
const [, proxy] = /** @type {RegExpExecArray} */ (/```ts\n(\/\/ proxy\.ts[^]*?)```/.exec(readme));

/** The matcher, which Next.js reads from the file without running it. */
function config() {
  const literal = /export const config = ([^]*?);\n/.exec(proxy);
  assert.ok(literal, "proxy.ts has a matcher");
  return new Function(`return ${literal[1]}`)();
}

/** @param {string} path @param {Record<string, string>} [headers] */
const runsFor = (path, headers = {}) => unstable_doesMiddlewareMatch({ config: config(), nextConfig: {}, url: `http://localhost:3000${path}`, headers });

test("the README's proxy runs for pages and for the app's own API", () => {
  for (const path of ["/", "/orders", "/orders/1?page=2", "/v1.2/orders", "/api/orders", "/nothing-here", "/authors", "/_nextdoor"]) {
    assert.ok(runsFor(path), path);
  }
  assert.ok(runsFor("/orders", { rsc: "1" }), "a navigation");
});

test("the README's proxy does not run for static files, images, next-auth's own routes and prefetches", () => {
  for (const path of [
    "/_next/static/chunks/main-4ac1.js",
    "/_next/static/media/font.woff2",
    "/_next/image?url=%2Flogo.png&w=64&q=75",
    "/favicon.ico",
    "/logo.png",
    "/img/missing.jpg",
    "/robots.txt",
    "/sitemap.xml",
    "/manifest.webmanifest",
    "/api/auth/session",
    "/api/auth/signin",
  ]) {
    assert.ok(!runsFor(path), path);
  }
  assert.ok(!runsFor("/orders", { rsc: "1", "next-router-prefetch": "1" }), "a prefetch of Next.js");
  assert.ok(!runsFor("/orders", { purpose: "prefetch" }), "a prefetch of a browser");
  assert.ok(!runsFor("/orders", { "sec-purpose": "prefetch" }), "a prefetch of a browser");
});

test("the README's proxy wraps auth", () => assert.match(proxy, /^export const proxy = cambioProxy\(auth\);$/m));

test("what sets the session cookie is private, and no cache stores it", async () => {
  const { signIn, proxy, cookies } = start();
  await signIn();

  const answer = await proxy?.("/orders", v5.cambioProxy);

  assert.ok(answer?.headers.getSetCookie().some((cookie) => cookie.includes("session-token=")));
  assert.equal(answer?.headers.get("Cache-Control"), "private, no-store");
  cookies.set("authjs.session-token", "broken");
  const cleared = await proxy?.("/orders", v5.cambioProxy);
  assert.ok(cleared?.headers.getSetCookie().length, "a stranger who got this would be signed out");
  assert.equal(cleared?.headers.get("Cache-Control"), "private, no-store");
});

test("a proxy of the app's own, wrapped by auth, is wrapped the same way", async () => {
  const { signIn, proxy } = start();
  await signIn();
  const own = () => Response.redirect("http://localhost:3000/elsewhere");
  const answer = await proxy?.("/orders", (auth) => v5.cambioProxy(auth(own)));
  assert.equal(answer?.headers.get("Location"), "http://localhost:3000/elsewhere");
  assert.equal(answer?.headers.get("Cache-Control"), "private, no-store");
});

test("an answer that sets no cookie is stored by caches as without a proxy", async () => {
  const { proxy } = start();
  const first = await proxy?.("/orders", v5.cambioProxy);
  assert.match(String(first?.headers.getSetCookie()), /csrf-token=/, "which is for one browser too");
  assert.equal(first?.headers.get("Cache-Control"), "private, no-store");
  const second = await proxy?.("/orders", v5.cambioProxy);
  assert.deepEqual(second?.headers.getSetCookie(), []);
  assert.equal(second?.headers.get("Cache-Control"), null);
});

function start() {
  server.answer = ({ path }) => providerAnswer(path) ?? { body: grant(1) };
  return appWith5(server.url, v5.cambio({ url: server.url, clientId: "nextjs", clientSecret: "secret" }));
}
