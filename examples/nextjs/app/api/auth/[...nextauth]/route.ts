import { cambioHandler } from "@cambio/next-auth/handler";
import NextAuth from "next-auth";
import type { NextRequest } from "next/server";
import { authOptions } from "@/lib/auth";

const handler = cambioHandler(
  (request: NextRequest, context: RouteContext<"/api/auth/[...nextauth]">): Promise<Response> => NextAuth(request, context, authOptions()),
);

export { handler as GET, handler as POST };
