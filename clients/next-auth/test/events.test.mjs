// @ts-check
/** Tests the log, the events, and the page for a refused sign-in. */
import assert from "node:assert/strict";
import { mock, test } from "node:test";
import * as v4 from "@cambio/next-auth/v4";
import * as v5 from "@cambio/next-auth/v5";
import { cambio as plugin } from "@cambio/next-auth/better-auth";
import { betterAuth } from "better-auth";
import { appWith4, appWith5, providerAnswer } from "./handlers.mjs";
import { grant, serverOfTests, USER } from "./server.mjs";

const server = await serverOfTests();
const SECRETS = /cbr_|access-\d|gho_|ghr_|secret/;
const REFUSED = { error: "access_denied", error_description: "this user may not sign in" };

for (const [version, start] of /** @type {const} */ ([
  ["next-auth 4", (/** @type {any} */ own) => appWith4(server.url, v4.cambio({ url: server.url, clientId: "nextjs", clientSecret: "secret", ...own }))],
  ["Auth.js 5", (/** @type {any} */ own) => appWith5(server.url, v5.cambio({ url: server.url, clientId: "nextjs", clientSecret: "secret", ...own }))],
])) {
  /** An app that keeps its events and its log. @param {object} [more] */
  function observed(more) {
    /** @type {import("@cambio/next-auth/v4").CambioEvent[]} */
    const events = [];
    /** @type {[string, string][]} */
    const log = [];
    const logger = {
      error: (/** @type {string} */ text) => void log.push(["error", text]),
      info: (/** @type {string} */ text) => void log.push(["info", text]),
    };
    const onEvent = (/** @type {import("@cambio/next-auth/v4").CambioEvent} */ event) => void events.push(event);
    return { events, log, app: start({ onEvent, logger, ...more }) };
  }

  const tokens = (/** @type {number} */ nth, more = {}) => grant(nth, { refresh_token: `cbr_${nth}`, expires_in: 0, ...more });
  /**
   * Answers as Cambio, with access tokens that are due for a refresh at once.
   * @param {(nth: number) => import("./server.mjs").Answer} [refresh]
   */
  function cambio(refresh = (nth) => ({ body: tokens(nth) })) {
    let refreshes = 0;
    server.answer = ({ path, form }) =>
      providerAnswer(path) ??
      (path === "/revoke" ? {} : form.grant_type === "refresh_token" ? refresh((refreshes += 1) + 1) : { body: tokens(1, { is_new_user: true }) });
  }

  test(`${version}: a sign-in, a refresh and a sign-out are events`, async () => {
    cambio();
    const { events, log, app } = observed();

    await app.signIn();
    await app.get("/api/auth/session");
    const { csrfToken } = JSON.parse((await app.get("/api/auth/csrf")).body);
    await app.post("/api/auth/signout", { csrfToken });

    assert.deepEqual(events, [
      { type: "signIn", userId: USER.id, provider: "github", isNewUser: true },
      { type: "refresh", userId: USER.id },
      { type: "signOut", userId: USER.id },
    ]);
    assert.deepEqual(log, []);
  });

  test(`${version}: a refresh that fails is an event and an error in the log`, async () => {
    cambio(() => ({ status: 503, body: { error: "temporarily_unavailable" } }));
    const { events, log, app } = observed();
    await app.signIn();
    assert.equal(JSON.parse((await app.get("/api/auth/session")).body).error, "Unavailable");

    const [, failure, ...more] = events;
    assert.deepEqual(more, []);
    assert.equal(failure.type, "refreshFailed");
    assert.equal(failure.type === "refreshFailed" && failure.error.kind, "unavailable");
    assert.equal(failure.userId, USER.id);
    assert.deepEqual(log, [["error", `[cambio] the session was not refreshed: Cambio answers ${server.url}/token with 503 temporarily_unavailable`]]);
  });

  test(`${version}: the end of a session is one event, and no error`, async () => {
    cambio(() => ({ status: 400, body: { error: "invalid_grant" } }));
    const { events, log, app } = observed();
    await app.signIn();
    for (const _ of [1, 2]) assert.equal(JSON.parse((await app.get("/api/auth/session")).body).error, "SessionEnded");

    assert.deepEqual(events.slice(1), [{ type: "sessionEnded", userId: USER.id }]);
    assert.deepEqual(log, []);
  });

  for (const [what, status, body, page] of /** @type {const} */ ([
    ["a disabled user", 400, REFUSED, "AccessDenied"],
    ["a provider that the app has no right to", 400, { error: "unauthorized_client" }, "AccessDenied"],
    ["a sign-in that was not confirmed", 400, { error: "invalid_request" }, "CambioRefused"],
  ])) {
    test(`${version}: ${what} gets a page, an event, and no error in the log`, async () => {
      server.answer = ({ path }) => providerAnswer(path) ?? { status, body };
      const ownErrors = mock.fn();
      const { events, log, app } = observed({ errorPage: "/oops" });
      const reported = mock.method(console, "error", ownErrors);

      const { headers } = await app.signIn();

      reported.mock.restore();
      assert.equal(new URL(headers.get("Location") ?? "", "http://localhost:3000").href, `http://localhost:3000/oops?error=${page}`);
      assert.deepEqual(
        [...app.cookies.keys()].filter((name) => name.includes("session-token")),
        [],
      );
      assert.equal(ownErrors.mock.callCount(), 0);
      assert.deepEqual(
        log.map(([level]) => level),
        ["info"],
      );
      const [event, ...more] = events;
      assert.deepEqual(more, []);
      assert.equal(event.type, "signInFailed");
      assert.deepEqual(event.type === "signInFailed" && [event.provider, event.page, event.error.code], ["github", page, body.error]);
    });
  }

  test(`${version}: a sign-in that fails for another reason is an error in the log`, async () => {
    server.answer = ({ path }) => providerAnswer(path) ?? { status: 401, body: { error: "invalid_client" } };
    const { events, log, app } = observed();
    await app.signIn();
    assert.deepEqual(
      events.map((event) => event.type === "signInFailed" && event.page),
      ["CambioMisconfigured"],
    );
    assert.deepEqual(log, [["error", `[cambio] Cambio answers ${server.url}/token with 401 invalid_client`]]);
  });

  test(`${version}: no event and no line of the log has a token in it`, async () => {
    let isDown = false;
    cambio((nth) => (isDown ? { status: 503, body: {} } : { body: tokens(nth) }));
    const { events, log, app } = observed();
    await app.signIn();
    await app.get("/api/auth/session");
    isDown = true;
    await app.get("/api/auth/session");
    await app.signIn();
    server.answer = ({ path }) => providerAnswer(path) ?? { status: 400, body: REFUSED };
    await app.signIn();

    assert.deepEqual([...new Set(events.map(({ type }) => type))], ["signIn", "refresh", "refreshFailed", "signInFailed"]);
    const { inspect } = await import("node:util");
    assert.doesNotMatch(inspect([events, log], { depth: 9, showHidden: true }), SECRETS);
  });

  test(`${version}: an onEvent that throws, rejects or hangs disturbs nothing`, async () => {
    for (const onEvent of [
      () => {
        throw new Error("oops");
      },
      async () => {
        throw new Error("oops");
      },
      () => new Promise(() => {}),
    ]) {
      cambio();
      const { log, app } = observed({ onEvent });
      await app.signIn();
      assert.match((await app.get("/api/auth/session")).body, /Ada/);
      await new Promise((resolve) => setImmediate(resolve));
      assert.ok(
        log.every(([level, text]) => level === "error" && text === "[cambio] onEvent: oops"),
        JSON.stringify(log),
      );
    }
  });
}

