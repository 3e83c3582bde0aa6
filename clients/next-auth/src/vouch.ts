/** JWTs by which the app vouches for its users: those whom no provider can prove to Cambio. */
import { CambioError } from "./index.js";
import { type PrivateJwk, signerWith, variable } from "./sign.js";

export type { PrivateJwk } from "./sign.js";

/**
 * The key that vouches for users, and the names in its JWTs.
 *
 * @example
 * ```ts
 * import { vouch, type VouchOptions } from "@cambio/next-auth/vouch";
 *
 * const options: VouchOptions = { issuer: "https://shop.example.com" };
 * export const sign = vouch(options);
 * ```
 */
export interface VouchOptions {
  /** A private JWK, or a `CryptoKey` with `kid`; by default the environment variable `CAMBIO_PRIVATE_KEY`. */
  key?: PrivateJwk | CryptoKey | undefined;
  /** The name of the key in `vouches` of the app at Cambio; the `kid` of the JWK by default. */
  kid?: string | undefined;
  /** `issuer` in `vouches` of the app at Cambio; the client id by default. */
  issuer?: string | undefined;
  /** The URL of Cambio's issuer; the URL of `POST /token` by default. */
  audience?: string | undefined;
  /** The client id of this app at Cambio; the environment variable `CAMBIO_CLIENT_ID` by default. */
  clientId?: string | undefined;
  /** The URL of Cambio; the environment variable `CAMBIO_URL` by default. */
  url?: string | undefined;
}

/**
 * A user whom the app has authenticated.
 *
 * @example
 * ```ts
 * import type { VouchedUser } from "@cambio/next-auth/vouch";
 *
 * const user: VouchedUser = { id: "17", name: "Ada Lovelace", email: "ada@example.com", emailVerified: true };
 * ```
 */
export interface VouchedUser {
  /**
   * The id of the user in the app, of 1 to 255 ASCII characters, which never changes and never passes to another
   * person.
   */
  id: string;
  /** The name to show. */
  name?: string | null | undefined;
  /** The e-mail address. */
  email?: string | null | undefined;
  /** Set to true if the app has verified that the address is the user's. */
  emailVerified?: boolean | undefined;
  /** The `https` URL of a picture. */
  image?: string | null | undefined;
  /** The time at which the user signed in, if it was within this request. */
  signedInAt?: Date | undefined;
}

/**
 * Signs a JWT by which the app vouches for a user: the `jwt` of `client.exchange`.
 *
 * @example
 * ```ts
 * import { createClient } from "@cambio/next-auth";
 * import { vouch, type Vouch } from "@cambio/next-auth/vouch";
 *
 * const sign: Vouch = vouch();
 * const jwt = await sign({ id: "17", email: "ada@example.com" });
 * const { accessToken } = await createClient().exchange({ provider: "password", jwt });
 * ```
 */
export type Vouch = (user: VouchedUser) => Promise<string>;

/** The life of a JWT in seconds. Cambio accepts at most 5 minutes. */
const LIFETIME = 60;
/** The `typ` of these JWTs, so that none of them passes as a client assertion of the same key. */
const TYP = "vouch+jwt";
/** The longest name and picture that Cambio stores. */
const LONGEST_NAME = 256;
const LONGEST_PICTURE = 2048;

/**
 * Returns a function that signs a JWT for a user whom the app has authenticated, by a password, an e-mail link or a
 * passkey. It expires after a minute and opens one session.
 *
 * The callbacks for next-auth and the plugin for better-auth sign by themselves where `CAMBIO_PRIVATE_KEY` is set.
 *
 * @example
 * ```ts
 * import { createClient } from "@cambio/next-auth";
 * import { vouch } from "@cambio/next-auth/vouch";
 *
 * const jwt = await vouch()({ id: "17", name: "Ada Lovelace", signedInAt: new Date() });
 * const { accessToken } = await createClient().exchange({ provider: "password", jwt });
 * ```
 */
export function vouch(options: VouchOptions = {}): Vouch {
  const sign = signerWith(options.key, options.kid);
  return async ({ id, name, email, emailVerified, image, signedInAt }) => {
    const issuer = options.issuer || options.clientId || variable("CAMBIO_CLIENT_ID");
    const url = (options.url || variable("CAMBIO_URL")).replace(/\/+$/, "");
    if (!issuer) throw new CambioError("misconfigured", "CAMBIO_CLIENT_ID is not set");
    if (!options.audience && !url) throw new CambioError("misconfigured", "CAMBIO_URL is not set");
    return sign(TYP, LIFETIME, {
      iss: issuer,
      sub: id,
      aud: options.audience || `${url}/token`,
      ...(name && { name: name.slice(0, LONGEST_NAME) }),
      ...(email && { email, email_verified: emailVerified === true }),
      // A picture in the URL itself would make the JWT too large.
      ...(image && image.length <= LONGEST_PICTURE && { picture: image }),
      ...(signedInAt && { auth_time: Math.floor(signedInAt.getTime() / 1000) }),
    });
  };
}
