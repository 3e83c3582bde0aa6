/** For next-auth 4. */
import type { DefaultSession, NextAuthOptions } from "next-auth";
import { type CambioSession, type SessionOptions, steps, type Visible } from "./callbacks.js";
import type { CambioClient } from "./index.js";

export type { CambioEvent, Logger } from "./keep.js";

declare module "next-auth" {
  interface Session extends CambioSession {
    // The idiom of next-auth's documentation, word for word: only identical types may be declared twice.
    user: { id: string } & DefaultSession["user"];
  }
}
declare module "next-auth/jwt" {
  interface JWT {
    /** Cambio's part, without the refresh token: only the encrypted cookie holds that. */
    cambio?: Visible;
  }
}

/** How to reach Cambio, and what your app does beside it. */
export interface NextAuthCambioOptions extends SessionOptions {
  /** Your own callbacks. `signIn` is called first and can refuse; `jwt` and `session` get what the package made, and can change it. */
  callbacks?: NextAuthOptions["callbacks"];
  /** Your own events, after these. */
  events?: NextAuthOptions["events"];
}

/** The parts of `NextAuthOptions` that Cambio brings. */
export interface NextAuthCambio {
  /** Both of the parts below, to be spread into yours. */
  options: { callbacks: NonNullable<NextAuthOptions["callbacks"]>; events: NonNullable<NextAuthOptions["events"]> };
  callbacks: NonNullable<NextAuthOptions["callbacks"]>;
  events: NonNullable<NextAuthOptions["events"]>;
  /** The calls themselves, for the rest of your server. */
  client: CambioClient;
}

/** Callbacks that trade each sign-in for a token of your own API, keep it fresh, and give it back at sign-out. */
export function cambio(options: NextAuthCambioOptions = {}): NextAuthCambio {
  const { callbacks: own = {}, events = {} } = options;
  const { client, ...step } = steps(options);

  const parts: NextAuthCambio["options"] = {
    callbacks: {
      ...own,
      async signIn(parameters) {
        const allowed = (await own.signIn?.(parameters)) ?? true;
        return allowed === true ? step.signIn(parameters.account) : allowed;
      },
      async jwt(parameters) {
        const token = await step.jwt(parameters, own.jwt);
        // next-auth 4 has no other way to end a session: it logs this, and removes the cookie.
        if (!token) throw new Error("this session was signed out");
        return token;
      },
      session: (parameters) => step.session(parameters, own.session),
    },
    events: {
      ...events,
      async signOut(message) {
        await step.signOut(message.token);
        await events.signOut?.(message);
      },
    },
  };
  return { client, options: parts, ...parts };
}
