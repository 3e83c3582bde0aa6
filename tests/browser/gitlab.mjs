// @ts-check
/**
 * A GitLab that speaks the documented part of the OAuth 2.0 API (https://docs.gitlab.com/api/oauth2/), with two apps.
 *
 * The scope `read_user`, which next-auth's provider requests, gets no ID token.
 */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import http from "node:http";
import { text } from "node:stream/consumers";

/** @typedef {{ id: string, secret: string }} App */

/** The app of Cambio's settings. */
export const OURS = { id: "1cb242f495280beb4291e64bee2a17f330902e499882fe8e1e2aa875519cab33", secret: "our-gitlab-secret" };
/** Another app at the same GitLab, whose tokens are equally valid. */
export const FOREIGN = { id: "4711f495280beb4291e64bee2a17f330902e499882fe8e1e2aa875519cab4711", secret: "foreign-gitlab-secret" };
/** The answer about the user, as https://docs.gitlab.com/api/users/ has it. */
export const JOHN = {
  id: 1,
  username: "john_smith",
  email: "john@example.com",
  name: "John Smith",
  state: "active",
  avatar_url: "https://gitlab.example.com/uploads/user/avatar/1/index.jpg",
};

/** @param {{ redirectUri: string }} options of both apps */
export async function startGitLab({ redirectUri }) {
  /** What was asked, for instance `GET /oauth/token/info`. @type {string[]} */
  const calls = [];
  /** The app and the scope, by the code of a consent. @type {Map<string, { app: App, scope: string }>} */
  const codes = new Map();
  /** The same, by the token. @type {Map<string, { app: App, scope: string }>} */
  const tokens = new Map();

  /** @param {App} app @param {string} scope */
  function issue(app, scope) {
    const token = randomBytes(32).toString("hex");
    tokens.set(token, { app, scope });
    return token;
  }

  const server = http.createServer(async (request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? "/", "http://localhost");
    calls.push(`${request.method} ${pathname}`);
    /** @param {number} status @param {unknown} body */
    const answer = (status, body) => {
      response.writeHead(status, { "Content-Type": "application/json" });
      response.end(JSON.stringify(body));
    };
    const query = Object.fromEntries(searchParams);
    if (pathname === "/oauth/authorize") {
      const app = [OURS, FOREIGN].find(({ id }) => id === query.client_id);
      if (!app || query.response_type !== "code" || query.redirect_uri !== redirectUri) return answer(400, { error: "invalid_request" });
      const code = randomBytes(16).toString("hex");
      codes.set(code, { app, scope: query.scope });
      const back = new URL(redirectUri);
      back.search = `${new URLSearchParams({ code, ...(query.state && { state: query.state }) })}`;
      response.writeHead(200, { "Content-Type": "text/html" });
      return response.end(`<h1>Authorize the app?</h1><a href="${back.href.replaceAll("&", "&amp;")}">Authorize</a>`);
    }
    if (pathname === "/oauth/token") {
      const form = new URLSearchParams(await text(request));
      const basic = Buffer.from((request.headers.authorization ?? "").replace("Basic ", ""), "base64").toString();
      const [id, secret] = basic ? basic.split(":") : [form.get("client_id"), form.get("client_secret")];
      const granted = codes.get(form.get("code") ?? "");
      codes.delete(form.get("code") ?? "");
      if (granted?.app.id !== id || granted?.app.secret !== secret) return answer(401, { error: "invalid_client" });
      const { app, scope } = granted;
      return answer(200, { access_token: issue(app, scope), token_type: "Bearer", expires_in: 7200, refresh_token: "none", scope, created_at: 1607635748 });
    }
    const token = tokens.get((request.headers.authorization ?? "").replace("Bearer ", ""));
    if (!token) return answer(401, { error: "invalid_token", error_description: "The access token is invalid" });
    if (pathname === "/oauth/token/info") {
      const scope = token.scope.split(" ");
      return answer(200, { resource_owner_id: JOHN.id, scope, expires_in: 7200, application: { uid: token.app.id }, created_at: 1607635748 });
    }
    if (pathname === "/api/v4/user") return answer(200, JOHN);
    return answer(404, { error: "404 Not Found" });
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  return {
    url: `http://localhost:${port}`,
    calls,
    issue,
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}
