// @ts-check
/** Runs two strict published clients, unchanged, against the API as it runs on Lambda. */
import assert from "node:assert/strict";
import { after, before } from "node:test";
import { createRemoteJWKSet, jwtVerify } from "jose";
import * as client from "openid-client";
import { CLIENT, scenario, setup, startApi, stopAll } from "./harness.mjs";
import { OCTOCAT, OTHER_APP, startStandIn } from "./stand-in.mjs";

const TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token";

/** @type {import("./stand-in.mjs").StandIn} */
let github;
/** @type {Awaited<ReturnType<typeof startApi>>} */
let api;

before(
  setup(async () => {
    github = await startStandIn();
    api = await startApi("clients", github.url);
  }),
);
after(async () => {
  await stopAll();
  await github?.close();
});

for (const algorithm of /** @type {const} */ (["oidc", "oauth2"])) {
  scenario(`openid-client discovers the API (${algorithm}) and trades a GitHub token`, async () => {
    const cambio = await discover(client.ClientSecretBasic(CLIENT.secret), algorithm);
    assert.equal(cambio.serverMetadata().issuer, api.url);

    const tokens = await exchange(cambio, await github.token(OCTOCAT.login));

    assert.equal(tokens.issued_token_type, ACCESS_TOKEN);
    // openid-client compares the type without regard to case and returns it in lower case.
    assert.equal(tokens.token_type, "bearer");
    assert.equal(tokens.expires_in, 900);
    assert.equal(await name(cambio, tokens.access_token), OCTOCAT.name);
  });
}

scenario("openid-client may send its secret in the form", async () => {
  const cambio = await discover(client.ClientSecretPost(CLIENT.secret));

  const tokens = await exchange(cambio, await github.token(OCTOCAT.login));

  assert.equal(await name(cambio, tokens.access_token), OCTOCAT.name);
});

scenario("jose verifies the access token with the published keys", async () => {
  const cambio = await discover();
  const { access_token, user } = await exchange(cambio, await github.token(OCTOCAT.login));
  const keys = createRemoteJWKSet(new URL(cambio.serverMetadata().jwks_uri ?? ""));
  const expected = { issuer: api.url, audience: api.env.TOKEN_AUDIENCE, typ: "at+jwt" };

  const { payload, protectedHeader } = await jwtVerify(access_token, keys, {
    ...expected,
    requiredClaims: ["iss", "aud", "sub", "client_id", "iat", "exp", "jti", "sid"],
  });

  assert.equal(protectedHeader.alg, "RS256");
  assert.equal(payload.client_id, CLIENT.id);
  assert.equal(payload.sub, /** @type {{ id: string }} */ (user).id);
  assert.equal(Number(payload.exp) - Number(payload.iat), 900);

  await assert.rejects(jwtVerify(access_token, keys, { ...expected, typ: "JWT" }), { code: "ERR_JWT_CLAIM_VALIDATION_FAILED" });
  await assert.rejects(jwtVerify(access_token, keys, { ...expected, audience: "other" }), { code: "ERR_JWT_CLAIM_VALIDATION_FAILED" });
  await assert.rejects(jwtVerify(tampered(access_token), keys, expected), { code: "ERR_JWS_SIGNATURE_VERIFICATION_FAILED" });
});

scenario("a made-up GitHub token is refused, and its profile never asked for", async () => {
  const asked = github.calls.length;

  await assert.rejects(exchange(await discover(), `gho_${"0".repeat(36)}`), { status: 400, error: "invalid_request" });

  assert.ok(!github.calls.slice(asked).includes("GET /user"));
});

scenario("another app's GitHub token is refused", async () => {
  const token = await github.token(OCTOCAT.login, OTHER_APP);

  await assert.rejects(exchange(await discover(), token), { status: 400, error: "invalid_request" });
});

scenario("a wrong client secret is refused", async () => {
  const stranger = await discover(client.ClientSecretPost("wrong"));

  const token = await github.token(OCTOCAT.login);

  await assert.rejects(
    exchange(stranger, token),
    /** @param {any} error */ (error) => {
      // openid-client throws another class if an answer has WWW-Authenticate.
      assert.ok(error instanceof client.WWWAuthenticateChallengeError);
      assert.equal(error.status, 401);
      assert.equal(error.cause[0].scheme, "basic");
      return true;
    },
  );
});

scenario("an access token with another signature shows nobody's profile", async () => {
  const cambio = await discover();
  const { access_token } = await exchange(cambio, await github.token(OCTOCAT.login));

  await assert.rejects(
    name(cambio, tampered(access_token)),
    /** @param {any} error */ (error) => {
      assert.ok(error instanceof client.WWWAuthenticateChallengeError);
      assert.equal(error.cause[0].scheme, "bearer");
      assert.equal(error.cause[0].parameters.error, "invalid_token");
      return true;
    },
  );
});

/** @param {client.ClientAuth} [authentication] @param {"oidc" | "oauth2"} [algorithm] */
function discover(authentication = client.ClientSecretBasic(CLIENT.secret), algorithm = "oidc") {
  // Plain http, because everything runs on one machine.
  const options = { algorithm, execute: [client.allowInsecureRequests] };
  return client.discovery(new URL(api.url), CLIENT.id, undefined, authentication, options);
}

/** @param {client.Configuration} cambio @param {string} token */
function exchange(cambio, token) {
  return client.genericGrantRequest(cambio, TOKEN_EXCHANGE, {
    subject_token: token,
    subject_token_type: ACCESS_TOKEN,
    subject_issuer: "github",
  });
}

/** The name that `GET /me` answers. @param {client.Configuration} cambio @param {string} token */
async function name(cambio, token) {
  const response = await client.fetchProtectedResource(cambio, token, new URL("/me", api.url), "GET");
  assert.equal(response.status, 200);
  return (await response.json()).name;
}

/** The same token with one letter of its signature changed. @param {string} token */
function tampered(token) {
  const [header, payload, signature] = token.split(".");
  return [header, payload, (signature[0] === "A" ? "B" : "A") + signature.slice(1)].join(".");
}
