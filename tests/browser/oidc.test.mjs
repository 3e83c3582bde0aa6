// @ts-check
/**
 * Tests sign-in with a real OpenID provider beside GitHub: its keys rotate, it goes down, and it has other clients.
 */
import assert from "node:assert/strict";
import { after, before } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import * as client from "openid-client";
import { chromium } from "playwright-core";
import { CHROMIUM, CLIENT, freePort, freshBrowser, scenario, setup, startApi, startNextApp, stopAll } from "./harness.mjs";
import { FOREIGN, OURS, startProvider } from "./provider.mjs";
import { OCTOCAT, startStandIn } from "./stand-in.mjs";

const TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange";
const ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token";
/** The redirect URI of flows without an app; no server listens there. */
const NOWHERE = "http://localhost:9/callback";

/** @type {import("./stand-in.mjs").StandIn} */
let github;
/** @type {import("./provider.mjs").OpenIdProvider} */
let provider;
/** @type {Awaited<ReturnType<typeof startApi>>} */
let api;
/** @type {string} */
let app;
/** The example with better-auth. @type {string} */
let betterAuth;
/** @type {import("playwright-core").Browser} */
let browser;

before(
  setup(async () => {
    const [port, other] = [await freePort(), await freePort()];
    const callback = (/** @type {number} */ port, /** @type {string} */ name) => `http://localhost:${port}/api/auth/callback/${name}`;
    github = await startStandIn({ redirectUris: [callback(port, "github")] });
    provider = await startProvider({ redirectUris: [callback(port, "oidc"), callback(other, "oidc"), NOWHERE] });
    const trusted = [{ name: "acme", issuer: provider.issuer, client_ids: [OURS.id] }];
    api = await startApi("oidc", github.url, { OIDC_PROVIDERS: JSON.stringify(trusted) });
    const oidc = { issuer: provider.issuer, ...OURS };
    app = await startNextApp("oidc", { port, github: github.url, api: api.url, oidc });
    betterAuth = await startNextApp("oidc.better-auth", { example: "better-auth", port: other, github: github.url, api: api.url, oidc });
    browser = await chromium.launch(CHROMIUM);
  }),
);
after(async () => {
  await browser?.close();
  await stopAll();
  provider?.close();
  await github?.close();
});

scenario("a sign-in with the OpenID provider shows the user of the API, and the next one the same user", async () => {
  const page = await visitor();

  await signIn(page, "ada");
  const id = await shows(page, "ada");
  await page.getByRole("button", { name: "Sign out", exact: true }).click();
  await page.getByRole("button", { name: "Sign in with OpenID" }).waitFor();
  await signIn(page, "ada");

  assert.equal(await shows(page, "ada"), id);
});

scenario("by way of better-auth, the same account is the same user", async () => {
  const [one, other] = [await visitor(), await visitor()];

  await signIn(one, "mary");
  await signIn(other, "mary", betterAuth);

  assert.equal(await shows(other, "mary"), await shows(one, "mary"));
  await other.getByRole("button", { name: "Sign out", exact: true }).click();
  await other.getByRole("button", { name: "Sign in with OpenID" }).waitFor();
});

scenario("another person, and the same address at GitHub, are other users", async () => {
  const [one, other, third] = [await visitor(), await visitor(), await visitor()];
  const local = OCTOCAT.email.split("@")[0];

  await signIn(one, local);
  await signIn(other, "grace");
  await third.goto(app);
  await third.getByRole("button", { name: "Sign in with GitHub" }).click();
  await third.getByRole("button", { name: OCTOCAT.login }).click();
  await third.getByRole("heading", { name: OCTOCAT.name }).waitFor();

  assert.equal(await one.getByTestId("email").innerText(), OCTOCAT.email);
  assert.equal(await third.getByTestId("email").innerText(), OCTOCAT.email);
  const ids = await Promise.all([one, other, third].map((page) => page.getByTestId("user-id").innerText()));
  assert.equal(new Set(ids).size, 3);
});

scenario("an ID token of another client of the same provider opens nothing", async () => {
  const [ours, foreign] = [await idToken("mallory", OURS), await idToken("mallory", FOREIGN)];

  const refused = await exchange(foreign.token);
  const accepted = await exchange(ours.token);

  assert.equal(refused.status, 400);
  assert.equal(refused.body.error, "invalid_request");
  assert.match(refused.body.error_description, /names another application/);
  assert.equal(accepted.status, 200, JSON.stringify(accepted.body));
  assert.equal(accepted.body.is_new_user, true, "the refused one made nobody");
});

scenario("an ID token with another nonce is refused, and the right one is accepted", async () => {
  const { token, nonce } = await idToken("nora");

  const wrong = await exchange(token, { nonce: "of another sign-in" });
  const right = await exchange(token, { nonce });

  assert.equal(wrong.status, 400);
  assert.match(wrong.body.error_description, /nonce/);
  assert.equal(right.status, 200, JSON.stringify(right.body));
});

