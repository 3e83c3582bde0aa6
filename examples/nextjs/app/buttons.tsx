"use client";

import { signIn, signOut } from "next-auth/react";
import { useState } from "react";
import { end, signOutEverywhere } from "./actions";

export function SignInButton({ provider = "github", children = "Sign in with GitHub" }: { provider?: string; children?: string }) {
  return (
    <button type="button" onClick={() => signIn(provider, { callbackUrl: "/" })}>
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
  return (
    <ActionButton
      action={async () => {
        const isDone = await signOutEverywhere();
        if (isDone) await signOut({ callbackUrl: "/" });
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
