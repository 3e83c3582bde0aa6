"use server";

import { getServerSession } from "next-auth";
import { revalidatePath } from "next/cache";
import { endAllSessions, endSession } from "@/lib/api";
import { authOptions } from "@/lib/auth";

/** Ends one of the user's own sessions: the API knows no others by their access token. Says whether that is done. */
export async function end(id: string): Promise<boolean> {
  const session = await getServerSession(authOptions());
  const isDone = session ? await endSession(session, id) : false;
  if (isDone) revalidatePath("/");
  return isDone;
}

/** Ends all of the user's sessions, this one too. Says whether that is done. */
export async function signOutEverywhere(): Promise<boolean> {
  const session = await getServerSession(authOptions());
  return session ? endAllSessions(session) : false;
}
