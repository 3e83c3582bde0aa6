import Link from "next/link";
import { SignInButton } from "@/app/buttons";
import type { Failure } from "@/lib/cambio";

/** The URL chooses between these texts, and can bring none of its own. */
const TEXTS: Record<Failure, { title: string; text: string; retry: boolean }> = {
  refused: {
    title: "We could not accept this sign-in",
    text: "GitHub did not confirm it, or this account may not sign in here. You can sign in once more from the start page.",
    retry: false,
  },
  unavailable: {
    title: "Please try again in a moment",
    text: "Signing in is temporarily unavailable. This is not your fault, and nothing is lost.",
    retry: true,
  },
  misconfigured: {
    title: "This app is not set up correctly",
    text: "Signing in cannot work until whoever runs it has looked at its log.",
    retry: false,
  },
};

export default async function AuthError({ searchParams }: PageProps<"/auth/error">) {
  const { reason, error } = await searchParams;
  const { title, text, retry } = TEXTS[failure(reason, error)];
  return (
    <>
      <h1>{title}</h1>
      <p role="alert">{text}</p>
      {retry && <SignInButton>Try again</SignInButton>}
      <p>
        <Link href="/">Back to the start page</Link>
      </p>
    </>
  );
}

type Parameter = string | string[] | undefined;

/** `reason` is ours; `error` is next-auth's own, of which `Configuration` is the one that trying again cannot help. */
function failure(reason: Parameter, error: Parameter): Failure {
  if (reason === "refused" || reason === "misconfigured") return reason;
  return error === "Configuration" ? "misconfigured" : "unavailable";
}