scenario("a replayed ID token is refused once its session is in use", async () => {
  const { token } = await idToken("ruth");
  const first = await exchange(token);
  const refreshed = await post({ grant_type: "refresh_token", refresh_token: first.body.refresh_token });
  assert.equal(refreshed.status, 200, JSON.stringify(refreshed.body));

  const replayed = await exchange(token);

  assert.equal(replayed.status, 400);
  assert.match(replayed.body.error_description, /already exchanged/);
});

scenario("while the provider is down, whoever has its ID token still signs in", async () => {
  const { token } = await idToken("dora");
  const comeBack = await provider.goDown();

  const answer = await exchange(token);

  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  await comeBack();
});

scenario("when the provider rotates its keys, sign-ins go on", async () => {
  const before = await idToken("kay");
  provider.rotateKeys();
  const rotated = await idToken("lou");
  assert.notEqual(kid(before.token), kid(rotated.token));
  const asked = provider.calls.filter((call) => call === "GET /jwks").length;

  // After a read of the keys, an unknown key causes the next read only after 30 s.
  let answer = await exchange(rotated.token);
  for (const deadline = Date.now() + 40_000; answer.status !== 200 && Date.now() < deadline; await sleep(1000)) {
    answer = await exchange(rotated.token);
  }

  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  assert.equal((await exchange(before.token)).status, 200, "the key before is still published");
  assert.equal(provider.calls.filter((call) => call === "GET /jwks").length, asked + 1);
  const page = await visitor();
  await signIn(page, "ada");
  await shows(page, "ada");
});

/** Opens a new browser that can reach only this machine. */
async function visitor() {
  const context = await freshBrowser(browser);
  await context.route(`${NOWHERE}*`, (route) => route.fulfill({ body: "The end." }));
  return context.newPage();
}

/** @typedef {import("playwright-core").Page} Page */

/** @param {Page} page @param {string} person @param {string} [where] */
async function signIn(page, person, where = app) {
  await page.goto(where);
  await page.getByRole("button", { name: "Sign in with OpenID" }).click();
  await choose(page, person);
  await page.waitForURL((url) => url.origin === where);
}

/**
 * Signs in on the provider's pages, which ask a known user for nothing.
 * @param {Page} page
 * @param {string} person
 */
async function choose(page, person) {
  const login = page.getByPlaceholder("Enter any login");
  const done = page.waitForURL((url) => url.origin !== provider.issuer && url.pathname.includes("callback")).catch(() => {});
  await Promise.race([login.waitFor(), done, page.getByRole("heading", { name: "Lovelace" }).waitFor()]);
  if (!(await login.isVisible())) return;
  await login.fill(person);
  await page.getByPlaceholder("and password").fill("any");
  await page.getByRole("button", { name: "Sign-in" }).click();
  await page.getByRole("button", { name: "Continue" }).click();
}

/** @param {Page} page @param {string} person @returns {Promise<string>} the user's id */
async function shows(page, person) {
  await page.getByRole("heading", { name: `${person} Lovelace` }).waitFor();
  assert.equal(await page.getByTestId("email").innerText(), `${person}@example.com`);
  return page.getByTestId("user-id").innerText();
}

/**
 * Returns the ID token of a whole flow of a client, with the requested parameters.
 * @param {string} person
 * @param {import("./provider.mjs").Client} [of]
 */
async function idToken(person, of = OURS) {
  const config = await client.discovery(new URL(provider.issuer), of.id, of.secret, undefined, {
    execute: [client.allowInsecureRequests],
  });
  const [nonce, state] = [client.randomNonce(), client.randomState()];
  const url = client.buildAuthorizationUrl(config, { redirect_uri: NOWHERE, scope: "openid profile email", nonce, state });
  const page = await visitor();
  await page.goto(url.href);
  await choose(page, person);
  await page.waitForURL((url) => url.href.startsWith(NOWHERE));
  const tokens = await client.authorizationCodeGrant(config, new URL(page.url()), { expectedNonce: nonce, expectedState: state });
  await page.context().close();
  assert.ok(tokens.id_token);
  return { token: tokens.id_token, nonce };
}

/** @param {string} token @param {Record<string, string>} [more] */
async function exchange(token, more) {
  return post({ grant_type: TOKEN_EXCHANGE, subject_token: token, subject_token_type: ID_TOKEN, ...more });
}

/** @param {Record<string, string>} parameters */
async function post(parameters) {
  const response = await fetch(`${api.url}/token`, {
    method: "POST",
    headers: { Authorization: `Basic ${btoa(`${CLIENT.id}:${CLIENT.secret}`)}` },
    body: new URLSearchParams(parameters),
  });
  return { status: response.status, body: await response.json() };
}

/** The name of the key that signed a token. @param {string} token */
function kid(token) {
  return JSON.parse(Buffer.from(token.split(".")[0], "base64url").toString()).kid;
}
