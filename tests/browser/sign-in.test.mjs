// @ts-check
/** The main job, as a person sees it: a GitHub sign-in in a Next.js app becomes a user of your own API. */
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before } from "node:test";
import { chromium } from "playwright-core";
import { freePort, OUTPUT, scenario, SESSION_SECRET, setup, startApi, startNextApp, stopAll } from "./harness.mjs";
import { CANARY, HUBOT, OCTOCAT, PUBLIC_URL, startStandIn } from "./stand-in.mjs";

const { encode } = createRequire(new URL("../../examples/nextjs/package.json", import.meta.url))("next-auth/jwt");

const PICTURE = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><path fill="#8a94ad" d="M4 1a2 2 0 0 0 0 4a2 2 0 0 0 0-4M1 8a3 3 0 0 1 6 0z"/></svg>`;

/** @type {import("./stand-in.mjs").StandIn} */
let github;
/** @type {string} */
let app;
/** @type {import("playwright-core").Browser} */
let browser;

before(
  setup(async () => {
    const port = await freePort();
    github = await startStandIn({ redirectUris: [`http://localhost:${port}/api/auth/callback/github`] });
    const api = await startApi("sign-in", github.url);
    app = await startNextApp("sign-in", { port, github: github.url, api: api.url });
    browser = await chromium.launch({
      executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
      args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
    });
  }),
);
after(async () => {
  await browser?.close();
  await stopAll();
  await github?.close();
});

scenario("a GitHub sign-in shows the user of the API, and the next one the same user", async () => {
  const page = await visitor();

  await signIn(page, OCTOCAT);
  await shows(page, OCTOCAT);
  const id = await userId(page);
  await page.screenshot({ path: join(OUTPUT, "signed-in.png") });

  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("button", { name: "Sign in with GitHub" }).waitFor();
  assert.deepEqual(await session(page), {});

  await signIn(page, OCTOCAT);
  await shows(page, OCTOCAT);
  assert.equal(await userId(page), id);
});

scenario("another GitHub user is another user", async () => {
  const [one, other] = [await visitor(), await visitor()];

  await signIn(one, OCTOCAT);
  await signIn(other, HUBOT);

  await shows(other, HUBOT);
  assert.notEqual(await userId(other), await userId(one));
});

scenario("a sign-in that GitHub does not confirm is refused, and leaves nobody signed in", async () => {
  const page = await visitor();
  const asked = github.calls.length;
  github.failWith = 404;

  await signIn(page, OCTOCAT);

  await page.getByRole("heading", { name: "We could not accept this sign-in" }).waitFor();
  assert.equal(await page.getByRole("button", { name: "Try again" }).count(), 0);
  assert.deepEqual(await session(page), {});
  assert.ok(github.calls.slice(asked).some((call) => call.startsWith("POST /applications/")), "GitHub was asked");
});

scenario("while GitHub is down, the page says so, and trying again works", async () => {
  const page = await visitor();
  github.failWith = 502;

  await signIn(page, OCTOCAT);

  await page.getByRole("heading", { name: "Please try again in a moment" }).waitFor();
  assert.deepEqual(await session(page), {});

  github.failWith = undefined;
  await page.getByRole("button", { name: "Try again" }).click();
  await choose(page, OCTOCAT);
  await shows(page, OCTOCAT);
});

scenario("the error page says nothing that its URL brings along", async () => {
  const page = await visitor();
  const text = "call 555 0100 to get your money back";

  for (const name of ["reason", "error", "error_description"]) {
    await page.goto(`${app}/auth/error?${new URLSearchParams({ [name]: text })}`);
    await page.getByRole("heading", { name: "Please try again in a moment" }).waitFor();
    assert.doesNotMatch(await page.locator("body").innerText(), /555/);
  }
});

