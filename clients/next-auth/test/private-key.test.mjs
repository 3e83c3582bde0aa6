// @ts-check
/** Client authentication by a private key (RFC 7523). */
import assert from "node:assert/strict";
import { constants, createPublicKey, verify } from "node:crypto";
import { createRequire } from "node:module";
import { test } from "node:test";
import { CambioError, createClient } from "@cambio/next-auth";
import { privateKey } from "@cambio/next-auth/private-key";
import * as v4 from "@cambio/next-auth/v4";
import { appWith4, providerAnswer } from "./handlers.mjs";
import { grant, serverOfTests } from "./server.mjs";

const server = await serverOfTests();

const RSA = { modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]), hash: "SHA-256" };
/**
 * For each `alg`, the parameters of WebCrypto for such a key, and of Node.js for its signatures.
 * @type {Record<string, [any, string | null, object]>}
 */
const ALGORITHMS = {
  ES256: [{ name: "ECDSA", namedCurve: "P-256" }, "sha256", { dsaEncoding: "ieee-p1363" }],
  RS256: [{ name: "RSASSA-PKCS1-v1_5", ...RSA }, "sha256", {}],
  PS256: [{ name: "RSA-PSS", ...RSA }, "sha256", { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 }],
  EdDSA: [{ name: "Ed25519" }, null, {}],
};

/** @param {string} alg @returns {Promise<CryptoKeyPair>} */
const pair = async (alg) => /** @type {any} */ (await crypto.subtle.generateKey(ALGORITHMS[alg][0], true, ["sign", "verify"]));
/** @param {CryptoKey} key @param {object} [more] */
const jwkOf = async (key, more) => ({ ...(await crypto.subtle.exportKey("jwk", key)), kid: "2026-11", ...more });

/**
 * Returns the header and the claims of an assertion, after a check of its signature.
 * @param {string} assertion
 * @param {string} alg
 * @param {CryptoKey} key
 */
async function verified(assertion, alg, key) {
  const [header, claims, signature] = assertion.split(".");
  const [, hash, options] = ALGORITHMS[alg];
  const { alg: _, key_ops, ...jwk } = await crypto.subtle.exportKey("jwk", key);
  const publicKey = { key: createPublicKey({ key: /** @type {any} */ (jwk), format: "jwk" }), ...options };
  assert.ok(verify(hash, Buffer.from(`${header}.${claims}`), publicKey, Buffer.from(signature, "base64url")), "the signature");
  return [header, claims].map((part) => JSON.parse(Buffer.from(part, "base64url").toString()));
}

/** @param {import("@cambio/next-auth").ClientAuth} clientAuth */
const clientWith = (clientAuth) => createClient({ url: `${server.url}/`, clientId: "backoffice", clientAuth });

