/** Client authentication by a private key, in place of a client secret: `private_key_jwt` (RFC 7523). */
import type { ClientAuth } from "./index.js";
import { type PrivateJwk, signerWith } from "./sign.js";

export type { PrivateJwk } from "./sign.js";

/**
 * Details of the assertions that a private key signs.
 *
 * @example
 * ```ts
 * import { privateKey, type PrivateKeyOptions } from "@cambio/next-auth/private-key";
 *
 * const options: PrivateKeyOptions = { kid: "2026-11", audience: "https://auth.example.com" };
 * export const clientAuth = privateKey(undefined, options);
 * ```
 */
export interface PrivateKeyOptions {
  /** The name of the key in the app's `jwks` at Cambio; the `kid` of the JWK by default. */
  kid?: string;
  /**
   * The audience of each assertion: the URL of Cambio's issuer, or of the endpoint. The endpoint that is called by
   * default.
   */
  audience?: string;
}

const ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/** The life of an assertion, in seconds. */
const LIFETIME = 60;

/**
 * Returns client authentication by JWTs that the app signs with ES256, RS256, PS256 or EdDSA. Each attempt of a
 * request gets a new one, which expires after a minute.
 *
 * @param key A private JWK, or a `CryptoKey` with the option `kid`. By default, the first call reads the environment
 * variable `CAMBIO_PRIVATE_KEY`: a private JWK as JSON.
 *
 * @example
 * ```ts
 * import { privateKey } from "@cambio/next-auth/private-key";
 * import { cambio } from "@cambio/next-auth/v4";
 *
 * export const { options } = cambio({ clientAuth: privateKey() });
 * ```
 */
export function privateKey(key?: PrivateJwk | CryptoKey, options: PrivateKeyOptions = {}): ClientAuth {
  const sign = signerWith(key, options.kid);
  return async (clientId, endpoint) => {
    const assertion = await sign("JWT", LIFETIME, { iss: clientId, sub: clientId, aud: options.audience ?? endpoint });
    return { client_id: clientId, client_assertion_type: ASSERTION_TYPE, client_assertion: assertion };
  };
}
