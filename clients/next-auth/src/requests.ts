import { AsyncLocalStorage } from "node:async_hooks";

/** The state of one request, passed from the callbacks of a sign-in to `cambioHandler`. */
interface SignInRequest {
  isNewUser?: true;
}

/** One for all copies of this package in a process. */
const shared: { [key: symbol]: AsyncLocalStorage<SignInRequest> | undefined } = globalThis as never;
const KEY = Symbol.for("@cambio/next-auth requests");

export const requests: AsyncLocalStorage<SignInRequest> = (shared[KEY] ??= new AsyncLocalStorage<SignInRequest>());

/** Notes that the sign-in of the current request created its user. */
export function markNewUser(): void {
  const request = requests.getStore();
  if (request) request.isNewUser = true;
}
