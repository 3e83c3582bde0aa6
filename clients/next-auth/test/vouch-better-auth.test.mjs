// @ts-check
/** Sign-ins that the app vouches for, in a real better-auth. */
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { afterEach, beforeEach, test } from "node:test";
import { cambio } from "@cambio/next-auth/better-auth";
import { betterAuth } from "better-auth";
import { memoryAdapter } from "better-auth/adapters/memory";
import { admin } from "better-auth/plugins";
import { cookieJar } from "./handlers.mjs";
import { grant, serverOfTests, USER } from "./server.mjs";

const { identities: _, ...SHOWN } = USER;

const server = await serverOfTests();
const APP = "http://localhost:3000";
const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });

beforeEach(() => void (process.env.CAMBIO_PRIVATE_KEY = JSON.stringify({ ...privateKey.export({ format: "jwk" }), kid: "one" })));
afterEach(() => void delete process.env.CAMBIO_PRIVATE_KEY);

const ADA = { email: "ada@example.com", password: "correct horse" };
const claimsOf = (/** @type {string} */ jwt) => JSON.parse(Buffer.from(jwt.split(".")[1], "base64url").toString());
const exchanges = () => server.requests.filter(({ form }) => form.subject_token_type === "urn:ietf:params:oauth:token-type:jwt");

function start() {
  /** @type {Record<string, any[]>} */
  const tables = { user: [], session: [], account: [], verification: [] };
  /** @type {string[]} */
  const log = [];
  const logger = { error: (/** @type {string} */ text) => void log.push(text), info: (/** @type {string} */ text) => void log.push(text) };
  const auth = betterAuth({
    baseURL: APP,
    secret: "a secret of the unit tests, and of nothing else",
    logger: { disabled: true },
    database: memoryAdapter(tables),
    emailAndPassword: { enabled: true },
    plugins: [cambio({ url: server.url, clientId: "nextjs", clientSecret: "secret", logger }), admin()],
  });
  const browser = cookieJar();
  /** @param {string} path @param {object} [body] */
  async function ask(path, body) {
    const headers = new Headers({ cookie: browser.header(), origin: APP, "content-type": "application/json" });
    const init = body ? { method: "POST", headers, body: JSON.stringify(body) } : { headers };
    const answer = await auth.handler(new Request(new URL(path, `${APP}/api/auth/`), init));
    browser.store(answer.headers);
    return answer;
  }
  return { ask, log, tables, session: async () => (await ask("cambio/session")).json() };
}

test("a sign-up and a sign-in with a password are exchanged for the id of the user in the app", async () => {
  const { ask, session, tables, log } = start();

  assert.equal((await ask("sign-up/email", { name: "Ada", ...ADA })).status, 200);
  assert.deepEqual(await session(), { user: SHOWN });
  assert.equal((await ask("sign-out", {})).status, 200);
  assert.equal((await ask("sign-in/email", ADA)).status, 200);

  assert.deepEqual(await session(), { user: SHOWN });
  assert.equal(exchanges().length, 2);
  for (const { form } of exchanges()) {
    const { iss, sub, name, email, email_verified } = claimsOf(form.subject_token);
    assert.deepEqual([iss, sub, name, email, email_verified], ["nextjs", tables.user[0].id, "Ada", ADA.email, false]);
  }
  assert.deepEqual(log, []);
});

test("a user whom Cambio does not admit gets no session", async () => {
  server.answer = () => ({ status: 400, body: { error: "access_denied", error_description: "the account is disabled" } });
  const { ask, tables } = start();
  const answer = await ask("sign-up/email", { name: "Ada", ...ADA });
  assert.equal(answer.status, 403);
  assert.equal((await answer.json()).code, "AccessDenied");
  assert.deepEqual(tables.session, []);
});

test("an administrator who acts as a user is not signed in as the user at Cambio", async () => {
  const { ask, session, tables } = start();
  await ask("sign-up/email", { name: "Eve", email: "eve@example.com", password: "correct horse" });
  await ask("sign-up/email", { name: "Ada", ...ADA });
  tables.user[1].role = "admin";
  const before = exchanges().length;

  const answer = await ask("admin/impersonate-user", { userId: tables.user[0].id });

  assert.equal(answer.status, 200, await answer.clone().text());
  assert.equal(exchanges().length, before);
  assert.deepEqual(await session(), { error: "SessionEnded" });
});

test("without the key, or vouches at Cambio, a sign-in passes as one of an app without Cambio", async () => {
  server.answer = () => ({ status: 400, body: { error: "unauthorized_client", error_description: "no vouches" } });
  const off = start();
  assert.equal((await off.ask("sign-up/email", { name: "Ada", ...ADA })).status, 200);
  assert.deepEqual(await off.session(), { error: "SessionEnded" });
  assert.match(off.log.join("\n"), /no vouches/);

  server.requests.length = 0;
  server.answer = () => ({ body: grant(1) });
  delete process.env.CAMBIO_PRIVATE_KEY;
  const { ask, session, log } = start();
  assert.equal((await ask("sign-up/email", { name: "Ada", ...ADA })).status, 200);
  assert.deepEqual(await session(), { error: "SessionEnded" });
  assert.deepEqual(server.requests, []);
  assert.match(log.join("\n"), /set CAMBIO_PRIVATE_KEY/);
});
