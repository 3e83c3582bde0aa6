// @ts-check
/** The size of the session's cookie, as the real handlers of next-auth 4 and Auth.js 5 set it. */
import assert from "node:assert/strict";
import { generateKeyPairSync, sign } from "node:crypto";
import { test } from "node:test";
import * as v4 from "@cambio/next-auth/v4";
import * as v5 from "@cambio/next-auth/v5";
import { appWith4, appWith5, providerAnswer } from "./handlers.mjs";
import { grant, serverOfTests, USER } from "./server.mjs";

const server = await serverOfTests();
const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
/** A refresh token of Cambio's length. */
const REFRESH_TOKEN = `cbr_${"r".repeat(124)}`;

/** An access token with all that Cambio writes into one, of the usual key type. @param {object} [more] */
function accessToken(more) {
  const now = Math.floor(Date.now() / 1000);
  const claims = {
    iss: "https://a1b2c3d4e5.execute-api.eu-central-1.amazonaws.com",
    aud: "https://api.example.com",
    sub: USER.id,
    client_id: "nextjs",
    iat: now,
    auth_time: now,
    exp: now + 900,
    jti: USER.id,
    sid: "r".repeat(22),
    session_version: 0,
    scope: "orders:read orders:write",
    ...more,
  };
  const header = { typ: "at+jwt", alg: "RS256", kid: "k".repeat(43) };
  const text = [header, claims].map((part) => Buffer.from(JSON.stringify(part)).toString("base64url")).join(".");
  return `${text}.${sign("sha256", Buffer.from(text), privateKey).toString("base64url")}`;
}

/** @type {any} */
const OCTOCAT = {
  ...USER,
  name: "Ada Lovelace",
  picture: "https://avatars.githubusercontent.com/u/583231?v=4",
  identities: [{ provider: "github", subject: "583231", username: "octocat" }],
};
/** Each member of a user at the limit that Cambio sets. @type {any} */
const LONGEST = {
  ...USER,
  name: "\u{20000}".repeat(256),
  email: `${"e".repeat(242)}@example.com`,
  picture: `https://example.com/${"p".repeat(2028)}`,
  identities: Array.from({ length: 16 }, () => ({ provider: "p".repeat(32), subject: "s".repeat(255), username: "\u{20000}".repeat(256) })),
};
/** The roles of a user at the limit: 32 of 64 bytes each. */
const ROLES = Array.from({ length: 32 }, (_, nth) => `${nth}`.padStart(64, "r"));

