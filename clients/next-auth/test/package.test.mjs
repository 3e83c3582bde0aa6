// @ts-check
/** Tests the published package: packed, unpacked into the folder of an app, and compiled there. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createRequire, SourceMap } from "node:module";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import ts from "typescript";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "cambio-package-"));
after(() => rmSync(folder, { recursive: true, force: true }));
// Without scripts: the tests that run beside this one use the same dist.
const npm = ["pack", "--silent", "--ignore-scripts", "--pack-destination", folder];
const tarball = execFileSync("npm", npm, { cwd: ROOT, encoding: "utf8" }).trim();
execFileSync("tar", ["-xzf", tarball], { cwd: folder });
const unpacked = join(folder, "package");
const manifest = JSON.parse(readFileSync(join(unpacked, "package.json"), "utf8"));
const readme = readFileSync(join(unpacked, "README.md"), "utf8");

test("the package brings its licences and no file that an app has no use for", () => {
  for (const licence of ["LICENSE-APACHE", "LICENSE-MIT"]) {
    assert.equal(readFileSync(join(unpacked, licence), "utf8"), readFileSync(join(ROOT, "../..", licence), "utf8"));
  }
  const allowed = ["LICENSE-APACHE", "LICENSE-MIT", "README.md", "dist", "package.json", "src"];
  assert.deepEqual(readdirSync(unpacked).sort(), allowed);
  for (const file of readdirSync(join(unpacked, "dist"), { recursive: true, withFileTypes: true })) {
    assert.ok(file.isDirectory() || /\.js$|\.d\.ts$|\.(js|d\.ts)\.map$|^package\.json$/.test(file.name), file.name);
  }
});

test("each file of the package has a source map that leads to its source", () => {
  const compiled = ["esm", "cjs"].flatMap((kind) => readdirSync(join(unpacked, "dist", kind)).map((name) => join(unpacked, "dist", kind, name)));
  const files = compiled.filter((file) => /\.js$|\.d\.ts$/.test(file));
  assert.ok(files.length >= 26, `${files.length} files`);
  for (const file of files) {
    const [, name] = /^\/\/# sourceMappingURL=(.+)$/m.exec(readFileSync(file, "utf8")) ?? assert.fail(`${file} has no source map`);
    const { sources, sourceRoot } = JSON.parse(readFileSync(join(file, "..", name), "utf8"));
    assert.equal(sourceRoot || "", "");
    for (const source of sources) {
      const path = join(file, "..", source);
      assert.equal(readFileSync(path, "utf8"), readFileSync(join(ROOT, "src", basename(path)), "utf8"), `${file}: ${source}`);
    }
  }
});

const TEXTS = { index: ["is not an http(s) URL", "Cambio does not answer"], fetch: ["is not an http(s) URL", "the session has no access token"] };
for (const [kind, name, texts] of ["esm", "cjs"].flatMap((kind) => Object.entries(TEXTS).map(([name, texts]) => [kind, name, texts]))) {
  test(`the source map of ${name} for ${kind} leads from a line to its line in the source`, () => {
    const file = join(unpacked, "dist", `${kind}`, `${name}.js`);
    const map = new SourceMap(JSON.parse(readFileSync(`${file}.map`, "utf8")));
    const lines = readFileSync(file, "utf8").split("\n");
    for (const text of texts) {
      const line = lines.findIndex((candidate) => candidate.includes(text));
      const entry = map.findEntry(line, lines[line].search(/\S/));
      assert.ok("originalSource" in entry, text);
      const source = readFileSync(join(file, "..", entry.originalSource), "utf8").split("\n");
      assert.match(source[entry.originalLine], new RegExp(text.replace(/[()]/g, "\\$&")));
    }
  });
}

test("the package says what it is", () => {
  for (const word of ["next-auth", "auth.js", "better-auth", "oauth"]) assert.ok(manifest.keywords?.includes(word), word);
  assert.equal(manifest.license, "Apache-2.0 OR MIT");
  assert.equal(manifest.dependencies, undefined);
  const app = appWith({});
  assert.equal(createRequire(join(app, "app.js"))("@cambio/next-auth/package.json").name, "@cambio/next-auth");
});

test("nobody publishes the package without the address of its repository", () => {
  const { status, stderr } = spawnSync("npm", ["run", "--silent", "prepublishOnly"], { cwd: ROOT, encoding: "utf8" });
  if (manifest.repository) {
    assert.equal(manifest.repository.directory, "clients/next-auth");
    assert.equal(status, 0, stderr);
  } else {
    assert.notEqual(status, 0);
    assert.match(stderr, /package\.json has no repository: write the address/);
  }
});

test("the next major of a peer is not taken for one that was tried", () => {
  for (const [peer, versions] of Object.entries({
    "next-auth": {
      "4.23.0": false,
      "4.24.0": true,
      "4.24.15": true,
      "5.0.0-beta.29": false,
      "5.0.0-beta.32": true,
      "5.0.0": true,
      "5.9.0": true,
      "6.0.0-beta.1": false,
      "6.0.0": false,
    },
    "better-auth": { "1.6.9": false, "1.7.0": true, "1.7.25": true, "1.8.0": false, "2.0.0": false },
  })) {
    for (const [version, isTried] of Object.entries(versions)) {
      const { status } = spawnSync("node_modules/.bin/semver", ["-r", manifest.peerDependencies[peer], version], { cwd: ROOT });
      assert.equal(status === 0, isTried, `${peer} ${version}`);
    }
  }
});

const V4 = `
import { CambioError, createClient, isCambioError, type paths } from "@cambio/next-auth";
import { cambioFetch } from "@cambio/next-auth/fetch";
import { cambio } from "@cambio/next-auth/v4";
import type { NextAuthOptions, Session } from "next-auth";
import type { JWT } from "next-auth/jwt";

export const options: NextAuthOptions = { providers: [], ...cambio({ scope: "orders:read" }).options };
export const error: CambioError = new CambioError("ended", "over", { status: 401 });
export const client = createClient({ fetch, timeout: 1 });
export const isOurs: boolean = isCambioError(error);
export type Me = paths["/me"];

export function id(session: Session): string {
  cambioFetch(session, "https://api.example.com", fetch)(new Request("https://api.example.com"));
  // @ts-expect-error there is no such member
  session.user.nickname;
  return session.user.id;
}

export function roles(token: JWT): string[] {
  // @ts-expect-error it is typed
  token.cambio?.user.roles.nothing;
  return token.cambio?.user.roles ?? [];
}

export function expiry(token: JWT): number | undefined {
  // @ts-expect-error it is typed
  token.cambio?.nothing;
  return token.cambio?.expiresAt;
}
`;
/** The idiom of next-auth's documentation, which many apps have. */
const IDIOM = `
import type { DefaultSession } from "next-auth";
declare module "next-auth" {
  interface Session {
    user: { id: string } & DefaultSession["user"];
  }
}
export {};
`;
/**
 * Declarations of apps that refresh tokens themselves, as in the documentation of next-auth and of Auth.js, and an
 * error of each.
 */
