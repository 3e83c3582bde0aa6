"use client";

import { useRouter } from "next/navigation";
import { authClient } from "@/lib/auth-client";

export function SignInButton({ provider = "github", children = "Sign in with GitHub" }: { provider?: string; children?: string }) {
  const signIn = () => authClient.signIn.social({ provider, callbackURL: "/", errorCallbackURL: "/error" });
  return (
    <button type="button" onClick={signIn}>
      {children}
    </button>
  );
}

export function SignOutButton() {
  const router = useRouter();
  async function signOut() {
    await authClient.signOut();
    router.push("/");
    router.refresh();
  }
  return (
    <button type="button" className="quiet" onClick={signOut}>
      Sign out
    </button>
  );
}
