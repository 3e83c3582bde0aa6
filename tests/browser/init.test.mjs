// @ts-check
/**
 * Tests `cambio init`: a fresh app of create-next-app with the quick start of each library, which knows nothing of
 * Cambio, then the four commands of a developer, then a sign-in and a call of the API with the user's token. The files
 * that `cambio init` writes, and the environment that the local server writes, are used as they are.
 *
 * It counts commands and files, and prints the time to the first sign-in.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { after, afterEach, before } from "node:test";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { CHROMIUM, freePort, freshBrowser, OUTPUT, packPackage, ROOT, run, scenario, setup, startLocal, startNextDev, stopAll } from "./harness.mjs";

/** The most commands and files of a developer up to the first sign-in. */
const MOST_COMMANDS = 4;
const MOST_FILES = 3;

/**
 * The quick start of each library: what to install, and the files, as its documentation shows them.
 * @type {{ name: string, install: string, files: Record<string, string>, token: string, made: string[] }[]}
 */
const QUICK_STARTS = [
  {
    name: "next-auth-4",
    install: "next-auth@4",
    // https://next-auth.js.org/configuration/initialization#route-handlers-app
    files: {
      "app/api/auth/[...nextauth]/route.ts": `import NextAuth from "next-auth"
import GithubProvider from "next-auth/providers/github"

const handler = NextAuth({
  providers: [
    GithubProvider({
      clientId: process.env.GITHUB_ID ?? "",
      clientSecret: process.env.GITHUB_SECRET ?? "",
    }),
  ],
  callbacks: {
    session: ({ session }) => ({ ...session, note: "my own callback" }),
  },
})

export { handler as GET, handler as POST }
`,
    },
    token: "@/lib/auth",
    made: ["lib/auth.ts"],
  },
  {
    name: "auth-js-5",
    install: "next-auth@5.0.0-beta.32",
    // https://authjs.dev/getting-started/installation?framework=Next.js
    files: {
      "auth.ts": `import NextAuth from "next-auth"
import GitHub from "next-auth/providers/github"

export const { handlers, signIn, signOut, auth } = NextAuth({
  providers: [GitHub],
  callbacks: {
    session: ({ session }) => ({ ...session, note: "my own callback" }),
  },
})
`,
      "app/api/auth/[...nextauth]/route.ts": `import { handlers } from "@/auth" // of the auth.ts
export const { GET, POST } = handlers
`,
      "proxy.ts": 'export { auth as proxy } from "@/auth"\n',
    },
    token: "@/auth",
    made: [],
  },
  {
    name: "better-auth",
    install: "better-auth@1.7",
    // https://better-auth.com/docs/installation, with the client in the page that has the button
    files: {
      "lib/auth.ts": `import { betterAuth } from "better-auth";

export const auth = betterAuth({
  socialProviders: {
    github: {
      clientId: process.env.GITHUB_CLIENT_ID as string,
      clientSecret: process.env.GITHUB_CLIENT_SECRET as string,
    },
  },
});
`,
      "app/api/auth/[...all]/route.ts": `import { auth } from "@/lib/auth"; // path to your auth file
import { toNextJsHandler } from "better-auth/next-js";

export const { POST, GET } = toNextJsHandler(auth);
`,
      "app/page.tsx": `"use client";
import { createAuthClient } from "better-auth/react";

const authClient = createAuthClient();

export default function Home() {
  return <button onClick={() => authClient.signIn.social({ provider: "github", callbackURL: "/signed-in" })}>Sign in with GitHub</button>;
}
`,
    },
    token: "@/lib/token",
    made: ["lib/token.ts", ".env.local"],
  },
];

const folder = mkdtempSync(join(tmpdir(), "cambio-init-"));
/** @type {Record<"client" | "cli", string>} */
let tarballs;
/** @type {import("playwright-core").Browser} */
let browser;

before(
  setup(async () => {
    // As `make package` does.
    const client = await packPackage("init", folder);
    const cli = execFileSync(process.execPath, ["pack.mjs", "cli", folder], { cwd: join(ROOT, "clients/cambio"), encoding: "utf8" }).trim();
    tarballs = { client, cli: join(folder, cli) };
    browser = await chromium.launch(CHROMIUM);
  }),
);
afterEach(stopAll);
after(async () => {
  await browser?.close();
  await stopAll();
  rmSync(folder, { recursive: true, force: true });
});

