// `cambio init`: connects the app in the current folder to Cambio.
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { createInterface } from "node:readline/promises";
import { parseArgs, styleText } from "node:util";
import { createTwoFilesPatch } from "diff";
import { UserError } from "./errors.js";
import { adding, App, type Change, type Plan, type Step } from "./init/app.js";
import { planBetterAuth } from "./init/better-auth.js";
import { ENV_FILE, planEnvironment } from "./init/environment.js";
import { planNextAuth } from "./init/next-auth.js";

// At publication, write the name of the package, `@cambio/next-auth`. Until then, it is a tarball of `make package`.
const PUBLISHED: string | undefined = undefined;

const TARBALL = /^cambio-next-auth-[\w.-]+\.tgz$/;

const USAGE = `Usage: cambio init [options]

Connects the Next.js app in this folder to Cambio: adds the package @cambio/next-auth, and what it needs in the
configuration of next-auth 4, Auth.js 5 or better-auth. Shows each change, and asks before it makes one.

  --yes             make the changes without asking
  --package <spec>  what to install as @cambio/next-auth; by default, the cambio-next-auth-*.tgz in this folder
  --no-install      change the files only; print the command that installs the package
  --config <file>   the file with the configuration, if there are several
  --help            show this text
`;

/** Prints to the terminal. */
const say = (text = "") => process.stdout.write(`${text}\n`);
const bold = (text: string) => (process.stdout.isTTY ? styleText("bold", text) : text);

export async function run(args: string[]): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      yes: { type: "boolean", short: "y" },
      package: { type: "string" },
      "no-install": { type: "boolean" },
      config: { type: "string" },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help) {
    process.stdout.write(USAGE);
    return 0;
  }

  const app = App.find(process.cwd());
  const plan = app.library === "better-auth" ? planBetterAuth(app, values.config) : planNextAuth(app, values.config);
  const install = app.hasPackage || !plan.isUnderstood ? undefined : adding(app.packageManager, packageOf(app, values.package));
  say(`${app.library === "better-auth" ? "better-auth" : "next-auth"} ${app.version}, Next.js ${app.next.join(".")}, ${app.packageManager}`);
  if (!plan.isUnderstood) {
    printSteps(plan.steps);
    say("\nNothing was changed. The README of @cambio/next-auth shows the whole configuration.");
    return 1;
  }
  planEnvironment(app, plan);
  if (!plan.changes.length && !install) {
    printSteps(plan.steps);
    say(plan.steps.length ? "\nEverything else is set up already." : "Cambio is set up already: nothing to change.");
    return 0;
  }

  for (const change of plan.changes) printDiff(change);
  if (install) say(`\n${bold(install)}${values["no-install"] ? "   (you run this: --no-install)" : ""}`);
  for (const note of plan.notes) say(`\nNote: ${note}`);
  say(`\n${git(app.folder, plan.changes)}`);
  if (!(values.yes || (await isConfirmed()))) return 1;

  // First what can fail: nothing is changed then.
  if (install && !values["no-install"]) installPackage(app, install);
  for (const { path, after } of plan.changes) {
    mkdirSync(dirname(join(app.folder, path)), { recursive: true });
    writeFileSync(join(app.folder, path), after, path === ENV_FILE ? { mode: 0o600 } : {});
  }
  printDone(app, plan, values["no-install"] ? install : undefined);
  return 0;
}

/** Returns what to install. @throws UserError if there is nothing */
function packageOf(app: App, wanted: string | undefined): string {
  const spec = wanted ?? PUBLISHED ?? tarballIn(app.folder);
  if (!spec) {
    throw new UserError(
      `@cambio/next-auth is not on npm yet, and this folder has no cambio-next-auth-*.tgz. In a clone of Cambio, run \`make package APP=${app.folder}\`, or name the file with --package`,
    );
  }
  if (!spec.endsWith(".tgz")) return spec;
  const file = resolve(app.folder, spec);
  if (!existsSync(file)) throw new UserError(`--package: there is no file ${spec}`);
  const path = relative(app.folder, file);
  const way = path.startsWith("..") ? path : `./${path}`;
  // Yarn takes a path for a tarball only behind a name.
  return app.packageManager === "yarn" ? `@cambio/next-auth@file:${way}` : way;
}

/** Returns the newest tarball of the package in a folder. */
function tarballIn(folder: string): string | undefined {
  return readdirSync(folder)
    .filter((name) => TARBALL.test(name))
    .sort((one, other) => one.localeCompare(other, "en", { numeric: true }))
    .at(-1);
}

function installPackage(app: App, command: string): void {
  say(`\n$ ${command}`);
  const [name = "", ...args] = command.split(" ");
  const { status, error } = spawnSync(name, args, { cwd: app.folder, stdio: ["ignore", "inherit", "inherit"], shell: process.platform === "win32" });
  if (status !== 0)
    throw new UserError(
      `\`${command}\` failed${error ? ` (${error.message})` : ""}; no file of yours was changed. Run it by hand, then run \`cambio init\` again`,
    );
}

