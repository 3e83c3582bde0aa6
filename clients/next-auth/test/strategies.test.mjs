// @ts-check
/**
 * Sign-ins of each kind, with and without a database adapter, through the real handlers of next-auth 4 and Auth.js 5.
 */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import * as v4 from "@cambio/next-auth/v4";
import * as v5 from "@cambio/next-auth/v5";
import { appWith4, appWith5, oidcProvider, provider, providerAnswer } from "./handlers.mjs";
import { grant, serverOfTests, USER } from "./server.mjs";

const server = await serverOfTests();
const APP = "http://localhost:3000";
const WITHOUT = "the sign-in has no token of a provider";
const NOT_IN_DATABASES = 'a session in a database has no access token: set session.strategy to "jwt"';

/** An adapter that keeps all in memory; `calls` are the ids of `getUser`. */
function memoryAdapter() {
  /** @type {any[]} */
  const users = [];
  /** @type {any[]} */
  const accounts = [];
  /** @type {any[]} */
  const sessions = [];
  /** @type {any[]} */
  const invites = [];
  /** @type {string[]} */
  const calls = [];
  const userBy = (/** @type {string} */ name, /** @type {unknown} */ value) => users.find((user) => user[name] === value) ?? null;
  const take = (/** @type {any[]} */ from, /** @type {(one: any) => boolean} */ isIt) => {
    const nth = from.findIndex(isIt);
    return nth < 0 ? null : from.splice(nth, 1)[0];
  };
  const adapter = {
    createUser: async (/** @type {any} */ user) => (users.push({ password: "hash", ...user, id: `db-${randomUUID()}` }), users.at(-1)),
    getUser: async (/** @type {string} */ id) => (calls.push(id), userBy("id", id)),
    getUserByEmail: async (/** @type {string} */ email) => userBy("email", email),
    async getUserByAccount(/** @type {any} */ { provider, providerAccountId }) {
      const account = accounts.find((one) => one.provider === provider && one.providerAccountId === providerAccountId);
      return account ? userBy("id", account.userId) : null;
    },
    updateUser: async (/** @type {any} */ user) => Object.assign(userBy("id", user.id), user),
    linkAccount: async (/** @type {any} */ account) => void accounts.push(account),
    createSession: async (/** @type {any} */ session) => (sessions.push(session), session),
    async getSessionAndUser(/** @type {string} */ sessionToken) {
      const session = sessions.find((one) => one.sessionToken === sessionToken);
      return session ? { session, user: userBy("id", session.userId) } : null;
    },
    updateSession: async (/** @type {any} */ session) => session,
    deleteSession: async (/** @type {string} */ token) => take(sessions, (one) => one.sessionToken === token),
    createVerificationToken: async (/** @type {any} */ invite) => (invites.push(invite), invite),
    useVerificationToken: async (/** @type {any} */ { identifier, token }) => take(invites, (one) => one.identifier === identifier && one.token === token),
  };
  return { adapter, users, sessions, calls };
}

