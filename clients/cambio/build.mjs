// Compiles src/ into dist/, and copies the licences: npm packs only files of this folder.
import { execFileSync } from "node:child_process";
import { chmodSync, cpSync, rmSync } from "node:fs";

for (const licence of ["LICENSE-APACHE", "LICENSE-MIT"]) cpSync(`../../${licence}`, licence);
rmSync("dist", { recursive: true, force: true });
execFileSync("node", ["node_modules/typescript/bin/tsc", "-p", "tsconfig.json"], { stdio: "inherit" });
chmodSync("dist/main.js", 0o755);
