/** For Auth.js 5: `next-auth@5`. */
import type { NextAuthConfig, NextAuthResult, Session } from "next-auth";
import { type DeclaredSession, type GetAccessToken, type SessionOptions, steps, type Visible } from "./callbacks.js";
import { cambioHandler } from "./handler.js";
import type { CambioClient } from "./index.js";

export type { GetAccessToken } from "./callbacks.js";
export type { AccessToken } from "./fetch.js";
export type { CambioEvent, Logger } from "./keep.js";

/**
 * The token with `cambio` in it. The declaration below needs an export of the module: TypeScript drops an import that
 * is unused.
 */
export type { JWT } from "next-auth/jwt";

declare module "next-auth" {
  interface Session extends DeclaredSession {}
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
 * import { cambio, type AuthCambioOptions } from "@cambio/next-auth/v5";
 *
 * const options: AuthCambioOptions = {
 *   callbacks: { signIn: ({ account }) => account?.provider === "github" },
 * };
 * export const { callbacks, events } = cambio(options);
 * ```
 */
export interface AuthCambioOptions extends SessionOptions {
  /**
   * Your own callbacks. `signIn` is called first and can refuse; `jwt` and `session` get the package's result and can
   * change it.
   */
  callbacks?: NonNullable<NextAuthConfig["callbacks"]>;
  /** Your own `session` options, such as `maxAge`. The strategy is `jwt`. */
  session?: NextAuthConfig["session"];
  /** Your own events, after these. */
  events?: NonNullable<NextAuthConfig["events"]>;
}

/**
 * The parts of `NextAuthConfig` that Cambio provides.
 *
 * @example
 * ```ts
 * import { cambio, type AuthCambio } from "@cambio/next-auth/v5";
 *
 * export const { options, client }: AuthCambio = cambio();
 * ```
 */
export interface AuthCambio {
  /** The parts below, to spread into your options. */
  options: Pick<AuthCambio, "callbacks" | "events" | "session">;
  /** `signIn`, `jwt` and `session`, each of which calls yours. */
  callbacks: NonNullable<NextAuthConfig["callbacks"]>;
  /** `signOut`, which ends the session at Cambio and calls yours. */
  events: NonNullable<NextAuthConfig["events"]>;
  /** The strategy `jwt`, which works with a database adapter too, and your own `session` options. */
  session: NonNullable<NextAuthConfig["session"]>;
  /**
   * Returns `getAccessToken` of your app.
   *
   * ```ts
   * export const getAccessToken = accessTokenOf(auth);
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
 * import { cambio } from "@cambio/next-auth/v5";
 * import NextAuth from "next-auth";
 * import GitHub from "next-auth/providers/github";
 *
 * export const { handlers, auth, signIn, signOut } = NextAuth({ providers: [GitHub], ...cambio().options });
 * ```
 */
export function cambio(options: AuthCambioOptions = {}): AuthCambio {
  const { callbacks: own = {}, events = {} } = options;
  const { client, accessTokenOf, ...step } = steps(options);

  const parts: AuthCambio["options"] = {
    callbacks: {
      ...own,
      async signIn(parameters) {
        const allowed = (await own.signIn?.(parameters)) ?? true;
        return allowed === true ? step.signIn(parameters) : allowed;
      },
      jwt: (parameters) => step.jwt(parameters, own.jwt),
      session: (parameters) => step.session(parameters, own.session ?? (parameters.token ? undefined : shown)),
    },
    session: { ...options.session, strategy: "jwt" },
    events: {
      ...events,
      async signOut(message) {
        // With sessions in a database there is no token, and nothing to give back.
        await step.signOut("token" in message ? message.token : null);
        await events.signOut?.(message);
      },
    },
  };
  return { client, accessTokenOf, options: parts, ...parts };
}

/** Returns what Auth.js shows of a session in a database by default. */
function shown({ session }: { session: Session }): Session {
  return session && JSON.parse(JSON.stringify(session, ["user", "name", "email", "image", "expires"]));
}

/**
 * A proxy (Next.js 16) or middleware (Next.js 15).
 *
 * @example
 * ```ts
 * import { cambioProxy, type Proxy } from "@cambio/next-auth/v5";
 * import { auth } from "./auth";
 *
 * const stored: Proxy = cambioProxy(auth);
 * export const proxy: Proxy = (request, event) => stored(request, event);
 * ```
 */
export type Proxy = (request: Request, event?: unknown) => Promise<Response>;

/**
 * `auth` as the proxy of an app. It stores what was refreshed, and no cache stores an answer that sets the session's
 * cookie.
 *
 * @param auth `auth` of Auth.js, or what it makes of a proxy of your own: `auth((request) => ...)`.
 *
 * @example
 * ```ts
 * import { cambioProxy } from "@cambio/next-auth/v5";
 * import { auth } from "./auth";
 *
 * export const proxy = cambioProxy(auth);
 * ```
 */
export function cambioProxy(auth: NextAuthResult["auth"] | ReturnType<NextAuthResult["auth"]>): Proxy {
  return cambioHandler(auth as Proxy);
}
