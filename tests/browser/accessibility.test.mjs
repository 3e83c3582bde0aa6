// @ts-check
/**
 * Checks every page of this repository with axe and measures its layout, in the light and the dark scheme, at the
 * width of a desktop and of a telephone.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import { join } from "node:path";
import { after, before } from "node:test";
import axe from "axe-core";
import { chromium } from "playwright-core";
import {
  cambioSettings,
  CHROMIUM,
  freePort,
  freshBrowser,
  OUTPUT,
  ROOT,
  scenario,
  sessionSettings,
  setup,
  startLocal,
  startNext,
  stopAll,
} from "./harness.mjs";

/** @typedef {import("playwright-core").Page} Page */

const SCHEMES = /** @type {const} */ (["light", "dark"]);
const WIDTHS = [1280, 360];

/** @typedef {{ name: string, folder: string, url: string, errorPage: string }} Example */

/** @type {Example} */
const nextAuth = { name: "next-auth", folder: "nextjs", url: "", errorPage: "/auth/error" };
/** @type {Example} */
const betterAuth = { name: "better-auth", folder: "better-auth", url: "", errorPage: "/error" };

/** @type {Awaited<ReturnType<typeof startLocal>>} */
let local;
/** Between the examples and the API. @type {Awaited<ReturnType<typeof startDoor>>} */
let door;
/** @type {import("playwright-core").Browser} */
let browser;

before(
  setup(async () => {
    local = await startLocal("accessibility");
    door = await startDoor(local.url);
    for (const example of [nextAuth, betterAuth]) {
      const port = await freePort();
      example.url = await startNext(`accessibility.${example.folder}`, join(ROOT, "examples", example.folder), port, {
        ...sessionSettings(`http://localhost:${port}`),
        ...cambioSettings(door.url),
        // The OAuth app of the stand-in of `cargo run`.
        GITHUB_ID: "cambio-local",
        GITHUB_SECRET: "cambio-local-secret",
        GITHUB_URL: local.github,
      });
    }
    browser = await chromium.launch(CHROMIUM);
  }),
);
after(async () => {
  await browser?.close();
  await stopAll();
  door?.close();
});

scenario("the local page, signed out", async () => {
  const page = await visitor();
  await page.goto(local.url);
  await page.getByRole("link", { name: "Sign in with GitHub" }).waitFor();
  await isAccessible(page, "local-signed-out");
});

scenario("the local page, when a sign-in was called off", async () => {
  const page = await visitor();
  await page.goto(local.url);
  await page.getByRole("link", { name: "Sign in with GitHub" }).click();
  await page.getByRole("button", { name: "Cancel" }).click();
  await page.getByText("GitHub sent you back without a sign-in").waitFor();
  await isAccessible(page, "local-called-off");
});

scenario("the local page, signed in, with an answer, two sessions and the last requests", async () => {
  const page = await signedInLocally();
  await isAccessible(page, "local-signed-in");
});

scenario("on a telephone, the local page shows the last requests right after the buttons, and is no longer than four windows", async () => {
  const page = await signedInLocally({ viewport: { width: 360, height: 800 } });

  const tops = await page
    .getByRole("heading", { level: 2 })
    .evaluateAll((headings) => headings.map((heading) => /** @type {const} */ ([heading.textContent?.trim(), heading.getBoundingClientRect().top])));
  const names = tops.sort(([, one], [, other]) => one - other).map(([name]) => name);
  assert.deepEqual(names, ["1 Sign in", "2 The access token", "3 Use it", "The last requests", "4 Sessions"]);
  assert.equal(await page.getByRole("row", { name: "jti" }).count(), 0, "the claims are folded");
  const height = await page.evaluate(() => document.documentElement.scrollHeight);
  assert.ok(height <= 4 * 800, `${height} px`);

  await page.getByText("What it says").click();
  await page.getByRole("row", { name: "jti" }).waitFor();
  await isAccessible(page, "local-claims", [360]);
});

scenario("the stand-in GitHub's front page says what it is, and who has an account", async () => {
  const page = await visitor();
  const answer = await page.goto(local.github);
  assert.equal(answer?.status(), 200);
  await page.getByText("octocat", { exact: true }).waitFor();
  await isAccessible(page, "stand-in-front");
});

scenario("the stand-in GitHub's sign-in", async () => {
  const page = await visitor();
  await page.goto(local.url);
  await page.getByRole("link", { name: "Sign in with GitHub" }).click();
  await page.getByRole("button", { name: "octocat" }).waitFor();
  await isAccessible(page, "stand-in-sign-in");

  const look = await page.getByRole("button", { name: "octocat" }).evaluate((button) => {
    const { borderTopStyle, borderRadius } = getComputedStyle(button);
    return [borderTopStyle, borderRadius, Math.round(button.getBoundingClientRect().height)];
  });
  assert.notEqual(look[0], "outset", "the buttons look as browsers make them");
  assert.ok(Number(look[2]) >= 40, `${look}`);
});

