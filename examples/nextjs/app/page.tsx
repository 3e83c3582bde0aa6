import type { Account } from "@cambio/next-auth";
import { getServerSession } from "next-auth";
import { me, type Session, sessions } from "@/lib/api";
import { authOptions } from "@/lib/auth";
import { deviceName } from "@/lib/device";
import { env } from "@/lib/env";
import { EndButton, SignInButton, SignOutButton, SignOutEverywhereButton } from "./buttons";
import { Heading } from "./heading";

export const dynamic = "force-dynamic";

export default async function Home({ searchParams }: PageProps<"/">) {
  const session = await getServerSession(authOptions());
  if (session?.error === "SessionEnded") return <SignedOut notice="Your session has ended. Please sign in again." />;
  if (session?.error === "Unavailable") return <Unavailable />;
  if (!session) {
    // next-auth returns here with `error` if a sign-in failed or was cancelled at GitHub.
    const { error } = await searchParams;
    return error ? <SignedOut notice="Signing in did not complete. Please try again." /> : <SignedOut />;
  }

  const [user, devices] = await Promise.all([me(), sessions()]);
  // After a sign-out on another device, the API refuses the access token before it expires.
  if (user === "signed-out" || devices === "signed-out") return <SignedOut notice="Your session has ended. Please sign in again." />;
  if (user === "unavailable" || devices === "unavailable") return <Unavailable />;
  return <Profile user={user} devices={devices} />;
}

function SignedOut({ notice }: { notice?: string }) {
  return (
    <>
      <Heading>Welcome</Heading>
      {notice && <p role="status">{notice}</p>}
      <p>Sign in, and this page shows what the API knows about you.</p>
      <div className="buttons">
        <SignInButton />
        {env().openId && <SignInButton provider="oidc">Sign in with OpenID</SignInButton>}
      </div>
    </>
  );
}

function Unavailable() {
  return (
    <>
      <Heading>One moment</Heading>
      <p role="alert">You are signed in, but the API does not answer. Please reload this page in a moment.</p>
      <SignOutButton />
    </>
  );
}

function Profile({ user, devices }: { user: Account; devices: Session[] }) {
  return (
    <>
      {user.picture && <img src={user.picture} alt="" width={72} height={72} referrerPolicy="no-referrer" />}
      <Heading>{user.name ?? "Signed in"}</Heading>
      <dl>
        <dt>E-mail</dt>
        <dd data-testid="email">{user.email ?? "none"}</dd>
        <dt>User id</dt>
        <dd data-testid="user-id">{user.id}</dd>
      </dl>
      <h2>Where you are signed in</h2>
      <ul role="list">
        {devices.map(({ id, user_agent, last_used_at, current }) => (
          <li key={id}>
            <div>
              {deviceName(user_agent)} {current && <strong>(this device)</strong>}
              <small>
                last used <time dateTime={last_used_at}>{new Date(last_used_at).toUTCString()}</time>
              </small>
            </div>
            {!current && <EndButton id={id} device={deviceName(user_agent)} />}
          </li>
        ))}
      </ul>
      <div className="buttons">
        <SignOutButton />
        <SignOutEverywhereButton />
      </div>
    </>
  );
}