const OWN_ERRORS = {
  'error?: "RefreshTokenError"': "RefreshTokenError",
  "error?: string": "SessionEnded",
  "error: string | undefined": "SessionEnded",
  'accessToken: string; error?: "RefreshAccessTokenError"': "RefreshAccessTokenError",
};
/** @param {string} own @param {string} error */
const declaring = (own, error) => `
import type { Session } from "next-auth";
declare module "next-auth" {
  interface Session { ${own} }
}
export function isOver(session: Session): boolean {
  return session.error === "${error}";
}
`;
const V5 = `
import { cambio } from "@cambio/next-auth/v5";
import NextAuth, { type NextAuthConfig, type Session } from "next-auth";

export const config: NextAuthConfig = {
  providers: [],
  ...cambio().options,
  callbacks: {
    ...cambio().options.callbacks,
    jwt({ token }) {
      const expiresAt: number | undefined = token.cambio?.expiresAt;
      const roles: string[] = token.cambio?.user.roles ?? [];
      // @ts-expect-error it is typed
      token.cambio?.nothing;
      return { ...token, expiresAt, roles };
    },
  },
};
export const { auth } = NextAuth(config);

export function id(session: Session): string | undefined {
  return session.user?.id;
}
`;
/** The module of the app from which the README's other files import. */
const AUTH_4 = `
import { cambio } from "@cambio/next-auth/v4";
import { getServerSession, type NextAuthOptions } from "next-auth";

const { options, accessTokenOf } = cambio();
export const authOptions: NextAuthOptions = { providers: [], ...options };
export const getAccessToken = accessTokenOf(() => getServerSession(authOptions));
`;
const AUTH_5 = `
import { cambioHandler } from "@cambio/next-auth/handler";
import { cambio } from "@cambio/next-auth/v5";
import NextAuth from "next-auth";

const { options, accessTokenOf } = cambio();
export const { handlers, auth, signIn, signOut } = NextAuth({ providers: [], ...options });
export const getAccessToken = accessTokenOf(auth);
export const GET = cambioHandler(handlers.GET);

export async function both(): Promise<[string, number]> {
  const { token, expiresAt } = await getAccessToken();
  return [token, expiresAt];
}
`;
const BETTER_AUTH = readFileSync(new URL("better-auth-types.ts", import.meta.url), "utf8");
/** Returns the block of the README with this text. @param {string} text */
function inReadme(text) {
  const blocks = [...readme.matchAll(/^```ts\n([^]*?)^```$/gm)].map(([, code]) => code);
  return blocks.find((code) => code.includes(text)) ?? assert.fail(`README.md has no code with ${text}`);
}
const OPENAPI_FETCH = inReadme('"openapi-fetch"').replace("@/auth", "./auth.js");
const ROLES = inReadme("roles: string[]");

