import { getServerSession } from "next-auth";
import { authOptions } from "@/lib/auth";
import { me, type User } from "@/lib/cambio";
import { SignInButton, SignOutButton } from "./buttons";

export const dynamic = "force-dynamic";

export default async function Home({ searchParams }: PageProps<"/">) {
  const session = await getServerSession(authOptions());
  if (session?.error === "AccessTokenExpired") return <SignedOut notice="Your session has ended. Please sign in again." />;
  if (!session?.accessToken) {
    // next-auth comes back here with `error` when GitHub's side of a sign-in failed or was cancelled.
    const { error } = await searchParams;
    return error ? <SignedOut notice="Signing in did not complete. Please try again." /> : <SignedOut />;
  }

  const user = await me(session.accessToken);
  if (user === "signed-out") return <SignedOut notice="Your session has ended. Please sign in again." />;
  if (user === "unavailable") return <Unavailable />;
  return <Profile user={user} />;
}

function SignedOut({ notice }: { notice?: string }) {
  return (
    <>
      <h1>Welcome</h1>
      {notice && <p role="status">{notice}</p>}
      <p>Sign in, and this page shows what the API knows about you.</p>
      <SignInButton />
    </>
  );
}

function Unavailable() {
  return (
    <>
      <h1>One moment</h1>
      <p role="alert">You are signed in, but the API does not answer. Please reload this page in a moment.</p>
      <SignOutButton />
    </>
  );
}

function Profile({ user }: { user: User }) {
  return (
    <>
      {user.picture && <img src={user.picture} alt="" width={72} height={72} referrerPolicy="no-referrer" />}
      <h1>{user.name ?? "Signed in"}</h1>
      <dl>
        <dt>E-mail</dt>
        <dd data-testid="email">{user.email ?? "none"}</dd>
        <dt>User id</dt>
        <dd data-testid="user-id">{user.id}</dd>
      </dl>
      <SignOutButton />
    </>
  );
}
