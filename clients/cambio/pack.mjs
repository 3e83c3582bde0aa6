// Packs what npm publishes into a folder:
//
//     node pack.mjs cli <folder>                  @cambio/cli
//     node pack.mjs server <folder> [platform]    the package with the local server for this machine, or for a platform
//     node pack.mjs server <folder> --debug       the same with the debug build that `cargo run` has, for tests
//
// For this machine, `cargo build` builds the server. For a named platform, it is built as it is published: on Linux by
// cargo-zigbuild for an old glibc, the oldest that Node 20 runs on.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const here = dirname(fileURLToPath(import.meta.url));
const root = resolve(here, "../..");
const GLIBC = "2.28";
const TARGETS = {
  "linux-x64": "x86_64-unknown-linux-gnu",
  "linux-arm64": "aarch64-unknown-linux-gnu",
  "darwin-arm64": "aarch64-apple-darwin",
  "darwin-x64": "x86_64-apple-darwin",
};
const LICENCES = ["LICENSE-APACHE", "LICENSE-MIT"];

function run(command, args, options) {
  return execFileSync(command, args, { cwd: root, stdio: ["ignore", "pipe", "inherit"], maxBuffer: 2 ** 28, ...options }).toString();
}

function buildCli() {
  run("npm", ["run", "--silent", "build"], { cwd: here });
}

/**
 * Runs a build of cargo, and returns the path of the local server.
 * @param {string[]} command @param {NodeJS.ProcessEnv} env
 */
function built(command, env) {
  const lines = run("cargo", [...command, "--locked", "--message-format", "json-render-diagnostics"], { env }).split("\n");
  const messages = lines.filter(Boolean).map((line) => JSON.parse(line));
  return messages.find(({ target, executable }) => target?.name === "cambio" && executable).executable;
}

/**
 * Builds the local server, and returns the path of the binary.
 * @param {string | undefined} platform
 */
function buildServer(platform) {
  let command = ["build"];
  if (platform?.startsWith("linux-")) command = ["zigbuild", "--target", `${TARGETS[platform]}.${GLIBC}`];
  else if (platform) command = ["build", "--target", TARGETS[platform]];
  // A panic names its place in the source; the folders of the machine that built it are of no use elsewhere.
  const remapped = [
    [process.env.CARGO_HOME ?? join(homedir(), ".cargo"), "/cargo"],
    [root, "/cambio"],
  ].map(([from, to]) => `--remap-path-prefix=${from}=${to}`);
  const flags = process.env.RUSTFLAGS?.split(" ").filter(Boolean) ?? [];
  const env = { ...process.env, CARGO_ENCODED_RUSTFLAGS: [...flags, ...remapped].join("\x1f") };
  const binary = built([...command, "--profile", "dist", "--package", "local"], env);
  const needed = new Set(readFileSync(binary, "latin1").match(/(?<=GLIBC_2\.)\d+\b/g));
  const newer = platform ? [...needed].filter((minor) => Number(minor) > Number(GLIBC.split(".")[1])) : [];
  if (newer.length > 0) throw Error(`the binary for ${platform} needs glibc 2.${newer.join(" and 2.")}; it must run with ${GLIBC}`);
  return binary;
}

/**
 * Returns the licences of the crates in the server.
 * @param {string} target
 */
