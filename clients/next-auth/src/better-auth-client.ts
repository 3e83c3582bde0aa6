/** For better-auth's client, in browsers. */
import type { BetterAuthClientPlugin } from "better-auth/client";
import type { cambio } from "./better-auth.js";

/**
 * Adds `cambio.session()`, which also lets the browser store what was refreshed: a server component cannot.
 *
 * @example
 * ```ts
 * import { createAuthClient } from "better-auth/client";
 * import { cambioClient } from "@cambio/next-auth/better-auth/client";
 *
 * const client = createAuthClient({ plugins: [cambioClient()] });
 * const { data: session } = await client.cambio.session();
 * ```
 */
export function cambioClient() {
  return {
    /** The name of the plugin on the server. */
    id: "cambio",
    /** The plugin on the server, of which better-auth reads the type only. */
    $InferServerPlugin: {} as ReturnType<typeof cambio>,
  } satisfies BetterAuthClientPlugin;
}
