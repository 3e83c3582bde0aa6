"use server";

import { cambioFetch } from "@cambio/next-auth/fetch";
import { revalidatePath } from "next/cache";
import { headers } from "next/headers";
import { auth } from "@/lib/auth";

/** Ends one session of the signed-in user. Returns whether it ended. */
export async function end(id: string): Promise<boolean> {
  // An id with a dot or a slash would lead to another route.
  const isDone = /^[\w-]+$/.test(id) && (await remove(`/me/sessions/${id}`));
  if (isDone) revalidatePath("/");
  return isDone;
}

/** Ends all of the user's sessions, including this one. Returns whether they ended. */
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
