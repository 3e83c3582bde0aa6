// @ts-check
import assert from "node:assert/strict";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { mock, test } from "node:test";
import { gzipSync } from "node:zlib";
import ts from "typescript";
import * as v4 from "@cambio/next-auth/v4";
import * as v5 from "@cambio/next-auth/v5";
import { grant, serverOfTests, USER } from "./server.mjs";

const server = await serverOfTests();

const ended = { status: 400, body: { error: "invalid_grant", error_description: "the refresh token is not valid" } };
const down = { status: 503, body: { error: "temporarily_unavailable" } };

const account = { provider: "github", type: "oauth", providerAccountId: "1", access_token: "gho_1" };

/** @param {typeof v4.cambio} cambio @param {Partial<Parameters<typeof v4.cambio>[0]>} [options] */
function startWith(cambio, options) {
  const { callbacks, events, client } = cambio({ url: server.url, clientId: "nextjs", clientSecret: "secret", exposeAccessToken: true, ...options });
  // The members that the callbacks read of next-auth's parameters.
  /** @type {Record<"signIn" | "jwt" | "session", (parameters: object) => any>} */
  const call = /** @type {any} */ (callbacks);
  return {
    client,
    call,
    async signIn() {
      const user = { id: "random" };
      return { user, allowed: await call.signIn({ user, account }) };
    },
    /** Returns the cookie after a sign-in. */
    async cookie() {
      const { user } = await this.signIn();
      return call.jwt({ token: { sub: "random", mine: 1 }, user, account });
    },
    /** @param {object} token */
    jwt: (token) => call.jwt({ token }),
    /** @param {object} token */
    session: (token) => call.session({ session: { user: {}, expires: "" }, token }),
    /** @param {object} token */
    signOut: (token) => /** @type {any} */ (events).signOut({ token }),
  };
}

/** The same cookie, when its access token has so many seconds left. @param {any} token @param {number} seconds */
function with_left(token, seconds) {
  const expiresAt = Date.now() + seconds * 1000;
  return { ...token, cambio: { ...token.cambio, expiresAt, refreshAt: expiresAt - 60_000 } };
}

/** `cookies` of `next/headers`, in one browser. */
function cookieStore() {
  /** @type {{ name: string, value: string, options: object }[]} */
  const stored = [];
  return {
    stored,
    cookies: async () => ({
      get: (/** @type {string} */ name) => [...stored].reverse().find((cookie) => cookie.name === name),
      set: (/** @type {string} */ name, /** @type {string} */ value, /** @type {object} */ options) => void stored.push({ name, value, options }),
    }),
  };
}

/** Runs all pending promise callbacks. */
const turn = () => new Promise((resolve) => setImmediate(resolve));

/**
 * Returns an app that signed in before Cambio began to hang, and functions that end each call.
 *
 * @param {(options: Parameters<typeof startWith>[1]) => ReturnType<typeof startWith>} start @param {number} seconds
 * of its token
 * @param {Parameters<typeof startWith>[1]} [options]
 */
async function hanging(start, seconds, options) {
  /** @type {((answer: Response) => void)[]} */
  const hung = [];
  let hangs = false;
  const app = start({ fetch: (...call) => (hangs ? new Promise((resolve) => void hung.push(resolve)) : fetch(...call)), ...options });
  const token = with_left(await app.cookie(), seconds);
  hangs = true;
  return { app, token, hung };
}

