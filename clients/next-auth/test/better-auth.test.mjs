// @ts-check
/** Tests the plugin in a real better-auth with a provider in this file. */
import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";
import { isCambioError } from "@cambio/next-auth";
import { accessTokenOf, cambio } from "@cambio/next-auth/better-auth";
import { cambioFetch } from "@cambio/next-auth/fetch";
import { betterAuth } from "better-auth";
import { memoryAdapter } from "better-auth/adapters/memory";
import { genericOAuth } from "better-auth/plugins";
import { genericGitHub, grant, serverOfTests, USER } from "./server.mjs";

const APP = "http://localhost:3000";

/** The user as a session shows it. */
const { identities: _, ...SHOWN } = USER;

const server = await serverOfTests();
beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ["Date"], now: Date.now() });
});

/**
 * @param {Record<string, any>} [options]
 * @param {object} [tokens] that the provider gives out
 * @param {object} [more] of the plugin's options
 */
function start(options, tokens = { accessToken: "gho_1" }, more) {
  const github = genericGitHub(async () => tokens);
  return betterAuth({
    baseURL: APP,
    secret: "a secret of the unit tests, and of nothing else",
    logger: { disabled: true },
    emailAndPassword: { enabled: true },
    ...options,
    plugins: [
      cambio({ url: server.url, clientId: "nextjs", clientSecret: "secret", timeout: 500, exposeAccessToken: true, ...more }),
      genericOAuth({ config: [github] }),
    ],
  });
}

/** Returns a browser, which stores and sends cookies. */
class Browser {
  /** @type {Map<string, string>} */
  cookies = new Map();

  /** @param {Pick<ReturnType<typeof start>, "handler" | "api">} auth */
  constructor(auth) {
    this.auth = auth;
  }

  get headers() {
    const cookie = [...this.cookies].map((pair) => pair.join("=")).join("; ");
    return new Headers({ cookie, origin: APP, "user-agent": "Firefox" });
  }

  /** @param {string} path @param {object} [body] */
  async ask(path, body) {
    const headers = this.headers;
    headers.set("content-type", "application/json");
    const url = new URL(path, `${APP}/api/auth/`);
    const request = new Request(url, body ? { method: "POST", headers, body: JSON.stringify(body) } : { headers });
    const response = await this.auth.handler(request);
    for (const cookie of response.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(cookie) ?? [];
      if (/max-age=0/i.test(cookie)) this.cookies.delete(name);
      else this.cookies.set(name, value);
    }
    return response;
  }

  /** By way of the provider; says where that ends. @param {string} [begin] */
  async signIn(begin = "sign-in/social") {
    const begun = await this.ask(begin, { provider: "github", callbackURL: "/", errorCallbackURL: "/oops" });
    const { url } = await begun.json();
    const answer = await this.ask(`callback/github?${new URLSearchParams({ code: "code", state: new URL(url).searchParams.get("state") ?? "" })}`);
    assert.equal(answer.status, 302);
    return new URL(answer.headers.get("location") ?? "", APP);
  }

  /** Requests the session as a script of the app does. */
  async session() {
    const answer = await this.ask("cambio/session");
    assert.equal(answer.headers.get("cache-control"), "no-store");
    return answer.json();
  }

  /** Requests the session as a server component does, which cannot store a refreshed session. */
  async rendering() {
    const session = await this.auth.api.cambioSession({ headers: this.headers });
    assert.ok(session);
    return session;
  }
}

/**
 * Returns a browser that has signed in, with the answer of the API.
 * @param {ReturnType<typeof start>} auth
 * @param {object} [given]
 */
async function signedIn(auth, given) {
  server.answer = () => ({ body: grant(1, given) });
  const browser = new Browser(auth);
  assert.equal((await browser.signIn()).pathname, "/");
  return browser;
}

/** Some time passes, in seconds. @param {number} seconds */
function later(seconds) {
  mock.timers.tick(seconds * 1000);
}

test("a sign-in is traded, and the session shows the user of the API", async () => {
  const browser = await signedIn(start());

  const session = await browser.session();

  assert.deepEqual(session, { accessToken: "access-1", expiresAt: Date.now() + 900_000, user: SHOWN });
  assert.deepEqual(await browser.rendering(), session);
  const [{ form, headers }] = server.requests;
  assert.deepEqual([form.subject_issuer, form.subject_token, headers["user-agent"]], ["github", "gho_1", "Firefox"]);
  assert.equal(server.requests.length, 1);
  assert.doesNotMatch(JSON.stringify([...browser.cookies]), /access-1|refresh-1|gho_1/);
});