const RESOLUTIONS = {
  bundler: { module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler },
  node16: { module: ts.ModuleKind.Node16, moduleResolution: ts.ModuleResolutionKind.Node16 },
};

const COMPILERS = { "TypeScript 5": compile, "TypeScript 7": compileWith7 };

for (const [version, nextAuth, files] of /** @type {const} */ ([
  ["next-auth 4", "next-auth", { "v4.ts": V4, "auth.ts": AUTH_4, "openapi.ts": OPENAPI_FETCH, "roles.ts": ROLES, "required.cts": V4 }],
  ["next-auth 4 and types of its own", "next-auth", { "idiom.ts": IDIOM, "v4.ts": V4 }],
  ["Auth.js 5", "next-auth-5", { "v5.ts": V5, "auth.ts": AUTH_5, "openapi.ts": OPENAPI_FETCH, "roles.ts": ROLES.replaceAll("/v4", "/v5") }],
  ["better-auth", "next-auth", { "better-auth.ts": BETTER_AUTH }],
])) {
  for (const [compiler, compiled] of Object.entries(COMPILERS)) {
    for (const [name, resolution] of Object.entries(RESOLUTIONS)) {
      test(`an app with ${version} compiles against the package with ${compiler} and the resolution "${name}"`, () => {
        const app = appWith(files, nextAuth);
        // Compilers read no .cts with a module kind other than Node's.
        const names = Object.keys(files).filter((file) => name === "node16" || !file.endsWith(".cts"));
        assert.deepEqual(compiled(app, names, resolution), []);
      });
    }
  }
}

for (const [compiler, compiled] of Object.entries(COMPILERS)) {
  test(`an app that is wrong does not compile with ${compiler}`, () => {
    const app = appWith({ "wrong.ts": V4.replace("user.id", "user.name") });
    const [error] = compiled(app, ["wrong.ts"], RESOLUTIONS.bundler);
    assert.match(error, /^wrong\.ts: Type 'string \| null \| undefined' is not assignable/);
  });
}

// TypeScript 5 reports a conflict in the types of next-auth, where most apps do not look; TypeScript 7 in those of
// the app.
for (const [version, nextAuth, entry] of [
  ["next-auth 4", "next-auth", V4],
  ["Auth.js 5", "next-auth-5", V5],
]) {
  for (const [own, error] of Object.entries(OWN_ERRORS)) {
    test(`an app with ${version} may declare "${own}" in its Session`, () => {
      const app = appWith({ "app.ts": entry, "own.ts": declaring(own, error) }, nextAuth);
      assert.deepEqual(compileWith7(app, ["app.ts", "own.ts"], RESOLUTIONS.bundler), []);
    });
  }
}

/** Names that the examples of the documentation expect in the app. */
const AROUND = {
  "around.d.ts": `
    declare const accessToken: string;
    declare const refreshToken: string;
    declare const idToken: string;
    declare const clientSecret: string;
    declare const jwk: string;
    declare const getAccessToken: import("@cambio/next-auth/fetch").TokenSource;
    declare const session: { accessToken?: string; error?: string } | null;
  `,
  "auth.ts": 'import NextAuth from "next-auth"; export const { auth } = NextAuth({ providers: [] });',
};
for (const [name, entry] of Object.entries(manifest.exports).filter(([, entry]) => typeof entry === "object")) {
  test(`each export of "${name}" has an example, and all of them compile`, () => {
    const isV5 = name === "./v5";
    const examples = Object.entries(examplesOf(join(unpacked, (entry.import ?? entry).types)));
    assert.deepEqual(
      examples.filter(([, found]) => found.length === 0).map(([name]) => name),
      [],
    );
    const files = Object.fromEntries(
      examples.flatMap(([name, found]) => found.map((code, nth) => [`${name}${nth || ""}.ts`, isV5 ? code.replaceAll("/v4", "/v5") : code])),
    );
    const { "auth.ts": auth, ...around } = AROUND;
    const app = appWith({ ...files, ...around, ...(isV5 && { "auth.ts": auth }) }, isV5 ? "next-auth-5" : "next-auth");
    assert.deepEqual(compileWith7(app, ["around.d.ts", ...Object.keys(files)], RESOLUTIONS.bundler), []);
  });
}

