/** What the entries for servers need of the runtime. A bundle for browsers gets not-in-browsers.ts in its place. */
export { AsyncLocalStorage } from "node:async_hooks";
