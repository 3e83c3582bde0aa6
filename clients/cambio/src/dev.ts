// `cambio dev`: runs the local server, the binary in the package of this platform.
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { constants } from "node:os";
import { dirname, join } from "node:path";
import { UserError } from "./errors.js";
import { PLATFORMS, packageOf } from "./platforms.js";

const require = createRequire(import.meta.url);

/** The signals that ask a program to stop. */
const STOPPING = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"] as const;

/** Runs the local server with these arguments, and returns its exit status; after a signal, 128 plus its number. */
export function run(args: string[]): Promise<number> {
  const server = binary();
  // The server decides when it stops, so this process waits for it. Ctrl-C reaches both, and `kill` only this one. The
  // handlers are there before the server is: a signal in between would end this process alone.
  for (const signal of STOPPING) process.on(signal, () => child.kill(signal));
  // The server shares the terminal, and its texts name `npx cambio dev`.
  const child = spawn(server, args, { stdio: "inherit", env: { ...process.env, CAMBIO_STARTED_BY: "npx" } });
  return new Promise((resolve, reject) => {
    child.once("error", (error) => reject(cannotStart(server, error)));
    child.once("exit", (code, signal) => resolve(code ?? 128 + (signal ? constants.signals[signal] : 0)));
  });
}

/** Returns the path of the binary for this platform. */
function binary(): string {
  const platform = `${process.platform}-${process.arch}`;
  if (!PLATFORMS.includes(platform)) {
    const hint = process.platform === "win32" ? " On Windows, run the command in WSL, the Windows Subsystem for Linux." : "";
    throw new UserError(`there is no local server for ${platform}; there is one for ${PLATFORMS.join(", ")}.${hint}`);
  }
  const name = packageOf(platform);
  const manifest = resolved(`${name}/package.json`);
  if (!manifest) throw new UserError(missing(name));
  const [own, other] = [versionOf("../package.json"), versionOf(manifest)];
  if (own !== other) throw new UserError(`@cambio/cli is version ${own}, and ${name} is version ${other}; install both in the same version`);
  return join(dirname(manifest), "bin/cambio");
}

function resolved(module: string): string | undefined {
  try {
    return require.resolve(module);
  } catch {
    return undefined;
  }
}

function versionOf(manifest: string): string {
  const { version } = JSON.parse(readFileSync(require.resolve(manifest), "utf8")) as { version: string };
  return version;
}

/** Returns the text for a package that is not there. */
function missing(name: string): string {
  const lines = [
    `the package ${name}, which has the local server for this platform, is not installed.`,
    "- It is an optional dependency. Install again without --omit=optional (pnpm: --no-optional; yarn: --ignore-optional), and without",
    "  `omit=optional` in .npmrc.",
    "- If node_modules was copied from another machine or into a container, remove it and install again there.",
    `- If you installed @cambio/cli from a tarball, install ${name} from its own tarball as well; \`make package-server\` makes it.`,
  ];
  if (process.platform === "linux")
    lines.push("- On a Linux with musl, such as Alpine, there is no local server: use one with glibc, such as the image node:24-slim.");
  return lines.join("\n");
}

/** Returns the failure of a binary that is there and does not start. */
function cannotStart(server: string, error: NodeJS.ErrnoException): Error {
  // The kernel reports a missing loader as if the binary were missing.
  if (error.code === "ENOENT") return new UserError(`${server} cannot start: it needs Linux with glibc; Alpine, for instance, has musl`);
  if (error.code === "EACCES") return new UserError(`${server} is not executable; remove node_modules and install again, on a file system without noexec`);
  return new UserError(`${server} cannot start: ${error.message}`);
}