test("of an OpenID provider, the ID token is sent", async () => {
  await signedIn(start({}, { accessToken: "opaque", idToken: "eyJ1" }));
  const { subject_token, subject_issuer } = server.requests[0].form;
  assert.deepEqual([subject_token, subject_issuer], ["eyJ1", undefined]);
});

test("the nonce of a sign-in by an ID token that the app has goes to Cambio, and a redirect has none", async () => {
  const claims = { sub: "1", name: "Ada", email: "ada@example.com", email_verified: true };
  const token = ["{}", JSON.stringify(claims), ""].map((part) => Buffer.from(part).toString("base64url")).join(".");
  const google = { clientId: "id", clientSecret: "secret", verifyIdToken: async () => true };
  server.answer = () => ({ body: grant(1) });
  const browser = new Browser(start({ socialProviders: { google } }));
  for (const nonce of ["n-1", undefined]) {
    server.requests.length = 0;
    const answer = await browser.ask("sign-in/social", { provider: "google", idToken: { token, nonce } });
    assert.equal(answer.status, 200, await answer.text());
    assert.deepEqual([server.requests[0].form.subject_token, server.requests[0].form.nonce], [token, nonce]);
  }
});

test("who signs in again has a new session, with the tokens of that sign-in", async () => {
  const auth = start({ account: { encryptOAuthTokens: true } });
  const first = await signedIn(auth);
  server.answer = () => ({ body: grant(2) });

  const second = new Browser(auth);
  await second.signIn();

  assert.equal((await second.session()).accessToken, "access-2");
  assert.equal((await first.session()).accessToken, "access-1");
  assert.deepEqual(
    server.requests.map(({ form }) => form.subject_token),
    ["gho_1", "gho_1"],
    "although they are encrypted where they are stored",
  );
});

for (const [error, page] of [
  ["access_denied", "AccessDenied"],
  ["invalid_request", "CambioRefused"],
  ["temporarily_unavailable", "CambioUnavailable"],
  ["invalid_client", "CambioMisconfigured"],
]) {
  test(`a sign-in that fails with ${error} ends on a page that can say so, and leaves nothing behind`, async () => {
    const auth = start();
    server.answer = () => ({ status: error === "temporarily_unavailable" ? 503 : 400, body: { error } });
    const browser = new Browser(auth);

    const end = await browser.signIn();

    assert.equal(end.pathname, "/oops");
    assert.equal(end.searchParams.get("error"), page);
    assert.equal(await browser.session(), null);
    const { internalAdapter } = await auth.$context;
    assert.equal(await internalAdapter.findUserByEmail("octocat@example.com"), null);

    server.answer = () => ({ body: grant(1) });
    assert.equal((await browser.signIn()).pathname, "/", "and the next try can work");
    server.answer = () => ({ status: 400, body: { error } });
    assert.equal((await new Browser(auth).signIn()).searchParams.has("error"), true, "a user who is known is asked about each time");
  });
}

test("a minute before it expires, ten requests at once refresh it once", async () => {
  const browser = await signedIn(start());
  later(839);
  assert.equal((await browser.session()).accessToken, "access-1");
  later(1);
  server.answer = () => ({ body: grant(2) });

  const sessions = await Promise.all(Array.from({ length: 10 }, () => browser.rendering()));

  assert.equal(server.requests.length, 2);
  for (const session of sessions) assert.equal(session.accessToken, "access-2");
  // None of them could store the session. A later request sends the same token again and stores the answer.
  assert.equal((await browser.rendering()).accessToken, "access-2");
  assert.equal(server.requests.length, 2);
  later(6);
  assert.equal((await browser.session()).accessToken, "access-2");
  assert.equal(server.requests[2].form.refresh_token, "refresh-1");
  later(6);
  assert.equal((await browser.rendering()).accessToken, "access-2");
  assert.equal(server.requests.length, 3);
});

test("only Cambio's own word ends a session", async () => {
  const browser = await signedIn(start());
  later(901);
  server.answer = () => ({ status: 400, body: { error: "invalid_grant" } });

  assert.deepEqual(await browser.session(), { error: "SessionEnded", user: SHOWN });
  const asked = server.requests.length;
  assert.equal((await browser.session()).error, "SessionEnded");
  assert.equal(server.requests.length, asked, "there is nothing more to ask");
});