scenario("tokens stay out of pages and URLs: only next-auth's session knows the API's, and nothing GitHub's", async () => {
  const page = await visitor();
  /** @type {Promise<string>[]} */
  const seen = [];
  page.on("request", (request) => seen.push(request.allHeaders().then(({ cookie, ...headers }) => request.url() + JSON.stringify(headers) + request.postData())));
  page.on("response", (response) => seen.push(response.text().catch(() => ""), response.allHeaders().then((headers) => JSON.stringify(headers))));

  await signIn(page, OCTOCAT);
  await shows(page, OCTOCAT);
  await page.reload();

  const { accessToken } = await session(page);
  assert.match(accessToken, /^eyJ[\w-]+\.[\w-]+\.[\w-]+$/);
  const everything = [...(await Promise.all(seen)), await page.content()].join("\n");
  assert.ok(everything.includes(OCTOCAT.name), "the pages were looked at");
  assert.ok(!everything.includes(accessToken), "the access token was in a page or URL");
  assert.doesNotMatch(everything + JSON.stringify(await session(page)), /gho_/);
});

scenario("when the access token has ended, the page offers to sign in again", async () => {
  const page = await visitor();
  await holds(page, { accessToken: "ended", expiresAt: Date.now() - 1000 });

  await page.goto(app);

  await page.getByText("Your session has ended").waitFor();
  assert.deepEqual(await session(page).then(({ error, accessToken }) => ({ error, accessToken })), { error: "AccessTokenExpired", accessToken: undefined });
  await page.getByRole("button", { name: "Sign in with GitHub" }).click();
  await choose(page, OCTOCAT);
  await shows(page, OCTOCAT);
});

scenario("an access token that the API does not accept shows nobody's profile", async () => {
  const page = await visitor();
  await holds(page, { accessToken: "made.up.token", expiresAt: Date.now() + 60_000 });

  await page.goto(app);

  await page.getByText("Your session has ended").waitFor();
});

/** A person with a fresh browser, in which nothing but this machine can be reached. */
async function visitor() {
  github.failWith = undefined;
  const context = await browser.newContext({ viewport: { width: 640, height: 480 } });
  context.setDefaultTimeout(30_000);
  await context.route("**", (route) =>
    ["localhost", "127.0.0.1"].includes(new URL(route.request().url()).hostname) ? route.continue() : route.abort(),
  );
  // The pictures that the stand-in names are nowhere.
  await context.route(`${PUBLIC_URL}/avatars/**`, (route) => route.fulfill({ contentType: "image/svg+xml", body: PICTURE }));
  return context.newPage();
}

/** @typedef {import("playwright-core").Page} Page */

/** @param {Page} page @param {{ login: string }} user */
async function signIn(page, user) {
  await page.goto(app);
  await page.getByRole("button", { name: "Sign in with GitHub" }).click();
  await choose(page, user);
}

/** On the stand-in's own page. @param {Page} page @param {{ login: string }} user */
async function choose(page, { login }) {
  await page.waitForURL((url) => url.origin === github.url);
  await page.getByRole("button", { name: login }).click();
  await page.waitForURL((url) => url.origin === app);
}

/** @param {Page} page @param {{ login: string, name: string, email: string }} user */
async function shows(page, { login, name, email }) {
  await page.getByRole("heading", { name }).waitFor();
  assert.equal(await page.getByTestId("email").innerText(), email);
  assert.equal(await page.locator("img").getAttribute("src"), `${PUBLIC_URL}/avatars/u/${login}`);
  assert.ok(!(await page.content()).includes(CANARY.login), "a made-up token was trusted");
}

/** @param {Page} page */
async function userId(page) {
  const id = await page.getByTestId("user-id").innerText();
  assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  return id;
}

/** What next-auth tells the app's own scripts. @param {Page} page */
async function session(page) {
  const response = await page.request.get(`${app}/api/auth/session`);
  return response.json();
}

/** Gives the browser a session as next-auth keeps it. @param {Page} page @param {{ accessToken: string, expiresAt: number }} token */
async function holds(page, token) {
  const value = await encode({ token, secret: SESSION_SECRET });
  await page.context().addCookies([{ name: "next-auth.session-token", value, url: app }]);
}
