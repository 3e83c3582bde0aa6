// @ts-check
/**
 * Runs the test files, two at a time: each core takes the next job of the list. Ends with the counts of each job, and
 * with what failed.
 *
 *     node run.mjs [name of a job]...      by default, all
 */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";

/** The longest first, so that both end together. Files of one job share what they build, one at a time. */
const JOBS = [
  ["readme"],
  ["client"],
  ["sign-in", "oidc"],
  ["init"],
  ["matrix"],
  ["accessibility"],
  ["page"],
  ["clients"],
  ["interop"],
  ["gitlab"],
  ["vouch"],
  ["site"],
  ["stand-in"],
];

const known = JOBS.flat().sort();
const there = readdirSync(import.meta.dirname)
  .flatMap((name) => /^(.+)\.test\.mjs$/.exec(name)?.[1] ?? [])
  .sort();
if (`${known}` !== `${there}`) throw new Error(`the jobs have ${known.join(", ")}; the folder has the tests ${there.join(", ")}`);
const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !JOBS.some(([first]) => first === name));
if (unknown.length > 0) throw new Error(`there is no job ${unknown.join(", ")}; there are ${JOBS.map(([first]) => first).join(", ")}`);

// The package changes under no test: it is built before the first one, and each file uses or packs what is there.
execFileSync("npm", ["run", "--silent", "build"], { cwd: join(import.meta.dirname, "../../clients/next-auth"), stdio: "inherit" });
const env = { ...process.env, CAMBIO_TEST_PACKAGE_IS_BUILT: "1" };

/**
 * @param {string[]} names of the files of a job
 * @returns {Promise<{ code: number, counts: string[], failed: string[] }>}
 */
async function run(names) {
  const files = names.map((name) => `${name}.test.mjs`);
  const child = spawn(process.execPath, ["--test", "--test-concurrency=1", ...files], {
    cwd: import.meta.dirname,
    env,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const ended = once(child, "close");
  /** @type {string[]} */
  const counts = [];
  /** @type {string[]} */
  const failed = [];
  for (const stream of [child.stdout, child.stderr]) {
    let inError = false;
    createInterface(stream).on("line", (line) => {
      console.log(`${names[0]}: ${line}`);
      if (/^(#|ℹ) \w+ [\d.]+$/.test(line)) counts.push(line);
      // A failed test of node's TAP, and its error, which can have several lines.
      if (/^ *not ok /.test(line)) failed.push(`${names[0]}: ${line.trim()}`);
      inError = /^ *error: /.test(line) || (inError && !/^ *(?:(?:code|name|expected|stack):|\.\.\.)/.test(line));
      if (inError) failed.push(`  ${line.trim()}`);
    });
  }
  const [code] = await ended;
  return { code: code ?? 1, counts, failed };
}

const waiting = JOBS.filter(([first]) => wanted.length === 0 || wanted.includes(first));
/** @type {string[][]} */
const summaries = [];
/** @type {string[]} */
const failures = [];
async function work() {
  for (let names = waiting.shift(); names; names = waiting.shift()) {
    const { code, counts, failed } = await run(names);
    summaries.push(["", names.join(", "), ...counts]);
    if (code === 0) continue;
    process.exitCode = 1;
    failures.push(...(failed.length > 0 ? failed : [`${names[0]}: ended with ${code}, and named no failed test`]));
  }
}
await Promise.all([work(), work()]);
for (const lines of summaries) console.log(lines.join("\n"));
if (failures.length > 0) console.log(["", "failed", ...failures].join("\n"));
