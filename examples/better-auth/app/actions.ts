"use server";

import { cambioFetch } from "@cambio/next-auth/fetch";
import { revalidatePath } from "next/cache";
import { headers } from "next/headers";
import { auth } from "@/lib/auth";

/** Ends one of the user's own sessions: the API knows no others by their access token. Says whether that is done. */
export async function end(id: string): Promise<boolean> {
  // A name with a dot or a slash in it would lead to another route.
  const isDone = /^[\w-]+$/.test(id) && (await remove(`/me/sessions/${id}`));
  if (isDone) revalidatePath("/");
  return isDone;
}

/** Ends all of the user's sessions, this one too. Says whether that is done. */
export async function signOutEverywhere(): Promise<boolean> {
  return remove("/me/sessions");
}

async function remove(path: string): Promise<boolean> {
  const session = await auth.api.cambioSession({ headers: await headers() });
  if (!session) return false;
  try {
    const answer = await cambioFetch(session, process.env.CAMBIO_URL ?? "")(path, { method: "DELETE", cache: "no-store" });
    return answer.ok;
  } catch {
    return false;
  }
}
