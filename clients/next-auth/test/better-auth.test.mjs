// @ts-check
/** The plugin in a real better-auth, whose provider answers from here. */
import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";
import { cambio } from "@cambio/next-auth/better-auth";
import { betterAuth } from "better-auth";
import { genericOAuth } from "better-auth/plugins";
import { grant, serverOfTests, USER } from "./server.mjs";

const APP = "http://localhost:3000";

const server = await serverOfTests();
beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ["Date"], now: Date.now() });
});

/** @param {Record<string, any>} [options] @param {object} [tokens] that the provider gives out */
function start(options, tokens = { accessToken: "gho_1" }) {
  const github = {
    providerId: "github",
    clientId: "id",
    clientSecret: "secret",
    authorizationUrl: "https://github.com/login/oauth/authorize",
    getToken: async () => tokens,
    getUserInfo: async () => ({ id: "583231", name: "Octocat", email: "octocat@example.com", emailVerified: true }),
  };
  return betterAuth({
    baseURL: APP,
    secret: "a secret of the unit tests, and of nothing else",
    logger: { disabled: true },
    emailAndPassword: { enabled: true },
    ...options,
    plugins: [cambio({ url: server.url, clientId: "nextjs", clientSecret: "secret", timeout: 500 }), genericOAuth({ config: [github] })],
  });
}

/** A browser: it stores cookies, and sends them. */
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

  /** As the app's own scripts ask. */
  async session() {
    const answer = await this.ask("cambio/session");
    assert.equal(answer.headers.get("cache-control"), "no-store");
    return answer.json();
  }

  /** As a server component asks, which cannot store what was refreshed. */
  async rendering() {
    const session = await this.auth.api.cambioSession({ headers: this.headers });
    assert.ok(session);
    return session;
  }
}

/** Somebody who has signed in, with what the API gave. @param {ReturnType<typeof start>} auth @param {object} [given] */
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

  assert.deepEqual(session, { accessToken: "access-1", user: USER });
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

test("who signs in again has a new session, with the tokens of that sign-in", async () => {
  const auth = start({ account: { encryptOAuthTokens: true } });
  const first = await signedIn(auth);
  server.answer = () => ({ body: grant(2) });

  const second = new Browser(auth);
  await second.signIn();

  assert.equal((await second.session()).accessToken, "access-2");
  assert.equal((await first.session()).accessToken, "access-1");
  assert.deepEqual(server.requests.map(({ form }) => form.subject_token), ["gho_1", "gho_1"], "although they are encrypted where they are stored");
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
  // None of them could store it: some time later the next one asks again, with the same token, and stores what it gets.
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

  assert.deepEqual(await browser.session(), { error: "SessionEnded", user: USER });
  const asked = server.requests.length;
  assert.equal((await browser.session()).error, "SessionEnded");
  assert.equal(server.requests.length, asked, "there is nothing more to ask");
});

test("while Cambio is down the session stays, and goes on afterwards", async () => {
  const browser = await signedIn(start());
  later(901);
  for (const answer of [{ status: 503 }, { status: 401, body: { error: "invalid_client" } }]) {
    server.answer = () => answer;
    assert.deepEqual(await browser.session(), { error: "Unavailable", user: USER });
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
