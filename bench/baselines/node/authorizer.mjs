/** A Lambda authorizer (payload 2.0, simple response), which verifies an access token. */

import { AUDIENCE, Refusal, keySetYoungerThan, verified } from "./shared.mjs";

await keySetYoungerThan(300);

const AUDIENCES = process.env.AUDIENCES ? process.env.AUDIENCES.split(",") : [AUDIENCE];
const OWN = new Set(["iss", "aud", "sub", "client_id", "iat", "auth_time", "exp", "nbf", "jti", "sid", "session_version", "scope", "roles"]);

/** @param {import("./shared.mjs").Event} event */
export const handler = async (event) => {
  try {
    const claims = await verified(event, AUDIENCES);
    const { sub, sid, client_id, scope, roles, auth_time, exp } = claims;
    const others = Object.fromEntries(Object.entries(claims).filter(([name]) => !OWN.has(name)));
    const context = { sub, sid, client_id, scope, roles, claims: Object.keys(others).length ? others : undefined, auth_time, exp };
    return { isAuthorized: true, context };
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    console.log(JSON.stringify({ timestamp: new Date().toISOString(), level: "INFO", function: "authorizer", message: "denied", cause: error.message }));
    return { isAuthorized: false, context: {} };
  }
};