/**
 * What surrounds an example of the READMEs in an app, by the first line of the example. The README of the package has
 * further examples with the name of a file in the first line, which other tests write and compile.
 * @type {Record<string, string>}
 */
const SURROUNDINGS = {
  'import { vouch } from "@cambio/next-auth/vouch";': `
    import { createClient } from "@cambio/next-auth";
    import { cambio } from "@cambio/next-auth/v5";
    declare const key: CryptoKey;
    declare const user: { id: string; name: string; email: string };
    const client = createClient();
  `,
  'import { getAccessToken } from "@/auth";': "",
  'import { cambioFetch } from "@cambio/next-auth/fetch";': "",
  'const handler = cambioHandler(NextAuth(authOptions), { newUserPage: "/welcome" });': `
    import { cambioHandler } from "@cambio/next-auth/handler";
    import NextAuth from "next-auth";
    import { authOptions } from "./auth.js";
  `,
  "cambio({": `
    import { cambio } from "@cambio/next-auth/v5";
    declare const metrics: { count(name: string, labels: Record<string, string | undefined>): void };
  `,
  'import { privateKey } from "@cambio/next-auth/private-key";': 'import { cambio } from "@cambio/next-auth/v5";',
  'import { cambio } from "@cambio/next-auth/v4";': `
    import { getServerSession, type NextAuthOptions } from "next-auth";
    import GitHubProvider from "next-auth/providers/github";
  `,
};

/** Returns the examples in TypeScript of a page, by their first line. @param {string} page */
function examplesIn(page) {
  const fenced = [...page.matchAll(/^```ts\n([^]*?)^```$/gm)].map(([, code]) => code);
  const indented = [...page.matchAll(/^( {4,})(import .*\n(?:\1.*\n|\n)*)/gm)].map(([, indent, code]) => code.replaceAll(indent, ""));
  const examples = [...fenced, ...indented].filter((code) => !code.startsWith("// "));
  return new Map(examples.map((code) => [code.split("\n")[0], code]));
}

