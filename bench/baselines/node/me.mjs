/** `GET /me`: the signed-in user. */

import { BatchGetItemCommand } from "@aws-sdk/client-dynamodb";
import { unmarshall } from "@aws-sdk/util-dynamodb";
import { TABLE, Refusal, admits, answer, dynamodb, isAlive, keySetYoungerThan, now, profile, served, sessionKey, userKey, verified } from "./shared.mjs";

await keySetYoungerThan(300);

/** @type {Record<number, string>} */
const TITLES = { 401: "Unauthorized", 503: "Service Unavailable" };

/** @param {Refusal} refusal */
const problem = ({ status, code, message }) => {
  /** @type {Record<string, string>} */
  const headers = { "content-type": "application/problem+json" };
  if (status === 401) {
    headers["www-authenticate"] =
      code === "invalid_token" ? `Bearer realm="cambio", error="invalid_token", error_description="${message}"` : 'Bearer realm="cambio"';
  }
  if (status === 503) headers["retry-after"] = "1";
  return answer(status, { detail: message, status, title: TITLES[status], type: `urn:cambio:error:${code}` }, headers);
};

export const handler = served(
  "me",
  async (event) => {
    const claims = await verified(event);
    const session = { id: claims.sid, version: claims.session_version };
    const keys = [userKey(claims.sub), sessionKey(claims.sub, session.id)];
    const command = new BatchGetItemCommand({ RequestItems: { [TABLE]: { Keys: keys, ConsistentRead: true } } });
    const { Responses } = await dynamodb.send(command);
    const items = (Responses?.[TABLE] ?? []).map((item) => unmarshall(item));
    const user = /** @type {import("./shared.mjs").User | undefined} */ (items.find((item) => item.sk === "USER"));
    const stored = items.find((item) => item.sk !== "USER");
    if (!user || !stored || !isAlive(stored, now()) || !admits(user, session)) {
      throw new Refusal(401, "invalid_token", "the session of the access token has ended, or its user is disabled or deleted: sign in again");
    }
    return answer(200, { ...profile(user), metadata: JSON.parse(user.metadata ?? "{}") });
  },
  problem,
);
