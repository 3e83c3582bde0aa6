// @ts-check
/**
 * GitHub for a sign-in: the published third-party stand-in `emulate`, and a proxy that adds the missing endpoint,
 * check-a-token. The proxy passes all other requests on.
 *
 * The front sees each token response pass by, so it knows which tokens were issued, and to which app. It also gives the
 * tokens the form of GitHub's own, `gho_` and 36 letters and digits: `emulate` makes them from base64url.
 */
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import http from "node:http";
import net from "node:net";
import { buffer, text } from "node:stream/consumers";
import { createEmulator } from "emulate";

/** @typedef {{ client_id: string, client_secret: string, name: string }} App */
/** @typedef {{ id: number, inner: string, app: App, scopes: string[], at: string }} Issued */

/** The OAuth app that Cambio and the Next.js app share. */
export const APP = { client_id: "cambio-tests", client_secret: "cambio-tests-secret", name: "Cambio's tests" };
/** A foreign OAuth app. Its tokens are valid, and Cambio must refuse them. */
export const OTHER_APP = { client_id: "other-app", client_secret: "other-app-secret", name: "Another app" };

/**
 * The first user, for whom `emulate` accepts every unknown bearer token. No test signs in as this user, so its
 * appearance means that such a token was trusted.
 */
export const CANARY = { login: "canary", name: "Nobody Should See Me", email: "canary@example.com" };
export const OCTOCAT = { login: "octocat", name: "Mona Lisa Octocat", email: "octocat@example.com" };
/** A user without an invitation. */
export const STRANGER = { login: "stranger", name: "A Stranger", email: "stranger@elsewhere.example" };
export const HUBOT = { login: "hubot", name: "Hubot", email: "hubot@example.com" };

/** The URL of `emulate` in its answers, with https like GitHub's pictures. */
export const PUBLIC_URL = "https://github.test";

/** @param {{ redirectUris?: string[] }} [options] */
export async function startStandIn({ redirectUris = [] } = {}) {
  const standIn = new StandIn();
  await standIn.start(redirectUris);
  return standIn;
}

export class StandIn {
  url = "";
  /** What was asked, for instance `GET /user`. @type {string[]} */
  calls = [];
  /** Answers check-a-token with this status, whatever the token. @type {404 | 502 | undefined} */
  failWith;
  /** By the token that its owner knows. @type {Map<string, Issued>} */
  issued = new Map();

