// @ts-check
/** Checks each cell of the table of libraries and types of keys in docs/protect-your-api.md, and its versions. */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { after, before, test } from "node:test";
import { decodeProtectedHeader } from "jose";
import { buildCambio, ROOT, run, scenario, setup, stopAll } from "../browser/harness.mjs";
import { Cambio } from "./cambio.mjs";
import { table } from "./page.mjs";
import { missing, PROGRAMS } from "./stacks.mjs";

const HERE = join(ROOT, "tests/interop");
const JAVA = join(PROGRAMS, "java");
const TYPES = ["RSA-2048", "P-256", "Ed25519"];

const PYTHON = join(ROOT, ".venv/bin/python");

/**
 * A language of the table: a program that takes an issuer, an audience, an algorithm and tokens; and the version of a
 * library that is installed for it.
 * @typedef {{
 *   tools: string[],
 *   build?(): Promise<void>,
 *   command(): string[],
 *   version(library: string): string | undefined,
 * }} Language
 */
/** @type {Record<string, Language>} */
const LANGUAGES = {
  Node: {
    tools: [],
    command: () => ["node", join(HERE, "keys.mjs")],
    version: (library) => JSON.parse(readFileSync(join(HERE, "node_modules", library, "package.json"), "utf8")).version,
  },
  Python: {
    tools: [],
    command: () => [PYTHON, join(HERE, "python/keys.py")],
    version: (library) => execFileSync(PYTHON, ["-c", `print(__import__("importlib.metadata").metadata.version("${library}"))`], { encoding: "utf8" }).trim(),
  },
  Go: {
    tools: ["go"],
    build: () => run("keys.go", "go", ["build", "-o", join(PROGRAMS, "keys"), "./keys"], { cwd: join(HERE, "go"), timeout: 600_000 }),
    command: () => [join(PROGRAMS, "keys")],
    version: (library) => match(new RegExp(`/${library.replace("golang-jwt", "jwt")}/v\\d v(\\S+)`), readFileSync(join(HERE, "go/go.mod"), "utf8")),
  },
  Java: {
    tools: ["java", "mvn"],
    build: buildJava,
    command: () => ["java", "-cp", `${JAVA}/target/classes:${classpath()}`, "com.example.keys.Keys"],
    version: (library) => match(new RegExp(`/${JARS[library] ?? library}-([\\d.]+)\\.jar`), classpath()),
  },
};
/** @type {Record<string, string>} */
const JARS = { "Spring Security": "spring-security-oauth2-jose", "Nimbus JOSE + JWT": "nimbus-jose-jwt" };

/** @type {{ type: string, issuer: string, algorithm: string, token: string, tampered: string }[]} */
const apis = [];
/** @type {Cambio[]} */
const started = [];
/** By library and type of key: "accepted", or why not. @type {Map<string, string>} */
const results = new Map();

before(
  setup(async () => {
    await buildCambio("keys");
    for (const type of TYPES) {
      const cambio = await new Cambio(`keys.${type}`, type).start();
      started.push(cambio);
      const token = (await cambio.signIn()).access_token;
      const [header, payload, signature] = token.split(".");
      const tampered = [header, payload, (signature[0] === "A" ? "B" : "A") + signature.slice(1)].join(".");
      apis.push({ type, issuer: cambio.url, algorithm: decodeProtectedHeader(token).alg ?? "", token, tampered });
    }
  }),
);
after(async () => {
  for (const cambio of started) await cambio.remove();
  await stopAll();
});

for (const [language, { tools, build, command, version }] of Object.entries(LANGUAGES)) {
  const absent = missing(tools);
  if (absent.length > 0) {
    console.log(`the ${language} libraries were not run here: ${absent.join(", ")} is not installed`);
    test(language, { skip: "not installed" });
    continue;
  }
  scenario(`${language}: every cell of the table is true`, async () => {
    mkdirSync(PROGRAMS, { recursive: true });
    await build?.();
    const page = table("### Choose the type of the keys").filter((row) => row[1] === language);
    /** @type {Map<string, string[]>} */
    const rows = new Map(page.map(([library]) => [library, []]));
    for (const { type, issuer, algorithm, token, tampered } of apis) {
      for (const [library, [good, bad]] of await verdicts([...command(), issuer, issuer, algorithm, token, tampered])) {
        assert.notEqual(bad, "accepted", `${library} accepts a signature that is not the key's (${type})`);
        results.set(`${library}, ${type}`, good);
        // What a library does with the issuer's metadata is not in this table.
        if (!library.includes(", ")) rows.set(library, [...(rows.get(library) ?? []), good === "accepted" ? "yes" : "no"]);
      }
    }

    const said = [...results].map(([what, result]) => `${what}: ${result}`).join("\n");
    const expected = [...rows].map(([library, cells]) => [library, language, versions(library, version), ...cells]);
    assert.deepEqual(page, expected, said);
  });
}

scenario("Spring Security and go-oidc read the issuer's metadata", async () => {
  const by = (/** @type {string} */ library) => TYPES.map((type) => results.get(`${library}, ${type}`));
  if (missing(["go"]).length === 0) {
    assert.deepEqual(by("go-oidc, issuer's metadata"), ["accepted", "accepted", "accepted"]);
  }
  if (missing(["java", "mvn"]).length === 0) {
    const [rsa, p256, ed25519] = by("Spring Security, issuer's metadata");
    assert.deepEqual([rsa, p256], ["accepted", "accepted"]);
    assert.match(ed25519 ?? "", /Failed to find any algorithms/);
    // Without a setting, Spring Security accepts no access token, because of its type.
    assert.match(results.get("Spring Security, defaults, RSA-2048") ?? "", /the given typ value needs to be one of \[JWT\]/);
  }
});

/** Returns the versions of a row's libraries. @param {string} row @param {Language["version"]} version */
function versions(row, version) {
  const libraries = row in JARS ? [row] : row.split(" + ");
  return libraries.map(version).join(", ");
}

/** Returns what each library says of each token. @param {string[]} command */
async function verdicts([command, ...args]) {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"] });
  const exited = once(child, "exit");
  const output = await text(child.stdout);
  assert.equal((await exited)[0], 0, output);
  /** @type {Map<string, string[]>} */
  const said = new Map();
  for (const line of output.trim().split("\n")) {
    const [library, nth, result] = line.split("\t");
    const all = said.get(library) ?? [];
    all[Number(nth)] = result;
    said.set(library, all);
  }
  return said;
}

async function buildJava() {
  rmSync(JAVA, { recursive: true, force: true });
  cpSync(join(HERE, "java"), JAVA, { recursive: true });
  const goals = ["compile", "dependency:build-classpath", "-Dmdep.outputFile=classpath"];
  await run("keys.mvn", "mvn", ["--batch-mode", "--quiet", "--strict-checksums", ...goals], { cwd: JAVA, timeout: 600_000 });
}

function classpath() {
  return readFileSync(join(JAVA, "classpath"), "utf8");
}

/** @param {RegExp} pattern @param {string} text */
function match(pattern, text) {
  return pattern.exec(text)?.[1];
}
