"use client";

import { signIn, signOut } from "next-auth/react";
import { useState } from "react";
import { signOutEverywhere } from "./actions";

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

export function SignOutEverywhereButton() {
  const [failed, setFailed] = useState(false);
  async function leave() {
    if (await signOutEverywhere().catch(() => false)) await signOut({ callbackUrl: "/" });
    else setFailed(true);
  }
  return (
    <>
      <button type="button" className="quiet" onClick={leave}>
        Sign out everywhere
      </button>
      {failed && <p role="alert">That did not work. Please try again in a moment.</p>}
    </>
  );
}
