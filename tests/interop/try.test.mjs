// @ts-check
/** Runs the commands of "Try a program" in docs/protect-your-api.md as they are, but for the ports. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { after } from "node:test";
import { answers, buildCambio, cambioCommand, freePort, scenario, start, stopAll } from "../browser/harness.mjs";
import { commands } from "./page.mjs";
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
  await buildCambio("interop-try");

  const api = cambioCommand(["--in-memory", "--port", `${ports[9000]}`, "--github-port", `${ports[9001]}`]);
  start("interop-try.local", "bash", ["-c", startApi.replace("cargo run", '"$0" "$@"'), ...api]);
  await answers(`http://localhost:${ports[9000]}`, 200);
  const program = `${exports}${/^node .*$/m.exec(node)?.[0]}`;
  start("interop-try.program", "bash", ["-c", program], { cwd: join(PROGRAMS, "express"), env: { PORT: `${ports[8080]}` } });
  await answers(`http://localhost:${ports[8080]}/orders`, 401);
  const output = execFileSync("bash", ["-c", request], { encoding: "utf8" });

  assert.match(output, /^HTTP\/1\.1 200 OK\r\n/);
  assert.match(output, /\r\n\r\n\{"user":"[\w-]{36}"\}$/);
});
