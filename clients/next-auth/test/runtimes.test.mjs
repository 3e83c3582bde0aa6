// @ts-check
/** The compiled package in each runtime that the README names; workers.test.mjs is the one of Cloudflare Workers. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { grant, serverOfTests, USER } from "./server.mjs";

const server = await serverOfTests();
const APP = fileURLToPath(new URL("runtimes/app.mjs", import.meta.url));
const bin = (/** @type {string} */ name) => fileURLToPath(new URL(`../node_modules/.bin/${name}`, import.meta.url));

/** @type {Record<string, [command: string, ...args: string[]]>} */
const RUNTIMES = {
  "Node.js": [process.execPath, APP],
  Bun: [bin("bun"), "--no-install", APP],
  // The package asks for no other permission; it reads no file itself.
  Deno: [bin("deno"), "run", "--quiet", "--no-prompt", "--no-remote", "--no-npm", "--no-lock", "--allow-net=127.0.0.1", "--allow-env", "--allow-read=.", APP],
};

for (const [name, [command, ...args]] of Object.entries(RUNTIMES)) {
  test(`${name} signs in, refreshes, calls the API and signs out`, async () => {
    server.answer = ({ path, form }) => {
      if (path === "/v1/orders") return { body: { item: form.item } };
      if (path === "/v1/elsewhere") return { status: 302, headers: { Location: "/v1/orders" } };
      if (path === "/me") return { status: 401, body: { error: "invalid_token" } };
      return { body: grant(form.grant_type === "refresh_token" ? 2 : 1) };
    };
    /** @type {NodeJS.ProcessEnv} */
    const env = {
      NODE_ENV: "test",
      PATH: process.env.PATH,
      HOME: process.env.HOME,
      CAMBIO_URL: server.url,
      CAMBIO_CLIENT_ID: "app",
      CAMBIO_CLIENT_SECRET: "secret",
    };

    const cwd = fileURLToPath(new URL("..", import.meta.url));
    const { stdout } = await promisify(execFile)(command, args, { cwd, env, timeout: 60_000 });

    assert.deepEqual(JSON.parse(stdout), {
      isAllowed: true,
      accessTokens: ["access-1", "access-2"],
      name: USER.name,
      order: { item: "tea" },
      redirect: { status: 302 },
      failure: "ended",
      isCambioError: true,
    });
    assert.deepEqual(
      server.requests.map(({ path, headers, form }) => [path, headers.authorization?.split(" ")[0], form.token ?? form.refresh_token ?? form.subject_token]),
      [
        ["/token", "Basic", "gho_1"],
        ["/token", "Basic", "refresh-1"],
        ["/v1/orders", "Bearer", undefined],
        ["/v1/elsewhere", "Bearer", undefined],
        ["/me", "Bearer", undefined],
        ["/revoke", "Basic", "refresh-2"],
      ],
    );
  });
}
