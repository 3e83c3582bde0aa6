/**
 * The common part of the three functions: settings, DynamoDB, the signing keys, access tokens, and answers.
 *
 * Written as a careful Node developer would for Lambda: one client for each process, keys read during the init and
 * kept, parallel calls where one does not need another, and one log line for each request.
 */

import { GetItemCommand, DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { unmarshall } from "@aws-sdk/util-dynamodb";
import { errors, importJWK, importPKCS8, jwtVerify } from "jose";
import { getRandomValues } from "node:crypto";

/** @typedef {{ id: string, version: number }} SessionRef */
/** @typedef {import("@aws-sdk/client-dynamodb").AttributeValue} AttributeValue */
/** @typedef {{ kid: string, key_type: string, jwk: string, sign_from: number }} PublishedKey */
/**
 * The item of a user. `metadata` and `claims` are JSON texts.
 * @typedef {{ id: string, status: string, profile: Record<string, any>, edited?: Record<string, any>,
 *   metadata?: string, roles?: string[], claims?: string,
 *   identities: Record<string, { key: string, subject: string, username?: string }>, session_version: number,
 *   kept_session?: string }} User
 */
/**
 * @typedef {{ headers?: Record<string, string>, body?: string, isBase64Encoded?: boolean, routeKey?: string }} Event
 */
/** @typedef {{ algorithm: string, key: import("jose").CryptoKey | Uint8Array }} VerifyingKey */

/** @param {string} name */
export const setting = (name) => {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set`);
  return value;
};

export const TABLE = process.env.TABLE_NAME ?? "";
export const ISSUER = setting("ISSUER_URL");
export const AUDIENCE = process.env.TOKEN_AUDIENCE || ISSUER;
const KEYS_TABLE = setting("KEYS_TABLE_NAME");

export const dynamodb = new DynamoDBClient({ maxAttempts: 3 });
export const now = () => Math.floor(Date.now() / 1000);

/** @type {Record<string, string>} */
const ALGORITHMS = { "RSA-2048": "RS256", "RSA-3072": "RS256", "P-256": "ES256", Ed25519: "EdDSA" };

// --- Keys ---

/** @type {{ keys: PublishedKey[], verifying: Map<string, VerifyingKey>, read_at: number } | undefined} */
let keySet;
/** @type {{ kid: string, algorithm: string, key: import("jose").CryptoKey } | undefined} */
let signing;

/** @param {string} pk */
const readKeyItem = async (pk) => {
  const command = new GetItemCommand({ TableName: KEYS_TABLE, Key: { pk: { S: pk } }, ConsistentRead: true });
  const { Item } = await dynamodb.send(command);
  if (!Item) throw new Error(`the keys table has no ${pk}`);
  return unmarshall(Item);
};

/**
 * Returns the key set, at most this old.
 * @param {number} seconds
 */
export const keySetYoungerThan = async (seconds) => {
  if (keySet && now() - keySet.read_at < seconds) return keySet;
  const { keys } = /** @type {{ keys: PublishedKey[] }} */ (await readKeyItem("KEYSET"));
  const verifying = new Map();
  for (const { kid, key_type, jwk } of keys) {
    const algorithm = ALGORITHMS[key_type];
    verifying.set(kid, { algorithm, key: await importJWK(JSON.parse(jwk), algorithm) });
  }
  keySet = { keys, verifying, read_at: now() };
  return keySet;
};

/** Returns the private key whose turn it is. The set that decides is at most 20 seconds old. */
export const signingKey = async () => {
  const { keys } = await keySetYoungerThan(20);
  const time = now();
  const current = keys.filter((key) => key.sign_from <= time).sort((a, b) => b.sign_from - a.sign_from)[0];
  if (signing?.kid !== current.kid) {
    const item = await readKeyItem(`KEY#${current.kid}`);
    const algorithm = ALGORITHMS[item.key_type];
    signing = { kid: current.kid, algorithm, key: await importPKCS8(item.private_key, algorithm) };
  }
  return signing;
};

// --- Access tokens ---

const UNTIMELY = "the access token is not valid yet, or lives too long: compare the clocks of the servers";
const NOT_OURS = "the access token is not one of this issuer: send the access_token of POST /token unchanged";

