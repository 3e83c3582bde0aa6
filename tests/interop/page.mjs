// @ts-check
/** Reads the programs, the commands and the tables of docs/protect-your-api.md, which the tests run as they are. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { ROOT } from "../browser/harness.mjs";

const PAGE = readFileSync(join(ROOT, "docs/protect-your-api.md"), "utf8");

/** @typedef {{ language: string, text: string }} Block */

/** Returns the text below a heading, up to the next heading of any level. @param {string} heading */
export function section(heading) {
  const [, text] = PAGE.split(`\n${heading}\n`);
  if (text === undefined) throw new Error(`docs/protect-your-api.md has no heading "${heading}"`);
  return text.split(/\n##+ /)[0];
}

/** Returns the fenced blocks below a heading. @param {string} heading @returns {Block[]} */
export function blocks(heading) {
  const fence = /^( *)```(\w+)\n([^]*?)^ *```$/gm;
  return [...section(heading).matchAll(fence)].map(([, indent, language, text]) => ({
    language,
    text: text.replaceAll(new RegExp(`^${indent}`, "gm"), ""),
  }));
}

/** Returns the shell commands below a heading. @param {string} heading */
export function commands(heading) {
  return blocks(heading).flatMap(({ language, text }) => (language === "sh" ? [text] : []));
}

/**
 * Writes each block whose first line is a comment with the name of a file.
 * @param {string} heading @param {string} folder
 */
export function writeFiles(heading, folder) {
  for (const { text } of blocks(heading)) {
    const [, name] = /^(?:\/\/|#|<!--) ([\w./-]+\.\w+)(?: -->)?\n/.exec(text) ?? [];
    if (!name) continue;
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
}

/** Returns the rows of the table below a heading, without its head. @param {string} heading @returns {string[][]} */
export function table(heading) {
  const rows = section(heading)
    .split("\n")
    .filter((line) => line.startsWith("|"));
  return rows.slice(2).map((row) =>
    row
      .slice(1, -1)
      .split("|")
      .map((cell) => cell.trim()),
  );
}
