/** A wrapper for the route handlers of next-auth and better-auth in the `app` folder. */
import { requests } from "./requests.js";

/**
 * Options of the route handlers.
 *
 * @example
 * ```ts
 * import { cambioHandler, type CambioHandlerOptions } from "@cambio/next-auth/handler";
 * import NextAuth from "next-auth";
 *
 * const options: CambioHandlerOptions = { newUserPage: "/welcome" };
 * export const GET = cambioHandler(NextAuth({ providers: [] }), options);
 * ```
 */
export interface CambioHandlerOptions {
  /**
   * The page that a sign-in ends on if it created the user at Cambio, as `pages.newUser` of next-auth with a database.
   * Its `?callbackUrl=` is the page that the sign-in was for.
   */
  newUserPage?: string | undefined;
}

/**
 * Returns a handler whose answers are not cached if they set a cookie, and whose removed cookies expire at once.
 *
 * @example
 * ```ts
 * import { cambioHandler } from "@cambio/next-auth/handler";
 * import NextAuth from "next-auth";
 *
 * const handler = cambioHandler(NextAuth({ providers: [] }));
 * export { handler as GET, handler as POST };
 * ```
 */
export function cambioHandler<P extends unknown[]>(
  handler: (...parameters: P) => Promise<Response>,
  { newUserPage }: CambioHandlerOptions = {},
): (...parameters: P) => Promise<Response> {
  return async (...parameters) => {
    const request: { isNewUser?: true } = {};
    const answer = await requests.run(request, () => handler(...parameters));
    const { headers } = answer;
    const target = headers.get("Location");
    if (newUserPage && request.isNewUser && target) {
      headers.set("Location", `${newUserPage}${newUserPage.includes("?") ? "&" : "?"}${new URLSearchParams({ callbackUrl: target })}`);
    }
    const cookies = headers.getSetCookie();
    if (cookies.length) {
      // Otherwise, a page that is rendered at build time is public.
      headers.set("Cache-Control", "private, no-store");
      headers.delete("Set-Cookie");
      // Next.js drops `Max-Age=0` if the request calls `cookies().set` as well, and the browser would keep an
      // empty cookie.
      for (const cookie of cookies) headers.append("Set-Cookie", cookie.replace(/; *max-age=0(?=;|$)/i, "$&; Expires=Thu, 01 Jan 1970 00:00:00 GMT"));
    }
    return answer;
  };
}
