import type {} from "next-auth";
import type { Grant } from "@/lib/cambio";

declare module "next-auth" {
  interface User {
    /** Put there by the `signIn` callback, for the `jwt` callback. */
    cambio?: Grant;
  }

  interface Session {
    /** For `Authorization: Bearer`, while it lives. */
    accessToken?: string;
    /** Sign in again, or try again in a moment. */
    error?: "SessionEnded" | "Unavailable";
  }
}

declare module "next-auth/jwt" {
  interface JWT {
    accessToken: string;
    expiresAt: number;
    refreshAt: number;
    refreshToken: string;
    /** Cambio says that the session is over. */
    hasEnded?: boolean;
  }
}
