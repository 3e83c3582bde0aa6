// @ts-check
/**
 * Each kind of sign-in, with and without a database, through the real handlers of next-auth 4, Auth.js 5 and
 * better-auth, against the API of `cargo run`.
 *
 * A sign-in with a provider has a token of the API. Any other sign-in is compared with the same sign-in in an app
 * without Cambio: the calls of the app's own callbacks and events, the sessions, and the rows of the database.
 */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { register } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, mock } from "node:test";
import { authenticator } from "./authenticator.mjs";
import { buildPackage, CLIENT, scenario, SESSION_SECRET, setup, startLocal, stopAll } from "./harness.mjs";
import { OURS, startProvider } from "./provider.mjs";
import { withDrizzle, withKysely } from "./sqlite.mjs";

const APP = "http://localhost:3000";
/** The OAuth app at the stand-in GitHub of `cargo run`. */
const GITHUB_APP = { clientId: "cambio-local", clientSecret: "cambio-local-secret" };
/** The name of its user `octocat`. */
const OCTOCAT = "The Octocat";
/** The user of the sign-ins without a provider. */
const GRACE = { name: "Grace", email: "grace@example.com" };
/** Longer than the time to a refresh, and within the life of a session. */
const HOUR = 60 * 60 * 1000;

const folder = mkdtempSync(join(tmpdir(), "cambio-matrix-"));
/** @type {{ rows: () => Promise<Record<string, any[]>>, close: () => void }[]} */
const databases = [];
/** @type {Awaited<ReturnType<typeof startLocal>>} */
let local;
/** @type {import("./provider.mjs").OpenIdProvider} */
let provider;
/** @type {typeof import("../../clients/next-auth/test/libraries.mjs")} */
let libraries;

before(
  setup(async () => {
    provider = await startProvider({ redirectUris: [`${APP}/api/auth/callback/oidc`] });
    const trusted = [{ name: "acme", issuer: provider.issuer, client_ids: [OURS.id] }];
    local = await startLocal("matrix", { settings: { OIDC_PROVIDERS: JSON.stringify(trusted) } });
    await buildPackage("matrix");
    // Auth.js finds its peer among the packages of these tests.
    const hook = `export const resolve = (name, context, next) =>
      next(name, name === "@simplewebauthn/server" ? { ...context, parentURL: ${JSON.stringify(import.meta.url)} } : context);`;
    register(`data:text/javascript,${encodeURIComponent(hook)}`);
    libraries = await import("../../clients/next-auth/test/libraries.mjs");
  }),
);
afterEach(() => {
  mock.timers.reset();
  for (const database of databases.splice(0)) database.close();
});
after(async () => {
  await stopAll();
  provider?.close();
  rmSync(folder, { recursive: true, force: true });
});

let files = 0;

/** A file that is not there yet. */
function newFile() {
  return join(folder, `${++files}.db`);
}

/** Time passes for the app, but not for the API. @param {number} milliseconds */
function later(milliseconds) {
  mock.timers.enable({ apis: ["Date"], now: Date.now() + milliseconds });
}

/** @typedef {4 | 5} Version */
/** @typedef {"oauth" | "oidc" | "email" | "credentials" | "passkey"} Kind */

/**
 * Starts an app with each kind of sign-in that works with its version and its store.
 * @param {Version} version
 * @param {{ store: string, withCambio?: boolean, strategy?: "database", withEmail?: boolean }} options
 */
