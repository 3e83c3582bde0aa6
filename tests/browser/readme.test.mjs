// @ts-check
/**
 * Tests the README of the TypeScript package: a sign-in in a fresh app of create-next-app, with the packages that the
 * README names and the files that it shows, unchanged.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before } from "node:test";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { cambioSettings, CHROMIUM, freePort, freshBrowser, ROOT, run, scenario, sessionSettings, setup, startApi, startNext, stopAll } from "./harness.mjs";
import { APP, OCTOCAT, startStandIn } from "./stand-in.mjs";

const PACKAGE = join(ROOT, "clients/next-auth");
const NETWORK = fileURLToPath(new URL("github-network.cjs", import.meta.url));

const IN_PAGES = "next-auth 4 in the pages folder, with JavaScript";

/** Each with a section of the README. @type {{ name: string, section: string, creator: string, session: string }[]} */
const APPS = [
  { name: "next-16-next-auth-4", section: "next-auth 4", creator: "create-next-app", session: "/api/auth/session" },
  { name: "next-15-next-auth-4", section: "next-auth 4", creator: "create-next-app-15", session: "/api/auth/session" },
  { name: "next-16-auth-js-5", section: "Auth.js 5", creator: "create-next-app", session: "/api/auth/session" },
  { name: "next-16-better-auth", section: "better-auth", creator: "create-next-app", session: "/api/auth/cambio/session" },
];

const folder = mkdtempSync(join(tmpdir(), "cambio-readme-"));
const readme = readFileSync(join(PACKAGE, "README.md"), "utf8");
/** @type {string} */
let tarball;
/** @type {import("./stand-in.mjs").StandIn} */
let github;
/** @type {Awaited<ReturnType<typeof startApi>>} */
let api;
/** @type {import("playwright-core").Browser} */
let browser;
/** By the name of the app. @type {Map<string, number>} */
const ports = new Map();

before(
  setup(async () => {
    tarball = join(folder, execFileSync("npm", ["pack", "--silent", "--pack-destination", folder], { cwd: PACKAGE, encoding: "utf8" }).trim());
    for (const name of [...APPS.map(({ name }) => name), "next-16-pages"]) ports.set(name, await freePort());
    github = await startStandIn({ redirectUris: [...ports.values()].map((port) => `http://localhost:${port}/api/auth/callback/github`) });
    api = await startApi("readme", github.url);
    browser = await chromium.launch(CHROMIUM);
  }),
);
after(async () => {
  await browser?.close();
  await stopAll();
  await github?.close();
  rmSync(folder, { recursive: true, force: true });
});

for (const { name, section, creator, session } of APPS) {
  scenario(`${name}: what the README shows is a whole app`, async () => {
    const port = ports.get(name) ?? 0;
    const app = await create(name, section, creator);
    const url = await startNext(`readme.${name}`, app, port, settings(port));
    const page = await visitor();

    await page.goto(url);
    // next-auth shows its own page.
    if (section !== "better-auth") await page.getByRole("link", { name: "Sign in" }).click();
    await page.getByRole("button", { name: "Sign in with GitHub" }).click();
    await page.waitForURL((address) => address.origin === github.url);
    await page.getByRole("button", { name: OCTOCAT.login }).click();
    await page.getByText(`Hello ${OCTOCAT.name}`).waitFor();

    const answer = await page.request.get(`${url}${session}`);
    const { accessToken, user } = await answer.json();
    assert.equal(user.name, OCTOCAT.name);
    assert.equal(accessToken, undefined, "the page's server calls the API, and the browser gets no token");

    await sharesNoCookie(page, url);

    if (section === "better-auth") await page.getByRole("button", { name: "Sign out" }).click();
    else {
      await page.getByRole("link", { name: "Sign out" }).click();
      await page.getByRole("button", { name: "Sign out" }).click();
    }
    await page.getByText("Sign in").first().waitFor();
    assert.equal(await page.getByText("Hello").count(), 0);
    await page.context().close();
  });
}