test("while Cambio is down the session stays, and goes on afterwards", async () => {
  const browser = await signedIn(start());
  later(901);
  for (const answer of [
    { status: 503 },
    { status: 401, body: { error: "invalid_client" } },
    { status: 429, body: { error: "too_many_requests" }, headers: { "Retry-After": "42" } },
  ]) {
    server.answer = () => answer;
    assert.deepEqual(await browser.session(), { error: "Unavailable", user: SHOWN });
  }
  server.answer = () => ({ body: grant(2) });
  assert.equal((await browser.session()).accessToken, "access-2");
});

test("signing out gives the token back, and works while Cambio is down", async () => {
  for (const status of [200, 503]) {
    const browser = await signedIn(start());
    server.answer = () => ({ status });
    const answer = await browser.ask("sign-out", {});
    assert.equal(answer.status, 200);
    const { path, form } = server.requests[server.requests.length - 1];
    assert.deepEqual([path, form], ["/revoke", { token: "refresh-1" }]);
    assert.ok(![...browser.cookies.keys()].some((name) => name.includes("cambio")), [...browser.cookies.keys()].join());
    assert.equal(await browser.session(), null);
  }
});

/**
 * The stores of better-auth; without any of them it knows the sessions of its own process.
 * @type {Record<string, () => { options: object, content: () => unknown }>}
 */
const STORES = {
  "a database": () => {
    const tables = { user: [], session: [], account: [], verification: [] };
    return { options: { database: memoryAdapter(tables) }, content: () => tables };
  },
  "a database and a secondary storage": () => {
    const tables = { user: [], session: [], account: [], verification: [] };
    const { secondaryStorage, values } = storage();
    const options = { database: memoryAdapter(tables), secondaryStorage, session: { storeSessionInDatabase: true } };
    return { options, content: () => [tables, ...values] };
  },
  "a secondary storage alone": () => {
    const { secondaryStorage, values } = storage();
    return { options: { secondaryStorage }, content: () => [...values] };
  },
};

/** A secondary storage, such as Redis. */
function storage() {
  /** @type {Map<string, string>} */
  const values = new Map();
  const secondaryStorage = {
    get: (/** @type {string} */ key) => values.get(key) ?? null,
    getAndDelete: (/** @type {string} */ key) => {
      const value = values.get(key) ?? null;
      values.delete(key);
      return value;
    },
    set: (/** @type {string} */ key, /** @type {string} */ value) => void values.set(key, value),
    delete: (/** @type {string} */ key) => void values.delete(key),
  };
  return { secondaryStorage, values };
}

/**
 * Signs one user in with three browsers, whose refresh tokens are `refresh-1` to `refresh-3`.
 * @param {ReturnType<typeof start>} auth
 */
async function inThreeBrowsers(auth) {
  const browsers = [];
  for (const nth of [1, 2, 3]) {
    server.answer = () => ({ body: grant(nth) });
    const browser = new Browser(auth);
    assert.equal((await browser.signIn()).pathname, "/");
    browsers.push(browser);
  }
  server.requests.length = 0;
  server.answer = () => ({});
  return browsers;
}

/** The token by which better-auth names a session. @param {Browser} browser */
async function sessionToken(browser) {
  return (await (await browser.ask("get-session")).json()).session.token;
}

/** Returns the tokens that were revoked. */
function revoked() {
  assert.ok(
    server.requests.every(({ path }) => path === "/revoke"),
    JSON.stringify(server.requests),
  );
  return server.requests.map(({ form }) => form.token).sort();
}