async function start(version, { store, withCambio = true, strategy, withEmail = store === "SQLite" }) {
  const { v4, v5, appWith4, appWith5, GitHub4, GitHub5, Credentials4, Credentials5, Passkey } = libraries;
  const database = store === "SQLite" ? await withDrizzle(newFile()) : undefined;
  if (database) databases.push(database);
  /** What the app's own callbacks and events were called with. @type {[name: string, parameters: unknown][]} */
  const calls = [];
  /** @type {string[]} */
  const errors = [];
  /** @type {string[]} */
  const links = [];
  const passkey = authenticator(APP);

  /** @param {string} name @param {(parameters: any) => unknown} [result] */
  const seen = (name, result) => async (/** @type {any} */ parameters) => {
    calls.push([name, JSON.parse(JSON.stringify(parameters))]);
    return result?.(parameters);
  };
  const events = ["createUser", "linkAccount", "updateUser", "signIn", "session", "signOut"];
  /** @type {any} */
  const own = {
    callbacks: {
      signIn: seen("callbacks.signIn", () => true),
      jwt: seen("callbacks.jwt", ({ token }) => token),
      session: seen("callbacks.session", ({ session }) => session),
    },
    events: Object.fromEntries(events.map((name) => [name, seen(`events.${name}`)])),
  };
  const settings = { url: local.url, clientId: CLIENT.id, clientSecret: CLIENT.secret, logger: { error() {}, info() {} } };
  /** @type {any} */
  const cambio = version === 4 ? v4.cambio : v5.cambio;
  const ours = withCambio ? cambio({ ...settings, ...own }) : undefined;

  /** @type {any} */
  const github = {
    ...GITHUB_APP,
    issuer: `${local.github}/login/oauth`,
    authorization: { url: `${local.github}/login/oauth/authorize`, params: { scope: "read:user user:email" } },
    token: `${local.github}/login/oauth/access_token`,
    userinfo: { url: `${local.github}/user` },
  };
  const credentials = { credentials: {}, authorize: async (/** @type {any} */ { email }) => (email ? { id: "app-7", name: GRACE.name, email } : null) };
  const sendVerificationRequest = async (/** @type {any} */ { url }) => void links.push(url);
  const email = { id: "email", name: "Email", type: "email", maxAge: 600, from: "a@example.com", sendVerificationRequest };
  const oidc = {
    id: "oidc",
    name: "OpenID",
    clientId: OURS.id,
    clientSecret: OURS.secret,
    authorization: { params: { scope: "openid profile email" } },
    checks: ["pkce", "state", "nonce"],
    profile: (/** @type {any} */ { sub, name, email }) => ({ id: sub, name, email }),
    ...(version === 4
      ? { type: "oauth", idToken: true, wellKnown: `${provider.issuer}/.well-known/openid-configuration` }
      : { type: "oidc", issuer: provider.issuer }),
  };
  const providers =
    version === 4
      ? [
          GitHub4({ ...github, userinfo: { ...github.userinfo, request: ({ client, tokens }) => client.userinfo(tokens.access_token ?? "") } }),
          Credentials4(credentials),
        ]
      : [GitHub5(github), Credentials5(credentials)];
  // next-auth 4 reads the app's own settings from `options`.
  const emails = withEmail ? [version === 4 ? { ...email, options: email } : email] : [];
  const passkeys = database && version === 5 ? [Passkey({})] : [];
  const options = {
    providers: [...providers, oidc, ...emails, ...passkeys],
    ...(database && { adapter: database.adapter }),
    ...(version === 5 && { experimental: { enableWebAuthn: true } }),
    ...(ours ? ours.options : { ...own, session: { strategy: "jwt" } }),
    ...(strategy && { session: { strategy } }),
    logger: { error: (/** @type {any[]} */ ...error) => void errors.push(error.map(String).join(" ")), warn() {}, debug() {} },
  };
  const app = version === 4 ? appWith4(local.url, { options }) : appWith5(local.url, { options });
  const csrf = async () => JSON.parse((await app.get("/api/auth/csrf")).body).csrfToken;

  /** Signs in with a provider. @param {string} name @param {string} login */
  async function through(name, login) {
    const { headers } = await app.post(`/api/auth/signin/${name}`, { csrfToken: await csrf() });
    return app.get(await atProvider(headers.get("Location") ?? "", login));
  }
  /** @param {"create" | "get"} method */
  async function withPasskey(method) {
    const action = method === "create" ? "register" : "authenticate";
    const { body } = await app.get(`/api/auth/webauthn-options/passkey?${new URLSearchParams({ action, email: GRACE.email })}`);
    const data = JSON.stringify(passkey[method](JSON.parse(body).options));
    return app.post("/api/auth/callback/passkey", { csrfToken: await csrf(), action, data });
  }
  /** @type {Record<Kind, () => Promise<{ headers: Headers, status: number, body: string }>>} */
  const signIns = {
    oauth: () => through("github", "octocat"),
    oidc: () => through("oidc", "ada"),
    async email() {
      await app.post("/api/auth/signin/email", { csrfToken: await csrf(), email: GRACE.email });
      return app.get((links.pop() ?? "").slice(APP.length));
    },
    credentials: async () => app.post("/api/auth/callback/credentials", { csrfToken: await csrf(), email: GRACE.email }),
    async passkey() {
      const isKnown = (await database?.rows())?.authenticator.length;
      return withPasskey(isKnown ? "get" : "create");
    },
  };
  return {
    app,
    calls,
    errors,
    rows: async () => (await database?.rows()) ?? {},
    /** @param {Kind} kind */
    async signIn(kind) {
      const { headers, status } = await signIns[kind]();
      const end = `${status} ${headers.get("Location")}`;
      assert.doesNotMatch(end, /error/, `${end}\n${errors.join("\n")}`);
    },
    signOut: async () => app.post("/api/auth/signout", { csrfToken: await csrf() }),
    session: async () => JSON.parse((await app.get("/api/auth/session")).body),
    getAccessToken: /** @type {(options?: { refused?: string }) => Promise<{ token: string }>} */ (ours?.accessTokenOf(() => app.onServer())),
    hasCookie: () => [...app.cookies.keys()].some((name) => name.includes("session-token")),
  };
}

