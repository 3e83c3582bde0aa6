// @ts-check
/** Checks the proxy of the stand-in against GitHub's published description. */
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import ajvModule from "ajv";
import formatsModule from "ajv-formats";
import { APP, CANARY, OCTOCAT, OTHER_APP, startStandIn } from "./stand-in.mjs";

const Ajv = ajvModule.default;
const addFormats = formatsModule.default;

/** @type {import("./stand-in.mjs").StandIn} */
let standIn;

before(async () => {
  standIn = await startStandIn();
});
after(() => standIn.close());

test("an issued token is described as GitHub describes it", async () => {
  const token = await standIn.token(OCTOCAT.login);

  const { status, body } = await checkToken(token);

  assert.equal(status, 200);
  conforms("authorization", body);
  assert.equal(body.token, token);
  assert.equal(body.app.client_id, APP.client_id);
  assert.equal(body.user.login, OCTOCAT.login);
  assert.deepEqual(body.scopes, ["read:user", "user:email"]);
  assert.equal(body.user.email, undefined, "GitHub's short form of a user has no e-mail");
});

test("an answer without its app or with a wrong user does not conform", async () => {
  const { body } = await checkToken(await standIn.token(OCTOCAT.login));

  assert.throws(() => conforms("authorization", { ...body, app: undefined }));
  assert.throws(() => conforms("authorization", { ...body, user: { ...body.user, id: "1" } }));
  assert.throws(() => conforms("authorization", { ...body, created_at: "yesterday" }));
});

test("tokens have GitHub's form", async () => {
  assert.match(await standIn.token(OCTOCAT.login), /^gho_[A-Za-z0-9]{36}$/);
});

test("a made-up token is not found", async () => {
  const { status, body } = await checkToken(`gho_${"0".repeat(36)}`);

  assert.equal(status, 404);
  conforms("basic-error", body);
});

test("another app's token is not found", async () => {
  const token = await standIn.token(OCTOCAT.login, OTHER_APP);

  assert.equal((await checkToken(token, APP)).status, 404);
  assert.equal((await checkToken(token, OTHER_APP)).status, 200);
  assert.equal((await checkToken(token, OTHER_APP, APP.client_id)).status, 404);
});

test("an app without its secret learns nothing", async () => {
  const token = await standIn.token(OCTOCAT.login);

  assert.equal((await checkToken(token, { ...APP, client_secret: "wrong" })).status, 401);
});

test("whoever trusts a made-up token meets the canary", async () => {
  const profile = await user(`gho_${"0".repeat(36)}`);

  assert.equal(profile.login, CANARY.login);
});

test("a real token is its owner's", async () => {
  const profile = await user(await standIn.token(OCTOCAT.login));

  assert.equal(profile.login, OCTOCAT.login);
});

/** @param {string} token @param {import("./stand-in.mjs").App} [app] */
async function checkToken(token, app = APP, clientId = app.client_id) {
  const response = await fetch(`${standIn.url}/applications/${clientId}/token`, {
    method: "POST",
    headers: { Authorization: `Basic ${btoa(`${app.client_id}:${app.client_secret}`)}` },
    body: JSON.stringify({ access_token: token }),
  });
  return { status: response.status, body: await response.json() };
}

/** @param {string} token */
async function user(token) {
  const response = await fetch(`${standIn.url}/user`, { headers: { Authorization: `Bearer ${token}` } });
  return response.json();
}

const openapi = createRequire(import.meta.url)("@octokit/openapi/generated/api.github.com.json");
const ajv = new Ajv({ strict: false, allErrors: true });
addFormats(ajv);
ajv.addSchema({ ...openapi, $id: "github" });

/** @param {string} schema @param {unknown} value */
function conforms(schema, value) {
  const valid = ajv.validate(`github#/components/schemas/${schema}`, value);
  assert.ok(valid, ajv.errorsText());
}