function licencesOfCrates(target) {
  const metadata = JSON.parse(run("cargo", ["metadata", "--locked", "--format-version", "1", "--filter-platform", target]));
  const packages = new Map(metadata.packages.map((one) => [one.id, one]));
  const nodes = new Map(metadata.resolve.nodes.map((one) => [one.id, one]));
  const linked = new Set(metadata.packages.filter((one) => one.name === "local" && !one.source).map((one) => one.id));
  // A set can grow during its iteration.
  for (const id of linked) {
    for (const { pkg, dep_kinds } of nodes.get(id).deps) if (dep_kinds.some(({ kind }) => kind === null)) linked.add(pkg);
  }
  const crates = [...linked].map((id) => packages.get(id)).filter(({ source }) => source);
  crates.sort((one, other) => one.name.localeCompare(other.name));
  const texts = new Map();
  for (const { name, version, manifest_path } of crates) {
    const folder = dirname(manifest_path);
    for (const file of readdirSync(folder).filter((file) => /^(licen[cs]e|copying|notice)/i.test(file))) {
      const text = readFileSync(join(folder, file), "utf8").replaceAll("\r\n", "\n").trim();
      const key = createHash("sha256").update(text).digest("hex");
      const same = texts.get(key) ?? { text, names: [] };
      same.names.push(`${name} ${version}`);
      texts.set(key, same);
    }
  }
  const list = crates.map(({ name, version, license }) => `${name} ${version}: ${license ?? "see below"}`);
  const parts = [...texts.values()].map(({ text, names }) => `${"-".repeat(100)}\n${[...new Set(names)].join(", ")}\n\n${text}\n`);
  return `The local server contains these crates, under these licences:\n\n${list.join("\n")}\n\n${parts.join("\n")}`;
}

/**
 * Packs a folder that `fill` fills, and prints the name of the tarball.
 * @param {string} destination @param {Record<string, unknown>} manifest @param {(folder: string) => void} fill
 */
function pack(destination, manifest, fill) {
  const folder = mkdtempSync(join(tmpdir(), "cambio-pack-"));
  try {
    for (const licence of LICENCES) cpSync(join(root, licence), join(folder, licence));
    fill(folder);
    writeFileSync(join(folder, "package.json"), `${JSON.stringify(manifest, null, 2)}\n`);
    const name = run("npm", ["pack", "--silent", "--ignore-scripts", "--pack-destination", destination], { cwd: folder }).trim();
    console.log(name);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const manifest = JSON.parse(readFileSync(join(here, "package.json"), "utf8"));
const { positionals, values } = parseArgs({ allowPositionals: true, options: { debug: { type: "boolean", default: false } } });
const [what, folder, platform] = positionals;
if (!["cli", "server"].includes(what ?? "") || !folder || (platform && !TARGETS[platform]) || (values.debug && (what === "cli" || platform))) {
  console.error(`usage: node pack.mjs cli <folder>, or: node pack.mjs server <folder> [--debug | ${Object.keys(TARGETS).join(" | ")}]`);
  process.exit(2);
}
const destination = resolve(folder);
buildCli();
const { PLATFORMS, packageOf } = await import("./dist/platforms.js");
if (what === "cli") {
  const optionalDependencies = Object.fromEntries(PLATFORMS.map((one) => [packageOf(one), manifest.version]));
  pack(destination, { ...manifest, optionalDependencies }, (folder) => {
    for (const name of ["dist", "README.md"]) cpSync(join(here, name), join(folder, name), { recursive: true });
  });
} else {
  const own = platform ?? `${process.platform}-${process.arch}`;
  const target = TARGETS[own];
  if (!PLATFORMS.includes(own) || !target) throw Error(`the local server does not run on ${own}; it runs on ${PLATFORMS.join(", ")}`);
  const [os, cpu] = own.split("-");
  const { version, license, repository, publishConfig, engines } = manifest;
  const description = `The local server of Cambio for ${own}, which @cambio/cli runs`;
  // Yarn's Plug'n'Play must unpack a binary to run it.
  const more = { os: [os], cpu: [cpu], ...(os === "linux" && { libc: ["glibc"] }), preferUnplugged: true, files: ["bin", "LICENSE-*"] };
  const server = { name: packageOf(own), version, description, license, repository, publishConfig, engines, ...more };
  // By --bin, as `cargo run` builds it: nothing is built twice.
  const binary = values.debug ? built(["build", "--bin", "cambio"], process.env) : buildServer(platform);
  pack(destination, server, (folder) => {
    mkdirSync(join(folder, "bin"));
    cpSync(binary, join(folder, "bin/cambio"));
    writeFileSync(join(folder, "LICENSE-THIRD-PARTY"), licencesOfCrates(target));
    writeFileSync(
      join(folder, "README.md"),
      `# ${server.name}\n\n${description}. Install \`@cambio/cli\`, which has this package as an optional dependency.\n`,
    );
  });
}
