import { type Account, CambioError, type components } from "@cambio/next-auth";
import { cambioFetch } from "@cambio/next-auth/fetch";
import { getAccessToken } from "@/lib/auth";
import { env } from "@/lib/env";

type Sessions = components["schemas"]["Sessions"];
/** A sign-in on some device, as the API lists it. */
export type Session = Sessions["sessions"][number];

/** The reason for a missing answer: the session is over, or the API does not answer. */
export type Problem = "signed-out" | "unavailable";

/** Returns the signed-in user, or the reason why there is none. Never throws. */
export async function me(): Promise<Account | Problem> {
  return ask<Account>("GET", "/me");
}

/** Returns the user's sessions, the last used one first. Never throws. */
export async function sessions(): Promise<Session[] | Problem> {
  const list = await ask<Sessions>("GET", "/me/sessions");
  return typeof list === "string" ? list : list.sessions;
}

/** Ends one session of the user. Returns whether it ended. Never throws. */
export async function endSession(id: string): Promise<boolean> {
  // An id with a dot or a slash would lead to another route.
  return /^[\w-]+$/.test(id) && typeof (await ask("DELETE", `/me/sessions/${id}`)) !== "string";
}

/** Ends all sessions of the user. Returns whether they ended. Never throws. */
export async function endAllSessions(): Promise<boolean> {
  return typeof (await ask("DELETE", "/me/sessions")) !== "string";
}

async function ask<T>(method: string, path: string): Promise<T | Problem> {
  try {
    const api = cambioFetch(getAccessToken, env().CAMBIO_URL);
    const answer = await api(path, { method, cache: "no-store", redirect: "error", signal: AbortSignal.timeout(10_000) });
    if (answer.ok) return answer.status === 204 ? (undefined as T) : await answer.json();
    if (answer.status === 401) return "signed-out";
    console.error(`the API answered ${method} ${path} with ${answer.status}`);
  } catch (cause) {
    if (cause instanceof CambioError && cause.kind === "ended") return "signed-out";
    console.error(`the API did not answer ${method} ${path}:`, cause);
  }
  return "unavailable";
}
