// @ts-check
/** Tests the page of `cargo run`. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before } from "node:test";
import { chromium } from "playwright-core";
import { CHROMIUM, freshBrowser, OUTPUT, scenario, setup, startLocal, stopAll } from "./harness.mjs";

/** @typedef {import("playwright-core").Page} Page */

/** @type {Awaited<ReturnType<typeof startLocal>>} */
let local;
/** @type {import("playwright-core").Browser} */
let browser;
/** What the browsers complained of: errors of scripts, violations of the policy. @type {string[]} */
const complaints = [];

before(
  setup(async () => {
    local = await startLocal("page");
    browser = await chromium.launch(CHROMIUM);
  }),
);
after(async () => {
  await browser?.close();
  await stopAll();
});

scenario("a visitor signs in, sees the token, uses it, refreshes it and signs out", async () => {
  const page = await visitor();
  await page.goto(local.url);
  assert.equal(await page.getByRole("button", { name: "GET /me", exact: true }).count(), 0);

  await signIn(page, "octocat");
  await page.getByText("The Octocat", { exact: true }).waitFor();
  await page.getByText("made a new user").waitFor();
  const first = await claims(page);
  assert.equal(first.iss, local.url);
  assert.equal(first.client_id, "nextjs");

  await page.getByRole("button", { name: "GET /me", exact: true }).click();
  await says(page, "The API verified the access token");
  const answer = JSON.parse(await page.getByRole("region", { name: "The last answer" }).innerText());
  assert.equal(answer.id, first.sub);
  assert.equal(answer.email, "octocat@example.com");

  await page.getByRole("button", { name: "Refresh" }).click();
  await says(page, "in the same session");
  const refreshed = await claims(page);
  assert.notEqual(refreshed.jti, first.jti);
  assert.equal(refreshed.sid, first.sid);
  assert.equal(refreshed.sub, first.sub);
  await page.getByRole("row", { name: "jti" }).getByText("changed").waitFor();

  const exchange = request(page, "POST /token").last();
  await exchange.getByText(/GetItem \d+\.\d\sms, TransactWriteItems \d+\.\d\sms/).waitFor();
  await request(page, "POST /token")
    .first()
    .getByText(/UpdateItem \d+\.\d\sms with GetItem/)
    .waitFor();
  await request(page, "GET /me")
    .first()
    .getByText(/GetItem \d+\.\d\sms/)
    .waitFor();
  await page.screenshot({ path: join(OUTPUT, "page.png"), fullPage: true });

  await page.reload();
  await page.getByText("The Octocat", { exact: true }).waitFor();
  assert.deepEqual(await claims(page), refreshed);

  await page.getByRole("button", { name: "Sign out", exact: true }).click();
  await says(page, "Signed out");
  assert.equal(await page.getByRole("button", { name: "GET /me", exact: true }).count(), 0);
  assert.equal(await focused(page), "Sign in with GitHub");
  await request(page, "POST /revoke").first().waitFor();

  await page.reload();
  await page.getByRole("link", { name: "Sign in with GitHub" }).waitFor();
});

scenario("the page expires a token, says why it is refused, rotates the keys, and shows the items", async () => {
  const page = await visitor();
  await page.goto(local.url);
  await signIn(page, "octocat");
  await page.getByText("The Octocat", { exact: true }).waitFor();
  await page.getByText("Try what goes wrong").click();

  await page.getByRole("button", { name: "Let the token expire" }).click();
  await says(page, "The access token expired an hour ago");
  await page.getByText("no longer good: refresh it").waitFor();
  await page.getByRole("button", { name: "GET /me", exact: true }).click();
  await says(page, "The access token is no longer valid");
  await request(page, "GET /me")
    .first()
    .getByText(/invalid_token: .*expired/)
    .waitFor();
  await page.getByRole("button", { name: "Refresh" }).click();
  await says(page, "in the same session");

  await page.getByRole("button", { name: "Rotate the keys" }).click();
  await says(page, "The next key signs now");
  const report = JSON.parse(await page.getByRole("region", { name: "The last answer" }).innerText());
  const states = report.keys.map((/** @type {{ state: string }} */ key) => key.state);
  assert.deepEqual(states, ["retired", "current", "next"]);

  await page.getByText("The items in DynamoDB").first().click();
  await page.getByRole("region", { name: "The items in DynamoDB" }).getByText('"sk": "USER"').waitFor();

  await page.getByRole("button", { name: "Disable the user" }).click();
  await says(page, "The user is disabled");
  await page.getByRole("button", { name: "GET /me", exact: true }).click();
  await says(page, "The access token is no longer valid");
  await page.getByRole("button", { name: "Enable the user" }).click();
  await says(page, "The user is enabled again");
});