for (const [version, start] of /** @type {const} */ ([
  [
    "next-auth 4",
    (/** @type {any} */ own) =>
      appWith4(server.url, v4.cambio({ url: server.url, clientId: "nextjs", clientSecret: "secret", exposeAccessToken: true, ...own })),
  ],
  [
    "Auth.js 5",
    (/** @type {any} */ own) =>
      appWith5(server.url, v5.cambio({ url: server.url, clientId: "nextjs", clientSecret: "secret", exposeAccessToken: true, ...own })),
  ],
])) {
  /**
   * The session of a user who has signed in, and the bytes of its cookies.
   * @param {any} user
   * @param {string} token
   * @param {object} [options]
   */
  async function signedIn(user, token, options) {
    server.answer = ({ path }) => providerAnswer(path) ?? { body: grant(1, { user, access_token: token, refresh_token: REFRESH_TOKEN }) };
    const app = start(options);
    await app.signIn();
    const size = () => [...app.cookies].filter(([name]) => name.includes("session-token")).reduce((sum, [name, value]) => sum + name.length + value.length, 0);
    const atSignIn = size();
    const session = JSON.parse((await app.get("/api/auth/session")).body);
    assert.equal(session.accessToken, token);
    assert.equal(session.user.id, user.id);
    return { app, session, size: Math.max(atSignIn, size()), sizeNow: size };
  }

  test(`${version}: by default, the cookie is smaller than 2,500 bytes and shows all of the profile`, async () => {
    const { session, size } = await signedIn(OCTOCAT, accessToken());
    assert.ok(size < 2500, `${size} bytes`);
    const { id, name, email, picture } = OCTOCAT;
    assert.deepEqual(session.user, { id, name, email, image: picture });
  });

  test(`${version}: with each member of the profile at its limit, the cookie has at most 4,000 bytes`, async () => {
    const { session, size } = await signedIn(LONGEST, accessToken());
    assert.ok(size <= 4000, `${size} bytes`);
    assert.equal(session.user.email, LONGEST.email);
    assert.equal(session.user.image, null, "a picture that does not fit is left out");
    assert.equal(session.user.name, LONGEST.name);
  });

  for (const [which, user, most] of /** @type {const} */ ([
    ["of a usual user", OCTOCAT, 2_500],
    ["with each member of the profile at its limit", LONGEST, 4_000],
  ])) {
    test(`${version}: after a refresh, the cookie ${which} has at most ${most} bytes`, async (t) => {
      const { app, sizeNow } = await signedIn(user, accessToken());
      const next = accessToken({ jti: "01a20d4b-4851-7307-bbca-e78d2750008c" });
      server.answer = () => ({ body: grant(2, { user, access_token: next, refresh_token: REFRESH_TOKEN.replace(/r/g, "s") }) });
      t.mock.timers.enable({ apis: ["Date"], now: Date.now() + 14.5 * 60_000 });
      const { accessToken: shown, user: shownUser } = JSON.parse((await app.get("/api/auth/session")).body);
      assert.equal(shown, next);
      assert.ok(user.name.startsWith(shownUser.name) && Buffer.byteLength(shownUser.name) >= Math.min(Buffer.byteLength(user.name), 900), shownUser.name);
      assert.ok(sizeNow() <= most, `${sizeNow()} bytes`);
    });
  }

  test(`${version}: roles at their limit stay complete, whatever the cookie leaves out`, async (t) => {
    const roles = /** @type {any} */ (ROLES);
    const callbacks = { session: (/** @type {any} */ { session, token }) => ({ ...session, roles: token.cambio.user.roles }) };
    const user = { ...LONGEST, roles };
    const { app, session } = await signedIn(user, accessToken({ roles, own: "c".repeat(1010) }), { callbacks });
    assert.deepEqual(session.roles, ROLES);
    server.answer = () => ({ body: grant(2, { user, access_token: accessToken({ roles }), refresh_token: REFRESH_TOKEN.replace(/r/g, "s") }) });
    t.mock.timers.enable({ apis: ["Date"], now: Date.now() + 14.5 * 60_000 });
    const later = JSON.parse((await app.get("/api/auth/session")).body);
    assert.deepEqual(later.roles, ROLES);
    assert.equal(Buffer.byteLength(later.user.name), 900, "the name is shortened to whole characters, and not further");
    assert.equal(later.user.email, LONGEST.email);
  });

  test(`${version}: a long picture with a name of the usual length stays as it is`, async () => {
    const user = { ...OCTOCAT, picture: `https://example.com/${"p".repeat(900)}` };
    const { session, size } = await signedIn(user, accessToken());
    assert.ok(size <= 4000, `${size} bytes`);
    assert.equal(session.user.image, user.picture);
  });

  test(`${version}: roles and claims at their limits cost what the access token costs, and the roles once more`, async () => {
    const token = accessToken({ scope: "s".repeat(1024), roles: ROLES, own: "c".repeat(1010) });
    const { size } = await signedIn({ ...LONGEST, roles: ROLES }, token);
    const tokens = (token.length + REFRESH_TOKEN.length + JSON.stringify(ROLES).length) * (4 / 3);
    assert.ok(size <= tokens + 2600, `${size} bytes, of which ${Math.round(tokens)} for the tokens and the roles`);
  });

  test(`${version}: callbacks see the whole user, at sign-in and later, and what they change stays changed`, async () => {
    const user = { ...OCTOCAT, roles: ["admin"] };
    /** @type {object[]} */
    const seen = [];
    const callbacks = {
      jwt: (/** @type {any} */ { token }) => (seen.push(token.cambio.user), { ...token, name: "Somebody", sub: undefined }),
      session: (/** @type {any} */ { session, token }) => (seen.push(token.cambio.user), { ...session, claim: token.name }),
    };
    const { app, session } = await signedIn(user, accessToken(), { callbacks });
    await app.get("/api/auth/session");

    const { identities, ...whole } = user;
    assert.equal(seen.length, 5);
    for (const each of seen) assert.deepEqual(each, whole);
    assert.equal(session.claim, "Somebody");
    assert.equal(session.user.name, user.name, "the user is the one that the API knows");
  });
}