/**
 * Passes the pages of a provider as `login`. Returns the address of the app to which the provider sends the browser.
 * @param {string} address
 * @param {string} login
 */
async function atProvider(address, login) {
  const jar = libraries.cookieJar();
  let url = new URL(address);
  // The stand-in GitHub then asks nothing.
  if (url.origin === local.github) url.searchParams.set("login", login);
  /** @type {URLSearchParams | undefined} */
  let form;
  for (let pages = 0; pages < 12; pages++) {
    const answer = await fetch(url, { ...(form && { method: "POST", body: form }), redirect: "manual", headers: { cookie: jar.header() } });
    jar.store(answer.headers);
    const location = answer.headers.get("location");
    const page = await answer.text();
    if (location) {
      url = new URL(location, url);
      form = undefined;
      if (url.origin === APP) return url.pathname + url.search;
    } else {
      const [, action] = /<form[^>]* action="([^"]+)"/.exec(page) ?? [];
      const [, prompt] = /name="prompt" value="(\w+)"/.exec(page) ?? [];
      assert.ok(action && prompt, `${url} answered ${answer.status}: ${page}`);
      url = new URL(action, url);
      form = new URLSearchParams({ prompt, login, password: "any" });
    }
  }
  throw new Error(`${address} never came back to the app`);
}

/** Reads the user at the API. @param {string} token */
async function me(token) {
  const answer = await fetch(`${local.url}/me`, { headers: { Authorization: `Bearer ${token}` } });
  return { status: answer.status, ...(await answer.json()) };
}

/** Members whose values stand for another row, and those that differ each time for another reason. */
const IDS = /^(id|userId|sub|providerAccountId|accountId|credentialID|identifier)$/;
const OTHERS = /(token|tokenhash|expires|expires_at|expiresAt|createdAt|updatedAt|emailVerified|iat|exp|jti|password|value|auth_time|credentialPublicKey)$/i;

/**
 * Replaces the values that differ from one run to the next. The same id remains the same.
 * @param {unknown} content
 */
function comparable(content) {
  /** @type {string[]} */
  const ids = [];
  return JSON.parse(JSON.stringify(content), (name, value) => {
    if (typeof value !== "string" && typeof value !== "number") return value;
    if (OTHERS.test(name)) return `<${name}>`;
    if (!IDS.test(name)) return value;
    if (!ids.includes(`${value}`)) ids.push(`${value}`);
    return `<id ${ids.indexOf(`${value}`)}>`;
  });
}

const LIBRARIES = /** @type {const} */ ([
  ["next-auth 4", 4],
  ["Auth.js 5", 5],
]);

