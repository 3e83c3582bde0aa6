// @ts-check
/** Starts the servers of the tests, waits until they answer, and stops them. */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import { join, relative } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseEnv } from "node:util";
import { APP } from "./stand-in.mjs";

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));
/** The TypeScript package. */
export const PACKAGE = join(ROOT, "clients/next-auth");
const CARGO_LAMBDA = process.env.CARGO_LAMBDA ?? join(ROOT, ".venv/bin/cargo-lambda");
/** The `cambio` to run instead of the one that cargo builds. */
const CAMBIO = process.env.CAMBIO;

/** The folder of logs and screenshots. */
export const OUTPUT = join(ROOT, "target/browser");
/** The credentials of the Next.js app at Cambio, as `cambio services` has them. */
export const CLIENT = { id: "nextjs", secret: "local-client-secret-not-for-production" };
/** Encrypts the Next.js app's session cookies. */
export const SESSION_SECRET = "browser-tests-session-secret-of-no-use-elsewhere";

/** Options of Chromium, without calls to its vendor. */
export const CHROMIUM = {
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
};

const MINUTE = 60_000;

/**
 * `exited` gives the exit code.
 * @typedef {{
 *   name: string,
 *   log: string,
 *   child: import("node:child_process").ChildProcess,
 *   exited: Promise<number | null>,
 * }} Process
 */
/** @type {Process[]} */
const processes = [];

/** The functions of `cargo lambda watch`, with their environment. */
const BINARIES = ["cambio", "token-exchange", "revoke", "introspect", "me", "sessions", "identities", "discovery", "rotate-keys"];

/**
 * Starts the real Lambda binaries under `cargo lambda watch`, with a DynamoDB of their own and the given GitHub.
 * @param {string} name of the test; its logs are `<name>.<process>.log`
 * @param {string} github
 * @param {Record<string, string> | ((url: string) => Record<string, string>)} [settings] of the functions, beside the
 * usual ones; or a function that returns them for the URL of the API
 */
export async function startApi(name, github, settings = {}) {
  assert.ok(existsSync(CARGO_LAMBDA), `${CARGO_LAMBDA} is missing: run tests/setup.sh`);
  // By --bin, as in `cargo lambda watch`: with --package, features resolve differently and everything is built again.
  const bins = BINARIES.flatMap((bin) => ["--bin", bin]);
  await run(`${name}.build`, "cargo", ["build", ...bins], { timeout: 30 * MINUTE });

  const [dynamodb, port] = [await freePort(), await freePort()];
  const url = `http://localhost:${port}`;
  const envFile = join(OUTPUT, `${name}.env`);
  rmSync(envFile, { force: true });
  const services = ["services", "--in-memory", "--dynamodb-port", `${dynamodb}`, "--env-file", envFile, "--issuer-url", url];
  start(`${name}.services`, "cargo", ["run", "--quiet", "--", ...services], {
    env: {
      GITHUB_CLIENT_ID: APP.client_id,
      GITHUB_CLIENT_SECRET: APP.client_secret,
      GITHUB_API_URL: github,
      // The most verbose level, because these logs are searched for secrets.
      LOG_LEVEL: "trace",
      ...(typeof settings === "function" ? settings(url) : settings),
    },
  });
  await eventually(`${envFile} and DynamoDB`, MINUTE, async () => {
    assert.ok(existsSync(envFile), "the env file is not there yet");
    await fetch(`http://127.0.0.1:${dynamodb}`);
  });

  const env = /** @type {Record<string, string>} */ (parseEnv(readFileSync(envFile, "utf8")));
  const watch = ["lambda", "watch", "--ignore-changes", "--disable-cors", "-A", "127.0.0.1", "-P", `${port}`, "--env-file", envFile];
  let nth = 0;
  const startWatch = () => start(`${name}.lambda${nth++ || ""}`, CARGO_LAMBDA, watch);
  let lambda = startWatch();
  await warmUp(url);

  /** Restarts all functions, as Lambda does from time to time. */
  async function restart() {
    await stop(lambda);
    lambda = startWatch();
    await warmUp(url);
  }
  return { url, env, dynamodb: `http://127.0.0.1:${dynamodb}`, restart };
}

