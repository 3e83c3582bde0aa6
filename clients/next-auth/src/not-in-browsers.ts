/** Takes the place of server-only.ts in browsers, so that no bundle has the code that reads the client secret. */
throw new Error("@cambio/next-auth/v4, /v5 and /better-auth are only for servers: import them from no client component.");

/** Nothing, so that a build fails. */
export {};
