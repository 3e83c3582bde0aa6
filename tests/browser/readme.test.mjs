// @ts-check
/**
 * Tests the README of the TypeScript package: a sign-in in a fresh app of create-next-app, with the packages that the
 * README names, the files that it shows, unchanged, and the environment that `cargo run -- --write-env` writes. The
 * apps get no other setting, and no request of theirs is intercepted.
 */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before } from "node:test";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { CHROMIUM, freePort, freshBrowser, PACKAGE, packPackage, run, scenario, setup, startLocal, startNext, startNextDev, stopAll } from "./harness.mjs";

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
/** How long the package took to be packed, and how long the packages of each app took to be installed, in ms. */
let packed = 0;
/** @type {Record<string, number>} */
const installed = {};
/** @type {import("playwright-core").Browser} */
let browser;

before(
  setup(async () => {
    const started = performance.now();
    tarball = await packPackage("readme", folder);
    packed = performance.now() - started;
    browser = await chromium.launch(CHROMIUM);
  }),
);
after(async () => {
  await browser?.close();
  await stopAll();
  rmSync(folder, { recursive: true, force: true });
});

for (const { name, section, creator, session } of APPS) {
  scenario(`${name}: what the README shows is a whole app`, async () => {
    const port = await freePort();
    const app = await create(name, section, creator);
    await signInFirst(name, section, app);
    writeFiles(app, filesOf(sectionOf(section)));
    if (section === "next-auth 4") addOpenId(app);
    const { github } = await startLocal(`readme.${name}`, { args: writeEnv(app, port) });
    const url = await startNext(`readme.${name}`, app, port);
    const context = await freshBrowser(browser);
    const page = await context.newPage();

    await signIn(page, url, section, github);

    const answer = await page.request.get(`${url}${session}`);
    const { accessToken, user } = await answer.json();
    assert.equal(user.name, "The Octocat");
    assert.equal(accessToken, undefined, "the page's server calls the API, and the browser gets no token");

    await sharesNoCookie(page, url);

    await signOut(page, section);
    assert.equal(await page.getByText("Hello").count(), 0);

    if (section === "next-auth 4") {
      await page.getByRole("link", { name: "Sign in" }).click();
      await page.getByRole("button", { name: "Sign in with OpenID" }).click();
      await page.getByText("a stand-in for an OpenID provider").waitFor();
      await page.getByRole("button", { name: "hubot" }).click();
      await page.getByText("Hello Hubot").waitFor();
      await signOut(page, section);
    }

    // A user without a public e-mail address, whose account the stand-in makes.
    await page.goto(url);
    await toGitHub(page, section, github);
    await page.getByLabel("any other login").fill("ada");
    await page.getByRole("button", { name: "Continue with this login" }).click();
    await page.getByText("Hello ada").waitFor();

    await hasNoIssue(page, name, app);
    await context.close();
  });
}

scenario("next-16-pages: what the README shows of the pages folder is a whole app in JavaScript", async () => {
  const name = "next-16-pages";
  const port = await freePort();
  const app = await create(name, IN_PAGES, "create-next-app", ["--js", "--no-app"]);
  writeFiles(app, filesOf(sectionOf(IN_PAGES)));
  const api = await startLocal(`readme.${name}`, { args: writeEnv(app, port) });
  const url = await startNext(`readme.${name}`, app, port);
  const context = await freshBrowser(browser);
  const page = await context.newPage();

  await page.goto(`${url}/profile`);
  assert.equal(page.url(), `${url}/`, "without a session, there is no profile");
  await page.getByRole("button", { name: "Sign in with GitHub" }).click();
  await page.waitForURL((address) => address.origin === api.github);
  const called = page.waitForRequest(`${url}/api/me`);
  await page.getByRole("button", { name: "octocat" }).click();
  await page.getByText("Hello The Octocat").waitFor();

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
  await page.getByText(`The Octocat has the id ${user.id}.`).waitFor();
  await page.goto(url);
  await sharesNoCookie(page, url);

  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("button", { name: "Sign in with GitHub" }).waitFor();
  const answer = await fetch(`${api.url}/me`, { headers: { Authorization: `Bearer ${accessToken}` } });
  assert.equal(answer.status, 401, "the session has ended at the API");
  await context.close();
});

/** The arguments of `cargo run` that write the environment of an app. @param {string} app @param {number} port */
function writeEnv(app, port) {
  return ["--app-url", `http://localhost:${port}`, "--write-env", join(app, ".env.local")];
}

/** @param {import("playwright-core").Page} page @param {string} section */
async function signOut(page, section) {
  if (section === "better-auth") await page.getByRole("button", { name: "Sign out" }).click();
  else {
    await page.getByRole("link", { name: "Sign out" }).click();
    await page.getByRole("button", { name: "Sign out" }).click();
  }
  await page.getByText("Sign in").first().waitFor();
}

