/** For next-auth 4. */
import type { DefaultSession, NextAuthOptions } from "next-auth";
import { type DeclaredSession, type GetAccessToken, type SessionOptions, steps, type Visible } from "./callbacks.js";
import type { CambioClient } from "./index.js";

export type { GetAccessToken } from "./callbacks.js";
export type { AccessToken } from "./fetch.js";
export type { CambioEvent, Logger } from "./keep.js";

declare module "next-auth" {
  interface Session extends DeclaredSession {
    // The idiom of next-auth's documentation, word for word: only identical types may be declared twice.
    user: { id: string } & DefaultSession["user"];
  }
}
declare module "next-auth/jwt" {
  interface JWT {
    /** Cambio's part, without the refresh token, which only the encrypted cookie contains. */
    cambio?: Visible;
  }
}

/**
 * The settings of Cambio, and the callbacks and events of your app.
 *
 * @example
 * ```ts
 * import { cambio, type NextAuthCambioOptions } from "@cambio/next-auth/v4";
 *
 * const options: NextAuthCambioOptions = {
 *   callbacks: { signIn: ({ account }) => account?.provider === "github" },
 * };
 * export const { callbacks, events } = cambio(options);
 * ```
 */
export interface NextAuthCambioOptions extends SessionOptions {
  /**
   * Your own callbacks. `signIn` is called first and can refuse; `jwt` and `session` get the package's result and can
   * change it.
   */
  callbacks?: NextAuthOptions["callbacks"];
  /** Your own `session` options, such as `maxAge`. The strategy is `jwt`. */
  session?: NextAuthOptions["session"];
  /** Your own events, after these. */
  events?: NextAuthOptions["events"];
}

/**
 * The parts of `NextAuthOptions` that Cambio provides.
 *
 * @example
 * ```ts
 * import { cambio, type NextAuthCambio } from "@cambio/next-auth/v4";
 *
 * export const { options, client }: NextAuthCambio = cambio();
 * ```
 */
export interface NextAuthCambio {
  /** The parts below, to spread into your options. */
  options: Pick<NextAuthCambio, "callbacks" | "events" | "session">;
  /** `signIn`, `jwt` and `session`, each of which calls yours. */
  callbacks: NonNullable<NextAuthOptions["callbacks"]>;
  /** `signOut`, which ends the session at Cambio and calls yours. */
  events: NonNullable<NextAuthOptions["events"]>;
  /** The strategy `jwt`, which works with a database adapter too, and your own `session` options. */
  session: NonNullable<NextAuthOptions["session"]>;
  /**
   * Returns `getAccessToken` of your app.
   *
   * ```ts
   * export const getAccessToken = accessTokenOf(() => getServerSession(authOptions));
   * // elsewhere on your server
   * const { token, expiresAt } = await getAccessToken();
   * ```
   *
   * @param session Reads the session of the current request. The function is called each time, so it must not return
   * a cached copy.
   */
  accessTokenOf(session: () => Promise<unknown>): GetAccessToken;
  /** The client, for the rest of your server. */
  client: CambioClient;
}

/**
 * Returns callbacks that exchange each sign-in for a token of your own API, refresh it, and revoke it at sign-out.
 *
 * @example
 * ```ts
 * import { cambio } from "@cambio/next-auth/v4";
 * import type { NextAuthOptions } from "next-auth";
 * import GitHub from "next-auth/providers/github";
 *
 * export const authOptions: NextAuthOptions = {
 *   providers: [GitHub({ clientId: "…", clientSecret: "…" })],
 *   ...cambio().options,
 * };
 * ```
 */
export function cambio(options: NextAuthCambioOptions = {}): NextAuthCambio {
  const { callbacks: own = {}, events = {} } = options;
  const { client, accessTokenOf, ...step } = steps(options);

  const parts: NextAuthCambio["options"] = {
    callbacks: {
      ...own,
      async signIn(parameters) {
        const allowed = (await own.signIn?.(parameters)) ?? true;
        return allowed === true ? step.signIn(parameters) : allowed;
      },
      async jwt(parameters) {
        const token = await step.jwt(parameters, own.jwt);
        // next-auth 4 has no other way to end a session: it logs this, and removes the cookie.
        if (token === null) throw new Error("signed out");
        return token;
      },
      session: (parameters) => step.session(parameters, own.session),
    },
    session: { ...options.session, strategy: "jwt" },
    events: {
      ...events,
      async signOut(message) {
        await step.signOut(message.token);
        await events.signOut?.(message);
      },
    },
  };
  return { client, accessTokenOf, options: parts, ...parts };
}