scenario("next-16-pages: what the README shows of the pages folder is a whole app in JavaScript", async () => {
  const name = "next-16-pages";
  const port = ports.get(name) ?? 0;
  const app = await create(name, IN_PAGES, "create-next-app", ["--js", "--no-app"]);
  const url = await startNext(`readme.${name}`, app, port, settings(port));
  const page = await visitor();

  await page.goto(`${url}/profile`);
  assert.equal(page.url(), `${url}/`, "without a session, there is no profile");
  await page.getByRole("button", { name: "Sign in with GitHub" }).click();
  await page.waitForURL((address) => address.origin === github.url);
  const called = page.waitForRequest(`${url}/api/me`);
  await page.getByRole("button", { name: OCTOCAT.login }).click();
  await page.getByText(`Hello ${OCTOCAT.name}`).waitFor();

  const { accessToken, expiresAt, user } = await (await page.request.get(`${url}/api/auth/session`)).json();
  assert.equal((await called).headers().authorization, `Bearer ${accessToken}`);
  assert.ok(expiresAt > Date.now());
  /** Calls the API from the page, at its own origin. @param {string} token */
  const directly = (token) =>
    page.evaluate(
      ([address, token]) => fetch(address, { headers: { Authorization: `Bearer ${token}` } }).then(({ status }) => status, String),
      [`${api.url}/me`, token],
    );
  assert.match(`${await directly(accessToken)}`, /Failed to fetch/, "a page of another origin may not call Cambio");

  await page.goto(`${url}/profile`);
  await page.getByText(`${OCTOCAT.name} has the id ${user.id}.`).waitFor();
  await page.goto(url);
  await sharesNoCookie(page, url);

  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("button", { name: "Sign in with GitHub" }).waitFor();
  const answer = await fetch(`${api.url}/me`, { headers: { Authorization: `Bearer ${accessToken}` } });
  assert.equal(answer.status, 401, "the session has ended at the API");
  await page.context().close();
});

/** Opens a page of a browser in which github.com is the stand-in. */
async function visitor() {
  const context = await freshBrowser(browser);
  await context.route("https://github.com/**", (route) => {
    const { pathname, search } = new URL(route.request().url());
    return route.fulfill({ status: 302, headers: { location: `${github.url}${pathname}${search}` } });
  });
  return context.newPage();
}

/**
 * Checks that no shared cache stores a cookie: files, images and prefetches set none, and answers that set one are
 * private.
 *
 * @param {import("playwright-core").Page} page @param {string} url
 */
async function sharesNoCookie(page, url) {
  const script = await page.locator("script[src^='/_next/static/']").first().getAttribute("src");
  assert.ok(script);
  const files = [script, "/favicon.ico", "/next.svg", "/_next/image?url=%2Fnext.svg&w=64&q=75", "/nothing-here.png"];
  for (const path of files) {
    const answer = await page.request.get(`${url}${path}`);
    assert.equal(answer.headers()["set-cookie"], undefined, path);
  }
  const prefetch = await page.request.get(url, { headers: { rsc: "1", "next-router-prefetch": "1" }, maxRedirects: 0 });
  assert.equal(prefetch.headers()["set-cookie"], undefined, "a prefetch");
  for (const path of ["/", "/nothing-here"]) {
    const headers = (await page.request.get(`${url}${path}`)).headers();
    if (headers["set-cookie"]) assert.match(headers["cache-control"] ?? "", /private.*no-store/, path);
  }
}

/**
 * Creates a fresh app with the files of a section of the README.
 * @param {string} name
 * @param {string} section
 * @param {string} creator
 * @param {string[]} [template] options of the creator
 */
async function create(name, section, creator, template = []) {
  const cli = fileURLToPath(import.meta.resolve(`${creator}/dist/index.js`));
  // Empty, because the default template downloads fonts during its build.
  const options = ["--yes", "--empty", "--use-npm", "--disable-git", "--skip-install", ...template];
  await run(`readme.${name}.create`, process.execPath, [cli, name, ...options], { cwd: folder, timeout: 60_000 });
  const app = join(folder, name);

  const text = readme.split(/^## /m).find((part) => part.startsWith(`${section}\n`)) ?? "";
  const packages = /^ {4}npm install (.+)$/m.exec(text)?.[1].split(" ") ?? [];
  assert.ok(packages.includes("./cambio-next-auth-*.tgz"), section);
  const wanted = packages.map((each) => (each === "./cambio-next-auth-*.tgz" ? tarball : each));
  await run(`readme.${name}.install`, "npm", ["install", "--no-audit", "--no-fund", "--loglevel=error", ...wanted], { cwd: app, timeout: 300_000 });

  const files = [...text.matchAll(/```[jt]sx?\n\/\/ ([^\s:,]+).*\n([^]*?)```/g)];
  assert.ok(files.length >= 3, `${section} shows ${files.length} files`);
  for (const [, path, content] of files) {
    mkdirSync(dirname(join(app, path)), { recursive: true });
    writeFileSync(join(app, path), content);
  }
  return app;
}

/** By the names that each section's library has for them. @param {number} port */
function settings(port) {
  const [id, secret] = [APP.client_id, APP.client_secret];
  return {
    NODE_OPTIONS: `--require ${NETWORK}`,
    GITHUB_STAND_IN: github.url,
    GITHUB_ID: id,
    GITHUB_SECRET: secret,
    AUTH_GITHUB_ID: id,
    AUTH_GITHUB_SECRET: secret,
    ...sessionSettings(`http://localhost:${port}`),
    ...cambioSettings(api.url),
  };
}
