/** Replaces the entries that read the client secret in bundles for browsers. */
throw new Error("@cambio/next-auth/v4, /v5 and /better-auth are only for servers: import them from no client component.");

/** An empty module, so that the import of a name fails in the build. */
export {};
