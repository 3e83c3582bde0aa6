/** The failures of sign-ins. */
import type { CambioError } from "./index.js";
import type { Refusal, watcher } from "./keep.js";

/** By error code, or by kind; `CambioMisconfigured` for all others. */
const REFUSALS: Record<string, Refusal> = {
  unauthorized_client: "AccessDenied",
  denied: "AccessDenied",
  refused: "CambioRefused",
  ended: "CambioRefused",
  unavailable: "CambioUnavailable",
};

/** Logs a failed sign-in, and returns the name of the error page's error. */
export function refusal(error: CambioError, provider: string, { report, emit }: Pick<ReturnType<typeof watcher>, "report" | "emit">): Refusal {
  const page = REFUSALS[error.code as string] ?? REFUSALS[error.kind] ?? "CambioMisconfigured";
  report(error, "", page === "AccessDenied" || page === "CambioRefused" ? "info" : undefined);
  emit({ type: "signInFailed", provider, page, error });
  return page;
}
