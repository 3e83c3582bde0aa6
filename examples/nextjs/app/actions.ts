"use server";

import { getServerSession } from "next-auth";
import { revalidatePath } from "next/cache";
import { authOptions } from "@/lib/auth";
import { endAllSessions, endSession } from "@/lib/cambio";

/** Ends one of the user's own sessions: Cambio knows no others by their access token. Says whether that is done. */
export async function end(id: string): Promise<boolean> {
  const session = await getServerSession(authOptions());
  const isDone = session?.accessToken ? await endSession(session.accessToken, id) : false;
  if (isDone) revalidatePath("/");
  return isDone;
}

/** Ends all of the user's sessions, this one too. Says whether that is done. */
export async function signOutEverywhere(): Promise<boolean> {
  const session = await getServerSession(authOptions());
  return session?.accessToken ? endAllSessions(session.accessToken) : false;
}