/**
 * Starts `cargo run`: the API, the stand-in providers and the local page.
 * @param {string} name of the test; its log is `<name>.local.log`
 * @param {{ args?: string[], settings?: Record<string, string> }} [more] arguments, and settings of the functions
 */
export async function startLocal(name, { args = [], settings = {} } = {}) {
  const [port, githubPort] = [await freePort(), await freePort()];
  const [url, github] = [`http://localhost:${port}`, `http://localhost:${githubPort}`];
  await buildCambio(name);
  startCambio(`${name}.local`, ["--in-memory", "--port", `${port}`, "--github-port", `${githubPort}`, ...args], { env: settings });
  await answers(url, 200);
  return { url, github };
}

/**
 * Builds `clients/next-auth`, unless `run.mjs` did so before the first test: a build takes the files away that another
 * test reads.
 * @param {string} name of the test
 */
export async function buildPackage(name) {
  if (process.env.CAMBIO_TEST_PACKAGE_IS_BUILT) return;
  await run(`${name}.package`, "npm", ["run", "--silent", "build"], { cwd: PACKAGE, timeout: 5 * MINUTE });
}

/**
 * Packs `clients/next-auth` into a folder, as `make package` does, and returns the path of the tarball.
 * @param {string} name of the test @param {string} folder
 */
export async function packPackage(name, folder) {
  await buildPackage(name);
  // Without its scripts, which build it once more.
  const command = ["pack", "--silent", "--ignore-scripts", "--pack-destination", folder];
  return join(folder, execFileSync("npm", command, { cwd: PACKAGE, encoding: "utf8" }).trim());
}

/** Builds `cambio`, because a first build takes longer than the wait for its port. @param {string} name of the test */
export async function buildCambio(name) {
  if (!CAMBIO) await run(`${name}.build`, "cargo", ["build", "--bin", "cambio"], { timeout: 30 * MINUTE });
}

/**
 * Runs `cambio` with these arguments, as `cargo run` does.
 * @param {string} name @param {string[]} args @param {Where} [where]
 */
export function startCambio(name, args, where) {
  const [command, ...all] = cambioCommand(args);
  return start(name, command, all, where);
}

/** Returns the command of `startCambio`. @param {string[]} args */
export function cambioCommand(args) {
  return CAMBIO ? [CAMBIO, ...args] : ["cargo", "run", "--quiet", "--", ...args];
}

/** A function starts at its first request; what follows should not wait for that. @param {string} url */
async function warmUp(url) {
  await answers(`${url}/.well-known/openid-configuration`, 200);
  await answers(`${url}/me`, 401);
  await answers(`${url}/me/sessions`, 401);
  await answers(`${url}/me/identities`, 401);
  await answers(`${url}/revoke`, 401, { method: "POST", body: new URLSearchParams({ token: "none" }) });
  await answers(`${url}/introspect`, 401, { method: "POST", body: new URLSearchParams({ token: "none" }) });
  await answers(`${url}/token`, 401, { method: "POST", body: new URLSearchParams({ grant_type: "none" }) });
}

/**
 * Calls the embedded DynamoDB, which requires the access key of its start and accepts any signature.
 * @param {string} url @param {string} accessKeyId @param {string} operation @param {object} input
 */
export async function dynamodb(url, accessKeyId, operation, input) {
  const answer = await fetch(url, {
    method: "POST",
    headers: {
      "Content-Type": "application/x-amz-json-1.0",
      "X-Amz-Target": `DynamoDB_20120810.${operation}`,
      "X-Amz-Date": "20260101T000000Z",
      Authorization: `AWS4-HMAC-SHA256 Credential=${accessKeyId}/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0`,
    },
    body: JSON.stringify(input),
  });
  assert.equal(answer.status, 200, await answer.clone().text());
  return answer.json();
}

