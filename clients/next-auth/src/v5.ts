/** For Auth.js 5: `next-auth@5`. */
import type { NextAuthConfig } from "next-auth";
import type {} from "next-auth/jwt";
import { type CambioSession, type SessionOptions, steps, type Visible } from "./callbacks.js";
import type { CambioClient } from "./index.js";

declare module "next-auth" {
  interface Session extends CambioSession {}
}
declare module "next-auth/jwt" {
  interface JWT {
    /** Cambio's part, without the refresh token: only the encrypted cookie holds that. */
    cambio?: Visible;
  }
}

/** How to reach Cambio, and what your app does beside it. */
export interface AuthCambioOptions extends SessionOptions {
  /** Your own callbacks. `signIn` is asked first, and may refuse; the others get what these made, and have the last word. */
  callbacks?: NonNullable<NextAuthConfig["callbacks"]>;
  /** Your own events, after these. */
  events?: NonNullable<NextAuthConfig["events"]>;
}

/** The parts of `NextAuthConfig` that Cambio brings. */
export interface AuthCambio {
  /** Both of the parts below, to be spread into yours. */
  options: { callbacks: NonNullable<NextAuthConfig["callbacks"]>; events: NonNullable<NextAuthConfig["events"]> };
  callbacks: NonNullable<NextAuthConfig["callbacks"]>;
  events: NonNullable<NextAuthConfig["events"]>;
  /** The calls themselves, for the rest of your server. */
  client: CambioClient;
}

/** Callbacks that trade each sign-in for a token of your own API, keep it fresh, and give it back at sign-out. */
export function cambio(options: AuthCambioOptions = {}): AuthCambio {
  const { callbacks: own = {}, events = {} } = options;
  const { client, ...step } = steps(options);

  const parts: AuthCambio["options"] = {
    callbacks: {
      ...own,
      async signIn(parameters) {
        const allowed = (await own.signIn?.(parameters)) ?? true;
        return allowed === true ? step.signIn(parameters.account) : allowed;
      },
      jwt: (parameters) => step.jwt(parameters, own.jwt),
      session: (parameters) => step.session(parameters, own.session),
    },
    events: {
      ...events,
      async signOut(message) {
        // With sessions in a database there is no token, and nothing to give back.
        await step.signOut("token" in message ? message.token : null);
        await events.signOut?.(message);
      },
    },
  };
  return { client, options: parts, ...parts };
}
