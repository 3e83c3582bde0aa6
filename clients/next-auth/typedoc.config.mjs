// The documentation of each entry of the package: `npm run docs`, or `make docs` together with that of the crates.
import { readFileSync } from "node:fs";
import { OptionDefaults } from "typedoc";

const { name, exports } = JSON.parse(readFileSync(new URL("package.json", import.meta.url), "utf8"));
const types = Object.values(exports).map((entry) => entry.types ?? entry.import?.types);

export default {
  name,
  entryPoints: types.filter(Boolean).map((path) => path.replace("dist/esm", "src").replace(".d.ts", ".ts")),
  tsconfig: "tsconfig.docs.json",
  out: "../../target/doc/next-auth",
  highlightLanguages: [...OptionDefaults.highlightLanguages, "jsx"],
  // The types from openapi.yaml are documented there.
  externalPattern: ["**/openapi.ts", "**/node_modules/**"],
  excludeExternals: true,
  // A clone without a remote has no address for links to the source.
  disableSources: true,
  blockTags: ["@description", "@example", "@inheritDoc", "@param"],
  treatWarningsAsErrors: true,
  treatValidationWarningsAsErrors: true,
  validation: { notExported: true, invalidLink: true, notDocumented: true },
  intentionallyNotExported: ["src/index.ts:Schemas", "SessionProblem", "Visible", "CookieStore", "Refusal"],
  // The comment of each event describes its members.
  intentionallyNotDocumented: ["type", "userId", "provider", "isNewUser", "audience", "page", "error"].map((name) => `v4.CambioEvent.__type.${name}`),
};
