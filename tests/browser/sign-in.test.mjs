// @ts-check
/** Tests both examples in a browser: a sign-in in a Next.js app becomes a user of your own API. */
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before } from "node:test";
import { chromium } from "playwright-core";
import { CHROMIUM, CLIENT, freePort, freshBrowser, OUTPUT, scenario, SESSION_SECRET, setup, startApi, startGate, startNextApp, stopAll } from "./harness.mjs";
import { CANARY, HUBOT, OCTOCAT, PUBLIC_URL, STRANGER, startStandIn } from "./stand-in.mjs";

const EXAMPLES = new URL("../../examples/", import.meta.url);
const jwt = createRequire(new URL("nextjs/package.json", EXAMPLES))("next-auth/jwt");
const { symmetricDecodeJWT, symmetricEncodeJWT } = await import(new URL("better-auth/node_modules/better-auth/dist/crypto/index.mjs", EXAMPLES).href);

/**
 * The part of a session that a cookie contains.
 * @typedef {{ accessToken: string, expiresAt: number, refreshAt: number, refreshToken: string }} Held
 */

/**
 * The differences between the examples: the route of the session, and the format of the cookie.
 * @typedef {{ name: string, folder: string, url: string, session: string, errorPage: string, cookie: string, key:
 * string, decode: (value: string) => Promise<any>, encode: (content: any) => Promise<string> }} Example
 */

/** @type {Example} */
const nextAuth = {
  name: "next-auth 4",
  folder: "nextjs",
  url: "",
  session: "/api/auth/session",
  errorPage: "/auth/error",
  cookie: "next-auth.session-token",
  key: "cambio",
  decode: (token) => jwt.decode({ token, secret: SESSION_SECRET }),
  encode: (token) => jwt.encode({ token, secret: SESSION_SECRET }),
};
/** @type {Example} */
const betterAuth = {
  name: "better-auth",
  folder: "better-auth",
  url: "",
  session: "/api/auth/cambio/session",
  errorPage: "/error",
  cookie: "better-auth.cambio",
  key: "kept",
  decode: (value) => symmetricDecodeJWT(value, SESSION_SECRET, "cambio"),
  encode: (content) => symmetricEncodeJWT(content, SESSION_SECRET, "cambio", 3600),
};

const PICTURE = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><path fill="#8a94ad" d="M4 1a2 2 0 0 0 0 4a2 2 0 0 0 0-4M1 8a3 3 0 0 1 6 0z"/></svg>`;

/** @type {import("./stand-in.mjs").StandIn} */
let github;
/** Between the app and the API. @type {Awaited<ReturnType<typeof startGate>>} */
let api;
/** The example of the current scenario. */
let app = nextAuth;
/** @type {import("playwright-core").Browser} */
let browser;

before(
  setup(async () => {
    const ports = [await freePort(), await freePort()];
    github = await startStandIn({ redirectUris: ports.map((port) => `http://localhost:${port}/api/auth/callback/github`) });
    const members = { emails: [OCTOCAT.email, HUBOT.email] };
    api = await startGate((await startApi("sign-in", github.url, { ALLOWED_SIGNUPS: JSON.stringify(members) })).url);
    for (const [nth, example] of [nextAuth, betterAuth].entries()) {
      const options = { example: example.folder, port: ports[nth], github: github.url, api: api.url };
      example.url = await startNextApp(`sign-in.${example.folder}`, options);
    }
    browser = await chromium.launch(CHROMIUM);
  }),
);
after(async () => {
  await browser?.close();
  await stopAll();
  api?.close();
  await github?.close();
});

/** A scenario for each example. @param {string} name @param {() => Promise<void>} body */
function inBoth(name, body) {
  inExample(nextAuth, name, body);
  inExample(betterAuth, name, body);
}

/**
 * Registers a scenario that needs the list of sessions of the larger example.
 * @param {string} name
 * @param {() => Promise<void>} body
 */