for (const [kept, store] of Object.entries(STORES)) {
  const begin = () => start({ ...store().options, user: { deleteUser: { enabled: true } } });

  test(`with ${kept}, revoking one session ends that one at Cambio`, async () => {
    const [here, there] = await inThreeBrowsers(begin());
    const answer = await here.ask("revoke-session", { token: await sessionToken(there) });
    assert.equal(answer.status, 200);
    assert.deepEqual(revoked(), ["refresh-2"]);
    assert.equal(await there.session(), null);
    assert.equal((await here.session()).accessToken, "access-1");
  });

  test(`with ${kept}, revoking the other sessions ends those at Cambio`, async () => {
    const [here] = await inThreeBrowsers(begin());
    await here.ask("revoke-other-sessions", {});
    assert.deepEqual(revoked(), ["refresh-2", "refresh-3"]);
    assert.equal((await here.session()).accessToken, "access-1");
  });

  for (const path of ["revoke-sessions", "delete-user"]) {
    test(`with ${kept}, ${path} ends all of the user's sessions at Cambio`, async () => {
      const auth = begin();
      const [here] = await inThreeBrowsers(auth);
      const answer = await here.ask(path, {});
      assert.equal(answer.status, 200);
      assert.deepEqual(revoked(), ["refresh-1", "refresh-2", "refresh-3"]);
      assert.ok(![...here.cookies.keys()].some((name) => name.includes("cambio")), [...here.cookies.keys()].join());
    });
  }

  test(`with ${kept}, a sign-out asks Cambio once`, async () => {
    const [here] = await inThreeBrowsers(begin());
    await here.ask("sign-out", {});
    assert.deepEqual(revoked(), ["refresh-1"]);
  });

  test(`with ${kept}, sessions end although Cambio is down`, async () => {
    const [here, there] = await inThreeBrowsers(begin());
    server.answer = () => ({ status: 503 });
    assert.equal((await here.ask("revoke-sessions", {})).status, 200);
    assert.equal(await there.session(), null);
  });

  test(`with ${kept}, a session that was used for months is ended at Cambio as well`, async () => {
    const [here, there] = await inThreeBrowsers(begin());
    for (let day = 0; day < 90; day += 2) {
      later(2 * 24 * 60 * 60);
      for (const browser of [here, there]) assert.equal((await browser.ask("get-session")).status, 200);
    }
    await here.ask("revoke-other-sessions", {});
    assert.deepEqual(revoked(), ["refresh-2"]);
  });

  test(`${kept} holds no token of Cambio that can be read`, async () => {
    const { options, content } = store();
    await inThreeBrowsers(start(options));
    assert.match(JSON.stringify(content()), /octocat/);
    assert.doesNotMatch(JSON.stringify(content()), /refresh-\d|access-\d/);
  });
}

test("sessions that end by other ways than these paths end at Cambio as well", async () => {
  const auth = start(STORES["a database"]().options);
  const [here] = await inThreeBrowsers(auth);
  const { internalAdapter } = await auth.$context;
  const user = await internalAdapter.findUserByEmail("octocat@example.com");
  await internalAdapter.deleteUserSessions(user?.user.id ?? "");
  assert.deepEqual(revoked(), ["refresh-1", "refresh-2", "refresh-3"]);
  assert.equal(await here.session(), null);
});

test("a session that this version has no record of ends at Cambio at its sign-out", async () => {
  const { options, content } = STORES["a database"]();
  const [here] = await inThreeBrowsers(start(options));
  const tables = /** @type {{ verification: object[] }} */ (content());
  tables.verification.length = 0;
  await here.ask("sign-out", {});
  assert.deepEqual(revoked(), ["refresh-1"]);
});

test("a session that has expired at better-auth ends at Cambio when its browser comes back", async () => {
  const [here] = await inThreeBrowsers(start(STORES["a database"]().options));
  const [session] = [...here.cookies].filter(([name]) => name.includes("session_token"));
  later(8 * 24 * 60 * 60);
  here.cookies.set(...session);
  assert.equal(await (await here.ask("get-session")).json(), null);
  assert.deepEqual(revoked(), ["refresh-1"]);
  assert.ok(![...here.cookies.keys()].some((name) => name.includes("cambio")));
});

test("sessions that end at once do not wait for each other", async () => {
  let asked = 0;
  /** @type {() => void} */
  let allAreThere = () => {};
  const all = new Promise((/** @type {(_: void) => void} */ resolve) => (allAreThere = resolve));
  /** Answers nobody before everybody has asked. @type {typeof fetch} */
  const meeting = async (url, init) => {
    if (!`${url}`.endsWith("/revoke")) return fetch(url, init);
    if (++asked === 3) allAreThere();
    const givenUp = new Promise((_, reject) => init?.signal?.addEventListener("abort", () => reject(new Error("gave up"))));
    await Promise.race([all, givenUp]);
    return new Response();
  };
  const [here] = await inThreeBrowsers(start(STORES["a database"]().options, undefined, { fetch: meeting }));
  await here.ask("revoke-sessions", {});
  assert.equal(asked, 3, "nobody gave up, and asked again");
});

