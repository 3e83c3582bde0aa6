import { type CambioClient, CambioError, type CambioOptions, createClient, type Grant, type ProviderTokens, type User } from "./index.js";
import { keeper, type Kept, type SessionProblem, state } from "./keep.js";

/** When sessions are refreshed. */
export interface RefreshOptions {
  /** So many milliseconds before the access token expires, it is refreshed; 60,000 unless set, and at most a quarter of its life. */
  refreshBefore?: number;
}

/** How to reach Cambio, and how sign-ins and sessions behave. */
export interface SessionOptions extends CambioOptions, RefreshOptions {
  /**
   * The page for a sign-in that failed, `/api/auth/error` unless set. It gets `?error=AccessDenied` where the user is not let in, and
   * `CambioRefused`, `CambioUnavailable` (try again) or `CambioMisconfigured`.
   */
  errorPage?: string;
  /** The browser of whoever signs in, for their list of sessions: `async () => (await headers()).get("user-agent")`. */
  userAgent?: () => string | null | undefined | Promise<string | null | undefined>;
}

/** What Cambio adds to a session. */
export interface CambioSession {
  /** For calls to your own API, while it is good. */
  accessToken?: string;
  /** `SessionEnded`: sign in again. `Unavailable`: still signed in, and Cambio cannot be reached. */
  error?: SessionProblem;
}

type Token = { cambio?: Kept | undefined };

/** What each callback does, whatever the version of next-auth calls its parameters. */
export function steps(options: SessionOptions) {
  const { refreshBefore, errorPage = "/api/auth/error", userAgent } = options;
  const client = createClient(options);
  const keep = keeper(client, refreshBefore);

  return {
    client,

    /** Cambio decides who this is. A refusal is a page, because what is thrown here ends in the URL. */
    async signIn(user: { cambio?: Grant }, account: ProviderTokens | null | undefined): Promise<true | string> {
      const grant = await exchanged(client, account, await userAgent?.());
      if (typeof grant === "string") return `${errorPage}${errorPage.includes("?") ? "&" : "?"}error=${grant}`;
      user.cambio = grant;
      return true;
    },

    /** `user` and `account` are there at sign-in only; from then on, the encrypted session cookie holds what they brought. */
    async jwt<T extends Token>(token: T, user: { cambio?: Grant } | undefined, account: ProviderTokens | null | undefined): Promise<T> {
      let grant: Grant | string | undefined = user?.cambio;
      // With a database adapter, this is not the user of `signIn`. The same exchange within a minute gets the same session again.
      if (!grant && account) grant = await exchanged(client, account, await userAgent?.());
      const cambio = typeof grant === "object" ? keep.opened(grant) : token.cambio && (await keep.fresh(token.cambio));
      return cambio ? { ...token, ...claims(cambio.user), cambio } : token;
    },

    session<S extends { user?: object | undefined }>(session: S, token: Token): S {
      if (!token.cambio) return session;
      const { id, name, email, picture } = token.cambio.user;
      return { ...session, ...state(token.cambio), user: { ...session.user, id, name, email, image: picture } };
    },

    async signOut(token: Token | null | undefined): Promise<void> {
      const refreshToken = token?.cambio?.refreshToken;
      if (refreshToken) await client.revoke(refreshToken).catch(report);
    },
  };
}

function claims({ id, name, email, picture }: User) {
  return { sub: id, name, email, picture };
}

/** Why a sign-in failed, in the word that its error page gets. */
export type Refusal = "AccessDenied" | "CambioRefused" | "CambioUnavailable" | "CambioMisconfigured";

/** The grant, or the name of the error page's error. */
export async function exchanged(client: CambioClient, account: ProviderTokens | null | undefined, userAgent?: string | null): Promise<Grant | Refusal> {
  if (!account) return "CambioMisconfigured";
  try {
    return await client.exchange(account, userAgent ? { userAgent } : {});
  } catch (error) {
    report(error);
    switch (error instanceof CambioError ? error.kind : "misconfigured") {
      case "denied":
        return "AccessDenied";
      case "unavailable":
        return "CambioUnavailable";
      case "refused":
      case "ended":
        return "CambioRefused";
      case "misconfigured":
        return "CambioMisconfigured";
    }
  }
}

export function report(error: unknown): void {
  console.error("[cambio]", error instanceof Error ? error.message : error);
}
