/** For better-auth's client, in browsers. */
import type { BetterAuthClientPlugin } from "better-auth/client";
import type { cambio } from "./better-auth.js";

/** Adds `cambio.session()`, which also lets the browser store what was refreshed: a server component cannot. */
export function cambioClient() {
  return { id: "cambio", $InferServerPlugin: {} as ReturnType<typeof cambio> } satisfies BetterAuthClientPlugin;
}