scenario("the stand-in OpenID provider's sign-in", async () => {
  const page = await visitor();
  const query = new URLSearchParams({ client_id: "cambio-local", redirect_uri: local.url, response_type: "code", scope: "openid email" });
  await page.goto(`${local.github}/openid/authorize?${query}`);
  await page.getByText("a stand-in for an OpenID provider").waitFor();
  await isAccessible(page, "openid-sign-in");
});

scenario("the local page, with its controls, a refused request and the items", async () => {
  const page = await signedInLocally();
  await page.getByText("Try what goes wrong").click();
  await page.getByRole("button", { name: "Let the token expire" }).click();
  await page.getByText("The access token expired an hour ago").waitFor();
  await page.getByRole("button", { name: "GET /me", exact: true }).click();
  await page
    .getByText(/invalid_token: .*expired/)
    .first()
    .waitFor();
  await page.getByText("The items in DynamoDB").first().click();
  await page.getByText('"sk": "USER"').first().waitFor();
  await page.getByRole("button", { name: "Lose the next answer" }).click();
  await page.getByText("The next answer of POST /token will be lost").waitFor();
  await page.getByRole("button", { name: "Refresh" }).click();
  await page.getByText("its answer was lost").waitFor();
  await page.getByText("answer lost", { exact: true }).first().waitFor();
  await page.getByRole("button", { name: "Lose the next answer" }).click();
  await page.getByText("The next answer of POST /token will be lost").waitFor();
  for (const summary of await page.getByText(/^\d items? (created|changed)/).all()) await summary.click();
  await isAccessible(page, "local-controls");
});

scenario("the stand-in GitHub's dead end", async () => {
  const page = await visitor();
  await page.goto(`${local.github}/login/oauth/authorize?client_id=nobody`);
  await page.getByRole("heading", { name: "This sign-in cannot go on" }).waitFor();
  await isAccessible(page, "stand-in-dead-end");
});

for (const example of [nextAuth, betterAuth]) {
  scenario(`${example.name}: the start page, signed out`, async () => {
    const page = await visitor();
    await page.goto(example.url);
    await page.getByRole("button", { name: "Sign in with GitHub" }).waitFor();
    await isAccessible(page, `${example.folder}-signed-out`);
  });

  scenario(`${example.name}: the start page, signed in here and on a telephone`, async () => {
    await signIn(await visitor({ userAgent: "A telephone" }), example);
    const page = await visitor();
    await signIn(page, example);
    await page.getByRole("heading", { name: "Where you are signed in" }).waitFor();
    await page.getByRole("listitem").filter({ hasText: "A telephone" }).getByRole("button", { name: "End" }).waitFor();
    await page.getByText("(this device)").waitFor();
    await isAccessible(page, `${example.folder}-signed-in`);
    await page.getByRole("button", { name: "Sign out everywhere" }).click();
    await page.getByRole("button", { name: "Sign in with GitHub" }).waitFor();
  });

  scenario(`${example.name}: the start page, while the API does not answer`, async () => {
    const page = await visitor();
    await signIn(page, example);
    // The buttons do nothing before React has hydrated the page.
    await page.waitForLoadState("networkidle");
    door.isShut = true;
    try {
      await page.getByRole("button", { name: "Sign out everywhere" }).click();
      await page.getByText("That did not work").waitFor();
      await isAccessible(page, `${example.folder}-failed-action`);
      await page.reload();
      await page.getByText("the API does not answer").waitFor();
      await isAccessible(page, `${example.folder}-unavailable`);
    } finally {
      door.isShut = false;
    }
  });

  for (const error of ["AccessDenied", "CambioRefused", "CambioMisconfigured", "CambioUnavailable"]) {
    scenario(`${example.name}: the page for ${error}`, async () => {
      const page = await visitor();
      await page.goto(`${example.url}${example.errorPage}?error=${error}`);
      await page.getByRole("link", { name: "Back to the start page" }).waitFor();
      await isAccessible(page, `${example.folder}-${error}`);
    });
  }

  scenario(`${example.name}: a page that is not there`, async () => {
    const page = await visitor();
    const answer = await page.goto(`${example.url}/nothing-here`);
    assert.equal(answer?.status(), 404);
    await isAccessible(page, `${example.folder}-not-found`);
  });
}

scenario("next-auth: the start page, when a sign-in failed", async () => {
  const page = await visitor();
  await page.goto(`${nextAuth.url}/?error=OAuthCallback`);
  await page.getByText("Signing in did not complete").waitFor();
  await isAccessible(page, "nextjs-failed");
});

