// @ts-check
/**
 * Third-party libraries, unchanged, sign in, check tokens, refresh and sign out while the signing keys rotate. A
 * library that checks tokens has read the keys before the rotation. The programs of docs/protect-your-api.md, for APIs
 * that check tokens, are in tests/interop.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before } from "node:test";
import { JwtVerifier } from "aws-jwt-verify";
import { SimpleJwksCache } from "aws-jwt-verify/jwk";
import { createRemoteJWKSet, decodeProtectedHeader, exportJWK, exportPKCS8, generateKeyPair, jwtVerify } from "jose";
import * as oauth from "oauth4webapi";
import * as openid from "openid-client";
import { CLIENT, ROOT, rotateKeys, scenario, secretHash, setup, startApi, stopAll } from "./harness.mjs";
import { OCTOCAT, startStandIn } from "./stand-in.mjs";

const TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange";
/** The client that has a key instead of a secret. */
const SIGNER = { id: "signer", kid: "2026-11" };
const insecure = { [oauth.allowInsecureRequests]: true };

/** @typedef {{ access_token: string, refresh_token: string }} Tokens */
/**
 * The calls of a library as a client.
 * @typedef {{
 *   exchange(token: string): Promise<Tokens>,
 *   refresh(token: string): Promise<Tokens>,
 *   isActive(token: string): Promise<boolean>,
 *   revoke(token: string): Promise<unknown>,
 * }} Client
 */

/** @type {import("./stand-in.mjs").StandIn} */
let github;
/** @type {Awaited<ReturnType<typeof startApi>>} */
let api;
/** @type {CryptoKey} */
let key;
/** @type {string} */
let pem;

/** @type {Map<string, { client: Client, tokens: Tokens }>} */
const signedIn = new Map();
/** @type {Map<string, (token: string) => Promise<{ sub?: string }>>} */
const verifiers = new Map();
/** @type {ReturnType<typeof start>[]} */
const pythons = [];

before(
  setup(async () => {
    const pair = await generateKeyPair("ES256", { extractable: true });
    [key, pem] = [pair.privateKey, await exportPKCS8(pair.privateKey)];
    const jwk = { ...(await exportJWK(pair.publicKey)), kid: SIGNER.kid };
    const clients = [
      { client_id: CLIENT.id, secret_sha256: [secretHash(CLIENT.secret)] },
      { client_id: SIGNER.id, jwks: { keys: [jwk] } },
    ];
    github = await startStandIn();
    api = await startApi("interop", github.url, { CLIENTS: JSON.stringify(clients) });
  }),
);
after(async () => {
  for (const { child } of pythons) child.kill();
  await stopAll();
  await github?.close();
});

/** @type {Record<string, () => Promise<Client>>} */
const CLIENTS = {
  "openid-client with a secret": () => openidClient(CLIENT.id, openid.ClientSecretBasic(CLIENT.secret)),
  "openid-client with a key": () => openidClient(SIGNER.id, openid.PrivateKeyJwt({ key, kid: SIGNER.kid })),
  "oauth4webapi with a secret": () => oauthClient(CLIENT.id, oauth.ClientSecretPost(CLIENT.secret)),
  "oauth4webapi with a key": () => oauthClient(SIGNER.id, oauth.PrivateKeyJwt({ key, kid: SIGNER.kid })),
};
const PYTHON = ["authlib", "pyjwt"];

for (const [name, start] of Object.entries(CLIENTS)) {
  scenario(`${name}: discovery and exchange`, async () => {
    const client = await start();
    const tokens = await client.exchange(await github.token(OCTOCAT.login));
    signedIn.set(name, { client, tokens });
  });
}

scenario("jose, oauth4webapi and aws-jwt-verify read the keys, and accept every token", async () => {
  verifiers.set("jose", jose());
  verifiers.set("oauth4webapi", await oauth4webapi());
  verifiers.set("aws-jwt-verify", awsJwtVerify());
  assert.equal(signedIn.size, Object.keys(CLIENTS).length);
  for (const { tokens } of signedIn.values()) await verifyAll(tokens.access_token);
});

for (const library of PYTHON) {
  scenario(`${library}: discovery, exchange, verification`, async () => {
    const python = start(library, await github.token(OCTOCAT.login));
    pythons.push(python);
    assert.equal((await python.lines.next()).value, "ready to rotate", python.said.join("\n"));
  });
}

scenario("the keys rotate", async () => {
  const { keys } = await rotateKeys(api);
  const kids = [...signedIn.values()].map(({ tokens }) => decodeProtectedHeader(tokens.access_token).kid);
  assert.deepEqual(new Set(kids), new Set([keys[0].kid]), "what was issued before is of the key that is retired now");
});

for (const name of Object.keys(CLIENTS)) {
  scenario(`${name}: refresh with the next key, verification, sign-out`, async () => {
    const found = signedIn.get(name);
    assert.ok(found, "no sign-in");
    const { client, tokens } = found;

    const next = await client.refresh(tokens.refresh_token);

    const [before, after] = [tokens, next].map(({ access_token }) => decodeProtectedHeader(access_token).kid);
    assert.notEqual(after, before);
    for (const { access_token } of [tokens, next]) {
      await verifyAll(access_token);
      assert.equal(await client.isActive(access_token), true);
    }
    assert.equal(await client.isActive(next.refresh_token), true);
    await client.revoke(next.refresh_token);
    assert.equal(await client.isActive(next.access_token), false);
    await assert.rejects(client.refresh(next.refresh_token), { error: "invalid_grant" });
  });
}

