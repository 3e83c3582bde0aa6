// The command itself: its help, its version, and what it says to a command that it does not have.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const main = fileURLToPath(new URL("../dist/main.js", import.meta.url));
const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));

/** @param {string[]} args */
function cambio(...args) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], { encoding: "utf8" });
  return { status, stdout, stderr };
}

test("the help names each command", () => {
  const { status, stdout, stderr } = cambio("--help");

  assert.equal(status, 0);
  assert.equal(stderr, "");
  assert.ok(stdout.startsWith(`cambio ${version}\n\nUsage: cambio <command> [options]\n`), stdout);
  assert.match(stdout, /^ {2}help {4}Say what there is$/m);
  assert.deepEqual([cambio().stdout, cambio("help").stdout, cambio("-h").stdout], [stdout, stdout, stdout]);
});

test("the version is that of the package", () => {
  assert.deepEqual(cambio("--version"), { status: 0, stdout: `${version}\n`, stderr: "" });
});

test("a command that does not exist is an error that names those that do", () => {
  for (const name of ["deploy", "constructor", "--verbose"]) {
    const { status, stdout, stderr } = cambio(name);

    assert.equal(status, 2);
    assert.equal(stdout, "");
    assert.ok(stderr.startsWith(`cambio: there is no command "${name}"; there are: `), stderr);
    assert.match(stderr, /\bhelp\b.*\n$/);
  }
});