for (const [name, version] of /** @type {const} */ ([
  ["next-auth 4", 4],
  ["Auth.js 5", 5],
])) {
  /**
   * An app with all four kinds of providers.
   * @param {ReturnType<typeof memoryAdapter> | undefined} database
   * @param {object} [own] options of `cambio`
   * @param {object} [after] options of next-auth after those of Cambio
   */
  function started(database, own, after) {
    /** @type {[level: string, message: string][]} */
    const log = [];
    /** @type {string[]} */
    const links = [];
    /** @type {string[]} */
    const errors = [];
    const logger = {
      error: (/** @type {string} */ text) => void log.push(["error", text]),
      info: (/** @type {string} */ text) => void log.push(["info", text]),
    };
    /** @type {any} */
    const cambio = version === 4 ? v4.cambio : v5.cambio;
    const ours = cambio({ url: server.url, clientId: "nextjs", clientSecret: "secret", logger, ...own });
    const credentials = {
      id: "credentials",
      name: "Password",
      type: "credentials",
      credentials: {},
      authorize: async (/** @type {any} */ { email }) => (email ? { id: "app-7", name: "Grace", email } : null),
    };
    const email = {
      id: "email",
      name: "Email",
      type: "email",
      maxAge: 600,
      from: "a@example.com",
      sendVerificationRequest: async (/** @type {any} */ { url }) => void links.push(url),
    };
    // next-auth 4 reads what the app configures of credentials and e-mail from `options`.
    const passive = [credentials, ...(database ? [email] : [])].map((one) => (version === 4 ? { ...one, options: one } : one));
    const options = {
      providers: [provider(server.url), oidcProvider(server.url, version), ...passive],
      ...(database && { adapter: database.adapter }),
      ...ours.options,
      logger: { error: (/** @type {any} */ ...error) => void errors.push(String(error)), warn() {}, debug() {} },
      ...after,
    };
    const app = version === 4 ? appWith4(server.url, { options }) : appWith5(server.url, { options });
    const csrf = async () => JSON.parse((await app.get("/api/auth/csrf")).body).csrfToken;
    /** @type {Record<string, () => Promise<{ headers: Headers }>>} */
    const signIns = {
      oauth: () => app.get("/api/auth/callback/github?code=1"),
      oidc: () => app.get("/api/auth/callback/oidc?code=1"),
      async email() {
        await app.post("/api/auth/signin/email", { csrfToken: await csrf(), email: "grace@example.com" });
        return app.get(/** @type {string} */ (links.pop()).slice(APP.length));
      },
      credentials: async () => app.post("/api/auth/callback/credentials", { csrfToken: await csrf(), email: "grace@example.com" }),
    };
    return {
      app,
      log,
      errors,
      signIn: (/** @type {string} */ kind) => signIns[kind](),
      signOut: async () => app.post("/api/auth/signout", { csrfToken: await csrf() }),
      session: async () => JSON.parse((await app.get("/api/auth/session")).body),
      getAccessToken: ours.accessTokenOf(() => app.onServer()),
    };
  }

  /** Sets Cambio's answers; each access token has to be refreshed at the next request if `isShort`. */
  function answers(isShort = false) {
    let nth = 0;
    server.answer = ({ path, headers }) =>
      providerAnswer(path, headers.host) ?? (path === "/revoke" ? {} : { body: grant(++nth, isShort && nth === 1 ? { expires_in: 0 } : {}) });
  }
  const asked = (/** @type {string} */ path) => server.requests.filter((request) => request.path === path);
  const hasCookie = (/** @type {any} */ app) => [...app.cookies.keys()].some((cookie) => cookie.includes("session-token"));
  const nobody = version === 4 ? {} : null;

  for (const store of ["no adapter", "an adapter"]) {
    const database = () => (store === "an adapter" ? memoryAdapter() : undefined);

    for (const kind of ["oauth", "oidc"]) {
      test(`${name}, ${store}, ${kind}: sign-in, session, refresh, sign-out`, async () => {
        answers(true);
        const data = database();
        /** @type {any[]} */
        const tokens = [];
        const callbacks = { jwt: (/** @type {any} */ { token }) => (tokens.push(token), token) };
        const { app, log, errors, signIn, signOut, session, getAccessToken } = started(data, { callbacks });

        const { headers } = await signIn(kind);
        assert.doesNotMatch(headers.get("Location") ?? "", /error/);
        const { user, error } = await session();

        assert.equal(error, undefined);
        assert.deepEqual(user, { id: USER.id, name: USER.name, email: USER.email, image: USER.picture });
        assert.deepEqual(
          asked("/token").map(({ form }) => form.grant_type.split(":").at(-1)),
          ["token-exchange", "refresh_token"],
        );
        assert.equal((await getAccessToken()).token, "access-2");
        for (const token of tokens) {
          if (data) assert.equal(token.sub, data.users[0].id);
          assert.equal(token.sub, tokens[0].sub);
          assert.equal(token.name, "Octocat");
          assert.equal(token.email, "octocat@example.com");
        }

        // A second sign-in in the same browser finds the user of the database.
        await signIn(kind);
        if (data) assert.deepEqual([data.users.length, data.sessions.length, data.calls.at(-1)], [1, 0, data.users[0].id]);

        await signOut();
        assert.ok(asked("/revoke").length >= 1);
        assert.ok(!hasCookie(app));
        assert.deepEqual(await session(), nobody);
        assert.deepEqual(log, []);
        assert.deepEqual(errors, []);
      });
    }

    for (const kind of store === "an adapter" ? ["email", "credentials"] : ["credentials"]) {
      test(`${name}, ${store}, ${kind}: the sign-in and its session are those of an app without Cambio`, async () => {
        answers();
        const data = database();
        const { app, log, errors, signIn, signOut, session, getAccessToken } = started(data);

        const { headers } = await signIn(kind);
        assert.doesNotMatch(headers.get("Location") ?? "", /error/);
        const { user, error, accessToken } = await session();

        assert.equal(user.email, "grace@example.com");
        assert.deepEqual([error, accessToken, user.id], [undefined, undefined, undefined]);
        assert.deepEqual(await session().then(({ user }) => user), user);
        const hint = ": set CAMBIO_PRIVATE_KEY, and vouches of the app at Cambio, to vouch for its user";
        assert.deepEqual(log, [["info", `[cambio] the sign-in has no token of ${kind}${hint}`]]);
        await assert.rejects(getAccessToken(), { name: "CambioError", kind: "ended", message: WITHOUT });
        await signOut();
        assert.ok(!hasCookie(app));
        assert.deepEqual(await session(), nobody);
        await assert.rejects(getAccessToken(), { name: "CambioError", kind: "ended", message: "the session has no access token" });
        assert.deepEqual(server.requests, [], "Cambio is not asked");
        assert.deepEqual(errors, []);
      });

      test(`${name}, ${store}, ${kind}: the sign-in ends a session at Cambio that it replaces`, async () => {
        answers();
        const { signIn, session } = started(database());
        await signIn("oauth");
        await signIn(kind);
        assert.deepEqual(
          asked("/revoke").map(({ form }) => form.token),
          ["refresh-1"],
        );
        assert.equal((await session()).user.email, "grace@example.com");
      });
    }
  }

  test(`${name}: sessions in a database, which the package cannot see at the start, stay as they are, and the log says so once`, async () => {
    answers();
    const database = memoryAdapter();
    const { app, log, errors, signIn, signOut, session, getAccessToken } = started(database, {}, { session: { strategy: "database" } });
    await signIn("oauth");
    const { user, ...rest } = await session();
    assert.deepEqual([user.name, user.email], ["Octocat", "octocat@example.com"]);
    assert.deepEqual([Object.keys(rest), user.password], [["expires"], undefined], "and show what next-auth shows by default");
    await session();
    assert.deepEqual(log, [["error", `[cambio] ${NOT_IN_DATABASES}`]]);
    await assert.rejects(getAccessToken(), { kind: "ended", message: WITHOUT });
    await signOut();
    assert.ok(!hasCookie(app));
    assert.deepEqual([database.sessions, errors], [[], []]);
  });

  test(`${name}: the strategy "database" fails at the start, and other options of the session stay`, () => {
    /** @type {any} */
    const cambio = version === 4 ? v4.cambio : v5.cambio;
    assert.throws(() => cambio({ session: { strategy: "database" } }), {
      kind: "misconfigured",
      message: NOT_IN_DATABASES,
    });
    assert.deepEqual(cambio({ session: { maxAge: 60 } }).options.session, { maxAge: 60, strategy: "jwt" });
    assert.deepEqual(cambio().options.session, { strategy: "jwt" });
  });

  test(`${name}: an own jwt callback gets the account of a passkey as it is, and no secret of another account`, async () => {
    /** @type {any} */
    const cambio = version === 4 ? v4.cambio : v5.cambio;
    /** @type {any} */
    let seen;
    const jwt = (/** @type {any} */ { token, account }) => ((seen = account), token);
    const { callbacks } = cambio({ callbacks: { jwt }, logger: { error() {}, info() {} }, clientId: "nextjs", clientSecret: "secret", url: server.url });
    // A row of a database has null for each token.
    const row = { provider: "passkey", type: "webauthn", providerAccountId: "1", userId: "2", access_token: null, id_token: null, session_state: null };
    await callbacks.jwt({ token: {}, account: row });
    assert.deepEqual(seen, row);
    await callbacks.jwt({ token: {}, account: { provider: "twitter", type: "oauth", oauth_token: "secret", more: { type: "secret" } } });
    assert.deepEqual(seen, { provider: "twitter", type: "oauth" });
  });

  test(`${name}: no callback throws for what it does not get`, async () => {
    /** @type {any} */
    const cambio = version === 4 ? v4.cambio : v5.cambio;
    const logger = { error() {}, info() {} };
    const { callbacks, events } = cambio({ logger, clientId: "nextjs", clientSecret: "secret", url: server.url });
    for (const none of [undefined, null]) {
      assert.equal(await callbacks.signIn({ user: none, account: none }), true);
      assert.equal(await callbacks.signIn({ account: {} }), true);
      for (const account of [none, {}]) if (version === 5 || none === undefined) assert.equal(await callbacks.jwt({ token: none, account }), none);
      for (const session of [none, {}]) await callbacks.session({ session, token: none, user: none });
      await events.signOut({ token: none });
    }
    await events.signOut({});
    assert.deepEqual(server.requests, []);
  });
}
