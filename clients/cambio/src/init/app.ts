// The app in a folder: its library, its package manager, its folders, and its source files.
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join, posix, relative, resolve, sep } from "node:path";
import { parseExpression } from "@babel/parser";
import type { Expression } from "@babel/types";
import { UserError } from "../errors.js";
import type { Variable } from "./environment.js";
import { keyOf, Source } from "./source.js";

export type Library = "next-auth 4" | "Auth.js 5" | "better-auth";
export type PackageManager = "npm" | "pnpm" | "yarn" | "bun";

/** A change of a file; `before` is undefined for a new one. Paths are relative to the folder of the app. */
export interface Change {
  path: string;
  before: string | undefined;
  after: string;
}

/** A step that is left to the developer: the place, the reason, and the lines to add there. */
export interface Step {
  at: string;
  why: string;
  lines: string[];
}

/** The changes of an app, and the steps that are left to the developer. */
export class Plan {
  readonly changes: Change[] = [];
  /** Steps for the developer. */
  readonly steps: Step[] = [];
  /** Effects of a change that the developer should know of. */
  readonly notes: string[] = [];
  /** The variables that the app reads under other names than those of `cambio dev`. */
  readonly environment: Variable[] = [];
  /** False if the options of the library were not understood: nothing is changed then. */
  isUnderstood = true;

  /** Adds the change of a source that was edited. */
  edit(source: Source): void {
    if (!source.isChanged) return;
    const after = source.result();
    if (after !== source.text) this.changes.push({ path: source.path, before: source.text, after });
  }

  create(path: string, after: string): void {
    this.changes.push({ path, before: undefined, after });
  }

  /** Leaves everything to the developer. */
  giveUp(step: Step): this {
    this.changes.length = 0;
    this.notes.length = 0;
    this.environment.length = 0;
    this.steps.splice(0, Infinity, step);
    this.isUnderstood = false;
    return this;
  }
}

interface Manifest {
  dependencies?: Record<string, string>;
  devDependencies?: Record<string, string>;
  workspaces?: unknown;
  packageManager?: unknown;
}

const SKIPPED = new Set(["node_modules", "dist", "build", "out", "coverage", "target", "public"]);
const SCRIPT = /(?<!\.d)\.(?:[cm]?[jt]s|[jt]sx)$/;
const EXTENSIONS = ["", ".ts", ".tsx", ".js", ".jsx", ".mjs", ".cjs", ".mts", "/index.ts", "/index.tsx", "/index.js"];
const LOCKS: [PackageManager, string[]][] = [
  ["pnpm", ["pnpm-lock.yaml"]],
  ["yarn", ["yarn.lock"]],
  ["bun", ["bun.lock", "bun.lockb"]],
  ["npm", ["package-lock.json", "npm-shrinkwrap.json"]],
];
/** The oldest version of each library that the package supports; its peer dependencies say the same. */
const OLDEST: Record<Library, [version: string, install: string]> = {
  "next-auth 4": ["4.24.0", "next-auth@4"],
  "Auth.js 5": ["5.0.0-beta.30", "next-auth@5.0.0-beta.32"],
  "better-auth": ["1.7.0", "better-auth@1.7"],
};

/** The configuration of a library in an app. */
export class App {
  readonly #sources = new Map<string, Source>();
  #paths: string[] | undefined;
  #aliases: [prefix: string, folder: string][] | undefined;

  private constructor(
    readonly folder: string,
    readonly library: Library,
    readonly version: string,
    /** The major and minor version of Next.js. */
    readonly next: readonly [number, number],
    readonly packageManager: PackageManager,
    /** True if the app depends on `@cambio/next-auth`. */
    readonly hasPackage: boolean,
  ) {}

  /** @throws UserError if there is no app here that Cambio works with. */
  static find(folder: string): App {
    const manifest = manifestOf(folder);
    if (!manifest) throw new UserError(`there is no package.json in ${folder}; run the command in the folder of your app`);
    const wanted = { ...manifest.devDependencies, ...manifest.dependencies };
    const manager = packageManagerOf(folder, manifest);
    const libraries = ["next-auth", "better-auth"].filter((name) => wanted[name] !== undefined);
    const [name] = libraries;
    if (!name) throw new UserError(withoutLibrary(folder, wanted.next !== undefined, manager));
    if (libraries.length > 1) {
      throw new UserError("package.json has next-auth and better-auth; remove the one that you do not use, and run the command again");
    }
    const version = versionOf(folder, name, wanted[name] ?? "", manager);
    const library: Library = name === "better-auth" ? name : version.startsWith("4.") ? "next-auth 4" : "Auth.js 5";
    const [oldest, install] = OLDEST[library];
    const isWrong = compare(version, oldest) < 0 || (library === "better-auth" ? !version.startsWith("1.7.") : Number.parseInt(version, 10) > 5);
    if (isWrong) throw new UserError(`${name} ${version} is not supported; run \`${adding(manager, install)}\`, check your app, and run the command again`);
    if (wanted.next === undefined) throw new UserError("package.json has no next; `cambio init` sets up apps of Next.js 15 and 16");
    const next = versionOf(folder, "next", wanted.next, manager);
    const [major = 0, minor = 0] = next.split(".").map((part) => Number.parseInt(part, 10));
    if (major < 15) throw new UserError(`next ${next} is not supported; Cambio works with Next.js 15 and 16`);
    return new App(folder, library, version, [major, minor], manager, wanted["@cambio/next-auth"] !== undefined);
  }

