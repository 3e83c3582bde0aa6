// The variables of the app that have other names than those that `cambio dev --write-env` writes.
import type { ObjectExpression } from "@babel/types";
import type { App, Plan } from "./app.js";
import { keyOf, walk } from "./source.js";

/** The file of Next.js that belongs to one machine. */
export const ENV_FILE = ".env.local";

/** The URL of the provider GitHub in the code of an app. */
export const GITHUB_URL = "process.env.GITHUB_URL; // a GitHub Enterprise Server, or the stand-in of `cambio dev`";

/** A variable that the app reads, and the one of `cambio dev` that has its value. */
export interface Variable {
  name: string;
  of: string;
}

/** Returns the variables that `clientId` and `clientSecret` of a provider read, except those with the usual names. */
export function environmentOf(object: ObjectExpression, [id, secret]: readonly [string, string]): Variable[] {
  const variables: Variable[] = [];
  for (const member of object.properties) {
    const of = { clientId: id, clientSecret: secret }[keyOf(member) ?? ""];
    if (!of || member.type !== "ObjectProperty") continue;
    walk(member.value, (node) => {
      // `process.env.GITHUB_CLIENT_ID`, or `env.GITHUB_CLIENT_ID` of a checked environment.
      const isMember = node.type === "MemberExpression" && !node.computed && node.property.type === "Identifier";
      const name = isMember && node.property.type === "Identifier" ? node.property.name : "";
      if (/^[A-Z][A-Z0-9_]*$/.test(name) && name !== of) variables.push({ name, of });
    });
  }
  return variables;
}

/** The files of Next.js that set variables during development, beside {@link ENV_FILE}. */
const OTHERS = [".env", ".env.development", ".env.development.local"];

/** Adds the variables that no file sets. Next.js replaces `$NAME` by the value of another variable. */
export function planEnvironment(app: App, plan: Plan): void {
  const before = app.read(ENV_FILE);
  const missing: Variable[] = [];
  for (const variable of plan.environment) {
    const { name, of } = variable;
    const sets = new RegExp(`^\\s*(?:export\\s+)?${name}\\s*=(.*)`, "m");
    const file = [ENV_FILE, ...OTHERS].find((each) => sets.test(app.read(each) ?? ""));
    if (!file) missing.push(variable);
    else if (sets.exec(app.read(file) ?? "")?.[1]?.trim() !== `$${of}`) {
      plan.notes.push(`${file} sets ${name}. To sign in at the stand-in of the local server, write ${name}=$${of} into ${ENV_FILE}.`);
    }
  }
  if (!missing.length) return;
  const eol = before?.includes("\r\n") ? "\r\n" : "\n";
  const gap = before && !before.endsWith("\n") ? eol : "";
  const lines = ["# The app's names of variables that `cambio dev --write-env` writes", ...missing.map(({ name, of }) => `${name}=$${of}`)];
  plan.changes.push({ path: ENV_FILE, before, after: `${before ?? ""}${gap}${lines.join(eol)}${eol}` });
}