function inNextAuth(name, body) {
  inExample(nextAuth, name, body);
}

/** @param {Example} example @param {string} name @param {() => Promise<void>} body */
function inExample(example, name, body) {
  scenario(`${example.name}: ${name}`, () => {
    app = example;
    return body();
  });
}

inBoth("a GitHub sign-in shows the user of the API, and the next one the same user", async () => {
  const page = await visitor();

  await signIn(page, OCTOCAT);
  await shows(page, OCTOCAT);
  const id = await userId(page);
  await page.screenshot({ path: join(OUTPUT, `signed-in.${app.folder}.png`) });

  await page.getByRole("button", { name: "Sign out", exact: true }).click();
  await page.getByRole("button", { name: "Sign in with GitHub" }).waitFor();
  assert.deepEqual(await session(page), {});

  await signIn(page, OCTOCAT);
  await shows(page, OCTOCAT);
  assert.equal(await userId(page), id);
});

inBoth("another GitHub user is another user", async () => {
  const [one, other] = [await visitor(), await visitor()];

  await signIn(one, OCTOCAT);
  await signIn(other, HUBOT);

  await shows(other, HUBOT);
  assert.notEqual(await userId(other), await userId(one));
});

inBoth("a sign-in that GitHub does not confirm is refused, and leaves nobody signed in", async () => {
  const page = await visitor();
  const asked = github.calls.length;
  github.failWith = 404;

  await signIn(page, OCTOCAT);

  await page.getByRole("heading", { name: "We could not accept this sign-in" }).waitFor();
  assert.equal(await page.getByRole("button", { name: "Try again" }).count(), 0);
  assert.deepEqual(await session(page), {});
  assert.ok(
    github.calls.slice(asked).some((call) => call.startsWith("POST /applications/")),
    "GitHub was asked",
  );
});

inBoth("while GitHub is down, the page says so, and trying again works", async () => {
  const page = await visitor();
  github.failWith = 502;

  await signIn(page, OCTOCAT);

  await canTryAgain(page, () => (github.failWith = undefined));
});

inBoth("who is not let in is told so, and another account may", async () => {
  const page = await visitor();

  await signIn(page, STRANGER);

  await page.getByRole("heading", { name: "This account may not sign in here" }).waitFor();
  assert.equal(new URL(page.url()).searchParams.get("error"), "AccessDenied");
  assert.deepEqual(await session(page), {});
  await signIn(page, OCTOCAT);
  await shows(page, OCTOCAT);
});

inBoth("while the API is down, signing in says so, and trying again works", async () => {
  const page = await visitor();
  api.isShut = true;

  await signIn(page, OCTOCAT);

  await canTryAgain(page, () => (api.isShut = false));
});

inBoth("the error page says nothing that its URL brings along", async () => {
  const page = await visitor();
  const text = "call 555 0100 to get your money back";

  for (const name of ["reason", "error", "error_description"]) {
    await page.goto(`${app.url}${app.errorPage}?${new URLSearchParams({ [name]: text })}`);
    await page.getByRole("heading", { name: "Please try again in a moment" }).waitFor();
    assert.doesNotMatch(await page.locator("body").innerText(), /555/);
  }
});

inBoth("tokens stay out of pages, URLs and sessions: only the cookie holds the API's, and nothing GitHub's", async () => {
  const page = await visitor();
  /** @type {Promise<string>[]} */
  const seen = [];
  page.on("request", (request) =>
    seen.push(request.allHeaders().then(({ cookie, ...headers }) => request.url() + JSON.stringify(headers) + request.postData())),
  );
  page.on("response", (response) =>
    seen.push(
      isSession(response) ? Promise.resolve("") : response.text().catch(() => ""),
      response.allHeaders().then((headers) => JSON.stringify(headers)),
    ),
  );

  await signIn(page, OCTOCAT);
  await shows(page, OCTOCAT);
  await page.reload();

  const { accessToken } = await session(page);
  assert.match(accessToken, /^eyJ[\w-]+\.[\w-]+\.[\w-]+$/);
  const everything = [...(await Promise.all(seen)), await page.content()].join("\n");
  assert.ok(everything.includes(OCTOCAT.name), "the pages were looked at");
  assert.ok(!everything.includes(accessToken), "the access token was in a page or URL");
  assert.doesNotMatch(everything + JSON.stringify(await session(page)), /gho_|cbr_/);
});

