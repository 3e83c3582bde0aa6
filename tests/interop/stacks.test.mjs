// @ts-check
/**
 * Runs the programs of docs/protect-your-api.md against the API on this machine: each accepts its tokens, before and
 * after the keys rotate, and refuses tokens that differ from them in one thing.
 */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { createRemoteJWKSet, decodeJwt, decodeProtectedHeader, exportSPKI, generateKeyPair, importPKCS8, SignJWT } from "jose";
import { answers, buildCambio, scenario, setup, stop, stopAll } from "../browser/harness.mjs";
import { Cambio } from "./cambio.mjs";
import { missing, STACKS, startProgram, writeProgram } from "./stacks.mjs";

const SKIPPED = STACKS.filter(({ name, tools }) => {
  const absent = missing(tools);
  if (absent.length > 0) console.log(`${name} was not run here: ${absent.join(", ")} is not installed`);
  return absent.length > 0;
});
const RUN = STACKS.filter((stack) => !SKIPPED.includes(stack));

const cambio = new Cambio("stacks", "RSA-2048");
/** By the name of the stack. @type {Map<string, string>} */
const urls = new Map();
/** @type {Record<string, string>} */
let hostile;
/** @type {string} */
let first;
/** The time at which the last program read the keys. */
let keysRead = 0;

before(
  setup(async () => {
    await buildCambio("stacks");
    await cambio.start();
    const key = await cambio.currentKey();
    first = (await cambio.signIn()).access_token;
    hostile = await hostileTokens(first, key);
    const settings = { ISSUER: cambio.url, AUDIENCE: cambio.url };
    for (const stack of RUN) {
      writeProgram(stack);
      urls.set(stack.name, (await startProgram(stack, settings)).url);
    }
    for (const url of urls.values()) await answers(url, 401);
  }),
);
after(async () => {
  await cambio.remove();
  await stopAll();
});

for (const { name } of SKIPPED) test(name, { skip: "not installed" });

for (const { name } of RUN) {
  scenario(`${name}: a token of the API opens the route if it has the scope`, async () => {
    const other = (await cambio.signIn({ scope: "orders:write" })).access_token;

    const answer = await call(name, first);
    assert.equal(answer.status, 200);
    assert.deepEqual(await answer.json(), { user: decodeJwt(first).sub });
    assert.equal((await call(name, hostile.control)).status, 200, "the test signs as the API does");
    assert.equal((await call(name, other)).status, 403);
    assert.equal((await call(name)).status, 401);
    keysRead = Date.now();
  });

  scenario(`${name}: forged, expired and foreign tokens are refused`, async () => {
    const { control: _, ...refused } = hostile;
    /** @type {Record<string, number>} */
    const statuses = {};
    for (const [what, token] of Object.entries(refused)) statuses[what] = (await call(name, token)).status;

    const expected = Object.keys(refused).map((what) => [what, what.startsWith("scope") ? 403 : 401]);
    assert.deepEqual(statuses, Object.fromEntries(expected));
  });
}

scenario("while the API is stopped, every program goes on with the keys that it has", async () => {
  await cambio.stop();

  for (const { name } of RUN) assert.equal((await call(name, first)).status, 200, name);
  await cambio.start();
});

scenario("after a rotation, every program accepts the old token and the new one", async () => {
  await cambio.rotate();
  const second = (await cambio.signIn()).access_token;

  assert.notEqual(kid(second), kid(first));
  for (const { name } of RUN) {
    assert.equal((await call(name, second)).status, 200, `${name}, the new token`);
    assert.equal((await call(name, first)).status, 200, `${name}, the old token`);
  }
});

for (const stack of RUN) {
  scenario(`${stack.name}: without an audience, the program does not start`, async () => {
    const { program } = await startProgram(stack, { ISSUER: cambio.url });

    const status = await Promise.race([program.exited, sleep(60_000, "it is running")]);
    await stop(program);
    assert.equal(typeof status, "number");
    assert.notEqual(status, 0);
  });
}

scenario("a key that no program has read yet is read when its first token arrives", async () => {
  await cambio.rotate();
  const third = (await cambio.signIn()).access_token;
  // jose reads the keys again 30 s after it last did, not earlier.
  await sleep(Math.max(0, keysRead + 31_000 - Date.now()));

  for (const { name } of RUN) {
    assert.equal((await call(name, third)).status, 200, `${name}, the new token`);
    assert.equal((await call(name, first)).status, 200, `${name}, the old token`);
  }
});

/** @param {string} name @param {string} [token] */
function call(name, token) {
  return fetch(urls.get(name) ?? "", { headers: token ? { Authorization: `Bearer ${token}` } : {} });
}

/** @param {string} token */
function kid(token) {
  return decodeProtectedHeader(token).kid;
}

/**
 * Returns tokens of which each differs in one thing from `token`, and `control`, which differs in none. All but the
 * forged ones have a good signature, by the API's own key.
 * @param {string} token @param {{ kid: string, pem: string }} key
 * @returns {Promise<Record<string, string>>}
 */
async function hostileTokens(token, { kid, pem }) {
  const [claims, header] = [decodeJwt(token), decodeProtectedHeader(token)];
  assert.equal(header.kid, kid);
  const alg = header.alg ?? "";
  const now = Math.floor(Date.now() / 1000);
  const key = await importPKCS8(pem, alg);
  const foreign = (await generateKeyPair(alg)).privateKey;
  const published = await createRemoteJWKSet(new URL(`${cambio.url}/.well-known/jwks.json`))({ alg, kid });
  const publicKey = new TextEncoder().encode(await exportSPKI(published));

  /** @param {Partial<import("jose").JWTPayload>} changed @param {object} [headers] */
  const signed = (changed, headers = {}, by = /** @type {CryptoKey | Uint8Array} */ (key)) =>
    new SignJWT({ ...claims, ...changed }).setProtectedHeader({ ...header, alg, ...headers }).sign(by);
  const [head, payload, signature] = token.split(".");
  const part = (/** @type {object} */ value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  return {
    control: await signed({}),
    "expired an hour ago": await signed({ iat: now - 7200, exp: now - 3600 }),
    "never expires": await signed({ exp: undefined }),
    "another API's": await signed({ aud: "https://other.example.com" }),
    "no audience": await signed({ aud: undefined }),
    "another issuer's": await signed({ iss: "https://evil.example.com" }),
    "the issuer with a slash": await signed({ iss: `${claims.iss}/` }),
    "no issuer": await signed({ iss: undefined }),
    "an ID token's type": await signed({}, { typ: "JWT" }),
    "no type": await signed({}, { typ: undefined }),
    "signed by another key": await signed({}, {}, foreign),
    "signed with the public key as a secret": await signed({}, { alg: "HS256" }, publicKey),
    "signed by the key with another algorithm": await signed({}, { alg: "PS256" }, await importPKCS8(pem, "PS256")),
    "without a signature": `${part({ ...header, alg: "none" })}.${payload}.`,
    "changed after signing": `${head}.${part({ ...claims, sub: "another" })}.${signature}`,
    "signature cut off": `${head}.${payload}.`,
    "not a token": "a.b.c",
    "scope is a longer word": await signed({ scope: "orders:readonly xorders:read" }),
    "scope is absent": await signed({ scope: undefined }),
  };
}