for (const [library, version] of LIBRARIES) {
  const nobody = version === 4 ? {} : null;

  for (const store of ["no adapter", "SQLite"]) {
    for (const kind of /** @type {const} */ (["oauth", "oidc"])) {
      scenario(`${library}, ${store}, ${kind}: the session has a token of the API until the sign-out`, async () => {
        const name = kind === "oauth" ? OCTOCAT : "ada Lovelace";
        const [app, plain] = [await start(version, { store }), await start(version, { store, withCambio: false })];

        await app.signIn(kind);
        const first = await app.getAccessToken();
        const user = await me(first.token);
        assert.deepEqual([user.status, user.name], [200, name]);
        const { user: shown, expires, ...rest } = await app.session();
        assert.deepEqual(rest, {});
        assert.deepEqual([shown.id, shown.name, shown.email], [user.id, user.name, user.email]);
        await plain.signIn(kind);
        await plain.session();
        assert.deepEqual(comparable(await app.rows()), comparable(await plain.rows()));
        assert.deepEqual(new Set(app.calls.map(([name]) => name)), new Set(plain.calls.map(([name]) => name)));

        later(HOUR);
        assert.equal((await app.session()).error, undefined);
        const second = await app.getAccessToken();
        assert.notEqual(second.token, first.token);
        assert.equal((await me(second.token)).id, user.id);
        const third = await app.getAccessToken({ refused: second.token });
        assert.notEqual(third.token, second.token);
        mock.timers.reset();

        await app.signOut();
        assert.ok(!app.hasCookie());
        assert.deepEqual(await app.session(), nobody);
        assert.equal((await me(third.token)).status, 401);
        assert.deepEqual(app.errors, []);

        await app.signIn(kind);
        assert.equal((await me((await app.getAccessToken()).token)).id, user.id, "the same user as before");
        if (store === "SQLite") assert.equal((await app.rows()).user.length, 1);
      });
    }

    /** @type {Kind[]} */
    const kinds = store === "SQLite" ? ["email", "credentials", ...(version === 5 ? [/** @type {const} */ ("passkey")] : [])] : ["credentials"];
    for (const kind of kinds) {
      scenario(`${library}, ${store}, ${kind}: callbacks, sessions and rows are those of an app without Cambio`, async () => {
        const [app, plain] = [await start(version, { store }), await start(version, { store, withCambio: false })];
        /** @type {unknown[][]} */
        const seen = [];
        for (const { signIn, signOut, session, rows, hasCookie, calls } of [app, plain]) {
          await signIn(kind);
          const sessions = [await session()];
          later(HOUR);
          sessions.push(await session());
          mock.timers.reset();
          assert.equal(sessions[1].user.email, GRACE.email);
          await signOut();
          assert.ok(!hasCookie());
          sessions.push(await session());
          // The user is known now.
          await signIn(kind);
          sessions.push(await session());
          seen.push([comparable(calls), comparable(sessions), comparable(await rows())]);
          const names = new Set(calls.map(([name]) => name));
          for (const name of ["callbacks.signIn", "callbacks.jwt", "callbacks.session", "events.signIn", "events.signOut"]) assert.ok(names.has(name), name);
        }
        assert.deepEqual(seen[0], seen[1]);
        await assert.rejects(app.getAccessToken(), { name: "CambioError", kind: "ended" });
        assert.deepEqual([app.errors, plain.errors], [[], []]);
      });
    }
  }

  scenario(`${library}, no adapter, email: the library refuses the configuration, as without Cambio`, async () => {
    const seen = [];
    for (const withCambio of [true, false]) {
      const { app, errors } = await start(version, { store: "no adapter", withCambio, withEmail: true });
      const { status } = await app.get("/api/auth/session");
      assert.equal(status, 500);
      assert.match(errors.join(), /adapter/i);
      seen.push(errors);
    }
    assert.deepEqual(seen[0], seen[1]);
  });

  scenario(`${library}, SQLite: a user of an e-mail link who adds a provider stays the same user, and has a token`, async () => {
    const app = await start(version, { store: "SQLite" });
    await app.signIn("email");
    await app.signIn("oauth");
    const { user, account } = await app.rows();
    assert.deepEqual([user.length, account.length, account[0].userId], [1, 1, user[0].id]);
    assert.equal((await me((await app.getAccessToken()).token)).name, OCTOCAT);
    assert.deepEqual(app.errors, []);
  });

  for (const kind of /** @type {const} */ (["email", "oauth"])) {
    scenario(`${library}, SQLite with sessions in the database, ${kind}: sessions and rows are those of an app without Cambio`, async () => {
      /** @type {unknown[][]} */
      const seen = [];
      for (const withCambio of [true, false]) {
        const app = await start(version, { store: "SQLite", strategy: "database", withCambio });
        await app.signIn(kind);
        const sessions = [await app.session()];
        later(HOUR);
        sessions.push(await app.session());
        mock.timers.reset();
        const rows = await app.rows();
        assert.equal(rows.session.length, 1);
        await app.signOut();
        sessions.push(await app.session());
        seen.push([comparable(sessions), comparable(rows), comparable(await app.rows()), app.errors]);
      }
      assert.deepEqual(seen[0], seen[1]);
    });
  }
}

