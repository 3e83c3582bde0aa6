import { env } from "@/lib/env";

/** Runs once, when the server starts, so that a missing setting stops it before the first visitor. */
export function register(): void {
  if (process.env.NEXT_RUNTIME === "nodejs") {
    try {
      env();
    } catch (error) {
      console.error(error instanceof Error ? error.message : error);
      process.exit(1);
    }
  }
}
