"use server";

import { revalidatePath } from "next/cache";
import { endAllSessions, endSession } from "@/lib/api";

/** Ends one of the user's own sessions: the API knows no others by their access token. Says whether that is done. */
export async function end(id: string): Promise<boolean> {
  const isDone = await endSession(id);
  if (isDone) revalidatePath("/");
  return isDone;
}

/** Ends all of the user's sessions, this one too. Says whether that is done. */
export async function signOutEverywhere(): Promise<boolean> {
  return endAllSessions();
}