test("each other example of the README compiles", () => {
  const page = readFileSync(new URL("../../../README.md", import.meta.url), "utf8");
  const examples = new Map([...examplesIn(readme), ...examplesIn(page)]);
  assert.deepEqual([...examples.keys()].sort(), Object.keys(SURROUNDINGS).sort(), "give a new example its surroundings");
  const isV4 = (/** @type {string} */ code) => /NextAuth\(authOptions|\/v4"/.test(code);
  for (const [auth, nextAuth, found] of /** @type {const} */ ([
    [AUTH_4, "next-auth", [...examples].filter(([, code]) => isV4(code))],
    [AUTH_5, "next-auth-5", [...examples].filter(([, code]) => !isV4(code))],
  ])) {
    const files = found.map(([first, code], nth) => [`example${nth}.ts`, `${SURROUNDINGS[first]}\n${code.replace("@/auth", "./auth.js")}\nexport {};\n`]);
    const app = appWith({ ...Object.fromEntries(files), "auth.ts": auth }, nextAuth);
    assert.ok(files.length > 1);
    assert.deepEqual(
      compileWith7(
        app,
        files.map(([name]) => name),
        RESOLUTIONS.bundler,
      ),
      [],
    );
  }
});

test('the resolution "node10" does not find the package, and the README says so', () => {
  const file = join(appWith({}), "app.ts");
  const resolved = (/** @type {ts.CompilerOptions} */ options) => ts.resolveModuleName("@cambio/next-auth/v4", file, options, ts.sys).resolvedModule;
  assert.ok(resolved(RESOLUTIONS.bundler));
  assert.equal(resolved({ moduleResolution: ts.ModuleResolutionKind.Node10 }), undefined);
  assert.match(readme.replaceAll("\n", " "), /`"node10"` is not supported/);
});

/**
 * Returns the examples of each export, except exports of other packages and of openapi.yaml.
 * @param {string} file
 * @returns {Record<string, string[]>}
 */
function examplesOf(file) {
  const program = ts.createProgram([file], { ...RESOLUTIONS.bundler, types: [], noLib: true });
  const checker = program.getTypeChecker();
  const module = checker.getSymbolAtLocation(/** @type {ts.SourceFile} */ (program.getSourceFile(file))) ?? assert.fail(file);
  const declared = checker.getExportsOfModule(module).map((symbol) => (symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol));
  const own = declared.filter(({ declarations }) =>
    declarations?.some((declaration) => /package\/dist\/esm\/(?!openapi)/.test(declaration.getSourceFile().fileName)),
  );
  assert.ok(own.length > 0, file);
  return Object.fromEntries(
    own.map((symbol) => {
      const tags = symbol.getJsDocTags(checker).filter(({ name }) => name === "example");
      return [symbol.name, tags.map(({ text }) => /```ts\n([^]*)```/.exec(ts.displayPartsToString(text))?.[1] ?? "")];
    }),
  );
}

/** A folder with the package, its peers and these files. @param {Record<string, string>} files */
function appWith(files, nextAuth = "next-auth") {
  const app = mkdtempSync(join(folder, "app-"));
  const modules = join(app, "node_modules");
  mkdirSync(join(modules, "@cambio/next-auth"), { recursive: true });
  execFileSync("tar", ["-xzf", join(folder, tarball), "--strip-components=1"], { cwd: join(modules, "@cambio/next-auth") });
  for (const name of ["better-auth", "openapi-fetch", "@types"]) symlinkSync(join(ROOT, "node_modules", name), join(modules, name));
  symlinkSync(join(ROOT, "node_modules", nextAuth), join(modules, "next-auth"));
  writeFileSync(join(app, "package.json"), '{ "type": "module" }');
  for (const [name, text] of Object.entries(files)) writeFileSync(join(app, name), text);
  return app;
}

/**
 * Returns the compiler's messages about the app and about this package.
 * @param {string} app
 * @param {string[]} names
 * @param {ts.CompilerOptions} resolution
 */
function compile(app, names, resolution) {
  const program = ts.createProgram(
    names.map((name) => join(app, name)),
    {
      ...resolution,
      target: ts.ScriptTarget.ES2022,
      lib: ["lib.es2022.d.ts", "lib.dom.d.ts", "lib.dom.iterable.d.ts"],
      types: ["node"],
      typeRoots: [join(app, "node_modules/@types")],
      strict: true,
      exactOptionalPropertyTypes: true,
      noEmit: true,
    },
  );
  const ours = program.getSourceFiles().filter(({ fileName }) => fileName.startsWith(app));
  assert.ok(
    ours.some(({ fileName }) => fileName.endsWith("/index.d.ts")),
    "the package is not compiled",
  );
  return [
    ...program.getOptionsDiagnostics(),
    ...ours.flatMap((file) => [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)]),
  ].map(({ file, messageText }) => `${file?.fileName.slice(app.length + 1)}: ${ts.flattenDiagnosticMessageText(messageText, "\n")}`);
}

/** The same by TypeScript 7, which has no API for JavaScript. @type {typeof compile} */
function compileWith7(app, names, { moduleResolution }) {
  const isNode = moduleResolution === ts.ModuleResolutionKind.Node16;
  const compilerOptions = {
    ...(isNode ? { module: "node16" } : { module: "esnext", moduleResolution: "bundler" }),
    ...{ target: "es2022", lib: ["es2022", "dom", "dom.iterable"], types: ["node"], typeRoots: ["node_modules/@types"] },
    ...{ strict: true, exactOptionalPropertyTypes: true, noEmit: true, skipLibCheck: false },
  };
  writeFileSync(join(app, "tsconfig.json"), JSON.stringify({ compilerOptions, files: names }));
  const tsc = join(ROOT, "node_modules/typescript-7/bin/tsc");
  const { stdout } = spawnSync("node", [tsc, "--pretty", "false", "--listFiles"], { cwd: app, encoding: "utf8" });
  assert.match(stdout, /@cambio\/next-auth\/dist\/.*\.d\.c?ts$/m, "the package is not compiled");
  const errors = [...stdout.matchAll(/^((?:node_modules\/@cambio\/|[\w-]+\.c?ts)[^(]*)\([\d,]+\): error TS\d+: (.*)$/gm)];
  return errors.map(([, file, message]) => `${file}: ${message}`);
}
