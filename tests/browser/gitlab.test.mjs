// @ts-check
/**
 * Tests sign-in with next-auth's GitLab provider as it is: it requests `read_user`, and gets no ID token.
 *
 * The app is Auth.js behind a plain server, with the package's options and callbacks.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import { text } from "node:stream/consumers";
import { after, before } from "node:test";
import { chromium } from "playwright-core";
import { CHROMIUM, CLIENT, cambioSettings, freePort, freshBrowser, SESSION_SECRET, scenario, setup, startLocal, stopAll } from "./harness.mjs";
import { FOREIGN, JOHN, OURS, startGitLab } from "./gitlab.mjs";

/** @type {Awaited<ReturnType<typeof startGitLab>>} */
let gitlab;
/** @type {Awaited<ReturnType<typeof startLocal>>} */
let api;
/** @type {Awaited<ReturnType<typeof startApp>>} */
let app;
/** @type {import("playwright-core").Browser} */
let browser;

before(
  setup(async () => {
    const port = await freePort();
    gitlab = await startGitLab({ redirectUri: `http://localhost:${port}/api/auth/callback/gitlab` });
    const provider = { name: "gitlab", client_id: OURS.id, api_url: gitlab.url };
    api = await startLocal("gitlab", { settings: { OAUTH_PROVIDERS: JSON.stringify([provider]) } });
    app = await startApp(port);
    browser = await chromium.launch(CHROMIUM);
  }),
);
after(async () => {
  await browser?.close();
  await stopAll();
  app?.close();
  gitlab?.close();
});

scenario("next-auth's GitLab provider signs in without a setting of its own", async () => {
  const { page, session } = await signIn();

  assert.equal(session.error, undefined);
  const me = await fetch(`${api.url}/me`, { headers: { Authorization: `Bearer ${session.accessToken}` } });
  assert.equal(me.status, 200);
  const { name, email, email_verified, identities } = await me.json();
  assert.deepEqual({ name, email, email_verified }, { name: JOHN.name, email: JOHN.email, email_verified: false });
  assert.equal(identities[0].provider, "gitlab");
  assert.ok(gitlab.calls.includes("GET /oauth/token/info"));
  await page.context().close();

  const again = await signIn();
  assert.equal(again.session.user.id, session.user.id);
});

scenario("a token that GitLab issued to another app is refused", async () => {
  const exchange = async (/** @type {import("./gitlab.mjs").App} */ of) => {
    const answer = await fetch(`${api.url}/token`, {
      method: "POST",
      headers: { Authorization: `Basic ${btoa(`${CLIENT.id}:${CLIENT.secret}`)}` },
      body: new URLSearchParams({
        grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
        subject_token: gitlab.issue(of, "read_user"),
        subject_token_type: "urn:ietf:params:oauth:token-type:access_token",
        subject_issuer: "gitlab",
      }),
    });
    return { status: answer.status, body: await answer.json() };
  };

  const refused = await exchange(FOREIGN);
  const accepted = await exchange(OURS);

  assert.equal(refused.status, 400);
  assert.match(refused.body.error_description, /issued to another application/);
  assert.equal(accepted.status, 200, JSON.stringify(accepted.body));
});

/** Signs in on the pages of Auth.js and GitLab, and returns the session that the app has then. */
async function signIn() {
  const context = await freshBrowser(browser);
  const page = await context.newPage();
  await page.goto(`${app.url}/api/auth/signin`);
  await page.getByRole("button", { name: "Sign in with GitLab" }).click();
  await page.getByRole("link", { name: "Authorize" }).click();
  await page.waitForURL(`${app.url}/`);
  const session = JSON.parse(await page.locator("body").innerText());
  return { page, session };
}

/** Starts the app, whose only page is its session. @param {number} port */
async function startApp(port) {
  const url = `http://localhost:${port}`;
  Object.assign(process.env, cambioSettings(api.url));
  // The modules of the package, which tests/setup.sh installs and builds; `tsc` runs without them.
  const load = (/** @type {string} */ path) => import(new URL(`../../clients/next-auth/${path}`, import.meta.url).href);
  const core = "node_modules/next-auth-5/node_modules/@auth/core";
  const [{ Auth }, { default: GitLab }] = [await load(`${core}/index.js`), await load(`${core}/providers/gitlab.js`)];
  const { cambio } = await load("dist/esm/v5.js");
  const { options } = cambio({ exposeAccessToken: true });
  const provider = GitLab({ clientId: OURS.id, clientSecret: OURS.secret, baseUrl: gitlab.url });
  const config = { providers: [provider], secret: SESSION_SECRET, trustHost: true, basePath: "/api/auth", ...options };

  const server = http.createServer(async (request, response) => {
    const path = request.url === "/" ? "/api/auth/session" : (request.url ?? "/");
    const headers = Object.entries(request.headers).flatMap(([name, value]) =>
      [value ?? []].flat().map((one) => /** @type {[string, string]} */ ([name, one])),
    );
    const body = request.method === "POST" ? await text(request) : null;
    const answer = await Auth(new Request(`${url}${path}`, { method: request.method ?? "GET", headers, body }), config);
    response.writeHead(answer.status, { ...Object.fromEntries(answer.headers), "set-cookie": answer.headers.getSetCookie() });
    response.end(Buffer.from(await answer.arrayBuffer()));
  });
  await once(server.listen(port, "127.0.0.1"), "listening");
  return { url, close: () => void server.close().closeAllConnections() };
}