inBoth("when the session has ended, the page offers to sign in again", async () => {
  const page = await visitor();
  await signIn(page, OCTOCAT);
  await shows(page, OCTOCAT);
  await holds(page, { accessToken: "ended", expiresAt: 0, refreshAt: 0, refreshToken: "made-up" });

  await page.reload();

  await hasEnded(page);
  await page.getByRole("button", { name: "Sign in with GitHub" }).click();
  await choose(page, OCTOCAT);
  await shows(page, OCTOCAT);
});

inBoth("an access token that the API does not accept shows nobody's profile", async () => {
  const page = await visitor();
  await signIn(page, OCTOCAT);
  await shows(page, OCTOCAT);
  const later = Date.now() + 60_000;
  await holds(page, { accessToken: "made.up.token", expiresAt: later, refreshAt: later, refreshToken: "made-up" });

  await page.reload();

  await page.getByText("Your session has ended").waitFor();
});

inBoth("after the access token has ended, whoever reloads the page is still signed in, in the same session", async () => {
  const page = await visitor();
  await signIn(page, OCTOCAT);
  await shows(page, OCTOCAT);
  const [before, list] = [await session(page), await sessions(page)];

  await expires(page);
  await page.reload();

  await shows(page, OCTOCAT);
  const after = await session(page);
  assert.notEqual(after.accessToken, before.accessToken);
  assert.equal(claims(after).sid, claims(before).sid);
  assert.deepEqual(await sessions(page), list);
});

inBoth("ten requests at the moment of expiry log nobody out, and leave one session", async () => {
  const page = await visitor();
  await signIn(page, OCTOCAT);
  await shows(page, OCTOCAT);
  const [before, list] = [await session(page), await sessions(page)];

  for (const _ of ["once", "and again with what came of it"]) {
    await expires(page);
    const statuses = await page.evaluate((session) => {
      const paths = Array.from({ length: 10 }, (_, nth) => (nth % 2 ? "/" : session));
      return Promise.all(paths.map((path) => fetch(path, { cache: "no-store" }).then(({ status }) => status)));
    }, app.session);
    assert.deepEqual(statuses, Array(10).fill(200));
    await page.reload();
    await shows(page, OCTOCAT);
  }

  assert.equal(claims(await session(page)).sid, claims(before).sid);
  assert.deepEqual(await sessions(page), list);
});

inBoth("renderings that cannot store what they refreshed log nobody out", async () => {
  const page = await visitor();
  await signIn(page, OCTOCAT);
  await shows(page, OCTOCAT);
  await page.route(`**${app.session}`, (route) => route.abort());

  await expires(page);
  const { refreshToken } = await held(page);
  for (let times = 0; times < 3; times++) {
    await page.reload();
    await shows(page, OCTOCAT);
  }

  assert.equal((await held(page)).refreshToken, refreshToken, "nothing was stored");
  await page.unroute(`**${app.session}`);
  await page.reload();
  await shows(page, OCTOCAT);
  await session(page);
  assert.notEqual((await held(page)).refreshToken, refreshToken);
});

for (const fault of /** @type {const} */ (["isShut", "losesAnswers"])) {
  inBoth(`an expired token ends no session while the API ${fault}`, async () => {
    const page = await visitor();
    await signIn(page, OCTOCAT);
    await shows(page, OCTOCAT);
    const { sid } = claims(await session(page));
    await expires(page);
    api[fault] = true;

    await page.reload();

    await page.getByText("the API does not answer").waitFor();
    assert.equal((await session(page)).error, "Unavailable");
    api[fault] = false;
    await page.reload();
    await shows(page, OCTOCAT);
    assert.equal(claims(await session(page)).sid, sid);
  });
}