// The callbacks of both versions read the same members of their parameters.
for (const [version, cambio] of /** @type {[string, typeof v4.cambio][]} */ ([
  ["v4", v4.cambio],
  ["v5", v5.cambio],
])) {
  /** @param {Parameters<typeof startWith>[1]} [options] */
  const start = (options) => startWith(cambio, options);

  test(`${version}: a sign-in is traded, and the session shows the user of the API`, async () => {
    const app = start({ userAgent: async () => "Firefox" });

    const token = await app.cookie();
    const session = await app.session(token);

    assert.equal(server.requests[0].headers["user-agent"], "Firefox");
    assert.equal(token.sub, "random", "next-auth's own claims stay");
    assert.equal(token.mine, 1);
    assert.equal(session.accessToken, "access-1");
    assert.equal(session.error, undefined);
    assert.deepEqual(session.user, { id: USER.id, name: "Ada", email: "ada@example.com", image: null });
    assert.ok(!JSON.stringify(session).includes("refresh-1"), "a refresh token is not for browsers");
  });

  for (const [error, page] of [
    ["access_denied", "AccessDenied"],
    ["invalid_request", "CambioRefused"],
    ["temporarily_unavailable", "CambioUnavailable"],
    ["invalid_client", "CambioMisconfigured"],
  ]) {
    test(`${version}: a sign-in that fails with ${error} ends on a page that can say so`, async () => {
      server.answer = () => ({ status: error === "temporarily_unavailable" ? 503 : 400, body: { error } });
      assert.equal((await start().signIn()).allowed, `/api/auth/error?error=${page}`);
      assert.equal((await start({ errorPage: "/oops?a=b" }).signIn()).allowed, `/oops?a=b&error=${page}`);
    });
  }

  test(`${version}: with a database adapter, whose user is another object, one exchange is enough`, async () => {
    const app = start();
    const { allowed } = await app.signIn();
    const token = await app.call.jwt({ token: {}, user: { id: "of the database" }, account });
    assert.equal(allowed, true);
    assert.equal(server.requests.length, 1);
    assert.equal((await app.session(token)).accessToken, "access-1");
  });

  test(`${version}: for another account object than in signIn, the same exchange is made again`, async () => {
    const app = start();
    const { allowed } = await app.signIn();
    const token = await app.call.jwt({ token: {}, user: { id: "of the database" }, account: { ...account } });
    assert.equal(allowed, true);
    assert.deepEqual(server.requests[1].form, server.requests[0].form);
    assert.equal((await app.session(token)).accessToken, "access-1");
  });

  test(`${version}: a session in a database has no token, and stays as it is`, async () => {
    const session = { user: { name: "Ada" }, expires: "" };
    assert.deepEqual(await start().call.session({ session, user: {} }), session);
  });

  test(`${version}: a userAgent that throws does not stop a sign-in`, async () => {
    const app = start({
      userAgent: () => {
        throw new Error("headers() was called outside a request scope");
      },
    });
    const { allowed } = await app.signIn();
    assert.equal(allowed, true);
    assert.equal(server.requests.length, 1);
  });

  test(`${version}: a callback that begins a token of its own keeps the grant, and one that ends it later is obeyed`, async () => {
    const app = start({ callbacks: { jwt: (/** @type {any} */ { token, account }) => (account ? { sub: "mine" } : token.ends ? null : token) } });
    const token = await app.cookie();
    assert.equal(token.sub, "mine");
    assert.equal((await app.session(token)).accessToken, "access-1");
    assert.equal((await app.jwt(token)).cambio.refreshToken, "refresh-1");
    if (version === "v5") assert.equal(await app.jwt({ ...token, ends: true }), null);
    else await assert.rejects(app.jwt({ ...token, ends: true }), /signed out/);
    const drops = start({ callbacks: { jwt: () => ({}) } });
    assert.deepEqual(await drops.jwt(token), {});
  });

  test(`${version}: a token that is good for longer is left alone`, async () => {
    const app = start();
    const token = with_left(await app.cookie(), 90);
    assert.deepEqual(await app.jwt(token), token);
    assert.equal(server.requests.length, 1);
  });

  test(`${version}: a minute before it expires, ten requests at once refresh it once`, async () => {
    const app = start();
    const token = with_left(await app.cookie(), 50);
    server.answer = ({ form }) => ({ body: grant(form.refresh_token === "refresh-1" ? 2 : 3) });

    const next = await Promise.all(Array.from({ length: 10 }, () => app.jwt(token)));

    assert.equal(server.requests.length, 2);
    for (const one of next) assert.equal(one.cambio.accessToken, "access-2");
    // A server component could not store the session: the next request gets the same one, and a later request sends the
    // same token again.
    assert.equal((await app.jwt(token)).cambio.accessToken, "access-2");
    assert.equal(server.requests.length, 2);
    mock.timers.enable({ apis: ["Date"], now: Date.now() + 6_000 });
    assert.equal((await app.jwt(token)).cambio.accessToken, "access-2");
    mock.timers.reset();
    assert.equal(server.requests[2].form.refresh_token, "refresh-1");
  });

  test(`${version}: a token with a short life is refreshed in its last quarter`, async () => {
    server.answer = () => ({ body: grant(1, { expires_in: 60 }) });
    const { cambio } = await start().cookie();
    assert.ok(Math.abs(cambio.expiresAt - cambio.refreshAt - 15_000) < 1_000);
    const long = await start({ refreshBefore: 5_000 }).cookie();
    assert.equal(long.cambio.expiresAt - long.cambio.refreshAt, 5_000);
  });

  test(`${version}: only Cambio's own word ends a session`, async () => {
    const app = start();
    const token = with_left(await app.cookie(), -1);
    server.answer = () => ended;

    const over = await app.jwt(token);

    const session = await app.session(over);
    assert.equal(session.error, "SessionEnded");
    assert.equal(session.accessToken, undefined);
    const asked = server.requests.length;
    assert.deepEqual(await app.jwt(over), over);
    assert.equal(server.requests.length, asked, "there is nothing more to ask");
  });

  test(`${version}: while Cambio is down the session stays, and goes on afterwards`, async () => {
    const app = start();
    const [early, late] = [50, -1];
    const cookie = await app.cookie();
    server.answer = () => down;

    const stillGood = await app.jwt(with_left(cookie, early));
    const expired = await app.jwt(with_left(cookie, late));

    assert.equal((await app.session(stillGood)).accessToken, "access-1");
    const session = await app.session(expired);
    assert.equal(session.error, "Unavailable");
    assert.equal(session.accessToken, undefined);
    assert.equal(session.user.name, "Ada", "still signed in");
    server.answer = () => ({ body: grant(2) });
    assert.equal((await app.session(await app.jwt(expired))).accessToken, "access-2");
  });

  for (const [of, refusal] of Object.entries({
    Cambio: { status: 429, body: { error: "too_many_requests" }, headers: { "Retry-After": "42" } },
    "API Gateway": { status: 429, body: { message: "Too Many Requests" } },
  })) {
    test(`${version}: a limit of ${of} ends no session`, async () => {
      const app = start();
      const cookie = with_left(await app.cookie(), -1);
      server.answer = () => refusal;

      const limited = await app.jwt(cookie);

      const session = await app.session(limited);
      assert.equal(session.error, "Unavailable");
      assert.equal(session.user.name, "Ada", "still signed in");
      server.answer = () => ({ body: grant(2) });
      assert.equal((await app.session(await app.jwt(limited))).accessToken, "access-2");
    });
  }

  test(`${version}: while the token is good, a refresh that failed is repeated some seconds later`, async (t) => {
    const app = start();
    const token = with_left(await app.cookie(), 50);
    server.answer = () => down;
    await app.jwt(token);
    server.answer = () => ({ body: grant(2) });
    const asked = server.requests.length;

    assert.equal((await app.session(await app.jwt(token))).accessToken, "access-1");
    assert.equal(server.requests.length, asked);
    t.mock.timers.enable({ apis: ["Date"], now: Date.now() + 6_000 });
    assert.equal((await app.session(await app.jwt(token))).accessToken, "access-2");
  });

  test(`${version}: while Cambio hangs, a good token is waited for a second, and then not at all`, async (t) => {
    const { app, token, hung } = await hanging(start, 50);
    t.mock.timers.enable({ apis: ["Date", "setTimeout"], now: Date.now() });
    const first = [app.jwt(token), app.jwt(token)];
    await turn();
    t.mock.timers.tick(1_000);
    for (const one of await Promise.all(first)) assert.equal((await app.session(one)).accessToken, "access-1");

    const later = app.jwt(token);
    await turn();
    t.mock.timers.tick(1);
    assert.equal((await app.session(await later)).accessToken, "access-1");
    assert.equal(hung.length, 1);

    hung[0](Response.json(grant(2)));
    await turn();
    assert.equal((await app.session(await app.jwt(token))).accessToken, "access-2", "what comes late is there for the next request");
    assert.equal(hung.length, 1);
  });

  test(`${version}: a token that expires while it is refreshed is waited for`, async (t) => {
    const { app, token, hung } = await hanging(start, 0.5);
    t.mock.timers.enable({ apis: ["Date", "setTimeout"], now: Date.now() });
    const request = app.jwt(token);
    await turn();
    t.mock.timers.tick(1_500);
    await turn();
    hung[0](Response.json(grant(2)));
    assert.equal((await app.session(await request)).accessToken, "access-2");
  });

  test(`${version}: while Cambio hangs, signing out takes 2 seconds and one request`, async (t) => {
    const { app, token, hung } = await hanging(start, 50);
    t.mock.timers.enable({ apis: ["setTimeout"] });
    const signOut = app.signOut(token);
    await turn();
    t.mock.timers.tick(2_000);
    await signOut;
    assert.equal(hung.length, 1);
  });

  test(`${version}: with after, signing out waits for nothing, and Cambio is told`, async () => {
    /** @type {Promise<void>[]} */
    const tasks = [];
    const { app, token, hung } = await hanging(start, 50, { after: (task) => void tasks.push(task) });
    await app.signOut(token);
    await turn();
    assert.equal(hung.length, 1);
    hung[0](new Response());
    assert.equal(tasks.length, 1);
    await tasks[0];
  });

  test(`${version}: where after cannot be called, signing out waits for Cambio`, async () => {
    const app = start({
      after() {
        throw new Error("after was called outside a request scope");
      },
    });
    const token = await app.cookie();
    await app.signOut(token);
    assert.equal(server.requests.at(-1)?.path, "/revoke");
  });

  test(`${version}: the log tells why Cambio could not be reached, and no secret`, async (t) => {
    const { mock: log } = t.mock.method(console, "error", () => {});
    const closed = createServer().listen(0, "127.0.0.1");
    await once(closed, "listening");
    const { port } = /** @type {import("node:net").AddressInfo} */ (closed.address());
    const token = with_left(await start().cookie(), -1);
    closed.close();
    await once(closed, "close");

    const app = start({ url: `http://127.0.0.1:${port}` });
    await app.jwt(token);
    await app.signIn();
    await app.signOut(token);

    assert.equal(log.calls.length, 3);
    for (const { arguments: words } of log.calls) {
      assert.match(words.join(" "), new RegExp(`^\\[cambio\\] .+ \\(ECONNREFUSED 127\\.0\\.0\\.1:${port}\\)$`));
      assert.doesNotMatch(words.join(" "), /refresh-1|gho_1|secret/);
    }
  });

  test(`${version}: a wrong secret of the app logs nobody out`, async () => {
    const app = start();
    const cookie = await app.cookie();
    server.answer = () => ({ status: 401, body: { error: "invalid_client" } });
    const kept = await app.jwt(with_left(cookie, -1));
    assert.equal(kept.cambio.refreshToken, "refresh-1");
    assert.equal((await app.session(kept)).error, "Unavailable");
  });

  test(`${version}: signing out gives the token back, and does not fail`, async () => {
    const app = start();
    const token = await app.cookie();
    server.answer = () => ({});
    await app.signOut(token);
    assert.deepEqual(server.requests.at(-1)?.form, { token: "refresh-1" });
    server.answer = () => down;
    await app.signOut(token);
    await app.signOut({});
  });

  test(`${version}: an answer that comes after a sign-out signs nobody in again`, async () => {
    const { cookies, stored } = cookieStore();
    const app = start({ cookies });
    const first = await app.cookie();
    const late = app.jwt(with_left(first, 50));
    await app.signOut(first);

    // The late answer sets the session's cookie again, in any process, before or after a refresh.
    for (const cookie of [first, await late, with_left(first, -1)]) {
      const asked = server.requests.length;
      const other = start({ cookies });
      if (version === "v5") assert.equal(await other.jwt(cookie), null);
      else await assert.rejects(other.jwt(cookie), /signed out/);
      assert.equal(server.requests.length, asked);
    }

    const second = await app.cookie();
    assert.equal((await app.session(await app.jwt(second))).accessToken, "access-1", "signing in again works");
    await app.signOut(second);
    for (const cookie of [first, second]) await (version === "v5" ? app.jwt(cookie).then(assert.ifError) : assert.rejects(app.jwt(cookie)));
    const [{ name, options }] = stored;
    assert.equal(name, "cambio.ended");
    assert.deepEqual(options, { httpOnly: true, sameSite: "lax", path: "/", maxAge: 86_400 });
    assert.doesNotMatch(JSON.stringify(stored), /refresh-|access-/);
  });

  test(`${version}: where there are no cookies, sessions go on, and signing out works`, async () => {
    const app = start({
      cookies() {
        throw new Error("cookies() was called outside a request scope");
      },
    });
    const token = await app.jwt(await app.cookie());
    assert.equal((await app.session(token)).accessToken, "access-1");
    await app.signOut(token);
    assert.equal(server.requests.at(-1)?.path, "/revoke");
  });

  test(`${version}: callbacks and events of the app's own go together with these`, async () => {
    /** @type {string[]} */
    const seen = [];
    const app = start({
      callbacks: {
        signIn: ({ user }) => user.name !== "nobody",
        jwt: ({ token }) => ({ ...token, theme: token.cambio ? "dark" : "none" }),
        session: ({ session, token }) => Object.assign(session, { theme: token.theme }),
        redirect: ({ baseUrl }) => baseUrl,
      },
      events: { signOut: () => void seen.push("signOut"), signIn: () => void seen.push("signIn") },
    });

    const token = await app.cookie();

    assert.equal(token.theme, "dark");
    assert.equal((await app.session(token)).theme, "dark");
    assert.equal(await app.call.signIn({ user: { name: "nobody" }, account: null }), false);
    assert.equal(server.requests.length, 1, "whom the app refuses, Cambio is not asked about");
    await app.signOut(token);
    assert.deepEqual(seen, ["signOut"]);
  });

  test(`${version}: a session without Cambio, of before it was added, stays as it is`, async () => {
    const app = start();
    assert.deepEqual(await app.jwt({ sub: "1" }), { sub: "1" });
    assert.deepEqual(await app.session({ sub: "1" }), { user: {}, expires: "" });
  });
}