scenario("the page loses an answer, and the repeated refresh gets the same successor", async () => {
  const page = await visitor();
  await page.goto(local.url);
  await signIn(page, "octocat");
  await page.getByText("The Octocat", { exact: true }).waitFor();
  const first = await claims(page);
  await page.getByText("Try what goes wrong").click();
  await page.getByRole("button", { name: "Let the token expire" }).click();
  await says(page, "The access token expired an hour ago");
  const expired = await claims(page);

  const lose = page.getByRole("button", { name: "Lose the next answer" });
  await lose.click();
  await says(page, "The next answer of POST /token will be lost");
  assert.equal(await lose.getAttribute("aria-pressed"), "true");
  await page.getByRole("button", { name: "Refresh" }).click();
  await says(page, "its answer was lost: the app still has the old token");
  assert.equal(await lose.getAttribute("aria-pressed"), "false");
  assert.deepEqual(await claims(page), expired);
  await request(page, "POST /token").first().getByText("answer lost").waitFor();
  await says(page, "its answer was lost: the app still has the old token");
  await page.getByRole("button", { name: "Refresh" }).click();
  await says(page, "the same refresh token as the lost answer");
  const repeated = await claims(page);
  assert.equal(repeated.sid, first.sid);
  assert.notEqual(repeated.jti, first.jti);

  await request(page, "POST /token").nth(1).getByText("answer lost").waitFor();
  await page.getByRole("button", { name: "GET /me", exact: true }).click();
  await says(page, "The API verified the access token");
});