/** A way to the API that can be shut; the API answers under its own name alone. @param {string} url */
async function startDoor(url) {
  const server = http.createServer((request, response) => {
    if (door.isShut) return void request.socket.destroy();
    const { method, headers, url: path } = request;
    const inner = http.request(new URL(path ?? "/", url), { method, headers: { ...headers, host: new URL(url).host } }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    inner.on("error", () => response.destroy());
    request.pipe(inner);
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  return { url: `http://localhost:${port}`, isShut: false, close: () => void server.close() };
}

/** A person with a fresh browser. @param {import("playwright-core").BrowserContextOptions} [options] */
async function visitor(options) {
  return (await freshBrowser(browser, { viewport: { width: 1280, height: 900 }, ...options })).newPage();
}

/**
 * Tries all of the local page, as a new user for each call.
 * @param {import("playwright-core").BrowserContextOptions} [options]
 */
async function signedInLocally(options) {
  const page = await visitor(options);
  const who = options ? { login: "mona", name: "Mona Lisa" } : { login: "hubot", name: "Hubot" };
  // Two sign-ins make two sessions, one of which can be ended.
  for (const name of ["Sign in with GitHub", "Sign in again"]) {
    await page.goto(local.url);
    await page.getByRole("link", { name }).click();
    await page.getByRole("button", { name: who.login }).click();
    await page.getByText(who.name, { exact: true }).waitFor();
  }
  await page.getByRole("button", { name: "GET /me", exact: true }).click();
  await page.getByText("The API verified the access token").waitFor();
  await page
    .getByRole("button", { name: /^End the session/ })
    .first()
    .waitFor();
  await page.getByRole("table", { name: "The last requests" }).getByText("GET /me", { exact: true }).first().waitFor();
  return page;
}

/** @param {Page} page @param {Example} example */
async function signIn(page, { url }) {
  await page.goto(url);
  await page.getByRole("button", { name: "Sign in with GitHub" }).click();
  await page.getByRole("button", { name: "octocat" }).click();
  await page.getByRole("heading", { name: "The Octocat" }).waitFor();
}

/**
 * Saves a screenshot of each scheme and width.
 * @param {Page} page @param {string} name @param {number[]} widths
 */
async function isAccessible(page, name, widths = WIDTHS) {
  for (const colorScheme of SCHEMES) {
    for (const width of widths) {
      const look = `${name}-${colorScheme}-${width}`;
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize({ width, height: 900 });
      await page.screenshot({ path: join(OUTPUT, "accessibility", `${look}.png`), fullPage: true });
      const findings = [...(await foundByAxe(page)), ...(await page.evaluate(measure))];
      assert.deepEqual(findings, [], look);
    }
  }
}

/** @param {Page} page @returns {Promise<string[]>} */
async function foundByAxe(page) {
  // The same way as the developer tools, which no policy of a page blocks.
  await page.evaluate(axe.source);
  return page.evaluate(async () => {
    /** @type {typeof import("axe-core")} */
    const axe = Reflect.get(window, "axe");
    const { violations, passes } = await axe.run(document, { rules: { "target-size": { enabled: true } } });
    if (!passes.some(({ id }) => id === "color-contrast")) return ["axe saw no text"];
    return violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map(({ target }) => target).join(", ")}`);
  });
}

/** Returns the findings that axe does not measure. It runs in the page. */
function measure() {
  /** @type {string[]} */
  const findings = [];
  const { scrollWidth, clientWidth } = document.documentElement;
  if (scrollWidth > clientWidth) findings.push(`${scrollWidth} px of content in ${clientWidth} px`);

  const heading = document.querySelector("h1")?.textContent ?? "nothing";
  if (!document.title.startsWith(heading)) findings.push(`the title “${document.title}” is not that of “${heading}”`);

  for (const control of Array.from(document.querySelectorAll("a, button, summary"))) {
    const box = control.getBoundingClientRect();
    const words = control.textContent?.trim();
    const isAlone = control.parentElement?.textContent?.trim() === words;
    if (!box.height || (control.matches("a") && !isAlone && !control.matches(".button"))) continue;
    if (box.height < 24 || box.width < 24) findings.push(`“${words}” is ${box.width} px by ${box.height} px`);

    let neighbour = control.previousSibling;
    while (neighbour && !neighbour.textContent?.trim()) neighbour = neighbour.previousSibling;
    if (!neighbour) continue;
    if (neighbour instanceof Element && neighbour.matches("a, button")) {
      const { left, right, bottom } = neighbour.getBoundingClientRect();
      if (left < box.right && box.left < right && box.top - bottom < 4) findings.push(`“${words}” sits on “${neighbour.textContent}”`);
    }
    const range = document.createRange();
    range.selectNodeContents(neighbour);
    if (neighbour.nodeType === Node.TEXT_NODE) range.setEnd(neighbour, neighbour.textContent?.trimEnd().length ?? 0);
    for (const { right, top, bottom } of Array.from(range.getClientRects())) {
      const isBeside = top < box.bottom && box.top < bottom;
      if (isBeside && box.left >= right - 1 && box.left - right < 4) findings.push(`“${words}” is glued to “${neighbour.textContent}”`);
    }
  }
  return findings;
}
