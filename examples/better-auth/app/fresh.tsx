"use client";

import { useEffect } from "react";
import { authClient } from "@/lib/auth-client";

/** Asks for the session when a page opens: that stores what was refreshed, which a server component cannot. */
export function Fresh() {
  useEffect(() => void authClient.cambio.session(), []);
  return null;
}