/** An answer other than success. */
export class Refusal extends Error {
  /** @param {number} status @param {string} code @param {string} message */
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** @param {Event} event */
const bearer = (event) => {
  const header = Object.entries(event.headers ?? {}).find(([name]) => name.toLowerCase() === "authorization")?.[1];
  const token = /^bearer +(\S+) *$/i.exec(header ?? "")?.[1];
  if (!token) throw new Refusal(401, "invalid_request", "an access token is required in the Authorization header");
  return token;
};

/**
 * Verifies the access token of a request (RFC 9068), and returns its claims.
 * @param {Event} event
 * @param {string[]} audiences
 */
export const verified = async (event, audiences = [AUDIENCE]) => {
  const token = bearer(event);
  try {
    const { payload } = await jwtVerify(
      token,
      async ({ kid = "", alg }) => {
        const { verifying } = await keySetYoungerThan(300);
        const found = verifying.get(kid);
        if (found?.algorithm !== alg) throw new errors.JWKSNoMatchingKey();
        return found.key;
      },
      { issuer: ISSUER, audience: audiences, typ: "at+jwt", requiredClaims: ["sub", "client_id", "iat", "exp", "jti", "sid", "session_version"] },
    );
    const { iat = 0, exp = 0 } = payload;
    if (iat > now() + 5 || exp - iat > 3600) throw new Refusal(401, "invalid_token", UNTIMELY);
    return /** @type {import("jose").JWTPayload & { sub: string, sid: string, client_id: string, session_version: number, exp: number }} */ (payload);
  } catch (error) {
    if (error instanceof errors.JWTExpired) throw new Refusal(401, "invalid_token", "the access token has expired: refresh it, or sign in again");
    if (error instanceof errors.JWTClaimValidationFailed && error.claim === "aud") {
      throw new Refusal(401, "invalid_token", "the access token is for another API: request one with the audience of this API");
    }
    if (error instanceof errors.JWTClaimValidationFailed && error.claim === "nbf") throw new Refusal(401, "invalid_token", UNTIMELY);
    if (error instanceof errors.JOSEError) throw new Refusal(401, "invalid_token", NOT_OURS);
    throw error;
  }
};

// --- Users and sessions ---

/** @param {string} id */
export const userKey = (id) => ({ pk: { S: `USER#${id}` }, sk: { S: "USER" } });
/** @param {string} id @param {string} session */
export const sessionKey = (id, session) => ({ pk: { S: `USER#${id}` }, sk: { S: `SESSION#${session}` } });

/** @param {Record<string, any>} session @param {number} time */
export const isAlive = (session, time) => !("ended_at" in session) && time < session.idle_expires_at && time < session.absolute_expires_at;

/** @param {User} user @param {SessionRef} session */
export const admits = (user, session) => user.status === "active" && (user.session_version === session.version || user.kept_session === session.id);

/** @param {User} user */
export const profile = ({ id, profile, edited = {}, roles = [], identities }) => ({
  id,
  name: ("name" in edited ? edited.name : profile.name) ?? null,
  email: profile.email ?? null,
  email_verified: profile.email_verified ?? false,
  picture: ("picture" in edited ? edited.picture : profile.picture) ?? null,
  roles,
  identities: Object.keys(identities)
    .sort()
    .map((provider) => ({ provider, subject: identities[provider].subject, username: identities[provider].username ?? null })),
});

// --- Answers ---

const SECURITY_HEADERS = {
  "cache-control": "no-store",
  "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
  pragma: "no-cache",
  "referrer-policy": "no-referrer",
  "strict-transport-security": "max-age=63072000; includeSubDomains",
  "x-content-type-options": "nosniff",
};

/** @param {number} statusCode @param {unknown} body @param {Record<string, string>} [headers] */
export const answer = (statusCode, body, headers) => ({
  statusCode,
  headers: { "content-type": "application/json", ...SECURITY_HEADERS, ...headers },
  cookies: [],
  body: JSON.stringify(body),
  isBase64Encoded: false,
});

/**
 * Runs a handler, and writes one log line.
 * @param {string} name
 * @param {(event: Event) => Promise<ReturnType<typeof answer>>} handle
 * @param {(refusal: Refusal) => ReturnType<typeof answer>} refuse
 */
export const served = (name, handle, refuse) => async (/** @type {Event} */ event) => {
  const started = process.hrtime.bigint();
  /** @type {ReturnType<typeof answer>} */
  let response;
  try {
    response = await handle(event);
  } catch (error) {
    if (!(error instanceof Refusal)) {
      console.log(JSON.stringify({ level: "ERROR", function: name, cause: String(error) }));
    }
    response = refuse(error instanceof Refusal ? error : new Refusal(503, "temporarily_unavailable", "temporarily unavailable; try again"));
  }
  const duration_us = Number((process.hrtime.bigint() - started) / 1000n);
  console.log(
    JSON.stringify({ timestamp: new Date().toISOString(), level: "INFO", function: name, route: event.routeKey, status: response.statusCode, duration_us }),
  );
  return response;
};

/** A UUID of version 7 (RFC 9562 §5.7), which `node:crypto` of Node 20 does not make. */
export const uuid7 = () => {
  const bytes = Buffer.alloc(16);
  getRandomValues(bytes);
  bytes.writeUIntBE(Date.now(), 0, 6);
  bytes[6] = (bytes[6] & 0x0f) | 0x70;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = bytes.toString("hex");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
};
