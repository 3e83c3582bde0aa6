"use client";

import { useEffect } from "react";
import { authClient } from "@/lib/auth-client";

/** Requests the session when a page opens, which stores a refreshed session; a server component cannot store it. */
export function Fresh() {
  useEffect(() => void authClient.cambio.session(), []);
  return null;
}
