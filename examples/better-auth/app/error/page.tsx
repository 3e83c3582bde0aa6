import Link from "next/link";
import { SignInButton } from "../buttons";
import { Heading } from "../heading";

/** The texts of the page. The URL selects one of them and cannot add another. */
const TEXTS = {
  AccessDenied: { title: "This account may not sign in here", text: "Another account of yours may. Who runs this app decides who may sign in." },
  CambioRefused: { title: "We could not accept this sign-in", text: "It was not confirmed where you signed in." },
  account_not_linked: { title: "You have signed in another way before", text: "This address is that of an account which signs in elsewhere. Sign in there." },
  CambioMisconfigured: { title: "This app is not set up correctly", text: "Signing in cannot work until whoever runs it has looked at its log." },
};
const TRY_AGAIN = { title: "Please try again in a moment", text: "Signing in is temporarily unavailable. This is not your fault, and nothing is lost." };

export default async function AuthError({ searchParams }: PageProps<"/error">) {
  const { error } = await searchParams;
  const { title, text } = Object.entries(TEXTS).find(([name]) => name === error)?.[1] ?? TRY_AGAIN;
  return (
    <>
      <Heading>{title}</Heading>
      <p role="alert">{text}</p>
      {title === TRY_AGAIN.title && <SignInButton>Try again</SignInButton>}
      <p>
        <Link href="/">Back to the start page</Link>
      </p>
    </>
  );
}