/**
 * Starts an app with better-auth.
 * @param {{ store: string, withCambio?: boolean }} options
 */
async function startBetterAuth({ store, withCambio = true }) {
  const { betterAuth, cambioPlugin, cookieJar, genericOAuth, getMigrations } = libraries;
  const database = store === "SQLite" ? withKysely(newFile()) : undefined;
  if (database) databases.push(database);
  /** What the app's own hooks of the database were called with. @type {[name: string, row: unknown][]} */
  const calls = [];

  /** @param {string} name */
  const seen = (name) => async (/** @type {unknown} */ row) => void calls.push([name, JSON.parse(JSON.stringify(row))]);
  /** @param {string} table */
  const hooks = (table) => {
    const both = (/** @type {string} */ action) => ({ before: seen(`${table}.${action}.before`), after: seen(`${table}.${action}.after`) });
    return { create: both("create"), update: both("update"), delete: both("delete") };
  };
  const github = {
    providerId: "github",
    ...GITHUB_APP,
    authorizationUrl: `${local.github}/login/oauth/authorize`,
    tokenUrl: `${local.github}/login/oauth/access_token`,
    userInfoUrl: `${local.github}/user`,
    scopes: ["read:user", "user:email"],
    mapProfileToUser: (/** @type {any} */ { name }) => ({ name, email: "octocat@example.com" }),
  };
  const oidc = {
    providerId: "oidc",
    discoveryUrl: `${provider.issuer}/.well-known/openid-configuration`,
    clientId: OURS.id,
    clientSecret: OURS.secret,
    scopes: ["openid", "profile", "email"],
    disableProviderLogout: true,
  };
  const settings = { url: local.url, clientId: CLIENT.id, clientSecret: CLIENT.secret, logger: { error() {}, info() {} } };
  const options = {
    baseURL: APP,
    secret: SESSION_SECRET,
    logger: { disabled: true },
    emailAndPassword: { enabled: true },
    ...(database && { database: database.database }),
    databaseHooks: { user: hooks("user"), session: hooks("session"), account: hooks("account") },
    plugins: [...(withCambio ? [cambioPlugin(settings)] : []), genericOAuth({ config: [github, oidc] })],
  };
  if (database) await (await getMigrations(options)).runMigrations();
  const auth = betterAuth(options);
  const jar = cookieJar();
  const headers = () => new Headers({ cookie: jar.header(), origin: APP, "user-agent": "Firefox" });

  /** @param {string} path @param {object} [body] @returns {Promise<{ status: number, headers: Headers, body: any }>} */
  async function ask(path, body) {
    const sent = headers();
    if (body) sent.set("content-type", "application/json");
    const request = new Request(new URL(path, `${APP}/api/auth/`), { headers: sent, ...(body && { method: "POST", body: JSON.stringify(body) }) });
    const answer = await auth.handler(request);
    jar.store(answer.headers);
    const text = await answer.text();
    return { status: answer.status, headers: answer.headers, body: text && JSON.parse(text) };
  }
  return {
    calls,
    rows: async () => (await database?.rows()) ?? {},
    /** @param {"github" | "oidc"} name @param {string} login */
    async signInWith(name, login) {
      const { body } = await ask("sign-in/social", { provider: name, callbackURL: "/", errorCallbackURL: "/error" });
      const back = await ask((await atProvider(body.url, login)).slice("/api/auth/".length));
      assert.deepEqual([back.status, back.headers.get("location")], [302, "/"]);
    },
    /** @param {"sign-up" | "sign-in"} action */
    async withPassword(action) {
      const { status, body } = await ask(`${action}/email`, { ...GRACE, password: "correct horse battery" });
      assert.equal(status, 200, JSON.stringify(body));
    },
    signOut: async () => (await ask("sign-out", {})).status,
    session: async () => (await ask("get-session")).body,
    /** Returns the session at Cambio as a script in the browser gets it. */
    cambioSession: async () => (await ask("cambio/session")).body,
    /** Returns the same session as the app's server gets it. @returns {Promise<any>} */
    onServer: () => /** @type {any} */ (auth.api).cambioSession({ headers: headers() }),
  };
}

