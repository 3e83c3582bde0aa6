// @ts-check
/** Signing out, through the real handlers of next-auth 4 and Auth.js 5. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as v4 from "@cambio/next-auth/v4";
import * as v5 from "@cambio/next-auth/v5";
import { appWith4, appWith5, providerAnswer } from "./handlers.mjs";
import { grant, serverOfTests } from "./server.mjs";

const server = await serverOfTests();

for (const [version, start, nobody] of /** @type {const} */ ([
  ["next-auth 4", (/** @type {any} */ more) => appWith4(server.url, v4.cambio({ url: server.url, clientId: "nextjs", clientSecret: "secret", ...more })), {}],
  ["Auth.js 5", (/** @type {any} */ more) => appWith5(server.url, v5.cambio({ url: server.url, clientId: "nextjs", clientSecret: "secret", ...more })), null],
])) {
  /** A browser that has signed in, and signs out while Cambio hangs. @param {object} more */
  async function signedOut(more) {
    server.answer = ({ path }) => providerAnswer(path) ?? (path === "/revoke" ? { hang: true } : { body: grant(1) });
    /** @type {Promise<void>[]} */
    const tasks = [];
    const app = start({ after: (/** @type {Promise<void>} */ task) => void tasks.push(task), ...more });
    await app.signIn();
    const late = new Map(app.cookies);
    const { csrfToken } = JSON.parse((await app.get("/api/auth/csrf")).body);
    const answer = await app.post("/api/auth/signout", { csrfToken });
    return { app, late, answer, tasks };
  }

  test(`${version}: while Cambio hangs, signing out removes the cookie at once`, async () => {
    const { app, answer, tasks } = await signedOut({});
    assert.equal(answer.status, 302);
    assert.ok(![...app.cookies.keys()].some((name) => name.includes("session-token")), [...app.cookies.keys()].join());
    assert.equal(tasks.length, 1);
    assert.deepEqual(JSON.parse((await app.get("/api/auth/session")).body), nobody);
  });

  test(`${version}: the empty cookie that Next.js leaves behind is no session`, async () => {
    const { app, late } = await signedOut({});
    for (const name of late.keys()) if (name.includes("session-token")) app.cookies.set(name, "");
    assert.equal(await app.onServer(), null);
    assert.deepEqual(JSON.parse((await app.get("/api/auth/session")).body), nobody);
  });

  test(`${version}: a late answer, or a second tab, brings back a cookie that is worth nothing`, async () => {
    /** @type {Map<string, string>} */
    const stored = new Map();
    const cookies = () => ({
      get: (/** @type {string} */ name) => (stored.has(name) ? { value: stored.get(name) } : undefined),
      set: (/** @type {string} */ name, /** @type {string} */ value) => void stored.set(name, value),
    });
    const { app, late } = await signedOut({ cookies });
    for (const [name, value] of late) app.cookies.set(name, value);

    assert.equal(await app.onServer(), null);
    const session = await app.get("/api/auth/session");

    assert.deepEqual(JSON.parse(session.body), nobody);
    assert.ok(![...app.cookies.keys()].some((name) => name.includes("session-token")), "and it is removed");
    assert.deepEqual([...stored.keys()], ["cambio.ended"]);
    await app.signIn();
    assert.match((await app.get("/api/auth/session")).body, /Ada/);
  });
}
