// @ts-check
/** Sign-ins that the app vouches for, through the real handlers of next-auth 4 and Auth.js 5. */
import assert from "node:assert/strict";
import { createPublicKey, generateKeyPairSync, randomUUID, verify } from "node:crypto";
import { createRequire } from "node:module";
import { afterEach, beforeEach, test } from "node:test";
import { CambioError, createClient } from "@cambio/next-auth";
import * as v4 from "@cambio/next-auth/v4";
import * as v5 from "@cambio/next-auth/v5";
import { vouch } from "@cambio/next-auth/vouch";
import { appWith4, appWith5, provider, providerAnswer } from "./handlers.mjs";
import { grant, serverOfTests, USER } from "./server.mjs";

const server = await serverOfTests();
const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
const JWK = { ...privateKey.export({ format: "jwk" }), kid: "2026-11" };
const JWT = "urn:ietf:params:oauth:token-type:jwt";
const PUBLIC = createPublicKey(/** @type {any} */ ({ key: publicKey.export({ format: "jwk" }), format: "jwk" }));
/** The answer to a client that has no `vouches`. */
const OFF = { status: 400, body: { error: "unauthorized_client", error_description: "this client may not vouch for users" } };

beforeEach(() => void (process.env.CAMBIO_PRIVATE_KEY = JSON.stringify(JWK)));
afterEach(() => void delete process.env.CAMBIO_PRIVATE_KEY);

/** Returns the claims of a JWT, after a check of its header and signature. @param {string} jwt */
function verified(jwt) {
  const [header, claims, signature] = jwt.split(".");
  const key = { key: PUBLIC, dsaEncoding: /** @type {const} */ ("ieee-p1363") };
  assert.ok(verify("sha256", Buffer.from(`${header}.${claims}`), key, Buffer.from(signature, "base64url")), "the signature");
  const [read, { jti, iat, exp, ...rest }] = [header, claims].map((part) => JSON.parse(Buffer.from(part, "base64url").toString()));
  assert.deepEqual(read, { typ: "vouch+jwt", alg: "ES256", kid: "2026-11" });
  assert.match(jti, /^[0-9a-f-]{36}$/);
  assert.ok(Math.abs(iat - Date.now() / 1000) < 60 && exp === iat + 60);
  return rest;
}

const exchanges = () => server.requests.filter(({ form }) => form.subject_token_type === JWT);

test("a JWT names the app, its user and Cambio, and the profile without what does not fit", async () => {
  const sign = vouch({ clientId: "shop", url: "https://auth.example.com/" });
  const signedInAt = new Date(1_700_000_000_500);
  const user = { id: "17", name: "Ada", email: "ada@example.com", emailVerified: true, image: "https://example.com/a.png", signedInAt };
  assert.deepEqual(verified(await sign(user)), {
    iss: "shop",
    sub: "17",
    aud: "https://auth.example.com/token",
    name: "Ada",
    email: "ada@example.com",
    email_verified: true,
    picture: "https://example.com/a.png",
    auth_time: 1_700_000_000,
  });
  const more = vouch({ key: JWK, kid: "2026-11", issuer: "https://shop.example.com", audience: "https://auth.example.com" });
  const large = { id: "17", name: "x".repeat(9_999), email: "ada@example.com", image: `data:${"x".repeat(9_999)}` };
  const claims = verified(await more(large));
  assert.deepEqual(
    { ...claims, name: claims.name.length },
    { iss: "https://shop.example.com", sub: "17", aud: "https://auth.example.com", name: 256, email: "ada@example.com", email_verified: false },
  );
  assert.notEqual(await sign(user), await sign(user));
});

test("a JWT of your own is exchanged as one", async () => {
  const client = createClient({ url: server.url, clientId: "shop", clientSecret: "secret" });
  const jwt = await vouch({ clientId: "shop", url: server.url })({ id: "17" });
  await client.exchange({ provider: "password", jwt });
  await client.exchange({ provider: "password", jwt, id_token: "a.b.c", access_token: "gho" });
  for (const { form } of server.requests) {
    assert.deepEqual([form.subject_token, form.subject_token_type, form.subject_issuer], [jwt, JWT, undefined]);
  }
  const signed = verified(jwt);
  assert.deepEqual(signed, { iss: "shop", sub: "17", aud: `${server.url}/token` });
});

test("without a setting, it says which one is missing", async () => {
  const user = { id: "17" };
  await assert.rejects(vouch({ url: server.url })(user), { kind: "misconfigured", message: "CAMBIO_CLIENT_ID is not set" });
  await assert.rejects(vouch({ clientId: "shop" })(user), { kind: "misconfigured", message: "CAMBIO_URL is not set" });
  process.env.CAMBIO_PRIVATE_KEY = "secret";
  /** @param {any} error */
  const hidesKey = (error) => error instanceof CambioError && error.kind === "misconfigured" && !/secret/.test(error.message);
  await assert.rejects(vouch({ clientId: "shop", url: server.url })(user), hidesKey);
});

