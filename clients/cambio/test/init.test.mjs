// `cambio init` in a table of apps: what it prints, and what it changes.
//
//     node --test test/init.test.mjs              compares with init/<name>.txt
//     UPDATE=1 node --test test/init.test.mjs     writes these files; read their diff
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { APPS } from "./apps.mjs";

/** @typedef {import("./apps.mjs").App} App */

const here = fileURLToPath(new URL(".", import.meta.url));
const main = join(here, "../dist/main.js");
const client = join(here, "../../next-auth");
const root = mkdtempSync(join(realpathSync(tmpdir()), "cambio-init-"));
after(() => rmSync(root, { recursive: true, force: true }));

/**
 * Makes an app in a folder of its own, and returns the folder in which the command runs.
 * @param {string} name @param {App} app
 */
function make(name, { files, folder = "." }) {
  const top = join(root, name);
  rmSync(top, { recursive: true, force: true });
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(top, path)), { recursive: true });
    writeFileSync(join(top, path), text);
  }
  mkdirSync(top, { recursive: true });
  writeFileSync(join(top, folder, "cambio-next-auth-0.1.0.tgz"), "");
  git(top, "init", "--quiet");
  git(top, "add", "--all");
  git(top, "commit", "--quiet", "--allow-empty", "--message", "app");
  return join(top, folder);
}

/** @param {string} cwd @param {string[]} args */
function git(cwd, ...args) {
  const settings = [
    "-c",
    "user.name=test",
    "-c",
    "commit.gpgSign=false",
    "-c",
    "user.email=test@example.com",
    "-c",
    "core.autocrlf=false",
    "-c",
    "core.excludesFile=/dev/null",
  ];
  return execFileSync("git", [...settings, ...args], { cwd, encoding: "utf8" });
}

/** @param {string} cwd @param {string[]} args */
function init(cwd, ...args) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, "init", ...args], { cwd, encoding: "utf8" });
  return { status, stdout, stderr };
}

