/** `POST /token`: a refresh (RFC 6749 §6), and the exchange of a GitHub token of a returning user (RFC 8693). */

import { ConditionalCheckFailedException, GetItemCommand, PutItemCommand, UpdateItemCommand } from "@aws-sdk/client-dynamodb";
import { marshall, unmarshall } from "@aws-sdk/util-dynamodb";
import { SignJWT } from "jose";
import { createHash, createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { crc32 } from "node:zlib";
import {
  AUDIENCE,
  ISSUER,
  Refusal,
  TABLE,
  admits,
  answer,
  dynamodb,
  isAlive,
  now,
  profile,
  served,
  sessionKey,
  setting,
  signingKey,
  userKey,
  uuid7,
} from "./shared.mjs";

/** @typedef {{ user: string, session: string, generation: number, family: Buffer, secret: Buffer }} RefreshToken */
/** @typedef {import("./shared.mjs").User} User */
/** @typedef {Record<string, any>} Session */

/** @type {{ client_id: string, secret_sha256: string[] }[]} */
const CLIENTS = JSON.parse(setting("CLIENTS"));
const ACCESS_TOKEN_TTL = Number(process.env.ACCESS_TOKEN_TTL || 900);
const IDLE_TTL = Number(process.env.SESSION_IDLE_TTL || 2592000);
const ABSOLUTE_TTL = Number(process.env.SESSION_ABSOLUTE_TTL || 15552000);
const GITHUB = process.env.GITHUB_API_URL || "https://api.github.com";
const GITHUB_ID = process.env.GITHUB_CLIENT_ID ?? "";
const GITHUB_BASIC = `Basic ${Buffer.from(`${GITHUB_ID}:${process.env.GITHUB_CLIENT_SECRET}`).toString("base64")}`;

await signingKey();

/** @param {...(string | Buffer)} parts */
const sha256 = (...parts) => parts.reduce((hash, part) => hash.update(part), createHash("sha256")).digest();

// --- Refresh tokens ---

const PREFIX = "cbr_";
const PAYLOAD = 1 + 16 + 16 + 4 + 16 + 32;

/** @param {string} text @returns {RefreshToken} */
const parse = (text) => {
  const invalid = new Refusal(400, "invalid_grant", INVALID);
  if (!text.startsWith(PREFIX)) throw invalid;
  const encoded = text.slice(PREFIX.length);
  const bytes = Buffer.from(encoded, "base64url");
  if (bytes.length !== PAYLOAD + 4 || bytes.toString("base64url") !== encoded) throw invalid;
  if (bytes[0] !== 1 || crc32(bytes.subarray(0, PAYLOAD)) !== bytes.readUInt32BE(PAYLOAD)) throw invalid;
  const hex = bytes.toString("hex", 1, 17);
  return {
    user: `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`,
    session: bytes.toString("base64url", 17, 33),
    generation: bytes.readUInt32BE(33),
    family: bytes.subarray(37, 53),
    secret: bytes.subarray(53, 85),
  };
};

/** @param {RefreshToken} token */
const text = ({ user, session, generation, family, secret }) => {
  const bytes = Buffer.alloc(PAYLOAD + 4);
  bytes[0] = 1;
  bytes.write(user.replaceAll("-", ""), 1, "hex");
  bytes.write(session, 17, "base64url");
  bytes.writeUInt32BE(generation, 33);
  family.copy(bytes, 37);
  secret.copy(bytes, 53);
  bytes.writeUInt32BE(crc32(bytes.subarray(0, PAYLOAD)), PAYLOAD);
  return PREFIX + bytes.toString("base64url");
};

/** @param {string | Buffer} key @param {string} purpose @param {Uint8Array} nonce */
const derive = (key, purpose, nonce) => createHmac("sha256", key).update(`cambio ${purpose}\0`).update(nonce).digest();

/** @param {RefreshToken} token @param {Uint8Array} nonce @returns {RefreshToken} */
const successor = (token, nonce) => ({ ...token, generation: token.generation + 1, secret: derive(token.secret, "next", nonce) });

/** @param {Uint8Array} one @param {Uint8Array | undefined} other */
const equal = (one, other) => other !== undefined && one.length === other.length && timingSafeEqual(one, other);

// --- The form and the client ---

const UNAUTHENTICATED = "client authentication failed: compare the client id and the secret with CLIENTS of Cambio, whose log has the reason";
const INVALID = "the refresh token is not valid, or its session has ended: sign in again";

/** @param {import("./shared.mjs").Event} event */
const formOf = (event) => {
  const type = Object.entries(event.headers ?? {}).find(([name]) => name.toLowerCase() === "content-type")?.[1];
  if (type?.split(";")[0].trim() !== "application/x-www-form-urlencoded") {
    throw new Refusal(415, "invalid_request", "Content-Type must be application/x-www-form-urlencoded");
  }
  const body = event.body ?? "";
  const form = new URLSearchParams(event.isBase64Encoded ? Buffer.from(body, "base64").toString() : body);
  for (const name of form.keys()) {
    if (form.getAll(name).length > 1) throw new Refusal(400, "invalid_request", `${name} comes more than once: send it once`);
  }
  return form;
};

/** @param {URLSearchParams} form @param {string} name */
const required = (form, name) => {
  const value = form.get(name);
  if (!value) throw new Refusal(400, "invalid_request", `${name} is required`);
  return value;
};

/** @param {URLSearchParams} form */
const authenticate = (form) => {
  const client = CLIENTS.find(({ client_id }) => client_id === form.get("client_id"));
  const hash = sha256(form.get("client_secret") ?? "");
  const accepted = client?.secret_sha256.filter((hex) => equal(hash, Buffer.from(hex, "hex")));
  if (!client || !accepted?.length) throw new Refusal(401, "invalid_client", UNAUTHENTICATED);
  return client.client_id;
};

// --- Answers ---

/**
 * @param {User} user
 * @param {{ client: string, session: import("./shared.mjs").SessionRef, signedInAt?: number }} grant
 */
const issue = async (user, { client, session, signedInAt }) => {
  const { kid, algorithm, key } = await signingKey();
  const time = now();
  const roles = user.roles?.length ? user.roles : undefined;
  const claims = {
    iss: ISSUER,
    aud: AUDIENCE,
    sub: user.id,
    client_id: client,
    iat: time,
    auth_time: signedInAt,
    exp: time + ACCESS_TOKEN_TTL,
    jti: uuid7(),
    sid: session.id,
    session_version: session.version,
    roles,
    ...JSON.parse(user.claims ?? "{}"),
  };
  return new SignJWT(claims).setProtectedHeader({ typ: "at+jwt", alg: algorithm, kid }).sign(key);
};

/**
 * @param {User} user @param {Session} stored @param {RefreshToken} refresh @param {string} client
 * @param {object} [more]
 */
const granted = async (user, stored, refresh, client, more) => {
  const session = { id: refresh.session, version: stored.session_version };
  return answer(200, {
    access_token: await issue(user, { client, session, signedInAt: stored.signed_in_at }),
    issued_token_type: "urn:ietf:params:oauth:token-type:access_token",
    token_type: "Bearer",
    expires_in: ACCESS_TOKEN_TTL,
    refresh_token: text(refresh),
    refresh_token_expires_in: Math.min(stored.idle_expires_at, stored.absolute_expires_at) - now(),
    ...more,
    user: profile(user),
  });
};

// --- Refresh ---

/** @param {RefreshToken} token @param {string} client */
const rotate = async (token, client) => {
  const time = now();
  const nonce = randomBytes(32);
  const next = successor(token, nonce);
  const command = new UpdateItemCommand({
    TableName: TABLE,
    Key: sessionKey(token.user, token.session),
    UpdateExpression:
      "SET #generation = :next_generation, #current = :next, #previous = :current, #nonce = :nonce, #last_used_at = :now, #idle_expires_at = :idle",
    ConditionExpression:
      "#family = :family AND #generation = :generation AND #current = :current AND #client_id = :client_id AND attribute_not_exists(#ended_at) AND #idle_expires_at > :now AND #absolute_expires_at > :now",
    ExpressionAttributeNames: Object.fromEntries(
      ["generation", "current", "previous", "nonce", "last_used_at", "idle_expires_at", "family", "client_id", "ended_at", "absolute_expires_at"].map(
        (name) => [`#${name}`, name],
      ),
    ),
    ExpressionAttributeValues: {
      ":next_generation": { N: String(next.generation) },
      ":next": { B: sha256(next.secret) },
      ":nonce": { B: nonce },
      ":idle": { N: String(time + IDLE_TTL) },
      ":family": { B: sha256(token.family) },
      ":generation": { N: String(token.generation) },
      ":current": { B: sha256(token.secret) },
      ":client_id": { S: client },
      ":now": { N: String(time) },
    },
    ReturnValues: "ALL_NEW",
    ReturnValuesOnConditionCheckFailure: "ALL_OLD",
  });
  try {
    const { Attributes = {} } = await dynamodb.send(command);
    return { stored: unmarshall(Attributes), next };
  } catch (error) {
    if (!(error instanceof ConditionalCheckFailedException)) throw error;
    const stored = error.Item && unmarshall(error.Item);
    return settle(token, client, stored, time);
  }
};

/**
 * Decides about a token that did not rotate its session: a repetition gets the same successor, a copy ends the session.
 * @param {RefreshToken} token @param {string} client @param {Session | undefined} stored @param {number} time
 */
const settle = async (token, client, stored, time) => {
  const invalid = new Refusal(400, "invalid_grant", INVALID);
  if (!stored || !equal(sha256(token.family), stored.family) || stored.client_id !== client || !isAlive(stored, time)) throw invalid;
  if (token.generation >= stored.generation) throw invalid;
  if (token.generation + 1 === stored.generation && equal(sha256(token.secret), stored.previous)) {
    return { stored, next: successor(token, stored.nonce) };
  }
  await dynamodb.send(
    new UpdateItemCommand({
      TableName: TABLE,
      Key: sessionKey(token.user, token.session),
      UpdateExpression: "SET ended_at = :now",
      ConditionExpression: "attribute_exists(pk) AND attribute_not_exists(ended_at)",
      ExpressionAttributeValues: { ":now": { N: String(time) } },
    }),
  );
  throw new Refusal(400, "invalid_grant", "the refresh token was used before, so its session has ended: sign in again");
};

/** @param {string} id @param {boolean} consistent */
const findUser = async (id, consistent) => {
  const { Item } = await dynamodb.send(new GetItemCommand({ TableName: TABLE, Key: userKey(id), ConsistentRead: consistent }));
  return Item && /** @type {User} */ (unmarshall(Item));
};

/** @param {string} client @param {URLSearchParams} form */
const refresh = async (client, form) => {
  const token = parse(required(form, "refresh_token"));
  const [{ stored, next }, user] = await Promise.all([rotate(token, client), findUser(token.user, true), signingKey()]);
  const session = { id: token.session, version: stored.session_version };
  if (!user || !admits(user, session)) throw new Refusal(400, "invalid_grant", INVALID);
  return granted(user, stored, next, client);
};

// --- Exchange ---

/** @param {string} path @param {RequestInit} request */
const github = async (path, request) => {
  const headers = { accept: "application/vnd.github+json", "x-github-api-version": "2022-11-28", "user-agent": "cambio", ...request.headers };
  const response = await fetch(GITHUB + path, { ...request, headers, signal: AbortSignal.timeout(5000) });
  if (response.status === 404) throw new Refusal(400, "invalid_request", "GitHub knows no such token of this application");
  if (!response.ok) throw new Error(`GitHub answered ${response.status} at ${path}`);
  return response.json();
};

/** @param {unknown} value */
const presentable = (value) => (typeof value === "string" ? value.normalize("NFC").trim().slice(0, 200) : "") || undefined;

/** Proves that the token belongs to the app, and returns the user at GitHub. @param {string} token */
const identify = async (token) => {
  const checked = await github(`/applications/${GITHUB_ID}/token`, {
    method: "POST",
    headers: { authorization: GITHUB_BASIC, "content-type": "application/json" },
    body: JSON.stringify({ access_token: token }),
  });
  if (checked.app.client_id !== GITHUB_ID) throw new Refusal(400, "invalid_request", "it was issued to another application");
  const headers = { authorization: `Bearer ${token}` };
  const mayReadEmail = (checked.scopes ?? []).some((/** @type {string} */ scope) => scope === "user:email" || scope === "user");
  const [user, emails] = await Promise.all([github("/user", { headers }), mayReadEmail ? github("/user/emails", { headers }) : []]);
  if (user.id !== checked.user.id) throw new Error("GitHub named two different users");
  const primary = emails.find((/** @type {Record<string, unknown>} */ email) => email.primary && email.verified);
  const username = presentable(user.login);
  return {
    subject: String(user.id),
    username,
    name: presentable(user.name) ?? username,
    email: primary?.email,
    picture: /^https:\/\//.test(user.avatar_url ?? "") ? user.avatar_url : undefined,
    signedInAt: Math.floor(Date.parse(checked.created_at) / 1000),
  };
};

/** @param {string} client @param {URLSearchParams} form */
const exchange = async (client, form) => {
  const subjectToken = required(form, "subject_token");
  if (form.get("subject_issuer") !== "github") throw new Refusal(400, "invalid_request", "subject_issuer must be github");
  const session = sha256("cambio session\0", subjectToken).toString("base64url", 0, 16);
  const nonce = randomBytes(32);

  const identity = await identify(subjectToken);
  const key = `github#${sha256(GITHUB, "\0", identity.subject).toString("base64url")}`;
  const { Item: known } = await dynamodb.send(new GetItemCommand({ TableName: TABLE, Key: { pk: { S: `IDENTITY#${key}` }, sk: { S: "IDENTITY" } } }));
  const id = known?.user_id?.S;
  if (!id) throw new Refusal(400, "access_denied", "this account is not allowed to sign up here");
  const [seen, { Item: opened }] = await Promise.all([
    findUser(id, false),
    dynamodb.send(new GetItemCommand({ TableName: TABLE, Key: sessionKey(id, session), ProjectionExpression: "pk" })),
  ]);
  if (seen?.status !== "active" || seen.identities.github?.key !== key) throw new Refusal(400, "access_denied", "the account is disabled");
  if (opened) throw new Refusal(400, "invalid_request", "the subject token was already exchanged; sign in again");

  const time = now();
  const family = derive(subjectToken, "family", nonce).subarray(0, 16);
  const first = { user: id, session, generation: 0, family, secret: derive(subjectToken, "first", nonce) };
  const stored = {
    client_id: client,
    provider: "github",
    session_version: seen.session_version,
    family: sha256(family),
    generation: 0,
    current: sha256(first.secret),
    nonce,
    created_user: false,
    signed_in_at: Math.min(identity.signedInAt, time),
    created_at: time,
    last_used_at: time,
    idle_expires_at: time + IDLE_TTL,
    absolute_expires_at: time + ABSOLUTE_TTL,
    expires_at: Math.max(time + ABSOLUTE_TTL, time + 7200),
  };
  const put = new PutItemCommand({
    TableName: TABLE,
    Item: { ...marshall(stored), ...sessionKey(id, session) },
    ConditionExpression: "attribute_not_exists(pk)",
  });
  const told = { name: identity.name, email: identity.email, email_verified: identity.email && true, picture: identity.picture };
  const fields = Object.entries(told).filter(([, value]) => value !== undefined);
  const update = new UpdateItemCommand({
    TableName: TABLE,
    Key: userKey(id),
    UpdateExpression: `SET signed_in_at = :now, identities.#provider.username = :username${fields.map(([name]) => `, profile.#${name} = :${name}`).join("")} REMOVE profile.proven_email`,
    ConditionExpression: "#status = :active AND identities.#provider.#key = :key",
    ExpressionAttributeNames: { "#status": "status", "#key": "key", "#provider": "github", ...Object.fromEntries(fields.map(([name]) => [`#${name}`, name])) },
    ExpressionAttributeValues: marshall({
      ":now": time,
      ":username": identity.username,
      ":active": "active",
      ":key": key,
      ...Object.fromEntries(fields.map(([name, value]) => [`:${name}`, value])),
    }),
    ReturnValues: "ALL_NEW",
  });
  const [{ Attributes = {} }] = await Promise.all([dynamodb.send(update), dynamodb.send(put), signingKey()]);
  const user = /** @type {User} */ (unmarshall(Attributes));
  return granted(user, stored, first, client, { is_new_user: false });
};

export const handler = served(
  "token-exchange",
  async (event) => {
    const form = formOf(event);
    const client = authenticate(form);
    switch (required(form, "grant_type")) {
      case "refresh_token":
        return refresh(client, form);
      case "urn:ietf:params:oauth:grant-type:token-exchange":
        return exchange(client, form);
      default:
        throw new Refusal(400, "unsupported_grant_type", "grant_type must be urn:ietf:params:oauth:grant-type:token-exchange or refresh_token");
    }
  },
  ({ status, code, message }) => {
    /** @type {Record<string, string>} */
    const headers = {};
    if (code === "invalid_client") headers["www-authenticate"] = 'Basic realm="cambio", charset="UTF-8"';
    if (status === 503) headers["retry-after"] = "1";
    return answer(status, { error: code, error_description: message }, headers);
  },
);