for (const path of ["revoke-sessions", "delete-user", "revoke-session"]) {
  test(`without a store, in another process than that of the sign-in, ${path} gives back the token of who asks`, async () => {
    const options = { user: { deleteUser: { enabled: true } } };
    const here = await signedIn(start(options));
    const token = await sessionToken(here);
    here.auth = start(options);
    server.requests.length = 0;
    server.answer = () => ({});
    const answer = await here.ask(path, path === "revoke-session" ? { token } : {});
    assert.equal(answer.status, 200);
    assert.deepEqual(revoked(), ["refresh-1"]);
    assert.ok(![...here.cookies.keys()].some((name) => name.includes("cambio")));
  });
}

test("a session that no provider stands behind has no token", async () => {
  const browser = new Browser(start());
  await browser.ask("sign-up/email", { name: "Ada", email: "ada@example.com", password: "correct horse" });
  assert.deepEqual(await browser.session(), { error: "SessionEnded" });
  assert.equal(server.requests.length, 0);
});

test("linking an account opens no session", async () => {
  const browser = new Browser(start());
  await browser.ask("sign-up/email", { name: "Octocat", email: "octocat@example.com", password: "correct horse" });
  assert.equal((await browser.signIn("link-social")).pathname, "/");
  assert.equal(server.requests.length, 0);
});

test("a cookie goes with its own session, and with no other", async () => {
  const auth = start();
  const [one, other] = [await signedIn(auth), await signedIn(auth)];
  for (const [name, value] of one.cookies) if (name.includes("cambio")) other.cookies.set(name, value);
  assert.deepEqual(await other.session(), { error: "SessionEnded" });
  for (const name of one.cookies.keys()) if (name.includes("cambio")) one.cookies.set(name, "made-up");
  assert.deepEqual(await one.session(), { error: "SessionEnded" });
});

test("a token that is too large for one cookie is in several", async () => {
  const access_token = "a".repeat(6000);
  const browser = await signedIn(start(), { access_token });
  assert.equal((await browser.session()).accessToken, access_token);
  for (const value of browser.cookies.values()) assert.ok(value.length < 4096);
  await browser.ask("sign-out", {});
  assert.ok(![...browser.cookies.keys()].some((name) => name.includes("cambio")));
});

test("without the tokens of each sign-in it does not start", async () => {
  await assert.rejects(start({ account: { updateAccountOnSignIn: false } }).$context, /updateAccountOnSignIn/);
});

test("the cookie has no identities, and stays small for a user with many", async () => {
  const identities = Array.from({ length: 16 }, () => ({ provider: "p".repeat(32), subject: "s".repeat(255), username: "u".repeat(255) }));
  const browser = await signedIn(start(), { user: { ...USER, identities } });
  assert.deepEqual((await browser.session()).user, SHOWN);
  const size = () => [...browser.cookies].filter(([name]) => name.includes("cambio")).reduce((sum, [name, value]) => sum + name.length + value.length, 0);
  assert.ok(size() < 1_500, `${size()} bytes`);
  later(900);
  server.answer = () => ({ body: grant(2, { user: { ...USER, identities } }) });
  assert.equal((await browser.session()).accessToken, "access-2");
  assert.ok(size() < 1_500, `${size()} bytes after a refresh`);
});

test("a sign-out is an event, and no other request is", async () => {
  /** @type {import("@cambio/next-auth/better-auth").CambioEvent[]} */
  const events = [];
  const auth = start(STORES["a database"]().options, undefined, { onEvent: (/** @type {any} */ event) => void events.push(event) });
  const browser = await signedIn(auth);
  const other = await signedIn(auth);
  await browser.session();
  await browser.ask("revoke-session", { token: await sessionToken(other) });
  events.length = 0;
  await browser.ask("sign-out", {});
  await browser.ask("sign-out", {});
  assert.deepEqual(events, [{ type: "signOut", userId: USER.id }]);
});