for (const [nth, library] of PYTHON.entries()) {
  scenario(`${library}: refresh with the next key, verification, sign-out`, async () => {
    const python = pythons[nth];
    assert.ok(python, "it did not get so far");
    python.child.stdin?.end("rotated\n");
    assert.equal(await python.exited, 0, python.said.join("\n"));
    assert.equal(python.said.at(-1), "all of it held");
  });
}

/** @param {string} id @param {openid.ClientAuth} authentication @returns {Promise<Client>} */
async function openidClient(id, authentication) {
  const options = { execute: [openid.allowInsecureRequests] };
  const cambio = await openid.discovery(new URL(api.url), id, undefined, authentication, options);
  return {
    exchange: async (token) => whole(await openid.genericGrantRequest(cambio, TOKEN_EXCHANGE, subject(token))),
    refresh: async (token) => whole(await openid.refreshTokenGrant(cambio, token)),
    isActive: async (token) => (await openid.tokenIntrospection(cambio, token)).active,
    revoke: (token) => openid.tokenRevocation(cambio, token),
  };
}

/** @param {string} id @param {oauth.ClientAuth} authentication @returns {Promise<Client>} */
async function oauthClient(id, authentication) {
  const as = await discovered("oauth2");
  const client = { client_id: id };
  return {
    async exchange(token) {
      const answer = await oauth.genericTokenEndpointRequest(as, client, authentication, TOKEN_EXCHANGE, subject(token), insecure);
      return whole(await oauth.processGenericTokenEndpointResponse(as, client, answer));
    },
    async refresh(token) {
      const answer = await oauth.refreshTokenGrantRequest(as, client, authentication, token, insecure);
      return whole(await oauth.processRefreshTokenResponse(as, client, answer));
    },
    async isActive(token) {
      const answer = await oauth.introspectionRequest(as, client, authentication, token, insecure);
      return (await oauth.processIntrospectionResponse(as, client, answer)).active;
    },
    async revoke(token) {
      await oauth.processRevocationResponse(await oauth.revocationRequest(as, client, authentication, token, insecure));
    },
  };
}

/** @param {"oidc" | "oauth2"} algorithm */
async function discovered(algorithm) {
  const issuer = new URL(api.url);
  return oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { algorithm, ...insecure }));
}

/** @param {string} token */
function subject(token) {
  return { subject_token: token, subject_token_type: "urn:ietf:params:oauth:token-type:access_token", subject_issuer: "github" };
}

/** @param {{ access_token: string, refresh_token?: string }} tokens @returns {Tokens} */
function whole({ access_token, refresh_token }) {
  assert.ok(refresh_token);
  return { access_token, refresh_token };
}

function jose() {
  const keys = createRemoteJWKSet(new URL(`${api.url}/.well-known/jwks.json`));
  const expected = { issuer: api.url, audience: api.env.TOKEN_AUDIENCE, typ: "at+jwt" };
  return async (/** @type {string} */ token) => (await jwtVerify(token, keys, expected)).payload;
}

async function oauth4webapi() {
  const as = await discovered("oidc");
  return (/** @type {string} */ token) => {
    const request = new Request(`${api.url}/anything`, { headers: { Authorization: `Bearer ${token}` } });
    return oauth.validateJwtAccessToken(as, request, api.env.TOKEN_AUDIENCE, insecure);
  };
}

function awsJwtVerify() {
  // The fetcher of the library accepts https only.
  const fetcher = { fetch: async (/** @type {string} */ uri) => (await fetch(uri)).arrayBuffer() };
  const verifier = JwtVerifier.create(
    { issuer: api.url, audience: api.env.TOKEN_AUDIENCE, jwksUri: `${api.url}/.well-known/jwks.json` },
    { jwksCache: new SimpleJwksCache({ fetcher }) },
  );
  return (/** @type {string} */ token) => verifier.verify(token);
}

/** Every verifier accepts the token, and none accepts another one. @param {string} token */
async function verifyAll(token) {
  assert.equal(verifiers.size, 3);
  const [header, payload, signature] = token.split(".");
  const tampered = [header, payload, (signature[0] === "A" ? "B" : "A") + signature.slice(1)].join(".");
  for (const [name, verify] of verifiers) {
    assert.ok((await verify(token)).sub, name);
    await assert.rejects(verify(tampered), name);
  }
}

/**
 * Runs the Python part, which reports that it has reached the rotation.
 * @param {string} library
 * @param {string} token of GitHub
 */
function start(library, token) {
  const python = join(ROOT, ".venv/bin/python");
  const child = spawn(python, [join(ROOT, "tests/browser/interop.py"), library], {
    env: {
      ...process.env,
      ISSUER_URL: api.url,
      TOKEN_AUDIENCE: api.env.TOKEN_AUDIENCE,
      CLIENT_ID: CLIENT.id,
      CLIENT_SECRET: CLIENT.secret,
      SIGNER_ID: SIGNER.id,
      SIGNER_KID: SIGNER.kid,
      SIGNER_KEY: pem,
      GITHUB_TOKEN: token,
      // Both allow plain http, because everything runs on one machine.
      AUTHLIB_INSECURE_TRANSPORT: "1",
    },
    stdio: ["pipe", "pipe", "pipe"],
  });
  /** @type {string[]} */
  const said = [];
  const output = createInterface({ input: child.stdout });
  output.on("line", (line) => said.push(line));
  createInterface({ input: child.stderr }).on("line", (line) => said.push(line));
  const exited = once(child, "exit").then(([code]) => /** @type {number | null} */ (code));
  return { child, lines: output[Symbol.asyncIterator](), said, exited };
}
