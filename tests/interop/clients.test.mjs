// @ts-check
/**
 * OAuth clients of other stacks, unchanged, refresh and revoke tokens of the API on this machine. openid-client,
 * oauth4webapi and Authlib do the same in tests/browser/interop.test.mjs.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { AuthorizationCode } from "simple-oauth2";
import { buildCambio, CLIENT, ROOT, scenario, setup, stopAll } from "../browser/harness.mjs";
import { Cambio } from "./cambio.mjs";
import { missing } from "./stacks.mjs";

const cambio = new Cambio("oauth-clients", "RSA-2048");

before(
  setup(async () => {
    await buildCambio("oauth-clients");
    await cambio.start();
  }),
);
after(async () => {
  await cambio.remove();
  await stopAll();
});

scenario("simple-oauth2 refreshes a token, revokes it, and learns that it is revoked", async () => {
  const tokens = await cambio.signIn();
  const client = new AuthorizationCode({
    client: { id: CLIENT.id, secret: CLIENT.secret },
    auth: { tokenHost: cambio.url, tokenPath: "/token", revokePath: "/revoke" },
  });
  const first = client.createToken({ ...tokens });

  const second = await first.refresh();

  assert.notEqual(second.token.access_token, tokens.access_token);
  assert.equal(await isSignedIn(second.token.access_token), true);
  await second.revoke("refresh_token");
  assert.equal(await isSignedIn(second.token.access_token), false);
  await assert.rejects(second.refresh(), (/** @type {any} */ error) => error.data.payload.error === "invalid_grant");
});

const absent = missing(["go"]);
if (absent.length > 0) test("golang.org/x/oauth2", { skip: "go is not installed" });
else
  scenario("golang.org/x/oauth2 refreshes a token", async () => {
    const tokens = await cambio.signIn();
    const args = ["run", "./refresh", cambio.url, CLIENT.id, CLIENT.secret, tokens.refresh_token];

    const refreshed = execFileSync("go", args, { cwd: join(ROOT, "tests/interop/go"), encoding: "utf8" }).trim();

    assert.notEqual(refreshed, tokens.access_token);
    assert.equal(await isSignedIn(refreshed), true);
  });

/** @param {unknown} token */
async function isSignedIn(token) {
  const { status } = await fetch(`${cambio.url}/me`, { headers: { Authorization: `Bearer ${token}` } });
  return status === 200;
}
