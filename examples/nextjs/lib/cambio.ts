import { env } from "@/lib/env";

/** The user as Cambio knows them. */
export type User = {
  id: string;
  name: string | null;
  email: string | null;
  email_verified: boolean;
  picture: string | null;
};

/** What a sign-in was traded for. */
export type Grant = {
  accessToken: string;
  /** When the access token ends, in milliseconds since 1970. */
  expiresAt: number;
  user: User;
};

/** Why there is no grant: their sign-in, the weather, or the settings of this app. */
export type Failure = "refused" | "unavailable" | "misconfigured";

/** Trades GitHub's access token for one of our own API (RFC 8693). Never throws. */
export async function exchange(githubToken: string): Promise<Grant | Failure> {
  const { CAMBIO_URL, CAMBIO_CLIENT_ID, CAMBIO_CLIENT_SECRET } = env();
  const credentials = `${formEncoded(CAMBIO_CLIENT_ID)}:${formEncoded(CAMBIO_CLIENT_SECRET)}`;
  const askedAt = Date.now();
  try {
    const response = await fetch(`${CAMBIO_URL}/token`, {
      method: "POST",
      headers: { Authorization: `Basic ${btoa(credentials)}` },
      body: new URLSearchParams({
        grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
        subject_token: githubToken,
        subject_token_type: "urn:ietf:params:oauth:token-type:access_token",
        subject_issuer: "github",
      }),
      ...common(),
    });
    if (!response.ok) return await failureOf(response);
    const { access_token, expires_in, user } = await response.json();
    return { accessToken: access_token, expiresAt: askedAt + expires_in * 1000, user };
  } catch (cause) {
    console.error("Cambio did not answer POST /token:", cause);
    return "unavailable";
  }
}

/** The signed-in user, or why there is none. Never throws. */
export async function me(accessToken: string): Promise<User | "signed-out" | "unavailable"> {
  const { CAMBIO_URL } = env();
  try {
    const response = await fetch(`${CAMBIO_URL}/me`, {
      headers: { Authorization: `Bearer ${accessToken}` },
      ...common(),
    });
    if (response.ok) return await response.json();
    if (response.status === 401) return "signed-out";
    console.error(`Cambio answered GET /me with ${response.status}`);
  } catch (cause) {
    console.error("Cambio did not answer GET /me:", cause);
  }
  return "unavailable";
}

/** The user's fault only if Cambio says so in as many words. */
async function failureOf(response: Response): Promise<Failure> {
  const { error } = await response.json().catch(() => ({}));
  console.error(`Cambio answered POST /token with ${response.status} ${error ?? ""}`);
  if (response.status >= 500 || response.status === 429) return "unavailable";
  return error === "invalid_request" || error === "access_denied" ? "refused" : "misconfigured";
}

/** RFC 6749, section 2.3.1: id and secret are form-encoded first, so that a colon in them stays theirs. */
function formEncoded(value: string): string {
  return new URLSearchParams({ "": value }).toString().slice(1);
}

function common(): RequestInit {
  return { cache: "no-store", redirect: "error", signal: AbortSignal.timeout(10_000) };
}
