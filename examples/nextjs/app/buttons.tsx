"use client";

import { signIn, signOut } from "next-auth/react";

export function SignInButton({ children = "Sign in with GitHub" }: { children?: string }) {
  return (
    <button type="button" onClick={() => signIn("github", { callbackUrl: "/" })}>
      {children}
    </button>
  );
}

export function SignOutButton() {
  return (
    <button type="button" className="quiet" onClick={() => signOut({ callbackUrl: "/" })}>
      Sign out
    </button>
  );
}