inNextAuth("what cannot be done while the API is down says so, and signing out here works all the same", async () => {
  const page = await visitor();
  await signIn(page, OCTOCAT);
  await shows(page, OCTOCAT);
  api.isShut = true;

  await page.getByRole("button", { name: "Sign out everywhere" }).click();
  await page.getByText("That did not work").waitFor();
  await page.getByRole("button", { name: "Sign out", exact: true }).click();

  await page.getByRole("button", { name: "Sign in with GitHub" }).waitFor();
  assert.deepEqual(await session(page), {});
});

inNextAuth("signing out everywhere in one browser ends the other at once", async () => {
  const [here, there] = [await visitor(), await visitor()];
  for (const page of [here, there]) {
    await signIn(page, OCTOCAT);
    await shows(page, OCTOCAT);
  }

  await here.getByRole("button", { name: "Sign out everywhere" }).click();
  await here.getByRole("button", { name: "Sign in with GitHub" }).waitFor();

  // Its access token has not expired, and the API refuses it.
  await there.reload();
  await there.getByText("Your session has ended").waitFor();
  await expires(there);
  await there.reload();
  await hasEnded(there);
  assert.deepEqual(await session(here), {});
});

inNextAuth("another device is in the list by its own name, and can be ended there", async () => {
  const [here, there] = [await visitor(), await visitor("A telephone")];
  for (const page of [there, here]) {
    await signIn(page, HUBOT);
    await shows(page, HUBOT);
  }
  await here.getByText(/^Chrome on (Linux|macOS) \(this device\)/).waitFor();
  const telephone = here.getByRole("listitem").filter({ hasText: "A telephone" });

  await telephone.getByRole("button", { name: "End" }).click();
  await telephone.waitFor({ state: "detached" });

  await expires(there);
  await there.reload();
  await hasEnded(there);
  await here.reload();
  await shows(here, HUBOT);
});

inBoth("signing out ends the session at the API as well", async () => {
  const page = await visitor();
  await signIn(page, OCTOCAT);
  await shows(page, OCTOCAT);
  const { refreshToken } = await held(page);

  await page.getByRole("button", { name: "Sign out", exact: true }).click();
  await page.getByRole("button", { name: "Sign in with GitHub" }).waitFor();

  const response = await fetch(`${api.url}/token`, {
    method: "POST",
    body: new URLSearchParams({ client_id: CLIENT.id, client_secret: CLIENT.secret, grant_type: "refresh_token", refresh_token: refreshToken }),
  });
  assert.equal(response.status, 400);
  assert.equal((await response.json()).error, "invalid_grant");
});

let visitors = 0;

/** A person with a fresh browser, in which nothing but this machine can be reached. @param {string} [userAgent] */
async function visitor(userAgent) {
  github.failWith = undefined;
  api.isShut = api.losesAnswers = false;
  visitors += 1;
  // better-auth lets one address sign in three times in ten seconds.
  const extraHTTPHeaders = { "x-forwarded-for": `192.0.2.${visitors}` };
  const context = await freshBrowser(browser, { viewport: { width: 640, height: 480 }, userAgent, extraHTTPHeaders });
  // The pictures of the stand-in do not exist.
  await context.route(`${PUBLIC_URL}/avatars/**`, (route) => route.fulfill({ contentType: "image/svg+xml", body: PICTURE }));
  return context.newPage();
}

/** @typedef {import("playwright-core").Page} Page */

/** @param {Page} page @param {{ login: string }} user */
async function signIn(page, user) {
  await page.goto(app.url);
  await page.getByRole("button", { name: "Sign in with GitHub" }).click();
  await choose(page, user);
}

/**
 * Checks that the app reports an outage of the sign-in, and that the sign-in works after the outage.
 * @param {Page} page
 * @param {() => void} mend
 */