scenario("the page shows the items that each request changed, and keeps them unfolded", async () => {
  const page = await visitor();
  await page.goto(local.url);
  await signIn(page, "hubot");
  await page.getByText("Hubot", { exact: true }).waitFor();
  await page.getByRole("button", { name: "Refresh" }).click();
  await says(page, "in the same session");

  const [refreshed, signedIn] = [changes(page, "POST /token").first(), changes(page, "POST /token").nth(1)];
  await signedIn.getByText("3 items created").click();
  await signedIn.getByText(/^USER#\S+ USER$/).waitFor();
  await signedIn.getByText("hubot@example.com").first().waitFor();
  await refreshed.getByText("1 item changed").press("Enter");
  const generation = refreshed.getByRole("listitem").filter({ has: page.getByText("generation", { exact: true }) });
  await generation.getByText("0 → 1").first().waitFor();
  await refreshed.getByText("added previous").first().waitFor();
  await signedIn.getByText(/then DynamoDB deletes the item: \d/).waitFor();

  await fetch(`${local.url}/.well-known/jwks.json`);
  await request(page, "GET /.well-known/jwks.json").first().waitFor();
  assert.equal(await signedIn.locator("details").getAttribute("open"), "");
  assert.equal(await focused(page), "1 item changed", "a new request takes the focus from no control");
  await page.screenshot({ path: join(OUTPUT, "page-changes.png"), fullPage: true });
});

scenario("any other login signs in with the box of the stand-in", async () => {
  const page = await visitor();
  await page.goto(local.url);
  await page.getByRole("link", { name: "Sign in with GitHub" }).click();

  await page.getByLabel("any other login").fill("not a login");
  await page.getByRole("button", { name: "Continue with this login" }).click();
  assert.equal(new URL(page.url()).origin, local.github, "the browser checks the form");
  await page.getByLabel("any other login").fill("grace-hopper");
  await page.keyboard.press("Enter");

  await page.getByText("grace-hopper", { exact: true }).waitFor();
});

scenario("a browser sees the session of another, and ends it", async () => {
  const [here, there] = [await visitor(), await visitor({ userAgent: "A telephone" })];
  for (const page of [here, there]) {
    await page.goto(local.url);
    await signIn(page, "hubot");
    await page.getByText("Hubot", { exact: true }).waitFor();
  }

  await here.getByRole("button", { name: "GET /me/sessions" }).click();
  const telephone = here.getByRole("listitem").filter({ hasText: "A telephone" });
  await here.getByRole("listitem").filter({ hasText: "this one" }).waitFor();
  await telephone.getByRole("button", { name: /^End the session/ }).click();
  await says(here, "The session has ended and cannot be refreshed");
  await telephone.waitFor({ state: "detached" });

  await there.getByRole("button", { name: "Refresh" }).click();
  await says(there, "The session has ended. Sign in again.");
  await there.getByRole("link", { name: "Sign in with GitHub" }).waitFor();
});

scenario("signing out everywhere ends the other browser's token at once", async () => {
  const [here, there] = [await visitor(), await visitor()];
  for (const page of [here, there]) {
    await page.goto(local.url);
    await signIn(page, "octocat");
    await page.getByText("found the user").waitFor();
  }

  await here.getByRole("button", { name: "Sign out everywhere" }).click();
  await says(here, "Signed out in every browser");

  await there.getByRole("button", { name: "GET /me", exact: true }).click();
  await says(there, "The access token is no longer valid");
  assert.equal(await there.locator("#answer-status").innerText(), "401");
});

scenario("a sign-in that is called off is said, and nobody is signed in", async () => {
  const page = await visitor();
  await page.goto(local.url);

  await page.getByRole("link", { name: "Sign in with GitHub" }).click();
  await page.getByRole("button", { name: "Cancel" }).click();

  await says(page, "GitHub sent you back without a sign-in");
  await page.getByRole("link", { name: "Sign in with GitHub" }).waitFor();
});

scenario("a telephone in the dark sees all of it without scrolling sideways, by keyboard alone", async () => {
  const page = await visitor({ viewport: { width: 360, height: 740 }, colorScheme: "dark" });
  await page.goto(local.url);
  await page.getByRole("link", { name: "Sign in with GitHub" }).waitFor();
  await fits(page);

  await tabTo(page, "Sign in with GitHub");
  await page.keyboard.press("Enter");
  await page.waitForURL((url) => url.origin === local.github);
  await tabTo(page, "Continue as mona");
  await page.keyboard.press("Enter");
  await page.getByText("Mona Lisa", { exact: true }).waitFor();
  await tabTo(page, "GET /me");
  await page.keyboard.press("Enter");
  await says(page, "The API verified the access token");
  await tabTo(page, "Refresh");
  await page.keyboard.press("Space");
  await says(page, "in the same session");

  await request(page, "POST /token")
    .first()
    .getByText(/with GetItem/)
    .waitFor();
  await fits(page);
  await page.screenshot({ path: join(OUTPUT, "page-mobile-dark.png"), fullPage: true });
});

scenario("the page lists the requests of others as well, while it is open", async () => {
  const page = await visitor();
  await page.goto(local.url);
  await page.getByRole("heading", { name: "The last requests" }).waitFor();

  await fetch(`${local.url}/.well-known/jwks.json`);

  await request(page, "GET /.well-known/jwks.json").first().waitFor();

  for (let nth = 0; nth < 12; nth++) await fetch(`${local.url}/openapi.json`);
  await page.getByRole("button", { name: "Show all" }).click();
  await request(page, "GET /openapi.json").nth(11).waitFor();
  assert.equal(await focused(page), "The last requests");
});

scenario("a tab whose visitor signed out in another says so at its next step", async () => {
  const page = await visitor();
  await page.goto(local.url);
  await signIn(page, "octocat");
  await page.getByText("The Octocat", { exact: true }).waitFor();
  const other = await page.context().newPage();
  await other.goto(local.url);
  await other.getByRole("button", { name: "Sign out", exact: true }).click();
  await says(other, "Signed out");
  const before = complaints.length;

  await page.getByRole("button", { name: "GET /me", exact: true }).click();

  await says(page, "You are not signed in");
  await page.getByRole("link", { name: "Sign in with GitHub" }).waitFor();
  // Chromium logs each 401.
  assert.match(complaints.splice(before).join(), /^Failed to load resource: .* 401/);
});

scenario("without scripts, the page says what is missing", async () => {
  const page = await visitor({ javaScriptEnabled: false });

  await page.goto(local.url);

  // `getByText` ignores `noscript`.
  await page.locator("noscript p").waitFor();
});

scenario("no browser complained of anything", async () => {
  assert.deepEqual(complaints, []);
});

/** A person with a fresh browser. @param {import("playwright-core").BrowserContextOptions} [options] */
async function visitor(options) {
  const context = await freshBrowser(browser, { viewport: { width: 800, height: 900 }, colorScheme: "light", ...options });
  const page = await context.newPage();
  page.on("pageerror", (error) => complaints.push(error.message));
  // A violation of the policy is also an error in the console.
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  return page;
}

/** @param {Page} page @param {string} login */
async function signIn(page, login) {
  await page.getByRole("link", { name: "Sign in with GitHub" }).click();
  await page.waitForURL((url) => url.origin === local.github);
  await page.getByRole("button", { name: login }).click();
  await page.waitForURL((url) => url.origin === local.url);
}

/** To whoever hears the page instead of seeing it as well. @param {Page} page @param {string} text */
async function says(page, text) {
  await page.getByRole("status").filter({ hasText: text }).waitFor();
}

/** @param {Page} page @returns {Promise<Record<string, string>>} */
async function claims(page) {
  const rows = page.locator("#claims").getByRole("row");
  const pairs = await rows.evaluateAll((rows) => rows.map((row) => [row.querySelector("th"), row.querySelector("code")].map((cell) => cell?.textContent)));
  return Object.fromEntries(pairs);
}

/** Rows of the list of requests, the newest first. @param {Page} page @param {string} line */
function request(page, line) {
  const table = page.getByRole("table", { name: "The last requests" });
  return table.getByRole("row").filter({ has: page.getByText(line, { exact: true }) });
}

/** Rows of the changes of such requests, the newest first. @param {Page} page @param {string} line */
function changes(page, line) {
  return request(page, line).locator("xpath=following-sibling::tr[1][@class='changes']");
}

/** @param {Page} page @returns {Promise<string>} */
function focused(page) {
  return page.evaluate(() => document.activeElement?.textContent ?? "");
}

/** As whoever has no mouse gets there. @param {Page} page @param {string} name */
async function tabTo(page, name) {
  for (let steps = 0; steps < 30; steps++) {
    if ((await focused(page)).startsWith(name)) {
      assert.ok(await page.evaluate(() => document.activeElement?.matches(":focus-visible")), `${name} does not look focused`);
      return;
    }
    await page.keyboard.press("Tab");
  }
  assert.fail(`no Tab leads to ${name}`);
}

/** @param {Page} page */
async function fits(page) {
  const [content, window] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
  assert.ok(content <= window, `${content} px of content in ${window} px`);
}
