"use client";

import { useRouter } from "next/navigation";
import { useState } from "react";
import { authClient } from "@/lib/auth-client";
import { end, signOutEverywhere } from "./actions";

export function SignInButton({ provider = "github", children = "Sign in with GitHub" }: { provider?: string; children?: string }) {
  const signIn = () => authClient.signIn.social({ provider, callbackURL: "/", errorCallbackURL: "/error" });
  return (
    <button type="button" onClick={signIn}>
      {children}
    </button>
  );
}

function useSignOut() {
  const router = useRouter();
  return async () => {
    await authClient.signOut();
    router.push("/");
    router.refresh();
  };
}

export function SignOutButton() {
  return (
    <button type="button" className="quiet" onClick={useSignOut()}>
      Sign out
    </button>
  );
}

export function SignOutEverywhereButton() {
  const signOut = useSignOut();
  return (
    <ActionButton
      action={async () => {
        const isDone = await signOutEverywhere();
        if (isDone) await signOut();
        return isDone;
      }}
    >
      Sign out everywhere
    </ActionButton>
  );
}

export function EndButton({ id, device }: { id: string; device: string }) {
  return (
    <ActionButton action={() => end(id)} label={`End the session of ${device}`}>
      End
    </ActionButton>
  );
}

/** A button that shows a message if its action fails. */
function ActionButton({ action, label, children }: { action: () => Promise<boolean>; label?: string; children: string }) {
  const [failed, setFailed] = useState(false);
  const act = async () => setFailed(!(await action().catch(() => false)));
  return (
    <>
      <button type="button" className="quiet" aria-label={label} onClick={act}>
        {children}
      </button>
      {failed && <p role="alert">That did not work. Please try again in a moment.</p>}
    </>
  );
}
