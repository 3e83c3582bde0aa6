// Writes the README's code as a file, to be compiled as it is in a Next.js app.
import { readFileSync, writeFileSync } from "node:fs";

const folder = new URL(".", import.meta.url);
const blocks = [...readFileSync(new URL("../../README.md", folder), "utf8").matchAll(/```ts\n([^]*?)```/g)];
if (blocks.length !== 1) throw new Error(`the README has ${blocks.length} blocks of TypeScript, and not 1`);
writeFileSync(new URL("snippet.ts", folder), blocks[0][1]);
