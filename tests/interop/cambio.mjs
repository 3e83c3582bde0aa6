// @ts-check
/** The API on this machine with a database of its own, whose keys rotate and can sign tokens that the API would not. */
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseEnv } from "node:util";
import { CLIENT, answers, dynamodb, eventually, freePort, secretHash, startCambio, stop } from "../browser/harness.mjs";

const SCOPES = ["orders:read", "orders:write"];
const KEY_SET = { TableName: "cambio-keys", Key: { pk: { S: "KEYSET" } } };

/** @typedef {{ access_token: string, refresh_token: string }} Tokens */
/** @typedef {{ kid: string, sign_from: number }} PublishedKey */

export class Cambio {
  url = "";
  #folder = mkdtempSync(join(tmpdir(), "cambio-interop-"));
  #github = "";
  #ports = { api: 0, github: 0 };
  #name;
  #keyType;
  /** @type {ReturnType<typeof startCambio> | undefined} */
  #running;

  #clients;

  /**
   * @param {string} name of its logs @param {string} keyType a value of SIGNING_KEY_TYPE
   * @param {object[]} [clients] beside `CLIENT`
   */
  constructor(name, keyType, clients = []) {
    this.#name = name;
    this.#keyType = keyType;
    this.#clients = [{ client_id: CLIENT.id, secret_sha256: [secretHash(CLIENT.secret)], scopes: SCOPES }, ...clients];
  }

  /** Starts the API, at each start behind the same ports. */
  async start() {
    this.#ports.api ||= await freePort();
    this.#ports.github ||= await freePort();
    this.url = `http://localhost:${this.#ports.api}`;
    this.#github = `http://localhost:${this.#ports.github}`;
    this.#running = this.#startCambio("local", ["--port", `${this.#ports.api}`]);
    await answers(this.url, 200);
    return this;
  }

  async stop() {
    if (this.#running) await stop(this.#running);
    this.#running = undefined;
  }

  async remove() {
    await this.stop();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /**
   * Signs octocat in.
   * @param {{ scope?: string }} [parameters] of the token request
   * @returns {Promise<Tokens>}
   */
  async signIn({ scope = "orders:read" } = {}) {
    return this.#token({
      grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
      subject_token: await (await fetch(`${this.#github}/stand-in/tokens?login=octocat`, { method: "POST" })).text(),
      subject_token_type: "urn:ietf:params:oauth:token-type:access_token",
      subject_issuer: "github",
      scope,
    });
  }

  /** @param {Record<string, string>} form @returns {Promise<Tokens>} */
  async #token(form) {
    const headers = { Authorization: `Basic ${btoa(`${CLIENT.id}:${CLIENT.secret}`)}` };
    const answer = await fetch(`${this.url}/token`, { method: "POST", headers, body: new URLSearchParams(form) });
    assert.equal(answer.status, 200, await answer.clone().text());
    return answer.json();
  }

  /** Restarts the API, and returns the private key that signs, and its name. */
  async currentKey() {
    const key = await this.#withDatabase(async (query) => {
      const { kid } = current(await keysOf(query));
      const { Item } = await query("GetItem", { TableName: KEY_SET.TableName, Key: { pk: { S: `KEY#${kid}` } } });
      return { kid, pem: /** @type {string} */ (Item.private_key.S) };
    });
    await this.start();
    return key;
  }

  /** Lets the next key take over, and starts the API, which makes one more key. */
  async rotate() {
    await this.#withDatabase(async (query) => {
      const keys = await keysOf(query);
      const next = keys.findIndex((key) => key.sign_from > Date.now() / 1000);
      assert.ok(next > 0, "there is no next key");
      await query("UpdateItem", {
        ...KEY_SET,
        UpdateExpression: `SET #keys[${next}].sign_from = :now`,
        ExpressionAttributeNames: { "#keys": "keys" },
        ExpressionAttributeValues: { ":now": { N: `${Math.floor(Date.now() / 1000)}` } },
      });
    });
    await this.start();
  }

  /**
   * Stops the API, and runs `body` with the DynamoDB that has its tables.
   * @template T @param {(query: Query) => Promise<T>} body
   */
  async #withDatabase(body) {
    await this.stop();
    const envFile = join(this.#folder, "lambda.env");
    rmSync(envFile, { force: true });
    const port = await freePort();
    const services = this.#startCambio("services", ["--dynamodb-port", `${port}`, "--env-file", envFile, "--issuer-url", this.url]);
    const url = `http://127.0.0.1:${port}`;
    await eventually(`${envFile}`, 60_000, async () => assert.ok(existsSync(envFile), "it is not there yet"));
    const { AWS_ACCESS_KEY_ID } = parseEnv(readFileSync(envFile, "utf8"));
    try {
      return await body((operation, input) => dynamodb(url, AWS_ACCESS_KEY_ID ?? "", operation, input));
    } finally {
      await stop(services);
    }
  }

  /** @param {"local" | "services"} what @param {string[]} args */
  #startCambio(what, args) {
    const all = ["--data-dir", this.#folder, "--github-port", `${this.#ports.github}`, ...args];
    const env = { CLIENTS: JSON.stringify(this.#clients), SIGNING_KEY_TYPE: this.#keyType };
    return startCambio(`${this.#name}.${what}`, what === "services" ? ["services", ...all] : all, { env });
  }
}

/** @typedef {(operation: string, input: object) => Promise<any>} Query */

/** @param {Query} query @returns {Promise<PublishedKey[]>} */
async function keysOf(query) {
  const { Item } = await query("GetItem", KEY_SET);
  return Item.keys.L.map((/** @type {any} */ { M }) => ({ kid: M.kid.S, sign_from: Number(M.sign_from.N) }));
}

/** @param {PublishedKey[]} keys */
function current(keys) {
  const started = keys.filter((key) => key.sign_from <= Date.now() / 1000);
  return started.reduce((latest, key) => (key.sign_from > latest.sign_from ? key : latest));
}
