import { type Account, CambioError } from "@cambio/next-auth";
import { headers } from "next/headers";
import { api, auth } from "@/lib/auth";
import { SignInButton, SignOutButton } from "./buttons";
import { Fresh } from "./fresh";

export default async function Home() {
  const session = await auth.api.cambioSession({ headers: await headers() });
  if (!session) return <SignedOut />;
  const user = session.error ?? (await account(session.accessToken ?? ""));
  if (user === "SessionEnded") return <SignedOut notice="Your session has ended. Please sign in again." />;
  return (
    <>
      <Fresh />
      {user === "Unavailable" ? <Unavailable /> : <Profile user={user} />}
      <SignOutButton />
    </>
  );
}

/** What the API says of the user at this moment. */
async function account(accessToken: string): Promise<Account | "SessionEnded" | "Unavailable"> {
  try {
    return await api.me(accessToken);
  } catch (error) {
    return error instanceof CambioError && error.kind === "ended" ? "SessionEnded" : "Unavailable";
  }
}

function SignedOut({ notice }: { notice?: string }) {
  return (
    <>
      <h1>Welcome</h1>
      {notice && <p role="status">{notice}</p>}
      <p>Sign in, and this page shows what the API knows about you.</p>
      <SignInButton /> {process.env.OIDC_ISSUER && <SignInButton provider="oidc">Sign in with OpenID</SignInButton>}
    </>
  );
}

function Unavailable() {
  return (
    <>
      <h1>One moment</h1>
      <p role="alert">You are signed in, but the API does not answer. Please reload this page in a moment.</p>
    </>
  );
}

function Profile({ user: { id, name, email } }: { user: Account }) {
  return (
    <>
      <h1>{name ?? "Signed in"}</h1>
      <dl>
        <dt>E-mail</dt>
        <dd data-testid="email">{email ?? "none"}</dd>
        <dt>User id</dt>
        <dd data-testid="user-id">{id}</dd>
      </dl>
    </>
  );
}