test("it is there for require as well, and small", async () => {
  const require = createRequire(import.meta.url);
  for (const version of ["v4", "v5"]) assert.equal(typeof require(`@cambio/next-auth/${version}`).cambio, "function");
  // Minified as in a bundle, with the copy of terser that Next.js contains.
  const terser = /** @type {string} */ ("next/dist/compiled/terser");
  /** @type {{ minify: (code: string, options: object) => Promise<{ code: string }> }} */
  const { minify } = require(terser);
  const code = ["index", "keep", "callbacks", "v4"].map(async (name) => {
    const source = readFileSync(new URL(`../dist/esm/${name}.js`, import.meta.url), "utf8");
    return (await minify(source, { module: true })).code;
  });
  const size = gzipSync((await Promise.all(code)).join("")).length;
  assert.ok(size <= 4608, `${size} bytes`);
});

test("no public type is any", () => {
  const folder = new URL("../dist/esm/", import.meta.url);
  const declarations = readdirSync(folder).filter((name) => name.endsWith(".d.ts"));
  assert.ok(declarations.length > 5);
  for (const name of declarations) {
    /** @param {ts.Node} node */
    const visit = (node) => {
      assert.notEqual(node.kind, ts.SyntaxKind.AnyKeyword, `${name}: ${node.parent?.getText()}`);
      ts.forEachChild(node, visit);
    };
    visit(ts.createSourceFile(name, readFileSync(new URL(name, folder), "utf8"), ts.ScriptTarget.ES2022, true));
  }
});
