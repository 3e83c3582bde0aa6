// @ts-check
/** Tests the entries that read the client secret in bundles for browsers. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

const ON_SERVERS = ["@cambio/next-auth/v4", "@cambio/next-auth/v5", "@cambio/next-auth/better-auth"];

/** @param {string} entry @param {string[]} conditions */
function imported(entry, conditions, call = `import("${entry}")`) {
  const flags = conditions.map((condition) => `--conditions=${condition}`);
  const { status, stderr } = spawnSync(process.execPath, [...flags, "-e", call], { encoding: "utf8", cwd: new URL("..", import.meta.url) });
  return { status, stderr };
}

for (const entry of ON_SERVERS) {
  test(`${entry} does not load in browsers, and says why`, () => {
    const { status, stderr } = imported(entry, ["browser"]);
    assert.notEqual(status, 0);
    assert.match(stderr, /only for servers/);
  });

  test(`${entry} loads on servers whose bundlers set the condition "browser" too`, () => {
    for (const conditions of [[], ["edge-light", "browser"], ["workerd", "worker", "browser"], ["react-server"]]) {
      const { status, stderr } = imported(entry, conditions);
      assert.equal(status, 0, `${conditions} ${stderr}`);
    }
  });
}

test("require of the entries that read the secret fails in browsers too", () => {
  for (const entry of ON_SERVERS.slice(0, 2)) {
    const { status, stderr } = imported(entry, ["browser"], `require("${entry}")`);
    assert.notEqual(status, 0);
    assert.match(stderr, /only for servers/);
    assert.equal(imported(entry, [], `require("${entry}")`).status, 0);
  }
});

test("a bundle for browsers with such an entry does not build, and the message names the reason", async () => {
  for (const entry of ON_SERVERS) {
    assert.match(await errorsOf(`import { cambio } from "${entry}"; console.log(cambio)`, "web"), /'cambio' .*module has no exports/);
    // better-auth needs the modules that Next.js leaves to Node.js.
    if (!entry.endsWith("better-auth")) assert.equal(await errorsOf(`import { cambio } from "${entry}"; console.log(cambio)`, "node"), "");
  }
  assert.equal(await errorsOf('import { cambioFetch } from "@cambio/next-auth/fetch"; console.log(cambioFetch)', "web"), "");
});

/**
 * Builds with the webpack of Next.js and the settings of Next.js.
 * @param {string} code
 * @param {"web" | "node"} target
 * @returns {Promise<string>}
 */
function errorsOf(code, target) {
  const compiled = createRequire(import.meta.url)("next/dist/compiled/webpack/webpack-lib.js");
  const folder = mkdtempSync(join(tmpdir(), "cambio-bundle-"));
  const module = { rules: [{ test: /./, parser: { exportsPresence: "error" } }] };
  const compiler = compiled({
    mode: "production",
    context: process.cwd(),
    entry: `data:text/javascript,${code}`,
    target,
    module,
    optimization: { minimize: false },
    output: { path: folder },
  });
  return new Promise((resolve, reject) =>
    compiler.run((/** @type {Error} */ failure, /** @type {any} */ stats) => {
      rmSync(folder, { recursive: true });
      if (failure) reject(failure);
      else resolve(stats.compilation.errors.join());
    }),
  );
}

test("the calls for browsers load there", () => {
  for (const entry of ["@cambio/next-auth", "@cambio/next-auth/better-auth/client"]) assert.equal(imported(entry, ["browser"]).status, 0, entry);
});
