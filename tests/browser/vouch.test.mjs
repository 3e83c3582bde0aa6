// @ts-check
/** Sign-ins that the TypeScript package vouches for, against the real functions. */
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { after, before } from "node:test";
import { createClient } from "../../clients/next-auth/dist/esm/index.js";
import { privateKey as authenticate } from "../../clients/next-auth/dist/esm/private-key.js";
import { cambio as cambio4 } from "../../clients/next-auth/dist/esm/v4.js";
import { cambio as cambio5 } from "../../clients/next-auth/dist/esm/v5.js";
import { vouch } from "../../clients/next-auth/dist/esm/vouch.js";
import { appWith4, appWith5 } from "../../clients/next-auth/test/handlers.mjs";
import { scenario, secretHash, setup, startLocal, stopAll } from "./harness.mjs";

/** @param {string} kid */
function keyPair(kid) {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return { jwk: { ...privateKey.export({ format: "jwk" }), kid }, publicJwk: { ...publicKey.export({ format: "jwk" }), kid } };
}
const key = keyPair("one");
/** One key for both: the client's authentication and its users. */
const CLIENTS = [
  { client_id: "shop", jwks: { keys: [key.publicJwk] }, vouches: { keys: [key.publicJwk] } },
  { client_id: "plain", secret_sha256: [secretHash("plain-secret")] },
];

/** @type {string} */
let url;

before(
  setup(async () => {
    process.env.CAMBIO_PRIVATE_KEY = JSON.stringify(key.jwk);
    url = (await startLocal("vouch", { settings: { CLIENTS: JSON.stringify(CLIENTS) } })).url;
  }),
);
after(stopAll);

/** An app with passwords, whose user has the id `17`. @param {4 | 5} version @param {object} options of `cambio` */
function appOf(version, options) {
  /** @type {string[]} */
  const log = [];
  const logger = { error: (/** @type {string} */ text) => void log.push(text), info: (/** @type {string} */ text) => void log.push(text) };
  /** @type {any} */
  const cambio = version === 4 ? cambio4 : cambio5;
  const ours = cambio({ url, logger, ...options });
  const authorize = async () => ({ id: "17", name: "Grace", email: "grace@example.com" });
  const credentials = { id: "credentials", name: "Password", type: "credentials", credentials: {}, authorize };
  const given = { providers: [version === 4 ? { ...credentials, options: credentials } : credentials], ...ours.options };
  const app = version === 4 ? appWith4(url, { options: given }) : appWith5(url, { options: given });
  return {
    log,
    async signIn() {
      const { csrfToken } = JSON.parse((await app.get("/api/auth/csrf")).body);
      return app.post("/api/auth/callback/credentials", { csrfToken });
    },
    session: async () => JSON.parse((await app.get("/api/auth/session")).body),
    getAccessToken: ours.accessTokenOf(() => app.onServer()),
    client: ours.client,
  };
}

for (const version of /** @type {const} */ ([4, 5])) {
  scenario(`next-auth ${version}: a password opens a session at Cambio, of the same user each time`, async () => {
    const { signIn, session, getAccessToken, client, log } = appOf(version, { clientId: "shop", clientAuth: authenticate() });

    await signIn();
    const first = await client.me((await getAccessToken()).token);
    await signIn();
    const second = await client.me((await getAccessToken()).token);

    assert.deepEqual(first.identities, [{ provider: "app:shop", subject: "17", username: null }]);
    assert.deepEqual([first.name, first.email, first.email_verified], ["Grace", "grace@example.com", false]);
    assert.equal(second.id, first.id);
    assert.equal((await session()).user.id, first.id);
    assert.deepEqual(log, []);
  });

  scenario(`next-auth ${version}: for a client that does not vouch, the sign-in passes without Cambio`, async () => {
    const { signIn, session, getAccessToken, log } = appOf(version, { clientId: "plain", clientSecret: "plain-secret" });
    await signIn();
    assert.equal((await session()).user.email, "grace@example.com");
    assert.match(log.join("\n"), /add vouches to its entry in CLIENTS/);
    await assert.rejects(getAccessToken(), { kind: "ended" });
  });
}

scenario("a key that the client has not registered opens nothing, and each JWT opens one session", async () => {
  const client = createClient({ url, clientId: "shop", clientAuth: authenticate(key.jwk) });
  const foreign = await vouch({ key: keyPair("one").jwk, clientId: "shop", url })({ id: "17" });
  await assert.rejects(client.exchange({ provider: "password", jwt: foreign }), { kind: "refused", code: "invalid_request" });

  const jwt = await vouch({ clientId: "shop", url })({ id: "18", name: "Ada", signedInAt: new Date() });
  const { accessToken, refreshToken } = await client.exchange({ provider: "password", jwt });
  assert.equal((await client.exchange({ provider: "password", jwt })).refreshToken, refreshToken, "a repetition");
  await client.refresh(refreshToken);
  await assert.rejects(client.exchange({ provider: "password", jwt }), { kind: "refused", code: "invalid_request" });
  const { id } = await client.me(accessToken);
  // The sign-in is recent, so the user may delete the account.
  const deleted = await fetch(`${url}/me`, { method: "DELETE", headers: { Authorization: `Bearer ${accessToken}` } });
  assert.equal(deleted.status, 204);
  const anew = await client.exchange({ provider: "password", jwt: await vouch({ clientId: "shop", url })({ id: "18" }) });
  assert.notEqual(anew.user.id, id);
});