/**
 * Activates the next signing key. Moves its time of publication into the past, and restarts the functions, which would
 * otherwise read the keys within five minutes.
 * @param {Awaited<ReturnType<typeof startApi>>} api
 */
export async function rotateKeys(api) {
  const yesterday = Math.floor(Date.now() / 1000) - 25 * 60 * 60;
  const update = {
    TableName: api.env.KEYS_TABLE_NAME,
    Key: { pk: { S: "KEYSET" } },
    UpdateExpression: "SET #keys[1].published_at = :yesterday",
    ExpressionAttributeNames: { "#keys": "keys" },
    ExpressionAttributeValues: { ":yesterday": { N: `${yesterday}` } },
  };
  await dynamodb(api.dynamodb, api.env.AWS_ACCESS_KEY_ID, "UpdateItem", update);
  const invoked = await fetch(`${api.url}/2015-03-31/functions/rotate-keys/invocations`, {
    method: "POST",
    body: JSON.stringify({ rotate: "now" }),
  });
  const report = /** @type {{ changed: boolean, keys: { kid: string, state: string }[] }} */ (await invoked.json());
  assert.deepEqual(
    report.keys?.map((key) => key.state),
    ["retired", "current", "next"],
    JSON.stringify(report),
  );
  await api.restart();
  return report;
}

/**
 * Starts a proxy of the API that can be closed, or lose answers.
 * @param {string} url
 */
