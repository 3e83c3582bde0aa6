// @ts-check
/** Runs commands of docs/protect-your-api.md as they are, but for the ports. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { after } from "node:test";
import { answers, buildCambio, cambioCommand, freePort, scenario, secretHash, start, stopAll } from "../browser/harness.mjs";
import { Cambio } from "./cambio.mjs";
import { commands, section } from "./page.mjs";
import { PROGRAMS, STACKS, writeProgram } from "./stacks.mjs";

after(stopAll);

scenario("the commands of the page start the API and a program, and call it with a token", async () => {
  const ports = { 9000: await freePort(), 9001: await freePort(), 8080: await freePort() };
  const page = commands("### Try a program").map((text) => text.replaceAll(/\b(9000|9001|8080)\b/g, (port) => `${ports[/** @type {9000} */ (Number(port))]}`));
  const [startApi, exports, request] = page;
  assert.equal(page.length, 3);
  const node = commands("### Node").join("");
  const express = STACKS.find(({ folder }) => folder === "express");
  assert.ok(express);
  writeProgram(express);
  await buildCambio("try");

  const api = cambioCommand(["--in-memory", "--port", `${ports[9000]}`, "--github-port", `${ports[9001]}`]);
  start("try.local", "bash", ["-c", startApi.replace("cargo run", '"$0" "$@"'), ...api]);
  await answers(`http://localhost:${ports[9000]}`, 200);
  const program = `${exports}${/^node .*$/m.exec(node)?.[0]}`;
  start("try.program", "bash", ["-c", program], { cwd: join(PROGRAMS, "express"), env: { PORT: `${ports[8080]}` } });
  await answers(`http://localhost:${ports[8080]}/orders`, 401);
  const output = execFileSync("bash", ["-c", request], { encoding: "utf8" });

  assert.match(output, /^HTTP\/1\.1 200 OK\r\n/);
  assert.match(output, /\r\n\r\n\{"user":"[\w-]{36}"\}$/);
});

scenario("the command of the page asks whether a session is alive", async () => {
  const service = { client_id: "orders-api", secret_sha256: [secretHash("secret-of-the-orders-api")], introspects: true };
  await buildCambio("ask");
  const cambio = await new Cambio("ask", "RSA-2048", [service]).start();
  const TOKEN = (await cambio.signIn()).access_token;
  const [command] = /^ {7}curl .*introspect.*$/m.exec(section("## Ask whether a session is alive")) ?? [];
  assert.ok(command);
  const ask = (/** @type {string} */ token) => {
    const env = { ...process.env, API: cambio.url, SECRET: "secret-of-the-orders-api", TOKEN: token };
    return execFileSync("bash", ["-c", command], { encoding: "utf8", env });
  };

  assert.match(ask(TOKEN), /^\{"active":true,"token_type":"Bearer","iss":/);
  assert.equal(ask(`${TOKEN}x`), '{"active":false}');
  await cambio.remove();
});
