// @ts-check
/** The table of docs/providers.md, compared with the providers of the installed next-auth 4 and Auth.js 5. */
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { cambio } from "@cambio/next-auth/v5";
import { vouch } from "@cambio/next-auth/vouch";
import { grant, serverOfTests, USER } from "./server.mjs";

const server = await serverOfTests();

const root = new URL("../../../", import.meta.url);
/** @param {string} path */
const text = (path) => readFileSync(new URL(path, root), "utf8");

const modules = new URL("../node_modules/", import.meta.url);
const core = ["next-auth-5/node_modules/@auth/core/providers/", "@auth/core/providers/"].map((path) => new URL(path, modules));
/** The folders of the providers: next-auth 4, Auth.js 5. */
const FOLDERS = [new URL("next-auth/providers/", modules), /** @type {URL} */ (core.find((folder) => existsSync(folder)))];

/** The ids that are options of a provider, or types, and no providers. */
const NO_PROVIDER = ["index.js", "oauth.js", "oauth-types.js", "provider-types.js"];

/** The ids of the providers in a folder, with their files. @param {URL} folder @returns {Map<string, URL>} */
function providersOf(folder) {
  const ids = new Map();
  for (const file of readdirSync(folder).filter((name) => name.endsWith(".js") && !NO_PROVIDER.includes(name))) {
    const code = readFileSync(new URL(file, folder), "utf8");
    const all = [...code.matchAll(/^\s*id: "([^"]+)"/gm)].map(([, id]) => id);
    // email.js of Auth.js is nodemailer.js by its old name.
    for (const id of all.length || file !== "email.js" ? all : ["email"]) ids.set(id, new URL(file, folder));
  }
  return ids;
}

/** The rows of the table: id, whether it works, how. */
const page = text("docs/providers.md");
const section = page.split(/^## /m).find((part) => part.startsWith("All providers of next-auth\n")) ?? "";
const rows = [...section.matchAll(/^\| `([^`]+)` \| ([^|]+) \| (.+) \|$/gm)].map(([, id = "", works = "", how = ""]) => ({ id, works, how }));
/** @param {string} works */
const idsThat = (works) => rows.filter((row) => row.works === works).map((row) => row.id);

test("each provider of next-auth 4 and Auth.js 5 has one row, and each row a provider", () => {
  const installed = FOLDERS.map(providersOf);
  const [four, five] = installed.map((ids) => ids.size);
  assert.ok(Number(four) >= 60 && Number(five) >= 100, `${four} ${five}`);
  const ids = [...new Set(installed.flatMap((all) => [...all.keys()]))].sort();
  assert.deepEqual(rows.map((row) => row.id).sort(), ids);
});

test("each row says that its provider works by default, with a setting, or that the app vouches, and how", () => {
  const known = ["by default", "with a setting", "the app vouches"];
  for (const { id, works, how } of rows) assert.ok(known.includes(works) && how.length > 5, id);
  const [byDefault, setting, vouched] = known.map((works) => idsThat(works).length);
  const counts = `${byDefault} work by default, ${setting} with a setting, and for ${vouched} the app vouches.`;
  assert.ok(section.includes(counts), counts);
  assert.ok(Number(byDefault) >= 45);
});

test("each provider that is said to be proven signs in, in a test against its documented answers", () => {
  const openid = [...text("tests/e2e/oidc_providers.rs").matchAll(/\(\s*"([a-z0-9-]+)",\s+"[^"]*",\s+[RE]S\d+,?\s*\)|"name": "(line)"/g)];
  const opaque = [...text("tests/e2e/described.rs").matchAll(/^\s*name: "([a-z0-9-]+)"/gm)];
  // tests/e2e/sign_in.rs and tests/e2e/opaque.rs
  const tested = new Set(["github", "discord", "facebook", ...[...openid, ...opaque].map(([, a, b]) => a ?? b)]);
  const proven = [...idsThat("by default"), ...idsThat("with a setting")];
  // The same provider under its id in next-auth 4.
  const untested = proven.filter((id) => !tested.has(id.replace("duende-identityserver6", "duende-identity-server6")));
  assert.deepEqual(untested, []);
});

test("each provider with opaque tokens that works by default has a preset", () => {
  const presets = [...text("shared/src/config/presets.rs").matchAll(/^ {8}"([a-z0-9-]+)",$/gm)].map(([, name]) => name);
  for (const { id, works, how } of rows) {
    if (works !== "by default" || !how.startsWith("`OAUTH_PROVIDERS`")) continue;
    assert.ok(presets.includes(id) || ["discord", "facebook"].includes(id), id);
  }
});

test("each OpenID provider of Auth.js asks for an ID token, and has a row of an OpenID provider", async () => {
  const options = { clientId: "id", clientSecret: "secret", issuer: "https://issuer.example", tenantId: "tenant" };
  let count = 0;
  for (const [id, file] of providersOf(/** @type {URL} */ (FOLDERS[1]))) {
    if (!/type: "oidc"/.test(readFileSync(file, "utf8")) && id !== "azure-ad") continue;
    count += 1;
    const { default: make } = await import(file.href);
    const provider = make(options);
    assert.equal(provider.type, "oidc", id);
    // Without a scope, Auth.js requests `openid profile email`. Apple issues an ID token for any scope.
    const scope = provider.authorization?.params?.scope ?? "openid profile email";
    assert.ok(scope.split(" ").includes("openid") || id === "apple", `${id} ${scope}`);
    const row = rows.find((other) => other.id === id);
    assert.ok(row?.works === "by default" && row.how.startsWith("`OIDC_PROVIDERS`"), id);
  }
  assert.equal(count, 36);
});

test("each OAuth provider that cannot be proven signs in by the word of the app, each with ids of its own", async () => {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const key = { ...privateKey.export({ format: "jwk" }), kid: "one" };
  const installed = new Map(FOLDERS.flatMap((folder) => [...providersOf(folder)]));
  const isOAuth = (/** @type {string} */ id) => /type: "oauth"/.test(readFileSync(/** @type {URL} */ (installed.get(id)), "utf8"));
  const ids = idsThat("the app vouches").filter(isOAuth);
  assert.ok(ids.length >= 40, `${ids.length}`);
  server.answer = () => ({ body: grant(1) });

  const client = { url: server.url, clientId: "shop", clientSecret: "secret" };
  const { callbacks } = cambio({ ...client, vouch: vouch({ key, clientId: "shop", url: server.url }), vouchFor: ids }).options;
  for (const id of ids) {
    // With the token that the provider issues, which says nothing of the app.
    const account = /** @type {any} */ ({ provider: id, type: "oauth", providerAccountId: "17", access_token: "opaque" });
    const parameters = /** @type {any} */ ({ token: { name: "Ada" }, account, user: { id: "new at each sign-in", name: "Ada" } });
    assert.equal(await callbacks.signIn(parameters), true, id);
    const token = /** @type {any} */ (await callbacks.jwt(parameters));
    assert.equal(token.cambio.user.id, USER.id, id);
  }
  const jwts = server.requests.map(({ form }) => form.subject_token);
  const subjects = jwts.map((jwt) => JSON.parse(Buffer.from(jwt.split(".")[1] ?? "", "base64url").toString()).sub);
  assert.deepEqual(
    subjects,
    ids.map((id) => `${id}:17`),
  );
  assert.ok(jwts.every((jwt) => jwt !== "opaque"));
});
