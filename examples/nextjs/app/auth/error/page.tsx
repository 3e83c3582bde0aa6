import Link from "next/link";
import { SignInButton } from "@/app/buttons";
import { Heading } from "@/app/heading";

type Failure = "denied" | "refused" | "unavailable" | "misconfigured";

/** The texts of the page. The URL selects one of them and cannot add another. */
const TEXTS: Record<Failure, { title: string; text: string; retry: boolean }> = {
  denied: {
    title: "This account may not sign in here",
    text: "Another account of yours may. Who runs this app decides who may sign in.",
    retry: false,
  },
  refused: {
    title: "We could not accept this sign-in",
    text: "It was not confirmed where you signed in. You can sign in once more from the start page.",
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

/** The errors of the package, and the one of next-auth that another try cannot solve. */
const FAILURES = new Map<unknown, Failure>([
  ["AccessDenied", "denied"],
  ["CambioRefused", "refused"],
  ["CambioMisconfigured", "misconfigured"],
  ["Configuration", "misconfigured"],
]);

export default async function AuthError({ searchParams }: PageProps<"/auth/error">) {
  const { error } = await searchParams;
  const { title, text, retry } = TEXTS[FAILURES.get(error) ?? "unavailable"];
  return (
    <>
      <Heading>{title}</Heading>
      <p role="alert">{text}</p>
      {retry && <SignInButton>Try again</SignInButton>}
      <p>
        <Link href="/">Back to the start page</Link>
      </p>
    </>
  );
}
