"use server";

import { revalidatePath } from "next/cache";
import { endAllSessions, endSession } from "@/lib/api";

/** Ends one session of the signed-in user. Returns whether it ended. */
export async function end(id: string): Promise<boolean> {
  const isDone = await endSession(id);
  if (isDone) revalidatePath("/");
  return isDone;
}

/** Ends all of the user's sessions, including this one. Returns whether they ended. */
export async function signOutEverywhere(): Promise<boolean> {
  return endAllSessions();
}
