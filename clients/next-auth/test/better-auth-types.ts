// Only compiled: what an app with better-auth can rely on without declaring anything.
import type { User } from "@cambio/next-auth";
import { cambioFetch } from "@cambio/next-auth/fetch";
import { accessTokenOf, cambio } from "@cambio/next-auth/better-auth";
import { cambioClient } from "@cambio/next-auth/better-auth/client";
import { betterAuth } from "better-auth";
import { createAuthClient } from "better-auth/client";

export const auth = betterAuth({ plugins: [cambio()] });
const client = createAuthClient({ plugins: [cambioClient()] });

export async function onTheServer(headers: Headers): Promise<Omit<User, "identities"> | undefined> {
  const session = await auth.api.cambioSession({ headers });
  await cambioFetch(session, "https://api.example.com")("/orders");
  const { token, expiresAt } = await accessTokenOf(auth, () => headers)({ audience: "https://orders.example.com" });
  if (expiresAt < Date.now()) throw new Error(token);
  const problem: "SessionEnded" | "Unavailable" | undefined = session?.error;
  // @ts-expect-error a refresh token is not for browsers
  session?.refreshToken;
  return problem ? undefined : session?.user;
}

export async function inTheBrowser(): Promise<string | undefined> {
  const { data } = await client.cambio.session();
  return data?.accessToken;
}
