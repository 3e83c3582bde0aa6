/** JWTs that the app signs with its private key. */
import { CambioError } from "./index.js";

/**
 * A private key as a JSON Web Key (RFC 7517).
 *
 * @example
 * ```ts
 * import { type PrivateJwk, privateKey } from "@cambio/next-auth/private-key";
 *
 * const key: PrivateJwk = JSON.parse(jwk);
 * export const clientAuth = privateKey(key);
 * ```
 */
export type PrivateJwk = { [Member in keyof JsonWebKey]: JsonWebKey[Member] | undefined } & {
  /** The name of the key in the app's `jwks` at Cambio. */
  kid?: string | undefined;
};

/** The algorithms that Cambio accepts, by their names in a JWT. */
const ALGORITHMS = {
  ES256: { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" },
  RS256: { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" },
  PS256: { name: "RSA-PSS", hash: "SHA-256", saltLength: 32 },
  EdDSA: { name: "Ed25519" },
} as const;
type Algorithm = keyof typeof ALGORITHMS;

declare const process: { env: Record<string, string | undefined> } | undefined;

/** Returns the value of an environment variable; empty in a runtime without an environment. */
export function variable(name: string): string {
  return (typeof process === "object" && process.env[name]) || "";
}

/** Signs a JWT with these claims and this `typ`. It expires after `lifetime` seconds and has an id of its own. */
export type SignJwt = (typ: string, lifetime: number, claims: object) => Promise<string>;

/** Returns a function that signs with a private key, which its first call reads: by default that of the environment. */
export function signerWith(given?: PrivateJwk | CryptoKey, kid?: string): SignJwt {
  let signer: Promise<Signer> | undefined;
  return async (typ, lifetime, claims) => {
    signer ??= signerOf(given ?? fromEnvironment(), kid).catch((error) => {
      // The next call reads the environment again.
      signer = undefined;
      throw error;
    });
    const { alg, kid: name, sign } = await signer;
    const now = Math.floor(Date.now() / 1000);
    const payload = { ...claims, jti: crypto.randomUUID(), iat: now, exp: now + lifetime };
    const text = [{ typ, alg, kid: name }, payload].map((part) => base64url(new TextEncoder().encode(JSON.stringify(part)))).join(".");
    const signature = await sign(new TextEncoder().encode(text));
    return `${text}.${base64url(signature)}`;
  };
}

interface Signer {
  alg: Algorithm;
  kid: string;
  sign(text: Uint8Array<ArrayBuffer>): Promise<Uint8Array>;
}

async function signerOf(given: PrivateJwk | CryptoKey, kid: string | undefined): Promise<Signer> {
  const isJwk = !("usages" in given);
  const alg = isJwk ? algorithmOf(given) : (Object.keys(ALGORITHMS) as Algorithm[]).find((alg) => fits(given, ALGORITHMS[alg]));
  if (!alg) throw misconfigured("the key signs with none of ES256, RS256, PS256 and EdDSA");
  const name = kid ?? (isJwk ? given.kid : undefined);
  if (!name) throw misconfigured("the key has no kid: write the kid that it has in the settings of the app at Cambio");
  const key: CryptoKey = isJwk ? await imported(given, alg) : given;
  if (key.type !== "private" || !key.usages.includes("sign")) throw misconfigured("the key is no private key that signs");
  return { alg, kid: name, sign: async (text) => new Uint8Array(await crypto.subtle.sign(ALGORITHMS[alg], key, text)) };
}

/** Returns the algorithm that a JWK names, or the usual one of its type. */
function algorithmOf({ kty, crv, alg }: PrivateJwk): Algorithm | undefined {
  if (kty === "RSA") return alg === "PS256" ? "PS256" : "RS256";
  if (kty === "EC" && crv === "P-256") return "ES256";
  return kty === "OKP" && crv === "Ed25519" ? "EdDSA" : undefined;
}

function fits({ algorithm }: CryptoKey, wanted: { name: string; namedCurve?: string; hash?: string }): boolean {
  const { name, namedCurve, hash } = algorithm as { name: string; namedCurve?: string; hash?: { name: string } };
  return name === wanted.name && namedCurve === wanted.namedCurve && (!hash || hash.name === wanted.hash);
}

async function imported({ kty, crv, x, y, d, n, e, p, q, dp, dq, qi }: PrivateJwk, alg: Algorithm): Promise<CryptoKey> {
  // Other members may name the algorithm in a way that a runtime does not know.
  const material = Object.entries({ kty, crv, x, y, d, n, e, p, q, dp, dq, qi }).filter(([, value]) => value !== undefined);
  if (!d) throw misconfigured("the key is no private key: its JWK has no d");
  try {
    return await crypto.subtle.importKey("jwk", Object.fromEntries(material), ALGORITHMS[alg], false, ["sign"]);
  } catch (cause) {
    throw misconfigured("the JWK is no private key that this runtime can read", cause);
  }
}

function fromEnvironment(): PrivateJwk {
  const text = variable("CAMBIO_PRIVATE_KEY");
  if (!text) throw misconfigured("CAMBIO_PRIVATE_KEY is not set");
  try {
    return Object(JSON.parse(text));
  } catch {
    // The message of a JSON error repeats the text.
    throw misconfigured("CAMBIO_PRIVATE_KEY is no JSON: write a private JWK");
  }
}

function misconfigured(message: string, cause?: unknown): CambioError {
  return new CambioError("misconfigured", message, { cause });
}

function base64url(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes))
    .replace(/\+/g, "-")
    .replace(/\//g, "_")
    .replace(/=+$/, "");
}