for (const store of ["no database", "SQLite"]) {
  for (const [kind, name, login, user] of /** @type {const} */ ([
    ["OAuth", "github", "octocat", OCTOCAT],
    ["OIDC", "oidc", "ada", "ada Lovelace"],
  ])) {
    scenario(`better-auth, ${store}, ${kind}: the session has a token of the API until the sign-out`, async () => {
      const [app, plain] = [await startBetterAuth({ store }), await startBetterAuth({ store, withCambio: false })];

      await app.signInWith(name, login);
      const first = await app.onServer();
      const known = await me(first.accessToken);
      assert.deepEqual([known.status, known.name], [200, user]);
      const shown = await app.cambioSession();
      assert.deepEqual([Object.keys(shown), shown.user.id], [["user"], known.id]);
      await app.session();
      await plain.signInWith(name, login);
      await plain.session();
      // The record by which a session that ends in another browser ends at Cambio.
      const { verification, ...rows } = await app.rows();
      const { verification: none, ...others } = await plain.rows();
      assert.deepEqual(comparable([rows, app.calls]), comparable([others, plain.calls]));
      if (store === "SQLite") assert.equal(verification.length, none.length + 1);

      later(HOUR);
      assert.deepEqual(Object.keys(await app.cambioSession()), ["user"]);
      const second = await app.onServer();
      assert.notEqual(second.accessToken, first.accessToken);
      assert.equal((await me(second.accessToken)).id, known.id);
      mock.timers.reset();

      assert.equal(await app.signOut(), 200);
      assert.deepEqual([await app.session(), await app.cambioSession()], [null, null]);
      assert.equal((await me(second.accessToken)).status, 401);

      await app.signInWith(name, login);
      assert.equal((await me((await app.onServer()).accessToken)).id, known.id, "the same user as before");
    });
  }

  scenario(`better-auth, ${store}, e-mail and password: hooks, sessions and rows are those of an app without Cambio`, async () => {
    /** @type {unknown[][]} */
    const seen = [];
    for (const withCambio of [true, false]) {
      const app = await startBetterAuth({ store, withCambio });
      await app.withPassword("sign-up");
      const sessions = [await app.session()];
      if (withCambio) assert.equal((await app.onServer()).accessToken, undefined);
      // better-auth extends a session after a day.
      later(48 * HOUR);
      sessions.push(await app.session());
      mock.timers.reset();
      assert.equal(sessions[1].user.email, GRACE.email);
      assert.equal(await app.signOut(), 200);
      sessions.push(await app.session());
      await app.withPassword("sign-in");
      sessions.push(await app.session());
      assert.deepEqual(new Set(app.calls.map(([name]) => name.split(".")[0])), new Set(["user", "account", "session"]));
      seen.push([comparable(app.calls), comparable(sessions), comparable(await app.rows())]);
    }
    assert.deepEqual(seen[0], seen[1]);
  });
}