for (const alg of Object.keys(ALGORITHMS)) {
  for (const [kind, given] of /** @type {const} */ ([
    ["a JWK", async (/** @type {CryptoKey} */ key) => privateKey(await jwkOf(key))],
    ["a CryptoKey", async (/** @type {CryptoKey} */ key) => privateKey(key, { kid: "2026-11" })],
  ])) {
    test(`${kind} of ${alg} signs an assertion for each request`, async () => {
      const keys = await pair(alg);
      const client = clientWith(await given(keys.privateKey));
      const now = Math.floor(Date.now() / 1000);

      await client.refresh("refresh-1");
      await client.revoke("refresh-1");

      const ids = [];
      for (const { path, form, headers } of server.requests) {
        assert.equal(headers.authorization, undefined);
        assert.equal(form.client_id, "backoffice");
        assert.equal(form.client_assertion_type, "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
        const [header, claims] = await verified(form.client_assertion, alg, keys.publicKey);
        assert.deepEqual(header, { typ: "JWT", alg, kid: "2026-11" });
        const { jti, iat, exp, ...rest } = claims;
        assert.deepEqual(rest, { iss: "backoffice", sub: "backoffice", aud: `${server.url}${path}` });
        assert.ok(iat >= now && iat <= now + 5 && exp === iat + 60, JSON.stringify(claims));
        ids.push(jti);
      }
      assert.equal(new Set(ids).size, 2);
    });
  }
}

test("a JWK of RSA signs with PS256 where its alg says so, and with RS256 by default", async () => {
  const { privateKey: key } = await pair("PS256");
  const { alg, ...jwk } = await jwkOf(key);
  for (const [given, expected] of /** @type {const} */ ([
    [{ ...jwk, alg }, "PS256"],
    [jwk, "RS256"],
  ])) {
    await clientWith(privateKey(given)).refresh("refresh-1");
    const [header] = /** @type {any} */ (server.requests.at(-1)).form.client_assertion.split(".");
    assert.equal(JSON.parse(Buffer.from(header, "base64url").toString()).alg, expected);
  }
});

test("a repeated request has an assertion of its own", async () => {
  server.answer = () => (server.requests.length === 1 ? { status: 503, body: {} } : { body: grant(1) });
  await clientWith(privateKey(await jwkOf((await pair("ES256")).privateKey))).exchange({ provider: "github", access_token: "gho_1" });
  const assertions = server.requests.map(({ form }) => form.client_assertion);
  assert.equal(assertions.length, 2);
  assert.notEqual(assertions[0], assertions[1]);
  assert.equal(server.requests[1].form.subject_token, "gho_1");
});

test("the audience of the assertion is another one where the app says so", async () => {
  const keys = await pair("ES256");
  const audience = "https://auth.example.com";
  await clientWith(privateKey(keys.privateKey, { kid: "a", audience })).refresh("refresh-1");
  const [, claims] = await verified(server.requests[0].form.client_assertion, "ES256", keys.publicKey);
  assert.equal(claims.aud, audience);
});

test("the key comes from the environment by default, at the first call", async () => {
  const keys = await pair("ES256");
  const client = clientWith(privateKey());
  const expected = { name: "CambioError", kind: "misconfigured", message: /^CAMBIO_PRIVATE_KEY is not set/ };
  await assert.rejects(client.refresh("refresh-1"), expected);
  process.env.CAMBIO_PRIVATE_KEY = JSON.stringify(await jwkOf(keys.privateKey));
  try {
    await client.refresh("refresh-1");
  } finally {
    delete process.env.CAMBIO_PRIVATE_KEY;
  }
  await verified(server.requests[0].form.client_assertion, "ES256", keys.publicKey);
});

test("a key that cannot sign is a misconfiguration, and no key is in the message", async () => {
  const { privateKey: key, publicKey } = await pair("ES256");
  const { kid, ...nameless } = await jwkOf(key);
  const { d, ...open } = await jwkOf(key);
  const p384 = /** @type {CryptoKeyPair} */ (await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-384" }, true, ["sign"]));
  for (const [clientAuth, message] of /** @type {const} */ ([
    [privateKey(nameless), /no kid/],
    [privateKey(key), /no kid/],
    [privateKey(open), /private key/],
    [privateKey(publicKey, { kid: "a" }), /private key/],
    [privateKey(p384.privateKey, { kid: "a" }), /ES256/],
    [privateKey({ kty: "oct", k: "c2VjcmV0", kid: "a" }), /ES256/],
    [privateKey({ kty: "EC", crv: "P-256", x: "AA", y: "AA", d: "secret", kid: "a" }), /private key/],
  ])) {
    const failure = await clientWith(clientAuth)
      .refresh("refresh-1")
      .catch((error) => error);
    assert.ok(failure instanceof CambioError, String(failure));
    assert.equal(failure.kind, "misconfigured");
    assert.match(failure.message, message);
    assert.ok(!failure.message.includes(d ?? "") && !failure.message.includes("secret"));
  }
  assert.deepEqual(server.requests, []);
});

test("an app signs in without a client secret", async () => {
  const keys = await pair("ES256");
  server.answer = ({ path }) => providerAnswer(path) ?? { body: grant(1) };
  const app = appWith4(server.url, v4.cambio({ url: server.url, clientId: "nextjs", clientAuth: privateKey(await jwkOf(keys.privateKey)) }));
  await app.signIn();
  assert.match((await app.get("/api/auth/session")).body, /Ada/);
  const { form } = /** @type {any} */ (server.requests.find(({ path }) => path === "/token"));
  await verified(form.client_assertion, "ES256", keys.publicKey);
});

test("it is there for require as well", () => {
  assert.equal(typeof createRequire(import.meta.url)("@cambio/next-auth/private-key").privateKey, "function");
});
