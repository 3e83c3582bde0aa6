/** The parts of a sign-in that other requests do not need. */
import { exchanged, type SessionOptions, type SignIn } from "./callbacks.js";
import type { CambioClient, CambioError, Grant } from "./index.js";
import type { Refusal, watcher } from "./keep.js";
import { variable } from "./sign.js";
import { vouch } from "./vouch.js";

type Watch = ReturnType<typeof watcher>;
type Account = NonNullable<SignIn["account"]>;

/** The outcome of a sign-in on its way from `signIn` to `jwt`, by the `account` that next-auth passes to both. */
const grants = new WeakMap<object, Grant | undefined>();

/**
 * Returns whether a sign-in has a token of its provider that Cambio can check. E-mail links, credentials and passkeys
 * have none.
 */
function hasToken({ provider, id_token, access_token }: Account, { vouchFor }: SessionOptions): boolean {
  return !!(id_token || access_token) && !vouchFor?.includes(provider);
}

/** Returns whether `signIn` knows the lasting id of the user: not before an adapter has created the user. */
function isKnown(account: Account, options: SessionOptions): boolean {
  return hasToken(account, options) || account.type === "credentials" || !!options.vouchFor?.includes(account.provider);
}

/** Returns nothing for a sign-in that neither its provider nor the app vouches for. */
async function exchange(account: Account, user: object | undefined, options: SessionOptions, client: CambioClient, watch: Watch) {
  const userAgent = await watch.tried(() => options.userAgent?.());
  return hasToken(account, options) ? exchanged(client, watch, account, userAgent) : vouched(account, user, options, client, watch, userAgent);
}

/** Exchanges a sign-in. A refusal is a page, because next-auth puts the message of an exception into the URL. */
export async function signIn({ account, user }: SignIn, options: SessionOptions, client: CambioClient, watch: Watch): Promise<true | string> {
  // By e-mail or passkey, the user may not have followed the link yet, or have no lasting id: see `grantOf`.
  if (!account || !isKnown(account, options)) return true;
  const grant = await exchange(account, user, options, client, watch);
  if (typeof grant === "string") {
    const { errorPage = "/api/auth/error" } = options;
    return `${errorPage}${errorPage.includes("?") ? "&" : "?"}error=${grant}`;
  }
  grants.set(account, grant);
  return true;
}

/** Returns the grant of a sign-in that next-auth has completed; `null` if the user must not be signed in. */
export async function grantOf({ account, user }: SignIn, options: SessionOptions, client: CambioClient, watch: Watch): Promise<Grant | null | undefined> {
  if (!account) return undefined;
  if (grants.has(account)) return grants.get(account);
  // For an `account` unknown to `signIn`, the same exchange within a minute opens the same session.
  const grant = await exchange(account, user, options, client, watch);
  if (typeof grant !== "string") return grant;
  return hasToken(account, options) ? undefined : null;
}

/** The options that say how the app vouches. */
type VouchingOptions = Pick<SessionOptions, "clientId" | "url" | "vouch" | "vouchFor">;

/** A user of next-auth or better-auth. */
interface AppUser {
  id?: unknown;
  name?: unknown;
  email?: unknown;
  emailVerified?: unknown;
  image?: unknown;
}

/** The options whose log has the line about the missing key. */
const told = new WeakSet<object>();

const text = (value: unknown) => (typeof value === "string" ? value : undefined);

/**
 * Exchanges a sign-in that has no token of a provider, by a JWT of the app. Returns nothing where the app does not
 * vouch for its users: the sign-in then passes without Cambio.
 */
export async function vouched(
  account: Account,
  user: AppUser | undefined,
  options: VouchingOptions,
  client: CambioClient,
  watch: Watch,
  userAgent?: string | null,
): Promise<Grant | Refusal | undefined> {
  const { provider } = account;
  const without = (hint: string) => watch.report(`the sign-in has no token of ${provider}${hint}`, "", "info");
  if (!options.vouch && !variable("CAMBIO_PRIVATE_KEY")) {
    const isFirst = !told.has(options);
    told.add(options);
    without(isFirst ? ": set CAMBIO_PRIVATE_KEY, and vouches of the app at Cambio, to vouch for its user" : "");
    return undefined;
  }
  const { vouchFor = [] } = options;
  const isOfProvider = vouchFor.includes(provider);
  // Without an adapter, Auth.js 5 makes a new id at each sign-in with a provider.
  const id = isOfProvider ? `${provider}:${account.providerAccountId}` : typeof user?.id === "number" ? `${user.id}` : text(user?.id);
  if (!id || (isOfProvider && !account.providerAccountId)) {
    without(", and its user has no id to vouch for");
    return undefined;
  }
  if (!isOfProvider && vouchFor.some((name) => id.startsWith(`${name}:`))) {
    without(", and the id of its user is like that of a user of a provider in vouchFor");
    return undefined;
  }
  const email = text(user?.email);
  // The user has just followed the link to this address.
  const isProven = account.type === "email" && email?.toLowerCase() === account.providerAccountId?.toLowerCase();
  const sign = options.vouch ?? vouch({ clientId: options.clientId, url: options.url });
  /** Set if the client has no `vouches` at Cambio. */
  let isOff = false;
  const exchange: CambioClient["exchange"] = async (tokens, more) => {
    try {
      const jwt = await sign({
        id,
        name: text(user?.name),
        email,
        emailVerified: isProven || !!user?.emailVerified,
        image: text(user?.image),
        // A provider may sign a user in whom it authenticated long ago.
        signedInAt: isOfProvider ? undefined : new Date(),
      });
      return await client.exchange({ ...tokens, jwt }, more);
    } catch (failure) {
      isOff = (failure as CambioError).code === "unauthorized_client";
      throw failure;
    }
  };
  const emit: typeof watch.emit = async (event) => (isOff ? undefined : watch.emit(event));
  const grant = await exchanged({ ...client, exchange }, { ...watch, emit }, { provider }, userAgent);
  return isOff ? undefined : grant;
}
