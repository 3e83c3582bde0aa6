// @ts-check
/**
 * Runs the test files in two lanes at the same time, and those of a lane one after the other: files of one lane share
 * what they build. Ends with the counts of each lane.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { createInterface } from "node:readline";

/** @type {Record<string, string[]>} */
const LANES = {
  // Build and start the examples.
  examples: ["accessibility", "oidc", "sign-in", "clients", "interop", "page", "site", "stand-in"],
  // Build clients/next-auth, or import what it builds.
  package: ["readme", "init", "matrix", "client", "gitlab", "vouch"],
};

const known = Object.values(LANES).flat().sort();
const there = readdirSync(import.meta.dirname)
  .flatMap((name) => /^(.+)\.test\.mjs$/.exec(name)?.[1] ?? [])
  .sort();
if (`${known}` !== `${there}`) throw new Error(`the lanes have ${known.join(", ")}; the folder has the tests ${there.join(", ")}`);

/** @param {string} lane @param {string[]} names @returns {Promise<number>} */
async function run(lane, names) {
  const files = names.map((name) => `${name}.test.mjs`);
  const child = spawn(process.execPath, ["--test", "--test-concurrency=1", ...files], {
    cwd: import.meta.dirname,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const ended = once(child, "close");
  /** @type {string[]} */
  const counts = [];
  for (const stream of [child.stdout, child.stderr]) {
    createInterface(stream).on("line", (line) => {
      console.log(`${lane}: ${line}`);
      if (/^(#|ℹ) \w+ [\d.]+$/.test(line)) counts.push(line);
    });
  }
  const [code] = await ended;
  console.log(["", lane, ...counts].join("\n"));
  return code ?? 1;
}

const codes = await Promise.all(Object.entries(LANES).map(([lane, names]) => run(lane, names)));
process.exitCode = Math.max(...codes);