test("it is there for require as well, and its JWTs are no client assertions", async () => {
  assert.equal(typeof createRequire(import.meta.url)("@cambio/next-auth/vouch").vouch, "function");
});

/** An adapter that keeps users in memory, of which e-mail links need no more. @param {any[]} users */
function adapterOf(users) {
  /** @type {any[]} */
  const invites = [];
  const by = (/** @type {string} */ name, /** @type {unknown} */ value) => users.find((user) => user[name] === value) ?? null;
  return {
    createUser: async (/** @type {any} */ user) => (users.push({ ...user, id: `db-${randomUUID()}` }), users.at(-1)),
    getUser: async (/** @type {string} */ id) => by("id", id),
    getUserByEmail: async (/** @type {string} */ email) => by("email", email),
    getUserByAccount: async () => null,
    updateUser: async (/** @type {any} */ user) => Object.assign(by("id", user.id), user),
    linkAccount: async () => {},
    createSession: async (/** @type {any} */ session) => session,
    getSessionAndUser: async () => null,
    updateSession: async () => null,
    deleteSession: async () => {},
    createVerificationToken: async (/** @type {any} */ invite) => (invites.push(invite), invite),
    useVerificationToken: async () => invites.pop() ?? null,
  };
}

for (const [name, version] of /** @type {const} */ ([
  ["next-auth 4", 4],
  ["Auth.js 5", 5],
])) {
  /** @param {object} [own] options of `cambio` @param {any} [person] whom `authorize` returns */
  function started(own, person = { id: "app-7", name: "Grace", email: "grace@example.com", image: null }) {
    /** @type {any[]} */
    const users = [];
    /** @type {string[]} */
    const links = [];
    /** @type {string[]} */
    const log = [];
    const logger = { error: (/** @type {string} */ text) => void log.push(text), info: (/** @type {string} */ text) => void log.push(text) };
    /** @type {any} */
    const cambio = version === 4 ? v4.cambio : v5.cambio;
    const ours = cambio({ url: server.url, clientId: "nextjs", clientSecret: "secret", logger, ...own });
    const credentials = { id: "credentials", name: "Password", type: "credentials", credentials: {}, authorize: async () => ({ ...person }) };
    const sendVerificationRequest = async (/** @type {any} */ { url }) => void links.push(url);
    const email = { id: "email", name: "Email", type: "email", maxAge: 600, from: "a@example.com", sendVerificationRequest };
    const passive = [credentials, email].map((one) => (version === 4 ? { ...one, options: one } : one));
    const silent = { error() {}, warn() {}, debug() {} };
    const options = { providers: [provider(server.url), ...passive], adapter: adapterOf(users), ...ours.options, logger: silent };
    const app = version === 4 ? appWith4(server.url, { options }) : appWith5(server.url, { options });
    const csrf = async () => JSON.parse((await app.get("/api/auth/csrf")).body).csrfToken;
    return {
      app,
      log,
      users,
      byPassword: async () => app.post("/api/auth/callback/credentials", { csrfToken: await csrf() }),
      askForLink: async () => app.post("/api/auth/signin/email", { csrfToken: await csrf(), email: "grace@example.com" }),
      followLink: async () => app.get(/** @type {string} */ (links.pop()).slice("http://localhost:3000".length)),
      session: async () => JSON.parse((await app.get("/api/auth/session")).body),
      getAccessToken: ours.accessTokenOf(() => app.onServer()),
    };
  }

  test(`${name}: a sign-in with a password is exchanged once, for the id that the app gave`, async () => {
    const { byPassword, session, getAccessToken, log } = started();

    const { headers } = await byPassword();

    assert.doesNotMatch(headers.get("Location") ?? "", /error/);
    assert.equal((await session()).user.id, USER.id);
    assert.equal((await getAccessToken()).token, "access-1");
    const [{ form }, ...others] = exchanges();
    assert.deepEqual(others, []);
    const { auth_time, ...claims } = verified(form.subject_token);
    assert.ok(Math.abs(auth_time - Date.now() / 1000) < 60);
    assert.deepEqual(claims, {
      iss: "nextjs",
      sub: "app-7",
      aud: `${server.url}/token`,
      name: "Grace",
      email: "grace@example.com",
      email_verified: false,
    });
    assert.deepEqual(log, []);
  });

  test(`${name}: an e-mail link is exchanged when it is followed, and not before`, async () => {
    const { askForLink, followLink, session, users } = started();

    await askForLink();
    assert.deepEqual(server.requests, [], "the user has not proved the address yet");
    await followLink();

    assert.equal((await session()).user.id, USER.id);
    assert.equal(exchanges().length, 1);
    const { sub, email, email_verified } = verified(exchanges()[0].form.subject_token);
    assert.deepEqual([sub, email, email_verified], [users[0].id, "grace@example.com", true]);
    await askForLink();
    await followLink();
    assert.equal(verified(exchanges()[1].form.subject_token).sub, users[0].id);
    assert.equal(users.length, 1);
  });

  test(`${name}: a user whom Cambio does not admit is not signed in`, async () => {
    const denied = { status: 400, body: { error: "access_denied", error_description: "the account is disabled" } };
    server.answer = () => denied;
    const { byPassword, askForLink, followLink, session, app } = started();

    const { headers } = await byPassword();
    assert.match(headers.get("Location") ?? "", /error=AccessDenied/);
    await askForLink();
    await followLink();

    assert.deepEqual(await session(), version === 4 ? {} : null);
    assert.ok(![...app.cookies.keys()].some((cookie) => cookie.includes("session-token")));
    assert.equal(exchanges().length, 2);
  });

  test(`${name}: a lost answer is repeated with the same JWT`, async () => {
    let nth = 0;
    server.answer = () => (nth++ ? { body: grant(1) } : { status: 503, body: { error: "temporarily_unavailable" } });
    const { byPassword, session } = started();
    await byPassword();
    assert.equal((await session()).user.id, USER.id);
    const [first, second] = exchanges().map(({ form }) => form.subject_token);
    assert.equal(second, first);
  });

  test(`${name}: where Cambio does not let the app vouch, the sign-in passes as one of an app without Cambio`, async () => {
    server.answer = () => OFF;
    /** @type {object[]} */
    const events = [];
    const { byPassword, session, log, getAccessToken } = started({ onEvent: (/** @type {object} */ event) => events.push(event) });
    const { headers } = await byPassword();
    assert.doesNotMatch(headers.get("Location") ?? "", /error/);
    assert.equal((await session()).user.email, "grace@example.com");
    assert.equal(exchanges().length, 1);
    assert.match(log.join("\n"), /may not vouch for users/);
    await assert.rejects(getAccessToken(), { kind: "ended" });
    assert.deepEqual(events, []);
  });

  test(`${name}: without the key, it passes as well, and the log says once how to have it`, async () => {
    delete process.env.CAMBIO_PRIVATE_KEY;
    const { byPassword, session, log } = started();
    await byPassword();
    await byPassword();
    assert.equal((await session()).user.email, "grace@example.com");
    assert.deepEqual(server.requests, []);
    const line = "[cambio] the sign-in has no token of credentials";
    assert.deepEqual(log, [`${line}: set CAMBIO_PRIVATE_KEY, and vouches of the app at Cambio, to vouch for its user`, line]);
  });

  test(`${name}: a key and an issuer in the options, and none in the environment`, async () => {
    delete process.env.CAMBIO_PRIVATE_KEY;
    const { byPassword, session } = started({ vouch: vouch({ key: JWK, issuer: "https://shop.example.com", url: server.url }) });
    await byPassword();
    assert.equal((await session()).user.id, USER.id);
    assert.equal(verified(exchanges()[0].form.subject_token).iss, "https://shop.example.com");
  });

  test(`${name}: a sign-in at a provider sends the provider's token`, async () => {
    server.answer = ({ path, headers }) => providerAnswer(path, headers.host) ?? { body: grant(1) };
    const { app, session } = started();
    await app.signIn();
    assert.equal((await session()).user.id, USER.id);
    assert.deepEqual(exchanges(), []);
  });

  test(`${name}: the app vouches for the users of a provider in vouchFor`, async () => {
    server.answer = ({ path, headers }) => providerAnswer(path, headers.host) ?? { body: grant(1) };
    const { app, session } = started({ vouchFor: ["github"] });
    await app.signIn();
    await app.signIn();
    assert.equal((await session()).user.id, USER.id);
    assert.equal(exchanges().length, 2);
    for (const { form } of exchanges()) {
      const claims = { iss: "nextjs", sub: "github:1", aud: `${server.url}/token`, name: "Octocat" };
      assert.deepEqual(verified(form.subject_token), { ...claims, email: "octocat@example.com", email_verified: false });
    }

    // The id of another sign-in that looks like one of the provider's.
    const forged = started({ vouchFor: ["github"] }, { id: "github:1", name: "Eve" });
    server.requests.length = 0;
    await forged.byPassword();
    assert.deepEqual(server.requests, []);
    assert.match(forged.log.join("\n"), /like that of a user of a provider in vouchFor/);

    const denied = { status: 400, body: { error: "access_denied", error_description: "the account is disabled" } };
    server.answer = ({ path, headers }) => providerAnswer(path, headers.host) ?? denied;
    const refused = started({ vouchFor: ["github"] });
    const { headers } = await refused.app.signIn();
    assert.match(headers.get("Location") ?? "", /error=AccessDenied/);
    assert.deepEqual(await refused.session(), version === 4 ? {} : null);
  });

  if (version === 4) {
    test(`${name}: a user without an id is not vouched for, and one with a number is`, async () => {
      const { byPassword, log } = started({}, { name: "Grace" });
      await byPassword();
      assert.deepEqual(server.requests, []);
      assert.match(log.join("\n"), /no token of credentials, and its user has no id to vouch for/);
      const numbered = started({}, { id: 7, name: "Grace" });
      await numbered.byPassword();
      assert.equal(verified(exchanges()[0].form.subject_token).sub, "7");
    });
  }
}
