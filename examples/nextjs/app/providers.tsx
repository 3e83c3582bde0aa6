"use client";

import { SessionProvider } from "next-auth/react";
import type { ReactNode } from "react";

/**
 * Requests /api/auth/session when a page opens, when it becomes visible again, and every few minutes, which stores a
 * refreshed session.
 */
export function Providers({ children }: { children: ReactNode }) {
  return <SessionProvider refetchInterval={4 * 60}>{children}</SessionProvider>;
}