/** The files of a folder with their texts. @param {string} folder @returns {Record<string, string>} */
function filesOf(folder) {
  const names = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const paths = names
    .map((entry) => relative(folder, join(entry.parentPath ?? entry.path, entry.name)))
    .filter((path) => !/^(\.git|node_modules)\//.test(path));
  return Object.fromEntries(paths.sort().map((path) => [path, readFileSync(join(folder, path), "utf8")]));
}

for (const [name, app] of Object.entries(APPS)) {
  test(name, () => {
    const folder = make(name, app);
    const before = filesOf(folder);
    const args = ["--no-install", ...(app.args ?? [])];

    const unasked = init(folder, ...args);
    assert.deepEqual(filesOf(folder), before, "without a terminal and without --yes, nothing changes");

    const { status, stdout, stderr } = init(folder, "--yes", ...args);
    const seen = `${stdout}${stderr && `stderr: ${stderr}`}exit status: ${status}\n`.replaceAll(folder, "<app>");
    const expected = join(here, "init", `${name}.txt`);
    if (process.env.UPDATE) writeFileSync(expected, seen);
    assert.equal(seen, readFileSync(expected, "utf8"));

    const changed = filesOf(folder);
    const paths = Object.keys(changed).filter((path) => changed[path] !== before[path]);
    if (paths.length) assert.match(unasked.stderr, /^cambio: nothing was changed, because there is no terminal/);
    assert.equal(unasked.status, paths.length ? 1 : status);
    if (status !== 0) assert.deepEqual(paths, []);

    for (const path of paths) {
      const lines = (changed[path] ?? "").split("\n").slice(0, -1);
      const was = before[path];
      const isWindows = was?.includes("\r\n");
      if (was) for (const line of lines) assert.equal(line.endsWith("\r"), isWindows, `${path}: ${line}`);
    }
    // A file that was changed in git is as before after `git checkout`.
    git(folder, "checkout", "--quiet", ".");
    const undone = filesOf(folder);
    for (const path of Object.keys(before)) assert.equal(undone[path], before[path], path);

    // Again, with the package, as after an installation.
    for (const path of paths) writeFileSync(join(folder, path), changed[path] ?? "");
    if (!paths.length) return;
    const manifest = JSON.parse(before["package.json"] ?? "{}");
    manifest.dependencies["@cambio/next-auth"] = "file:cambio-next-auth-0.1.0.tgz";
    writeFileSync(join(folder, "package.json"), JSON.stringify(manifest));
    const again = init(folder, "--yes", ...args);
    assert.equal(again.status, 0, again.stderr);
    assert.match(again.stdout, /Cambio is set up already: nothing to change\.|Everything else is set up already\./);
    assert.deepEqual({ ...filesOf(folder), "package.json": "" }, { ...changed, "package.json": "" });

    if (app.types) typeCheck(folder, app.types);
  });
}

/**
 * Checks the types of an app with the library and with `@cambio/next-auth`.
 * @param {string} folder @param {NonNullable<App["types"]>} library
 */
function typeCheck(folder, library) {
  const modules = join(folder, "node_modules");
  mkdirSync(join(modules, "@cambio"), { recursive: true });
  symlinkSync(client, join(modules, "@cambio/next-auth"));
  for (const name of ["next", "react", "react-dom", "@types", "better-auth", "jose"]) {
    if (existsSync(join(client, "node_modules", name))) symlinkSync(join(client, "node_modules", name), join(modules, name));
  }
  const next = join(client, "node_modules", library === "v5" ? "next-auth-5" : "next-auth");
  symlinkSync(next, join(modules, "next-auth"));
  // The package is a link, so its own import of next-auth is that of its folder.
  const paths = { "@/*": ["./*"], "next-auth": [`${next}/index.d.ts`], "next-auth/*": [`${next}/*.d.ts`, `${next}/*/index.d.ts`] };
  writeFileSync(
    join(folder, "tsconfig.check.json"),
    JSON.stringify({ extends: "./tsconfig.json", compilerOptions: { paths, types: ["node"] }, include: ["**/*.ts", "**/*.tsx"] }),
  );
  const { status, stdout } = spawnSync(process.execPath, [join(here, "../node_modules/typescript/bin/tsc"), "-p", "tsconfig.check.json"], {
    cwd: folder,
    encoding: "utf8",
  });
  assert.equal(status, 0, stdout);
}

const readme = readFileSync(join(client, "README.md"), "utf8");

/**
 * The files of a section of the README of `@cambio/next-auth`.
 * @param {string} title @returns {Record<string, string>}
 */
function readmeFiles(title) {
  const section = readme.split(/^## /m).find((part) => part.startsWith(`${title}\n`)) ?? "";
  return Object.fromEntries([...section.matchAll(/```[jt]sx?\n\/\/ ([^\s:,]+).*\n([^]*?)```/g)].map(([, path, text]) => [path, text]));
}

/**
 * The lines of a file in order of the alphabet, without comments: imports may be in another order.
 * @param {string} text
 */
const lines = (text) =>
  text
    .split("\n")
    .map((line) => line.replace(/ ?\/\/ .*$/, ""))
    .filter((line) => line.trim())
    .sort();

/** @type {[app: string, section: string, paths: string[]][]} */
const SECTIONS = [
  ["v4-readme", "next-auth 4", ["lib/auth.ts", "app/api/auth/[...nextauth]/route.ts"]],
  ["v5-readme", "Auth.js 5", ["auth.ts", "app/api/auth/[...nextauth]/route.ts", "proxy.ts"]],
  ["better-auth-readme", "better-auth", ["lib/auth.ts", "lib/token.ts"]],
];
for (const [name, section, paths] of SECTIONS) {
  test(`the result is what the README shows: ${section}`, () => {
    const app = /** @type {App} */ (APPS[name]);
    const folder = make(`${name}-again`, app);

    const { status, stderr } = init(folder, "--yes", "--no-install");

    assert.equal(status, 0, stderr);
    const shown = readmeFiles(section);
    for (const path of paths) assert.deepEqual(lines(readFileSync(join(folder, path), "utf8")), lines(shown[path] ?? ""), path);
  });
}

/** `cambio init` at a terminal, which python3 opens. @param {string} cwd @param {string} answer */
function atTerminal(cwd, answer) {
  const program = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)";
  const { PATH, HOME } = process.env; // NO_COLOR, CI and the like would turn the colours of the diff off
  const { status, stdout } = spawnSync("python3", ["-c", program, process.execPath, main, "init", "--no-install"], {
    cwd,
    input: `${answer}\n`,
    encoding: "utf8",
    env: { PATH, HOME, TERM: "xterm" },
  });
  return { status, stdout };
}

test("at a terminal, the command asks, and `y` alone makes the changes", () => {
  const folder = make("asked", /** @type {App} */ (APPS["v5-quick-start"]));
  const before = filesOf(folder);

  for (const answer of ["n", "", "yess"]) {
    const { status, stdout } = atTerminal(folder, answer);
    assert.equal(status, 1);
    assert.match(stdout, /Make these changes\? \[y\/N\] .*Nothing was changed\.\s*$/s);
    assert.deepEqual(filesOf(folder), before);
  }

  const { status, stdout } = atTerminal(folder, "y");
  assert.equal(status, 0, stdout);
  assert.ok(stdout.includes("\u001b[32m+  ...options,\u001b"), "the diff has colours");
  assert.notDeepEqual(filesOf(folder), before);
});

test("an installation that fails changes no file", () => {
  const app = /** @type {App} */ (APPS["v4-options-in-lib"]);
  const folder = make("no-installation", { files: { ...app.files, "package-lock.json": "", ".npmrc": "offline=true\n" } });
  const before = filesOf(folder);

  const { status, stderr } = init(folder, "--yes"); // the tarball is empty

  assert.equal(status, 2);
  assert.match(
    stderr,
    /cambio: `npm install \.\/cambio-next-auth-0\.1\.0\.tgz` failed; no file of yours was changed\. Run it by hand, then run `cambio init` again\n$/,
  );
  const after = filesOf(folder);
  for (const path of Object.keys(before)) if (path !== "package-lock.json") assert.equal(after[path], before[path], path);
});

test("without a tarball, the error says how to make one", () => {
  const folder = make("no-tarball", /** @type {App} */ (APPS["v4-options-in-lib"]));
  rmSync(join(folder, "cambio-next-auth-0.1.0.tgz"));

  const { status, stderr } = init(folder, "--yes");

  assert.equal(status, 2);
  assert.equal(
    stderr,
    `cambio: @cambio/next-auth is not on npm yet, and this folder has no cambio-next-auth-*.tgz. In a clone of Cambio, run \`make package APP=${folder}\`, or name the file with --package\n`,
  );
});

test("the command warns if `git checkout` would not undo it alone", () => {
  const app = /** @type {App} */ (APPS["v5-quick-start"]);
  const folder = make("dirty", app);
  const warning = () =>
    init(folder, "--no-install")
      .stdout.split("\n")
      .filter((line) => /^(Warning|To undo)/.test(line));
  assert.deepEqual(warning(), ["To undo: `git checkout .`"]);

  writeFileSync(join(folder, "notes.txt"), "");
  assert.deepEqual(warning(), ["Warning: the git tree is not clean (1 file). Commit first, to see the changes of this command alone."]);

  writeFileSync(join(folder, "auth.ts"), `// mine\n${app.files["auth.ts"]}`);
  assert.deepEqual(warning(), ["Warning: auth.ts is not committed as it is now; `git checkout` would undo your own changes too. Commit first."]);

  rmSync(join(folder, ".git"), { recursive: true });
  assert.deepEqual(warning(), ["Warning: this folder is not in a git repository, so the changes cannot be undone with `git checkout`."]);
});

test("a wrong option is an error, and the help lists each one", () => {
  const folder = make("options", { files: {} });
  const wrong = init(folder, "--force");
  assert.equal(wrong.status, 2);
  assert.match(wrong.stderr, /^cambio: Unknown option '--force'/);

  const { status, stdout } = init(folder, "--help");
  assert.equal(status, 0);
  for (const option of ["--yes", "--package <spec>", "--no-install", "--config <file>", "--help"]) assert.ok(stdout.includes(`\n  ${option} `), option);
});