export async function startGate(url) {
  const gate = { url: "", isShut: false, losesAnswers: false, close: () => void server.close() };
  const server = http.createServer((request, response) => {
    if (gate.isShut) return void request.socket.destroy();
    const { method, headers, url: path } = request;
    const forwarded = http.request(new URL(path ?? "/", url), { method, headers }, (answer) => {
      if (gate.losesAnswers) return void request.socket.destroy();
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    forwarded.on("error", () => response.destroy());
    request.pipe(forwarded);
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  gate.url = `http://localhost:${/** @type {net.AddressInfo} */ (server.address()).port}`;
  return gate;
}

/**
 * Returns the settings of an app's sessions, under the names of next-auth, Auth.js and better-auth.
 * @param {string} url
 */
export function sessionSettings(url) {
  const settings = ["NEXTAUTH", "AUTH", "BETTER_AUTH"].flatMap((name) => [
    [`${name}_URL`, url],
    [`${name}_SECRET`, SESSION_SECRET],
  ]);
  return Object.fromEntries(settings);
}

/** How an app reaches Cambio. @param {string} api */
export function cambioSettings(api) {
  return { CAMBIO_URL: api, CAMBIO_CLIENT_ID: CLIENT.id, CAMBIO_CLIENT_SECRET: CLIENT.secret };
}

/**
 * Builds one of the examples for production, if it changed, and starts it.
 * @param {string} name @param {{ example?: string, port: number, github: string, api: string, oidc?: { issuer:
 * string, id: string, secret: string } }} options
 */
export async function startNextApp(name, { example = "nextjs", port, github, api, oidc }) {
  return startNext(name, join(ROOT, "examples", example), port, {
    ...sessionSettings(`http://localhost:${port}`),
    GITHUB_ID: APP.client_id,
    GITHUB_SECRET: APP.client_secret,
    GITHUB_URL: github,
    ...(oidc && { OIDC_ISSUER: oidc.issuer, OIDC_CLIENT_ID: oidc.id, OIDC_CLIENT_SECRET: oidc.secret }),
    ...cambioSettings(api),
  });
}

/**
 * Builds a Next.js app, unless that was done since its last change, and starts it.
 * @param {string} name @param {string} folder @param {number} port @param {Record<string, string>} [settings]
 */
export async function startNext(name, folder, port, settings = {}) {
  const next = join(folder, "node_modules/.bin/next");
  assert.ok(existsSync(next), `${next} is missing: run tests/setup.sh`);
  const env = { NEXT_TELEMETRY_DISABLED: "1", ...settings };
  const [stamp, sources] = [join(folder, ".next/.sources"), sourcesOf(folder)];
  if (!existsSync(stamp) || readFileSync(stamp, "utf8") !== sources) {
    rmSync(stamp, { force: true });
    await run(`${name}.next-build`, next, ["build"], { cwd: folder, env, timeout: 10 * MINUTE });
    writeFileSync(stamp, sources);
  }
  start(`${name}.next`, next, ["start", "--hostname", "127.0.0.1", "--port", `${port}`], { cwd: folder, env });
  const url = `http://localhost:${port}`;
  await answers(url, 200);
  return url;
}

/** Returns the hash of an app's files, and of the stamp of its packages. @param {string} folder */
function sourcesOf(folder) {
  const made = ["node_modules", ".next", "next-env.d.ts", "tsconfig.tsbuildinfo"];
  const names = readdirSync(folder).filter((name) => !made.includes(name));
  const files = names.flatMap((name) => (statSync(join(folder, name)).isDirectory() ? filesIn(folder, name) : [name]));
  const hash = createHash("sha256");
  for (const file of [...files.sort(), "node_modules/.stamp"]) {
    if (existsSync(join(folder, file))) hash.update(`${file}\0`).update(readFileSync(join(folder, file)));
  }
  return hash.digest("hex");
}

/** @param {string} root @param {string} folder in it */
function filesIn(root, folder) {
  const entries = readdirSync(join(root, folder), { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => relative(root, join(entry.parentPath, entry.name)));
}

/**
 * Starts a Next.js app as `npm run dev` does. Returns its URL, and functions that return its output and end it.
 * @param {string} name @param {string} folder @param {number} [wanted] port
 */
export async function startNextDev(name, folder, wanted) {
  const [next, port] = [join(folder, "node_modules/.bin/next"), wanted ?? (await freePort())];
  const started = start(`${name}.next-dev`, next, ["dev", "--hostname", "localhost", "--port", `${port}`], {
    cwd: folder,
    env: { NEXT_TELEMETRY_DISABLED: "1" },
  });
  const url = `http://localhost:${port}`;
  await answers(url, 200);
  return { url, output: () => output(started), end: () => stop(started) };
}

/**
 * Opens a browser with an empty profile that can reach only this machine.
 * @param {import("playwright-core").Browser} browser @param {import("playwright-core").BrowserContextOptions} [options]
 */
export async function freshBrowser(browser, options) {
  const context = await browser.newContext(options);
  // `next dev` compiles each route at its first request, which takes long on a busy machine.
  context.setDefaultTimeout(2 * MINUTE);
  await context.route("**", (route) => (["localhost", "127.0.0.1"].includes(new URL(route.request().url()).hostname) ? route.continue() : route.abort()));
  return context;
}

/**
 * Registers a test whose failure ends with the last output of the processes.
 * @param {string} name
 * @param {() => Promise<void>} body
 */
export function scenario(name, body) {
  test(name, () => body().catch(fail));
}

/** Like `before`'s own callback, with the same help for whoever reads its failure. @param {() => Promise<void>} body */
export function setup(body) {
  return () => body().catch(fail);
}

/** Ends every process and its children. */
export async function stopAll() {
  await Promise.all(processes.splice(0).map(stop));
}

/**
 * A port that was free a moment ago: the preferred one, if possible.
 * @param {number} [preferred] @returns {Promise<number>}
 */
export async function freePort(preferred = 0) {
  const server = net.createServer().listen(preferred, "127.0.0.1");
  try {
    await once(server, "listening");
  } catch (error) {
    if (preferred) return freePort();
    throw error;
  }
  const { port } = /** @type {net.AddressInfo} */ (server.address());
  server.close();
  return port;
}

/** The SHA-256 of a client's secret, as `CLIENTS` has it. @param {string} secret */
export function secretHash(secret) {
  return createHash("sha256").update(secret).digest("hex");
}

/** @param {string} url @param {number} status @param {RequestInit} [init] */
export async function answers(url, status, init) {
  await eventually(`${url} to answer ${status}`, 10 * MINUTE, async () => {
    const response = await fetch(url, { ...init, signal: AbortSignal.timeout(2 * MINUTE) });
    assert.equal(response.status, status, await response.text());
  });
}

/** @param {string} what @param {number} timeout @param {() => Promise<void>} attempt */
export async function eventually(what, timeout, attempt) {
  for (const deadline = Date.now() + timeout; ; await sleep(200)) {
    try {
      return await attempt();
    } catch (error) {
      // `cargo lambda watch` continues when a function does not build or start, and leaves the request waiting.
      const dead = processes.find((started) => !isRunning(started) || /^ERROR command exited/m.test(output(started)));
      if (dead) throw new Error(`${dead.name} ended while waiting for ${what}`, { cause: error });
      if (Date.now() > deadline) throw new Error(`waited ${timeout / 1000} s for ${what}`, { cause: error });
    }
  }
}

/** @typedef {{ cwd?: string, env?: Record<string, string> }} Where */

/**
 * Runs a command to its end.
 * @param {string} name
 * @param {string} command
 * @param {string[]} args
 * @param {Where & { timeout: number }} options
 */
export async function run(name, command, args, { timeout, ...where }) {
  const started = start(name, command, args, where);
  const timer = setTimeout(() => signal(started, "SIGTERM"), timeout);
  const [code] = await once(started.child, "exit");
  clearTimeout(timer);
  processes.splice(processes.indexOf(started), 1);
  assert.equal(code, 0, `${name} failed\n${tail(started)}`);
}

/**
 * Starts a process in a group of its own.
 * @param {string} name
 * @param {string} command
 * @param {string[]} args
 * @param {Where} [where]
 */
export function start(name, command, args, { cwd = ROOT, env = {} } = {}) {
  mkdirSync(OUTPUT, { recursive: true });
  const log = join(OUTPUT, `${name}.log`);
  const file = openSync(log, "w");
  const child = spawn(command, args, { cwd, env: { ...process.env, ...env }, detached: true, stdio: ["ignore", file, file] });
  closeSync(file);
  child.on("error", (error) => console.error(`${name}: ${error.message}`));
  /** @type {Promise<number | null>} */
  const exited = new Promise((resolve) => child.once("exit", resolve));
  const started = { name, log, child, exited };
  processes.push(started);
  return started;
}

/** @param {Process} started */
function output({ log }) {
  return readFileSync(log, "utf8");
}

/** @param {Process} started */
export function tail(started) {
  return output(started).trimEnd().split("\n").slice(-25).join("\n");
}

/** Politely first: `cargo lambda watch` then takes its functions down. @param {Process} started */
export async function stop(started) {
  signal(started, "SIGTERM");
  for (let waited = 0; isRunning(started) && waited < 10_000; waited += 50) await sleep(50);
  signal(started, "SIGKILL");
  const nth = processes.indexOf(started);
  if (nth >= 0) processes.splice(nth, 1);
}

/** @param {Process} started */
function isRunning({ child }) {
  return child.pid !== undefined && child.exitCode === null && child.signalCode === null;
}

/**
 * Sends a signal to the whole group, whose first process may have ended already.
 * @param {Process} started
 * @param {NodeJS.Signals} name
 */
function signal({ child }, name) {
  try {
    if (child.pid) process.kill(-child.pid, name);
  } catch {
    // The group has no process any more.
  }
}

/** @param {Error} error @returns {never} */
function fail(error) {
  const tails = processes.map((started) => `--- ${started.name}: ${started.log}\n${tail(started)}`);
  throw new Error([error.message, ...tails].join("\n"), { cause: error });
}

// No process outlives the tests, however they end.
process.on("exit", () => {
  for (const started of processes) signal(started, "SIGTERM");
});
for (const name of /** @type {const} */ (["SIGINT", "SIGTERM"])) process.once(name, () => process.exit(1));
