// @ts-check
/** The package and the libraries that it extends, for the tests of tests/browser, which install none of them. */
export * as v4 from "@cambio/next-auth/v4";
export * as v5 from "@cambio/next-auth/v5";
export { cambio as cambioPlugin } from "@cambio/next-auth/better-auth";
export { betterAuth } from "better-auth";
export { getMigrations } from "better-auth/db/migration";
export { genericOAuth } from "better-auth/plugins";
export { default as Credentials5 } from "next-auth-5/providers/credentials";
export { default as GitHub5 } from "next-auth-5/providers/github";
export { default as Passkey } from "next-auth-5/providers/passkey";
export { appWith4, appWith5, cookieJar } from "./handlers.mjs";

import { createRequire } from "node:module";

// Node finds the modules of CommonJS below `default`.
const require = createRequire(import.meta.url);
/** @type {typeof import("next-auth/providers/github").default} */
export const GitHub4 = require("next-auth/providers/github").default;
/** @type {typeof import("next-auth/providers/credentials").default} */
export const Credentials4 = require("next-auth/providers/credentials").default;