  #front = http.createServer((request, response) => {
    this.#handle(request, response).catch((error) => {
      console.error("the stand-in's front:", error);
      response.destroy();
    });
  });
  #port = 0;
  /** @type {import("emulate").Emulator | undefined} */
  #emulator;

  /** @param {string[]} redirectUris */
  async start(redirectUris) {
    this.#front.listen(0, "127.0.0.1");
    await once(this.#front, "listening");
    this.url = `http://localhost:${portOf(this.#front)}`;
    const apps = [APP, OTHER_APP].map((app) => ({ ...app, redirect_uris: redirectUris }));
    const seed = { github: { users: [CANARY, OCTOCAT, HUBOT, STRANGER], oauth_apps: apps } };
    const { emulator, port } = await onLoopback(() => createEmulator({ service: "github", baseUrl: PUBLIC_URL, seed }));
    this.#emulator = emulator;
    this.#port = port;
  }

  async close() {
    this.#front.close();
    this.#front.closeAllConnections();
    await this.#emulator?.close();
  }

  /** Signs `login` in without a browser. @param {string} login @param {App} [app] @returns {Promise<string>} */
  async token(login, app = APP) {
    const consent = await fetch(`${this.url}/login/oauth/callback`, {
      method: "POST",
      body: new URLSearchParams({ login, client_id: app.client_id, redirect_uri: "http://localhost/", scope: "read:user user:email" }),
      redirect: "manual",
    });
    const code = new URL(consent.headers.get("location") ?? "").searchParams.get("code") ?? "";
    const answer = await fetch(`${this.url}/login/oauth/access_token`, {
      method: "POST",
      headers: { Accept: "application/json" },
      body: new URLSearchParams({ code, client_id: app.client_id, client_secret: app.client_secret }),
    });
    return (await answer.json()).access_token;
  }

  /** @param {http.IncomingMessage} request @param {http.ServerResponse} response */
  async #handle(request, response) {
    // The paths of a GitHub Enterprise Server, which an app with `GITHUB_URL` uses.
    request.url = request.url?.replace(/^\/api\/v3\//, "/");
    const { pathname } = new URL(request.url ?? "/", this.url);
    this.calls.push(`${request.method} ${pathname}`);
    /** @type {Buffer} */
    let body = await buffer(request);
    if (pathname === "/login/oauth/access_token") body = withCredentials(request.headers, body);

    const check = /^\/applications\/([^/]+)\/token$/.exec(pathname);
    if (check && request.method === "POST") {
      const [status, answer] = await this.#checkToken(decodeURIComponent(check[1]), request.headers, body);
      response.writeHead(status, { "Content-Type": "application/json; charset=utf-8" });
      response.end(JSON.stringify(answer));
      return;
    }

    const inner = await this.#forward(request, body);
    if (pathname === "/login/oauth/access_token") {
      const answer = this.#issue(await text(inner), body.toString());
      const { "transfer-encoding": _, ...headers } = inner.headers;
      response.writeHead(inner.statusCode ?? 502, { ...headers, "content-length": Buffer.byteLength(answer) });
      response.end(answer);
    } else {
      response.writeHead(inner.statusCode ?? 502, inner.headers);
      inner.pipe(response);
    }
  }

  /**
   * Passes a request on, with the token that `emulate` issued.
   * @param {Pick<http.IncomingMessage, "method" | "url" | "headers">} request
   * @param {Buffer} [body]
   * @returns {Promise<http.IncomingMessage>}
   */
  async #forward({ method, url, headers }, body) {
    const authorization = headers.authorization?.replace(/gho_\w+/, (token) => this.issued.get(token)?.inner ?? token);
    const inner = http.request({
      host: "127.0.0.1",
      port: this.#port,
      method,
      path: url,
      headers: authorization ? { ...headers, authorization } : headers,
    });
    inner.end(body);
    const [response] = await once(inner, "response");
    return response;
  }

  /** Remembers the token that passes by, and gives it GitHub's form. @param {string} answer @param {string} form */
  #issue(answer, form) {
    return answer.replace(/gho_[\w-]+/, (inner) => {
      const token = `gho_${randomBytes(18).toString("hex")}`;
      const app = [APP, OTHER_APP].find(({ client_id }) => client_id === new URLSearchParams(form).get("client_id"));
      if (!app) throw new Error("a token for no known app");
      const scopes = JSON.parse(answer).scope.split(/[ ,]+/);
      this.issued.set(token, { id: this.issued.size + 1, inner, app, scopes, at: new Date().toISOString() });
      return token;
    });
  }

  /**
   * `POST /applications/{client_id}/token`: checks that *this* app got the token.
   * @param {string} clientId @param {http.IncomingHttpHeaders} headers @param {Buffer} body
   * @returns {Promise<[number, unknown]>}
   */
  async #checkToken(clientId, headers, body) {
    if (this.failWith) return problem(this.failWith, this.failWith === 404 ? "Not Found" : "Bad Gateway");

    const [id, ...secret] = Buffer.from(headers.authorization?.replace(/^Basic /i, "") ?? "", "base64")
      .toString()
      .split(":");
    const app = [APP, OTHER_APP].find(({ client_id, client_secret }) => client_id === id && client_secret === secret.join(":"));
    if (!app) return problem(401, "Bad credentials");

    const token = JSON.parse(body.toString() || "{}").access_token;
    if (typeof token !== "string") return problem(422, "Validation Failed");
    const issued = this.issued.get(token);
    if (!issued || issued.app !== app || clientId !== app.client_id) return problem(404, "Not Found");

    const profile = await this.#forward({ method: "GET", url: "/user", headers: { authorization: `Bearer ${token}` } });
    return [
      200,
      {
        id: issued.id,
        url: `${PUBLIC_URL}/authorizations/${issued.id}`,
        app: { name: app.name, url: "http://localhost/", client_id: app.client_id },
        token,
        hashed_token: createHash("sha256").update(token).digest("hex"),
        token_last_eight: token.slice(-8),
        note: null,
        note_url: null,
        created_at: issued.at,
        updated_at: issued.at,
        scopes: issued.scopes,
        fingerprint: null,
        expires_at: null,
        user: simpleUser(JSON.parse(await text(profile))),
      },
    ];
  }
}

/**
 * Moves an app's secret into the form: GitHub reads it from the header or the form, `emulate` from the form only.
 * @param {http.IncomingHttpHeaders} headers
 * @param {Buffer} body
 */
function withCredentials(headers, body) {
  const [, basic] = /^Basic (.+)$/i.exec(headers.authorization ?? "") ?? [];
  if (!basic) return body;
  const [id, secret] = Buffer.from(basic, "base64").toString().split(":");
  const form = Buffer.from(`${body}&${new URLSearchParams({ client_id: id, client_secret: secret })}`);
  headers["content-length"] = `${form.length}`;
  return form;
}

/**
 * GitHub answers check-a-token with its short form of a user, without name and e-mail.
 * @param {Record<string, unknown>} profile
 */
function simpleUser(profile) {
  return Object.fromEntries(Object.entries(profile).filter(([key]) => /url$|^(login|id|node_id|gravatar_id|type|site_admin)$/.test(key)));
}

/** @param {number} status @param {string} message @returns {[number, unknown]} */
function problem(status, message) {
  return [status, { message, documentation_url: "https://docs.github.com/rest", status: String(status) }];
}

/**
 * Binds `emulate`, which listens on every interface, to a free port of the loopback address.
 * @template T @param {() => Promise<T>} create
 */
async function onLoopback(create) {
  const { listen } = net.Server.prototype;
  /** @type {net.Server | undefined} */
  let server;
  net.Server.prototype.listen = function () {
    server = this;
    return Reflect.apply(listen, this, [0, "127.0.0.1"]);
  };
  try {
    const emulator = await create();
    if (!server) throw new Error("emulate did not listen");
    if (!server.listening) await once(server, "listening");
    return { emulator, port: portOf(server) };
  } finally {
    net.Server.prototype.listen = listen;
  }
}

/** @param {net.Server} server */
function portOf(server) {
  return /** @type {net.AddressInfo} */ (server.address()).port;
}
