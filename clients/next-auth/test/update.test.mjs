// @ts-check
/** `update()` of next-auth, through the real handlers of next-auth 4 and Auth.js 5. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as v4 from "@cambio/next-auth/v4";
import * as v5 from "@cambio/next-auth/v5";
import { appWith4, appWith5, providerAnswer } from "./handlers.mjs";
import { grant, serverOfTests, USER } from "./server.mjs";

const server = await serverOfTests();

for (const [version, start] of /** @type {const} */ ([
  ["next-auth 4", (/** @type {any} */ own) => appWith4(server.url, v4.cambio({ url: server.url, clientId: "nextjs", clientSecret: "secret", ...own }))],
  ["Auth.js 5", (/** @type {any} */ own) => appWith5(server.url, v5.cambio({ url: server.url, clientId: "nextjs", clientSecret: "secret", ...own }))],
])) {
  const callbacks = { session: (/** @type {any} */ { session, token }) => ({ ...session, roles: token.cambio?.user.roles }) };
  /** A browser that has signed in, as a user without roles. @param {object} [more] */
  async function signedIn(more) {
    server.answer = ({ path }) => providerAnswer(path) ?? { body: grant(1) };
    const app = start({ callbacks, exposeAccessToken: true, ...more });
    await app.signIn();
    const { csrfToken } = JSON.parse((await app.get("/api/auth/csrf")).body);
    const update = async () => JSON.parse((await app.post("/api/auth/session", { csrfToken })).body);
    const session = async () => JSON.parse((await app.get("/api/auth/session")).body);
    return { app, update, session };
  }
  const refreshes = () => server.requests.filter(({ form }) => form.grant_type === "refresh_token").length;

  test(`${version}: update() shows the user and the roles of this moment, in one request`, async () => {
    const { update, session } = await signedIn();
    assert.deepEqual((await session()).roles, []);
    server.answer = () => ({ body: grant(2, { user: { ...USER, name: "Countess Lovelace", roles: ["admin"] } }) });

    const updated = await update();
    const later = await session();

    assert.equal(refreshes(), 1);
    for (const { user, roles, accessToken } of [updated, later]) {
      assert.equal(user.name, "Countess Lovelace");
      assert.deepEqual(roles, ["admin"]);
      assert.equal(accessToken, "access-2");
    }
  });

  test(`${version}: without update(), a good token stays as it is`, async () => {
    const { session } = await signedIn();
    for (const _ of [1, 2]) await session();
    assert.equal(refreshes(), 0);
  });

  test(`${version}: when Cambio is down, update() leaves the session as it is`, async () => {
    const { update } = await signedIn({ timeout: 200 });
    server.answer = () => ({ status: 503, body: {} });
    const { user, accessToken, error } = await update();
    assert.deepEqual([user.name, accessToken, error], ["Ada", "access-1", undefined]);
  });

  test(`${version}: update() of a session that has ended says so`, async () => {
    const { update } = await signedIn();
    server.answer = () => ({ status: 400, body: { error: "invalid_grant" } });
    const { accessToken, error } = await update();
    assert.deepEqual([accessToken, error], [undefined, "SessionEnded"]);
  });
}
