import { type Account, CambioError, type components } from "@cambio/next-auth";
import { cambioFetch } from "@cambio/next-auth/fetch";
import type { CambioSessionAnswer } from "@cambio/next-auth/better-auth";
import { headers } from "next/headers";
import { api, auth } from "@/lib/auth";
import { deviceName } from "@/lib/device";
import { EndButton, SignInButton, SignOutButton, SignOutEverywhereButton } from "./buttons";
import { Fresh } from "./fresh";
import { Heading } from "./heading";

type Sessions = components["schemas"]["Sessions"];

export default async function Home() {
  const session = await auth.api.cambioSession({ headers: await headers() });
  if (!session) return <SignedOut />;
  const known = session.error ?? (await account(session));
  if (known === "SessionEnded") return <SignedOut notice="Your session has ended. Please sign in again." />;
  return (
    <>
      <Fresh />
      {known === "Unavailable" ? <Unavailable /> : <Profile {...known} />}
    </>
  );
}

/** The user's account at the API. */
async function account(session: CambioSessionAnswer): Promise<{ user: Account; devices: Sessions["sessions"] } | "SessionEnded" | "Unavailable"> {
  try {
    const [user, answer] = await Promise.all([
      api.me(session.accessToken ?? ""),
      cambioFetch(session, process.env.CAMBIO_URL ?? "")("/me/sessions", { cache: "no-store" }),
    ]);
    if (!answer.ok) return answer.status === 401 ? "SessionEnded" : "Unavailable";
    const { sessions }: Sessions = await answer.json();
    return { user, devices: sessions };
  } catch (error) {
    return error instanceof CambioError && error.kind === "ended" ? "SessionEnded" : "Unavailable";
  }
}

function SignedOut({ notice }: { notice?: string }) {
  return (
    <>
      <Heading>Welcome</Heading>
      {notice && <p role="status">{notice}</p>}
      <p>Sign in, and this page shows what the API knows about you.</p>
      <div className="buttons">
        <SignInButton />
        {process.env.OIDC_ISSUER && <SignInButton provider="oidc">Sign in with OpenID</SignInButton>}
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

function Profile({ user, devices }: { user: Account; devices: Sessions["sessions"] }) {
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