for (const { name, install, files, token, made } of QUICK_STARTS) {
  scenario(`${name}: four commands connect the app of the library's quick start`, async () => {
    const app = await create(name);
    const port = await freePort();
    const started = Date.now();
    /** @type {string[]} */
    const commands = [];
    /** Runs a command of the developer. @param {string} command @param {() => Promise<unknown>} [body] */
    async function step(command, body) {
      commands.push(command);
      const [word, ...rest] = command.split(" ");
      await (body
        ? body()
        : run(`init.${name}.${commands.length}`, word, rest, { cwd: app, timeout: 300_000, env: { npm_config_audit: "false", npm_config_fund: "false" } }));
    }

    await step(`npm install ${install}`);
    for (const [path, text] of Object.entries(files)) write(app, path, text);
    await step(`npx --yes ./${basename(tarballs.cli)} init --yes`);

    const printed = readFileSync(join(OUTPUT, `init.${name}.2.log`), "utf8");
    for (const path of made) assert.match(printed, new RegExp(`^Created .*${path.replaceAll(".", "\\.")}`, "m"));
    assert.match(printed, /^ {2}npx cambio dev --write-env \.env\.local {3}/m);
    const before = texts(app, [...Object.keys(files), ...made]);

    // The lines that `cambio init` prints for a call of the API, in a route of the test's own.
    const call = [
      `import { cambioFetch } from "@cambio/next-auth/fetch";`,
      `import { getAccessToken } from "${token}";`,
      `const answer = await cambioFetch(getAccessToken, process.env.CAMBIO_URL!)("/me");`,
    ];
    for (const line of call) assert.ok(printed.includes(`  ${line}\n`), line);
    write(
      app,
      "app/me/route.ts",
      `${call[0]}\n${call[1]}\n\nexport async function GET() {\n  ${call[2]}\n  return Response.json(await answer.json(), { status: answer.status });\n}\n`,
    );

    // The local server, with what `npx cambio dev --write-env .env.local` passes to it.
    let api = { url: "", github: "" };
    const writeEnv = ["--app-url", `http://localhost:${port}`, "--write-env", join(app, ".env.local")];
    await step("npx cambio dev --write-env .env.local", async () => (api = await startLocal(`init.${name}`, { args: writeEnv })));
    let url = "";
    await step("npm run dev", async () => ({ url } = await startNextDev(`init.${name}`, app, port)));

    const context = await freshBrowser(browser);
    const page = await context.newPage();
    await page.goto(name === "better-auth" ? url : `${url}/api/auth/signin`);
    await page.getByRole("button", { name: "Sign in with GitHub" }).click();
    await page.waitForURL((address) => address.origin === api.github);
    const back = page.waitForURL((address) => address.origin === url && !address.pathname.startsWith("/api/"));
    await page.getByRole("button", { name: "octocat" }).click();
    await back;
    const seconds = (Date.now() - started) / 1000;

    const session = await (await page.request.get(`${url}/api/auth/${name === "better-auth" ? "cambio/session" : "session"}`)).json();
    assert.equal(session.user.name, "The Octocat");
    assert.equal(session.accessToken, undefined, "the browser gets no token");
    if (name !== "better-auth") assert.equal(session.note, "my own callback");

    const answer = await page.request.get(`${url}/me`);
    assert.equal(answer.status(), 200);
    const me = await answer.json();
    assert.equal(me.name, "The Octocat");
    assert.equal(me.id, session.user.id, "the token is that of the user of the session");

    await run(`init.${name}.tsc`, join(app, "node_modules/.bin/tsc"), ["--noEmit"], { cwd: app, timeout: 120_000 });
    await run(`init.${name}.again`, "npx", ["--yes", `./${basename(tarballs.cli)}`, "init", "--yes"], { cwd: app, timeout: 120_000 });
    assert.match(readFileSync(join(OUTPUT, `init.${name}.again.log`), "utf8"), /Cambio is set up already: nothing to change\./);
    const changed = texts(
      app,
      Object.keys(before).filter((path) => path !== ".env.local"),
    );
    for (const [path, text] of Object.entries(changed)) assert.equal(text, before[path], path);

    assert.ok(commands.length <= MOST_COMMANDS, commands.join("\n"));
    assert.ok(Object.keys(files).length <= MOST_FILES, Object.keys(files).join("\n"));
    console.log(`${name}: ${commands.length} commands, files: ${Object.keys(files).length}, ${seconds.toFixed(0)} s to the first sign-in`);
    await context.close();
  });
}

/** Creates a fresh app, with the tarball of `make package` in it. @param {string} name */
async function create(name) {
  const cli = fileURLToPath(import.meta.resolve("create-next-app/dist/index.js"));
  // Empty, because the default template downloads fonts.
  const options = ["--yes", "--empty", "--use-npm", "--disable-git", "--skip-install"];
  await run(`init.${name}.create`, process.execPath, [cli, name, ...options], { cwd: folder, timeout: 60_000 });
  const app = join(folder, name);
  for (const tarball of Object.values(tarballs)) cpSync(tarball, join(app, basename(tarball)));
  return app;
}

/** @param {string} app @param {string} path @param {string} text */
function write(app, path, text) {
  mkdirSync(dirname(join(app, path)), { recursive: true });
  writeFileSync(join(app, path), text);
}

/** @param {string} app @param {string[]} paths @returns {Record<string, string>} */
function texts(app, paths) {
  return Object.fromEntries(paths.map((path) => [path, readFileSync(join(app, path), "utf8")]));
}
