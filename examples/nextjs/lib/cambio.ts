import type { Account } from "next-auth";
import { env } from "@/lib/env";

/** The user as Cambio knows them. */
export type User = {
  id: string;
  name: string | null;
  email: string | null;
  email_verified: boolean;
  picture: string | null;
};

/** What a sign-in was traded for, and each refresh again. */
export type Grant = {
  accessToken: string;
  /** When the access token ends, in milliseconds since 1970. */
  expiresAt: number;
  /** When to get the next one: a little earlier. */
  refreshAt: number;
  refreshToken: string;
  user: User;
};

/** A sign-in on some device. Times are ISO 8601. */
export type Session = {
  id: string;
  user_agent: string | null;
  created_at: string;
  last_used_at: string;
  current: boolean;
};

/** Why there is no grant: their sign-in or session, the weather, or the settings of this app. */
export type Failure = "refused" | "unavailable" | "misconfigured";

/** Trades what the provider gave out at a sign-in for a grant of our own API (RFC 8693). Never throws. */
export async function exchange(account: Account, userAgent: string): Promise<Grant | Failure> {
  return token(
    { grant_type: "urn:ietf:params:oauth:grant-type:token-exchange", ...subject(account) },
    ["invalid_request", "access_denied"],
    // The list of sessions shows the browser, and not this server.
    { "User-Agent": userAgent },
  );
}

/** An ID token says whose it is and for which app; an access token is for its provider to read. */
function subject({ provider, id_token, access_token }: Account): Record<string, string> {
  const type = "urn:ietf:params:oauth:token-type:";
  if (id_token) return { subject_token: id_token, subject_token_type: `${type}id_token` };
  return { subject_token: access_token ?? "", subject_token_type: `${type}access_token`, subject_issuer: provider };
}

/**
 * Trades a refresh token for the next grant (RFC 6749, section 6). Never throws; only "refused" means that the session is
 * over.
 *
 * Any number of requests may do so with the same refresh token at the same time, or again when an answer was lost or could
 * not be stored: all of them get the same next one.
 */
export async function refresh(refreshToken: string): Promise<Grant | Failure> {
  return token({ grant_type: "refresh_token", refresh_token: refreshToken }, ["invalid_grant"]);
}

/** Ends the session of a refresh token (RFC 7009), as far as the API can be reached. Never throws. */
export async function revoke(refreshToken: string): Promise<void> {
  try {
    const response = await post("/revoke", { token: refreshToken });
    if (!response.ok) console.error(`Cambio answered POST /revoke with ${response.status}`);
  } catch (cause) {
    console.error("Cambio did not answer POST /revoke:", cause);
  }
}

/** The signed-in user, or why there is none. Never throws. */
export async function me(accessToken: string): Promise<User | "signed-out" | "unavailable"> {
  return asUser(accessToken, "GET", "/me");
}

/** Where the user is signed in, the last used session first. Never throws. */
export async function sessions(accessToken: string): Promise<Session[] | "signed-out" | "unavailable"> {
  const list = await asUser<{ sessions: Session[] }>(accessToken, "GET", "/me/sessions");
  return typeof list === "string" ? list : list.sessions;
}

/** Ends one session of the user; says whether that is done. Never throws. */
export async function endSession(accessToken: string, id: string): Promise<boolean> {
  // A name with a dot or a slash in it would lead to another route.
  return /^[\w-]+$/.test(id) && isDone(await asUser(accessToken, "DELETE", `/me/sessions/${id}`));
}

/** Ends all sessions of the user; says whether that is done. Never throws. */
export async function endAllSessions(accessToken: string): Promise<boolean> {
  return isDone(await asUser(accessToken, "DELETE", "/me/sessions"));
}

function isDone(answer: unknown): boolean {
  return typeof answer !== "string";
}

/** `refusals` are the errors by which Cambio refuses the person, and not this app. */
async function token(parameters: Record<string, string>, refusals: string[], headers?: Record<string, string>): Promise<Grant | Failure> {
  const askedAt = Date.now();
  try {
    const response = await post("/token", parameters, headers);
    if (!response.ok) return await failureOf(response, refusals);
    const { access_token, expires_in, refresh_token, user } = await response.json();
    return {
      accessToken: access_token,
      expiresAt: askedAt + expires_in * 1000,
      refreshAt: askedAt + expires_in * 750,
      refreshToken: refresh_token,
      user,
    };
  } catch (cause) {
    console.error("Cambio did not answer POST /token:", cause);
    return "unavailable";
  }
}

function post(path: string, parameters: Record<string, string>, headers?: Record<string, string>): Promise<Response> {
  const { CAMBIO_URL, CAMBIO_CLIENT_ID, CAMBIO_CLIENT_SECRET } = env();
  const credentials = `${formEncoded(CAMBIO_CLIENT_ID)}:${formEncoded(CAMBIO_CLIENT_SECRET)}`;
  return fetch(`${CAMBIO_URL}${path}`, {
    method: "POST",
    headers: { ...headers, Authorization: `Basic ${btoa(credentials)}` },
    body: new URLSearchParams(parameters),
    ...common(),
  });
}

async function asUser<T>(accessToken: string, method: string, path: string): Promise<T | "signed-out" | "unavailable"> {
  const { CAMBIO_URL } = env();
  try {
    const response = await fetch(`${CAMBIO_URL}${path}`, {
      method,
      headers: { Authorization: `Bearer ${accessToken}` },
      ...common(),
    });
    if (response.ok) return response.status === 204 ? (undefined as T) : await response.json();
    if (response.status === 401) return "signed-out";
    console.error(`Cambio answered ${method} ${path} with ${response.status}`);
  } catch (cause) {
    console.error(`Cambio did not answer ${method} ${path}:`, cause);
  }
  return "unavailable";
}

/** The user's fault only if Cambio says so in as many words. */
async function failureOf(response: Response, refusals: string[]): Promise<Failure> {
  const { error } = await response.json().catch(() => ({}));
  console.error(`Cambio answered POST /token with ${response.status} ${error ?? ""}`);
  if (response.status >= 500 || response.status === 429) return "unavailable";
  return refusals.includes(error) ? "refused" : "misconfigured";
}

/** RFC 6749, section 2.3.1: id and secret are form-encoded first, so that a colon in them stays theirs. */
function formEncoded(value: string): string {
  return new URLSearchParams({ "": value }).toString().slice(1);
}

function common(): RequestInit {
  return { cache: "no-store", redirect: "error", signal: AbortSignal.timeout(10_000) };
}
