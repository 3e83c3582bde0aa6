// Generates src/openapi.ts from openapi.yaml, and compiles src/ twice: for `import` into dist/esm, for `require` into
// dist/cjs.
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";

/** The projects: the first resolves `next-auth` to version 4, the second to version 5. */
const PROJECTS = ["tsconfig.json", "tsconfig.v5.json"];
/** Entries that only `import` loads, like better-auth itself. */
const ESM_ONLY = ["src/better-auth.ts", "src/better-auth-client.ts"];

// The full path, because TypeScript 7 is installed as well and both packages have a `tsc`.
const tsc = (project) => execFileSync("node", ["node_modules/typescript/bin/tsc", "-p", project], { stdio: "inherit" });
const generate = ["node_modules/openapi-typescript/bin/cli.js", "../../openapi.yaml", "-o", "src/openapi.ts"];
const json = (path, value) => writeFileSync(path, `${JSON.stringify(value)}\n`);

// npm packs only files of this folder.
for (const licence of ["LICENSE-APACHE", "LICENSE-MIT"]) cpSync(`../../${licence}`, licence);
execFileSync("node", generate, { stdio: ["ignore", "ignore", "inherit"] });
for (const folder of ["dist", ".cjs"]) rmSync(folder, { recursive: true, force: true });
for (const project of PROJECTS) tsc(project);
// TypeScript chooses the module format of a file by the nearest package.json.
mkdirSync(".cjs");
cpSync("src", ".cjs/src", { recursive: true });
json(".cjs/package.json", { type: "commonjs" });
const compilerOptions = { rootDir: "src", outDir: "../dist/cjs", verbatimModuleSyntax: false };
for (const project of PROJECTS) {
  const { exclude } = JSON.parse(readFileSync(project));
  exclude.push(...ESM_ONLY);
  json(`.cjs/${project}`, { extends: `../${project}`, compilerOptions, include: ["src"], exclude });
  tsc(`.cjs/${project}`);
}
for (const name of readdirSync("dist/cjs").filter((name) => name.endsWith(".map"))) {
  const map = JSON.parse(readFileSync(`dist/cjs/${name}`));
  json(`dist/cjs/${name}`, { ...map, sources: map.sources.map((source) => source.replace("/.cjs/", "/")) });
}
json("dist/cjs/package.json", { type: "commonjs" });
rmSync(".cjs", { recursive: true });
