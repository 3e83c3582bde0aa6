// @ts-check
/** Tests the caching of answers of next-auth's routes, and the cookies that a browser keeps. */
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { test } from "node:test";
import { cambioHandler } from "@cambio/next-auth/handler";
import * as v5 from "@cambio/next-auth/v5";
import { appWith5, providerAnswer } from "./handlers.mjs";
import { grant, serverOfTests } from "./server.mjs";

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