for (const [kept, options] of /** @type {[string, object][]} */ ([
  ["no store", { session: { cookieCache: { enabled: true, maxAge: 3_600, strategy: "jwe" } } }],
  ["a signed cache in a cookie", { session: { cookieCache: { enabled: true, maxAge: 3_600 } } }],
])) {
  /**
   * A browser whose user signed out, and whose cookies a late answer has set again.
   * @param {ReturnType<typeof start>} auth
   */
  async function restored(auth) {
    const browser = await signedIn(auth);
    await browser.session();
    await browser.ask("get-session");
    const before = new Map(browser.cookies);
    assert.equal((await browser.ask("sign-out", {})).status, 200);
    for (const [name, value] of before) browser.cookies.set(name, value);
    return { browser, before };
  }

  test(`with ${kept}, a late answer does not undo a sign-out`, async () => {
    const { browser } = await restored(start(options));
    assert.equal(await browser.auth.api.getSession({ headers: browser.headers }), null, "a server component cannot remove the cookies");
    assert.equal(await browser.auth.api.cambioSession({ headers: browser.headers }), null);
    assert.equal(await (await browser.ask("get-session")).json(), null);
    assert.deepEqual(
      [...browser.cookies.keys()].filter((name) => /session|cambio/.test(name)),
      ["better-auth.ended_sessions"],
      "the answer removes the cookies",
    );
    assert.equal(await browser.session(), null);
  });

  test(`with ${kept}, the user can sign in again after a late answer, and as often as before`, async () => {
    const { browser, before } = await restored(start(options));
    for (let nth = 2; nth < 8; nth++) {
      server.answer = () => ({ body: grant(nth) });
      assert.equal((await browser.signIn()).pathname, "/");
      assert.equal((await browser.session()).accessToken, `access-${nth}`);
      if (nth === 4) for (const [name, value] of before) browser.cookies.set(name, value);
      if (nth !== 4) await browser.ask("sign-out", {});
    }
    assert.ok(`${browser.cookies.get("better-auth.ended_sessions")}`.length < 100);
  });

  test(`with ${kept}, the sign-out of another session of this browser hides no other one`, async () => {
    const auth = start(options);
    const { browser } = await restored(auth);
    const other = await signedIn(auth);
    other.cookies.set("better-auth.ended_sessions", browser.cookies.get("better-auth.ended_sessions") ?? assert.fail("there is no such cookie"));
    assert.equal((await other.session()).accessToken, "access-1");
    assert.doesNotMatch(other.cookies.get("better-auth.ended_sessions") ?? "", new RegExp(other.cookies.get("better-auth.session_token")?.split(".")[0] ?? ""));
  });
}

/** @param {Promise<unknown>} call @param {import("@cambio/next-auth").CambioErrorKind} kind */
const failsWith = (call, kind) => assert.rejects(call, (error) => isCambioError(error) && error.kind === kind);

test("getAccessToken returns the token of the session, refreshed, and tokens for other audiences", async () => {
  const auth = start({}, undefined, { exposeAccessToken: false });
  const browser = await signedIn(auth);
  const getAccessToken = accessTokenOf(auth, async () => browser.headers);
  assert.deepEqual(await getAccessToken(), { token: "access-1", expiresAt: Date.now() + 900_000 });

  server.answer = ({ form }) => ({ body: grant(2, { access_token: `${form.audience ?? "own"} 2` }) });
  assert.equal((await getAccessToken({ audience: "https://orders.example.com" })).token, "https://orders.example.com 2");
  assert.equal((await getAccessToken()).token, "access-1");
  assert.equal((await getAccessToken({ refused: "access-1" })).token, "own 2");
  later(850);
  assert.equal((await getAccessToken()).token, "own 2");

  server.answer = ({ headers }) => (headers.authorization === "Bearer own 2" ? { body: [1] } : { status: 404 });
  assert.deepEqual(await (await cambioFetch(getAccessToken, server.url)("/orders")).json(), [1]);
});

test("getAccessToken says why there is no token", async () => {
  const auth = start();
  const browser = new Browser(auth);
  const getAccessToken = accessTokenOf(auth, () => browser.headers);
  await failsWith(getAccessToken(), "ended");
  await browser.ask("sign-up/email", { name: "Ada", email: "ada@example.com", password: "correct horse" });
  await failsWith(getAccessToken(), "ended");
  browser.cookies.clear();
  server.answer = () => ({ body: grant(1) });
  await browser.signIn();
  later(901);
  server.answer = () => ({ status: 503 });
  await failsWith(getAccessToken(), "unavailable");
  server.answer = () => ({ status: 400, body: { error: "invalid_grant" } });
  await failsWith(getAccessToken(), "ended");
  await failsWith(accessTokenOf({ api: {} }, () => browser.headers)(), "misconfigured");
});

test("no browser can call the endpoint of access tokens", async () => {
  const browser = await signedIn(start());
  for (const body of [undefined, {}]) assert.equal((await browser.ask("cambio/access-token", body)).status, 404);
});
