"use client";

import { SessionProvider } from "next-auth/react";
import type { ReactNode } from "react";

/**
 * Asks for /api/auth/session when a page opens, when one is looked at again, and every few minutes: that stores what
 * was refreshed.
 */
export function Providers({ children }: { children: ReactNode }) {
  return <SessionProvider refetchInterval={4 * 60}>{children}</SessionProvider>;
}
