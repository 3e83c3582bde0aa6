// @ts-check
/** The programs of docs/protect-your-api.md, written to a folder each, built and started. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { freePort, ROOT, start } from "../browser/harness.mjs";
import { commands, writeFiles } from "./page.mjs";

const HERE = join(ROOT, "tests/interop");
/** The folder of the programs. */
export const PROGRAMS = join(ROOT, "target/interop");

/** Returns the tools of a part that are not installed. In CI each has to be. @param {string[]} tools */
export function missing(tools) {
  const absent = tools.filter((tool) => spawnSync("sh", ["-c", `command -v ${tool}`]).status !== 0);
  assert.ok(absent.length === 0 || !process.env.CI, `not installed: ${absent.join(", ")}. CI has to run every part of this test`);
  return absent;
}

/**
 * A program of the page.
 * @typedef {{
 *   name: string,
 *   heading: string,
 *   folder: string,
 *   inner?: string,
 *   tools: string[],
 *   command: RegExp,
 *   prepare(folder: string): void,
 * }} Stack
 * `heading` is the section of the page; `folder` gets its files, and `command` matches the line of the section that
 * starts the program, in the folder `inner`; `prepare` adds what the commands before that line install.
 */

/** @type {Stack[]} */
export const STACKS = [
  {
    name: "Spring Boot",
    heading: "### Spring Boot",
    folder: "spring",
    tools: ["java", "mvn"],
    command: /^mvn .*$/m,
    // Strict: a file that does not match its checksum in the repository fails the build.
    prepare: (folder) => writeConfig(join(folder, ".mvn/maven.config"), "--batch-mode --quiet --strict-checksums\n"),
  },
  ...["golang-jwt", "go-oidc"].map((inner) => ({
    name: inner,
    heading: "### Go",
    folder: inner,
    inner,
    tools: ["go"],
    command: /^go run .*$/m,
    prepare: (/** @type {string} */ folder) => {
      for (const file of ["go.mod", "go.sum"]) copyFileSync(join(HERE, "go", file), join(folder, file));
    },
  })),
  {
    name: "FastAPI with PyJWT",
    heading: "### Python",
    folder: "fastapi",
    tools: [],
    command: /^.*uvicorn main.*$/m,
    prepare: (folder) => symlinkSync(join(ROOT, ".venv"), join(folder, ".venv")),
  },
  ...["express", "fastify"].map((program) => ({
    name: `${program} with jose`,
    heading: "### Node",
    folder: program,
    tools: [],
    command: /^node express.mjs$/m,
    prepare: (/** @type {string} */ folder) => symlinkSync(join(HERE, "node_modules"), join(folder, "node_modules")),
  })),
];

/** Writes a program of the page to a folder. @param {Stack} stack */
export function writeProgram({ heading, folder, prepare }) {
  const place = join(PROGRAMS, folder);
  rmSync(place, { recursive: true, force: true });
  mkdirSync(place, { recursive: true });
  writeFiles(heading, place);
  prepare(place);
}

/**
 * Starts a program that is written, and returns its URL and its process.
 * @param {Stack} stack @param {Record<string, string>} settings ISSUER and AUDIENCE
 */
export async function startProgram({ name, heading, folder, inner = "", command }, settings) {
  const [line] = command.exec(commands(heading).join("")) ?? [];
  assert.ok(line, `${heading} has no command like ${command}`);
  const port = `${await freePort()}`;
  // The page runs express.mjs, and says that fastify.mjs is run alike.
  const program = start(`stacks.${folder}`, "bash", ["-c", line.replace("express", folder)], {
    cwd: join(PROGRAMS, folder, inner),
    env: { ...settings, PORT: port, SERVER_PORT: port },
  });
  return { name, url: `http://localhost:${port}/orders`, program };
}

/** @param {string} file @param {string} text */
function writeConfig(file, text) {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
}