  /** `src/`, or nothing if the app has its folders at the top. */
  get base(): string {
    const isIn = (base: string) => ["app", "pages"].some((name) => this.exists(`${base}${name}`));
    return !isIn("") && isIn("src/") ? "src/" : "";
  }

  exists(path: string): boolean {
    return existsSync(join(this.folder, path));
  }

  read(path: string): string | undefined {
    try {
      return readFileSync(join(this.folder, path), "utf8");
    } catch {
      return undefined;
    }
  }

  /** Returns a parsed file, always the same one for a path. */
  source(path: string): Source {
    const known = this.#sources.get(path);
    if (known) return known;
    const source = new Source(path, this.read(path) ?? "");
    this.#sources.set(path, source);
    return source;
  }

  /** Returns the source files that contain the text, sorted by path. */
  mentioning(text: string): string[] {
    this.#paths ??= [...scripts(this.folder, this.folder)].sort();
    return this.#paths.filter((path) => this.read(path)?.includes(text));
  }

  /** Returns the file that a file imports, or undefined if it is not in the app. */
  resolve(from: string, module: string): string | undefined {
    const targets = module.startsWith(".") ? [posix.join(posix.dirname(from), module)] : this.#targets(module);
    for (const target of targets) {
      for (const extension of EXTENSIONS) {
        const path = posix.normalize(target.replace(/\.js$/, extension === "" ? ".js" : "") + extension);
        const file = join(this.folder, path);
        if (SCRIPT.test(path) && existsSync(file) && statSync(file).isFile()) return path;
      }
    }
    return undefined;
  }

  /** Returns how a file imports another one: by the alias of tsconfig.json if there is one, else by a relative path. */
  specifier(from: string, to: string): string {
    const path = to.replace(/(\/index)?\.[^./]+$/, "");
    for (const [prefix, folder] of this.#readAliases()) {
      if (folder === "" || path.startsWith(`${folder}/`)) return `${prefix}${folder === "" ? path : path.slice(folder.length + 1)}`;
    }
    const way = posix.relative(posix.dirname(from), path);
    return way.startsWith(".") ? way : `./${way}`;
  }

  #targets(module: string): string[] {
    return this.#readAliases().flatMap(([prefix, folder]) => (module.startsWith(prefix) ? [posix.join(folder, module.slice(prefix.length))] : []));
  }

  /** The aliases such as `"@/*": ["./src/*"]` of tsconfig.json or jsconfig.json. */
  #readAliases(): [string, string][] {
    if (this.#aliases) return this.#aliases;
    this.#aliases = [];
    const config = ["tsconfig.json", "jsconfig.json"].find((name) => this.exists(name));
    if (!config) return this.#aliases;
    // The files may have comments and trailing commas.
    const options = memberOf(expression(this.read(config) ?? ""), "compilerOptions");
    const base = memberOf(options, "baseUrl");
    const root = base?.type === "StringLiteral" ? base.value : ".";
    const paths = memberOf(options, "paths");
    for (const each of paths?.type === "ObjectExpression" ? paths.properties : []) {
      const [prefix, value] = [keyOf(each), each.type === "ObjectProperty" ? each.value : undefined];
      const first = value?.type === "ArrayExpression" ? value.elements[0] : undefined;
      if (!prefix?.endsWith("/*") || first?.type !== "StringLiteral" || !first.value.endsWith("/*")) continue;
      const folder = posix.normalize(posix.join(root, first.value.slice(0, -1)));
      this.#aliases.push([prefix.slice(0, -1), folder === "./" ? "" : folder.replace(/\/$/, "")]);
    }
    return this.#aliases;
  }
}

/** Returns the command that adds a package. */
export function adding(manager: PackageManager, ...specs: string[]): string {
  return `${manager} ${manager === "npm" ? "install" : "add"} ${specs.join(" ")}`;
}