test("better-auth: sign-ins are events, and a refused one is no error in the log", async () => {
  /** @type {import("@cambio/next-auth/better-auth").CambioEvent[]} */
  const events = [];
  const error = mock.fn();
  const info = mock.fn();
  const options = { url: server.url, clientId: "nextjs", clientSecret: "secret", logger: { error, info } };
  const auth = betterAuth({
    baseURL: "http://localhost:3000",
    secret: "a secret of the unit tests, and of nothing else",
    logger: { disabled: true },
    // Its id_token is accepted as it is.
    socialProviders: { google: { clientId: "id", clientSecret: "secret", verifyIdToken: async () => true } },
    plugins: [plugin({ ...options, onEvent: (event) => void events.push(event) })],
  });
  const profile = Buffer.from(JSON.stringify({ sub: "1", name: "Ada", email: "ada@example.com", email_verified: true })).toString("base64url");
  const signIn = () => auth.api.signInSocial({ body: { provider: "google", idToken: { token: `e30.${profile}.sig` } } });

  server.answer = () => ({ body: grant(1, { is_new_user: true }) });
  await signIn();
  server.answer = () => ({ status: 400, body: REFUSED });
  await assert.rejects(signIn());

  assert.deepEqual(events[0], { type: "signIn", userId: USER.id, provider: "google", isNewUser: true });
  assert.equal(events[1].type === "signInFailed" && events[1].page, "AccessDenied");
  assert.equal(error.mock.callCount(), 0);
  assert.equal(info.mock.callCount(), 1);
});