async function canTryAgain(page, mend) {
  await page.getByRole("heading", { name: "Please try again in a moment" }).waitFor();
  assert.deepEqual(await session(page), {});
  mend();
  await page.getByRole("button", { name: "Try again" }).click();
  await choose(page, OCTOCAT);
  await shows(page, OCTOCAT);
}

/** On the stand-in's own page. @param {Page} page @param {{ login: string }} user */
async function choose(page, { login }) {
  await page.waitForURL((url) => url.origin === github.url);
  await page.getByRole("button", { name: login }).click();
  await page.waitForURL((url) => url.origin === app.url);
}

/** @param {Page} page @param {{ login: string, name: string, email: string }} user */
async function shows(page, { login, name, email }) {
  await page.getByRole("heading", { name }).waitFor();
  assert.equal(await page.getByTestId("email").innerText(), email);
  if (app === nextAuth) assert.equal(await page.locator("img").getAttribute("src"), `${PUBLIC_URL}/avatars/u/${login}`);
  assert.ok(!(await page.content()).includes(CANARY.login), "a made-up token was trusted");
}

/** @param {Page} page */
async function userId(page) {
  const id = await page.getByTestId("user-id").innerText();
  assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  return id;
}

/**
 * Returns the session as the app shows it to scripts, and the access token of the cookie, which the session omits.
 * @param {Page} page
 */
async function session(page) {
  const response = await page.request.get(`${app.url}${app.session}`);
  const told = (await response.json()) ?? {};
  assert.ok(!("accessToken" in told), "a browser gets no access token");
  return told.user && !told.error ? { ...told, accessToken: (await held(page)).accessToken } : told;
}

/** Whether a response is what the app tells its own scripts. @param {import("playwright-core").Response} response */
function isSession(response) {
  return new URL(response.url()).pathname === app.session;
}

/** What an access token says. @param {{ accessToken: string }} session */
function claims({ accessToken }) {
  return JSON.parse(Buffer.from(accessToken.split(".")[1], "base64url").toString());
}

/** The names of the user's sessions, as the API lists them. @param {Page} page @returns {Promise<string[]>} */
async function sessions(page) {
  const { accessToken } = await session(page);
  const response = await fetch(`${api.url}/me/sessions`, { headers: { Authorization: `Bearer ${accessToken}` } });
  assert.equal(response.status, 200);
  const list = await response.json();
  return list.sessions.map((/** @type {{ id: string }} */ { id }) => id).sort();
}

/** The app knows that the API has ended the session, and offers a new one. @param {Page} page */
async function hasEnded(page) {
  await page.getByText("Your session has ended").waitFor();
  const { error, accessToken } = await session(page);
  assert.deepEqual({ error, accessToken }, { error: "SessionEnded", accessToken: undefined });
}

/** All that the session's cookie holds. @param {Page} page */
async function cookie(page) {
  const cookies = await page.context().cookies(app.url);
  const chunks = cookies.filter(({ name }) => name.startsWith(app.cookie)).sort((a, b) => a.name.localeCompare(b.name));
  return app.decode(chunks.map(({ value }) => value).join(""));
}

/** @param {Page} page @returns {Promise<Held>} */
async function held(page) {
  return (await cookie(page))[app.key];
}

/** The app's access token is over. @param {Page} page */
async function expires(page) {
  await holds(page, { accessToken: "expired", expiresAt: Date.now() - 1000, refreshAt: Date.now() - 2000 });
}

/** Changes what the app's cookie holds of the session. @param {Page} page @param {Partial<Held>} change */
async function holds(page, change) {
  // The requests of the page itself would restore the old cookie.
  await page.waitForLoadState("networkidle");
  const content = await cookie(page);
  const value = await app.encode({ ...content, [app.key]: { ...content[app.key], ...change } });
  assert.ok(value.length < 4000, "a cookie has room for it");
  await page.context().addCookies([{ name: app.cookie, value, url: app.url }]);
}