async function isConfirmed(): Promise<boolean> {
  if (!process.stdin.isTTY || !process.stdout.isTTY) {
    process.stderr.write("cambio: nothing was changed, because there is no terminal to ask at; run the command again with --yes\n");
    return false;
  }
  const terminal = createInterface({ input: process.stdin, output: process.stdout });
  const answer = await terminal.question("Make these changes? [y/N] ").finally(() => terminal.close());
  if (/^y(es)?$/i.test(answer.trim())) return true;
  say("Nothing was changed.");
  return false;
}

function printDiff({ path, before, after }: Change): void {
  const patch = createTwoFilesPatch(before === undefined ? "/dev/null" : `a/${path}`, `b/${path}`, before ?? "", after, undefined, undefined, { context: 2 });
  const lines = patch.split("\n").filter((line) => !/^={10,}$/.test(line));
  const colours = { "+": "green", "-": "red", "@": "cyan" } as const;
  const shown = lines.map((line) => {
    const colour = colours[line[0] as keyof typeof colours];
    return process.stdout.isTTY && colour ? styleText(/^(---|\+\+\+)/.test(line) ? "bold" : colour, line) : line;
  });
  say(`\n${shown.join("\n").trimEnd()}`);
}

function printSteps(steps: readonly Step[]): void {
  for (const { at, why, lines } of steps) {
    say(`\n${bold(at)}: ${why}.${lines.length ? " Add:\n" : ""}`);
    for (const line of lines) say(line ? `    ${line}` : "");
  }
}

/** Returns how the changes are undone, and what is in the way of that. */
function git(folder: string, changes: readonly Change[]): string {
  const status = (paths: string[]) =>
    execFileSync("git", ["status", "--porcelain", "--", ...paths], { cwd: folder, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  const paths = changes.map(({ path }) => path);
  try {
    // The tarball is not a change of the app.
    const dirty = status(["."])
      .split("\n")
      .filter((line) => line && !TARBALL.test(line.slice(3))).length;
    const created = changes.filter(({ before }) => before === undefined).map(({ path }) => path);
    if (!dirty) return `To undo: \`git checkout .\`${created.length ? `, and remove ${created.join(", ")}` : ""}`;
    const own = paths.length ? status(paths).split("\n").filter(Boolean) : [];
    const files = own.map((line) => line.slice(3)).join(", ");
    return own.length
      ? `Warning: ${files} is not committed as it is now; \`git checkout\` would undo your own changes too. Commit first.`
      : `Warning: the git tree is not clean (${dirty} ${dirty === 1 ? "file" : "files"}). Commit first, to see the changes of this command alone.`;
  } catch {
    return "Warning: this folder is not in a git repository, so the changes cannot be undone with `git checkout`.";
  }
}

function printDone(app: App, plan: Plan, install: string | undefined): void {
  const changed = plan.changes.filter(({ before }) => before !== undefined).map(({ path }) => path);
  const created = plan.changes.filter(({ before }) => before === undefined).map(({ path }) => path);
  say();
  if (changed.length) say(`Changed ${changed.join(", ")}`);
  if (created.length) say(`Created ${created.join(", ")}`);
  printSteps(plan.steps);
  const isWritten = /^# >>> cambio/m.test(app.read(ENV_FILE) ?? "");
  const dev = isWritten ? "npx cambio dev" : `npx cambio dev --write-env ${ENV_FILE}`;
  const start = `${app.packageManager} ${app.packageManager === "npm" || app.packageManager === "bun" ? "run " : ""}dev`;
  const next: [command: string, what: string][] = [
    ...(install ? [[install, ""] as [string, string]] : []),
    [dev, isWritten ? "run Cambio on this machine" : "run Cambio on this machine, and write the environment of the app"],
    [start, "in a second terminal; then sign in"],
  ];
  say(`\n${bold("Next:")}`);
  const width = Math.max(...next.map(([command]) => command.length));
  for (const [command, what] of next) say(`  ${command.padEnd(width)}   ${what}`.trimEnd());
  const token = tokenFile(app, plan);
  const url = `process.env.CAMBIO_URL${app.exists("tsconfig.json") ? "!" : ""}`;
  const inPages = plan.changes.find(({ after }) => /^export \{ accessTokenOf \}/m.test(after));
  if (inPages) {
    say("\nCall your API in `getServerSideProps` or an API route with the user's token:\n");
    say('  import { cambioFetch } from "@cambio/next-auth/fetch";');
    say(`  import { accessTokenOf } from "${app.specifier(`${app.base}pages/index.tsx`, inPages.path)}";`);
    say("\n  const getAccessToken = accessTokenOf(() => getServerSession(req, res, authOptions));");
    say(`  const answer = await cambioFetch(getAccessToken, ${url})("/me");`);
  }
  if (token) {
    say(`\nCall your API on the server with the user's token:\n`);
    say(`  import { cambioFetch } from "@cambio/next-auth/fetch";`);
    say(`  import { getAccessToken } from "${token}";`);
    say(`\n  const answer = await cambioFetch(getAccessToken, ${url})("/me");`);
  }
}

/** Returns how a page imports the file that exports `getAccessToken`. */
function tokenFile(app: App, plan: Plan): string | undefined {
  const change = plan.changes.find(({ after }) => /^export const getAccessToken\b/m.test(after));
  return change && app.specifier(`${app.base}app/page.tsx`, change.path);
}
