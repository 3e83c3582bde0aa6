#!/usr/bin/env node
// The command `cambio`: finds the command that the arguments name, and runs it.
import { readFileSync } from "node:fs";
import { UserError } from "./errors.js";

/** Runs a command with the arguments after its name. Returns the exit status. */
export type Run = (args: string[]) => Promise<number>;

/** A command: its line of the help, and its code, which is loaded only for it. */
interface Command {
  summary: string;
  load: () => Promise<{ run: Run }>;
}

const COMMANDS: Record<string, Command> = {
  check: { summary: "Check the settings of a deployment", load: async () => ({ run: check }) },
  dev: { summary: "Run Cambio on this machine: API, database, stand-in providers, page", load: () => import("./dev.js") },
  help: { summary: "Say what there is", load: async () => ({ run: help }) },
  init: { summary: "Connect the Next.js app in this folder to Cambio", load: () => import("./init.js") },
};

const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as { version: string };

function usage(): string {
  const lines = Object.entries(COMMANDS).map(([name, { summary }]) => `  ${name.padEnd(8)}${summary}`);
  return `cambio ${version}

Usage: cambio <command> [options]

${lines.join("\n")}

\`cambio <command> --help\` shows the options of a command.
`;
}

/** Runs the check of the local server's binary, which has the parsers of the functions. */
async function check(args: string[]): Promise<number> {
  const { run } = await import("./dev.js");
  return run(["check", ...args]);
}

async function help(): Promise<number> {
  process.stdout.write(usage());
  return 0;
}

async function main([name, ...args]: string[]): Promise<number> {
  if (name === undefined || name === "--help" || name === "-h") return help();
  if (name === "--version" || name === "-v") {
    process.stdout.write(`${version}\n`);
    return 0;
  }
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (!command) throw new UserError(`there is no command "${name}"; there are: ${Object.keys(COMMANDS).join(", ")}`);
  const { run } = await command.load();
  return run(args);
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  // `parseArgs` of Node explains a wrong option in the same way.
  const isExpected = error instanceof UserError || (error instanceof TypeError && "code" in error && `${error.code}`.startsWith("ERR_PARSE_ARGS"));
  if (!isExpected) throw error;
  process.stderr.write(`cambio: ${error.message}\n`);
  process.exitCode = 2;
}
