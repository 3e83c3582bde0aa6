// `cambio dev`: runs the binary of this platform's package, and says what to do if there is none.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const source = fileURLToPath(new URL("..", import.meta.url));
const platform = `${process.platform}-${process.arch}`;

/**
 * Installs the package in a fresh folder, with this script as the local server, and returns the path of `main.js`.
 * @param {import("node:test").TestContext} t
 * @param {string} [server]
 * @param {{ version?: string, mode?: number }} [more]
 */
function installed(t, server, { version, mode = 0o755 } = {}) {
  const folder = mkdtempSync(join(tmpdir(), "cambio-dev-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const scope = join(folder, "node_modules/@cambio");
  for (const name of ["dist", "package.json"]) cpSync(join(source, name), join(scope, "cli", name), { recursive: true });
  // The dependencies of the other commands.
  symlinkSync(join(source, "node_modules"), join(scope, "cli/node_modules"));
  if (server !== undefined) {
    const binary = join(scope, `cli-${platform}/bin/cambio`);
    mkdirSync(dirname(binary), { recursive: true });
    writeFileSync(binary, server);
    chmodSync(binary, mode);
    const manifest = join(scope, `cli-${platform}/package.json`);
    if (version) writeFileSync(manifest, JSON.stringify({ version }));
    else cpSync(join(source, "package.json"), manifest);
  }
  return join(scope, "cli/dist/main.js");
}

/** @param {string} main @param {string[]} args */
function dev(main, ...args) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, "dev", ...args], { encoding: "utf8" });
  return { status, stdout, stderr };
}

test("the server gets each argument, and its output and exit status are passed on", (t) => {
  const main = installed(t, '#!/bin/sh\necho "$CAMBIO_STARTED_BY:$@"; echo wrong >&2; exit 7\n');

  const done = dev(main, "--write-env", "a file", "--help", "--version", "admin", "--", "-x");

  assert.deepEqual(done, { status: 7, stdout: "npx:--write-env a file --help --version admin -- -x\n", stderr: "wrong\n" });
});

test("the check of the README is the one of the server", (t) => {
  const main = installed(t, '#!/bin/sh\necho "$@"; exit 1\n');
  const [, args = ""] = readFileSync(join(source, "README.md"), "utf8").match(/^ {4}npx cambio (check .*)$/m) ?? [];

  const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args.split(" ")], { encoding: "utf8" });

  assert.deepEqual({ status, stdout, stderr }, { status: 1, stdout: `${args}\n`, stderr: "" });
  assert.match(args, /^check --file /);
});

test("a server that a signal ends gives the status of the shell's convention", (t) => {
  const main = installed(t, "#!/bin/sh\nkill -KILL $$\n");

  assert.equal(dev(main).status, 128 + 9);
});

for (const signal of /** @type {const} */ (["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"])) {
  test(`${signal} reaches the server, which stops when it has finished`, async (t) => {
    const main = installed(t, `#!/bin/sh\ntrap 'sleep 0.2; echo finished; exit 5' ${signal.slice(3)}\necho ready\nfor i in $(seq 600); do sleep 0.05; done\n`);
    const child = spawn(process.execPath, [main, "dev"], { stdio: ["ignore", "pipe", "inherit"] });
    let output = "";
    child.stdout.on("data", (data) => {
      output += data;
    });
    await once(child.stdout, "data");

    child.kill(signal);

    const [[code]] = await Promise.all([once(child, "exit"), once(child.stdout, "end")]);
    assert.deepEqual([code, output], [5, "ready\nfinished\n"]);
  });
}

test("without the package of the platform, the error says how to get it", (t) => {
  const { status, stdout, stderr } = dev(installed(t));

  assert.equal(status, 2);
  assert.equal(stdout, "");
  assert.ok(stderr.startsWith(`cambio: the package @cambio/cli-${platform}, which has the local server for this platform, is not installed.`), stderr);
  for (const remedy of ["--omit=optional", "remove it and install again", "make package-server"]) assert.ok(stderr.includes(remedy), stderr);
  assert.equal(stderr.includes("Alpine"), process.platform === "linux");
});

test("two packages of different versions are an error that names both", (t) => {
  const main = installed(t, "#!/bin/sh\n", { version: "0.0.7" });

  const { status, stderr } = dev(main);

  assert.equal(status, 2);
  assert.match(stderr, /^cambio: @cambio\/cli is version \S+, and @cambio\/cli-\S+ is version 0\.0\.7; install both in the same version\n$/);
});

test("a binary that cannot start is an error that says what to do", (t) => {
  const loader = dev(installed(t, "#!/no/such/loader\n"));
  const mode = dev(installed(t, "#!/bin/sh\n", { mode: 0o644 }));

  assert.equal(loader.status, 2);
  assert.match(loader.stderr, /cannot start: it needs Linux with glibc; Alpine, for instance, has musl/);
  assert.equal(mode.status, 2);
  assert.match(mode.stderr, /is not executable; remove node_modules and install again/);
});

test("a platform without a server is an error that names those with one", (t) => {
  const main = installed(t, "#!/bin/sh\n");
  /** @param {string} platform @param {string} arch */
  const on = (platform, arch) => {
    const pretend = `Object.defineProperty(process, "platform", { value: "${platform}" }); Object.defineProperty(process, "arch", { value: "${arch}" })`;
    const done = spawnSync(process.execPath, ["--import", `data:text/javascript,${encodeURIComponent(pretend)}`, main, "dev"], { encoding: "utf8" });
    assert.equal(done.status, 2);
    return done.stderr;
  };

  const windows = on("win32", "x64");

  assert.ok(windows.startsWith("cambio: there is no local server for win32-x64; there is one for linux-x64, linux-arm64, darwin-arm64, darwin-x64."), windows);
  assert.match(windows, /On Windows, run the command in WSL/);
  const other = on("linux", "riscv64");
  assert.ok(other.includes("linux-riscv64") && !other.includes("WSL"), other);
});