/**
 * Signs octocat in to the app.
 * @param {import("playwright-core").Page} page @param {string} url @param {string} section @param {string} github
 */
async function signIn(page, url, section, github) {
  await page.goto(url);
  await toGitHub(page, section, github);
  await page.getByRole("button", { name: "octocat" }).click();
  await page.getByText("Hello The Octocat").waitFor();
}

/** @param {import("playwright-core").Page} page @param {string} section @param {string} github */
async function toGitHub(page, section, github) {
  // next-auth shows its own page.
  if (section !== "better-auth") await page.getByRole("link", { name: "Sign in" }).click();
  await page.getByRole("button", { name: "Sign in with GitHub" }).click();
  await page.waitForURL((address) => address.origin === github);
}

/**
 * Checks that `next dev` logs no error of the page, which a corner of the page shows as "1 Issue".
 *
 * @param {import("playwright-core").Page} page @param {string} name @param {string} app
 */
async function hasNoIssue(page, name, app) {
  const { url, output } = await startNextDev(`readme.${name}`, app);
  await page.goto(url);
  // The browser sends the cookies of `localhost` to each port.
  await page.getByText("Hello ada").waitFor();
  await page.locator("nextjs-portal").getByRole("button").first().waitFor();
  assert.doesNotMatch(output(), /^\s*(⨯|Error:)|^Learn more:/m);
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

  const text = sectionOf(section);
  const packages = /^ {4}npm install (.+)$/m.exec(text)?.[1].split(" ") ?? [];
  assert.ok(packages.includes("./cambio-next-auth-*.tgz"), section);
  const wanted = packages.map((each) => (each === "./cambio-next-auth-*.tgz" ? tarball : each));
  const started = performance.now();
  await run(`readme.${name}.install`, "npm", ["install", "--no-audit", "--no-fund", "--loglevel=error", ...wanted], { cwd: app, timeout: 300_000 });
  installed[name] = performance.now() - started + packed;
  return app;
}

/**
 * Signs in for the first time, with no more than the commands and files that the README gives for it, and counts them.
 * @param {string} name @param {string} section @param {string} app
 */
async function signInFirst(name, section, app) {
  const started = performance.now();
  const [first, more] = sectionOf(section).split("With these files, users sign in.");
  assert.ok(more, `${section} does not say which files sign a user in`);
  const files = filesOf(first);
  const commands = [sectionOf("# @cambio/next-auth"), first].flatMap(commandsOf);
  assert.ok(files.length <= 3, `${section} needs ${files.length} files for the first sign-in`);
  assert.ok(commands.length <= 4, `${section} needs more than 4 commands for the first sign-in: ${commands.join("; ")}`);

  writeFiles(app, files);
  const port = await freePort();
  const { github } = await startLocal(`readme.${name}.first`, { args: writeEnv(app, port) });
  const { url, end } = await startNextDev(`readme.${name}.first`, app, port);
  const context = await freshBrowser(browser);
  const page = await context.newPage();
  await signIn(page, url, section, github);
  await context.close();
  await end();

  const seconds = Math.round((performance.now() - started + installed[name]) / 1000);
  console.log(`${name}: ${commands.length} commands, ${files.length} files, ${seconds} s of this machine until the first sign-in`);
}

/** @param {string} app @param {RegExpMatchArray[]} files */
function writeFiles(app, files) {
  assert.ok(files.length >= 3, `${files.length} files`);
  for (const [, path, content] of files) {
    mkdirSync(dirname(join(app, path)), { recursive: true });
    writeFileSync(join(app, path), content);
  }
}

/** Adds the provider of the section "Another provider". @param {string} app */
function addOpenId(app) {
  for (const [, path, content] of filesOf(sectionOf("Another provider"))) writeFileSync(join(app, path), content);
  const auth = join(app, "lib/auth.ts");
  const withOpenId = readFileSync(auth, "utf8").replace("providers: [", "providers: [openId,");
  writeFileSync(auth, `import { openId } from "./openid";\n${withOpenId}`);
}

/** @param {string} section */
function sectionOf(section) {
  return readme.split(/^## /m).find((part) => part.startsWith(`${section}\n`)) ?? assert.fail(`README.md has no section ${section}`);
}

/** Returns the commands that a text shows. @param {string} text */
function commandsOf(text) {
  return [...text.replaceAll(/```[^]*?```/g, "").matchAll(/^ {4}(\S.*)$/gm)].map(([, command]) => command);
}

/** Returns the paths and contents of the files that a text shows. @param {string} text */
function filesOf(text) {
  return [...text.matchAll(/```[jt]sx?\n\/\/ ([^\s:,]+).*\n([^]*?)```/g)];
}
