"use server";

import { getServerSession } from "next-auth";
import { revalidatePath } from "next/cache";
import { authOptions } from "@/lib/auth";
import { endSession } from "@/lib/cambio";

/** Ends one of the user's own sessions: Cambio knows no others by their access token. */
export async function end(id: string): Promise<void> {
  const session = await getServerSession(authOptions());
  if (session?.accessToken) await endSession(session.accessToken, id);
  revalidatePath("/");
}

/** Ends all of the user's sessions, this one too. Says whether that is done. */
export async function signOutEverywhere(): Promise<boolean> {
  const session = await getServerSession(authOptions());
  if (session?.error === "SessionEnded") return true;
  return session?.accessToken ? endSession(session.accessToken, "all") : false;
}