/** Compares two versions of semver, such as `5.0.0-beta.30` and `5.0.0`. */
export function compare(one: string, other: string): number {
  const parts = (version: string) => {
    const [release = "", pre] = version.split("+")[0]?.split(/-(.*)/) ?? [];
    return [...release.split(".").map(Number), pre === undefined ? 1 : 0, Number(/\d+$/.exec(pre ?? "")?.[0] ?? 0)];
  };
  const [left, right] = [parts(one), parts(other)];
  for (const [nth, part] of left.entries()) if (part !== right[nth]) return part - (right[nth] ?? 0);
  return 0;
}

function manifestOf(folder: string): Manifest | undefined {
  let text: string;
  try {
    text = readFileSync(join(folder, "package.json"), "utf8");
  } catch {
    return undefined;
  }
  try {
    return JSON.parse(text) as Manifest;
  } catch (error) {
    throw new UserError(`${join(folder, "package.json")} cannot be read: ${(error as Error).message}`);
  }
}

/** Returns the folder and the folders above it. */
function* upwards(folder: string): Generator<string> {
  for (let at = resolve(folder); ; at = dirname(at)) {
    yield at;
    if (dirname(at) === at) return;
  }
}

function packageManagerOf(folder: string, manifest: Manifest): PackageManager {
  for (const at of upwards(folder)) {
    const { packageManager } = (at === folder ? manifest : manifestOf(at)) ?? {};
    const named = LOCKS.find(([manager]) => `${packageManager}`.startsWith(`${manager}@`));
    const locked = LOCKS.find(([, files]) => files.some((file) => existsSync(join(at, file))));
    const found = named ?? locked;
    if (found) return found[0];
    if (existsSync(join(at, ".git"))) break;
  }
  return "npm";
}

/** Returns the installed version, or the first one of the range. */
function versionOf(folder: string, name: string, range: string, manager: PackageManager): string {
  for (const at of upwards(folder)) {
    const installed = manifestOf(join(at, "node_modules", name)) as { version?: string } | undefined;
    if (installed?.version) return installed.version;
  }
  const version = /^[\^~>=v ]*(\d+(?:\.\d+){0,2}(?:-[\w.]+)?)/.exec(range)?.[1];
  if (!version) throw new UserError(`${name} is not installed; run \`${manager} install\`, and run the command again`);
  const [release = "", pre] = version.split(/-(.*)/);
  // The newest of `^4` is not known, but no older one than any that matters is installed for it.
  const parts = release.split(".");
  const full = parts.length < 3 && !pre ? [...parts, "999", "999"].slice(0, 3).join(".") : release;
  return pre ? `${full}-${pre}` : full;
}

function withoutLibrary(folder: string, hasNext: boolean, manager: PackageManager): string {
  const apps = [...subfolders(folder)].filter((path) => {
    const { dependencies, devDependencies } = manifestOf(join(folder, path)) ?? {};
    const all = { ...dependencies, ...devDependencies };
    return all["next-auth"] !== undefined || all["better-auth"] !== undefined;
  });
  if (apps.length)
    return `package.json has no next-auth and no better-auth; run the command in the folder of your app: ${apps.map((path) => `cd ${path}`).join(", or ")}`;
  if (!hasNext) return "package.json has no next, and no next-auth or better-auth; run the command in the folder of your Next.js app";
  return `package.json has no next-auth and no better-auth. Install one, follow its quick start until your app signs in, and run the command again:
  ${adding(manager, "next-auth@5.0.0-beta.32").padEnd(42)}https://authjs.dev/getting-started/installation
  ${adding(manager, "better-auth").padEnd(42)}https://better-auth.com/docs/installation`;
}

/** Returns the folders with a package.json, two levels down. */
function* subfolders(folder: string, path = "", depth = 0): Generator<string> {
  for (const entry of readdirSync(join(folder, path), { withFileTypes: true })) {
    if (!entry.isDirectory() || SKIPPED.has(entry.name) || entry.name.startsWith(".")) continue;
    const below = posix.join(path, entry.name);
    if (existsSync(join(folder, below, "package.json"))) yield below;
    else if (depth < 1) yield* subfolders(folder, below, depth + 1);
  }
}

/** Returns the source files of a folder, except those of other packages in it. */
function* scripts(root: string, folder: string): Generator<string> {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const file = join(folder, entry.name);
    if (entry.isDirectory()) {
      const isOther = SKIPPED.has(entry.name) || entry.name.startsWith(".") || existsSync(join(file, "package.json"));
      if (!isOther) yield* scripts(root, file);
    } else if (SCRIPT.test(entry.name)) yield relative(root, file).split(sep).join("/");
  }
}

function expression(text: string): Expression | undefined {
  try {
    return parseExpression(text);
  } catch {
    return undefined;
  }
}

function memberOf(object: Expression | undefined, name: string): Expression | undefined {
  const members = object?.type === "ObjectExpression" ? object.properties : [];
  const member = members.find((each) => keyOf(each) === name);
  return member?.type === "ObjectProperty" ? (member.value as Expression) : undefined;
}
