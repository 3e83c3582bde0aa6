// @ts-check
/** A stand-in for Cambio, with answers from the test and a record of its requests. */
import { once } from "node:events";
import http from "node:http";
import { after, before, beforeEach, mock } from "node:test";

export const USER = {
  id: "01a20d4b-4851-7307-bbca-e78d2750008b",
  name: "Ada",
  email: "ada@example.com",
  email_verified: true,
  picture: null,
  roles: [],
  identities: [],
};

/** A grant as Cambio answers it. @param {number} nth @param {object} [more] */
export function grant(nth, more) {
  return {
    access_token: `access-${nth}`,
    issued_token_type: "urn:ietf:params:oauth:token-type:access_token",
    token_type: "Bearer",
    expires_in: 900,
    refresh_token: `refresh-${nth}`,
    refresh_token_expires_in: 2592000,
    user: USER,
    ...more,
  };
}

/**
 * @typedef {{ method: string, path: string, headers: http.IncomingHttpHeaders, form: Record<string, string> }} Request
 * @typedef {{ status?: number, body?: unknown, headers?: Record<string, string>, raw?: string, hang?: boolean }} Answer
 */

/**
 * Starts one server for all tests of a file; each test begins without requests and with a server that grants.
 * @returns {Promise<Server>}
 */
export function serverOfTests() {
  const server = startServer();
  // The failures are intended, and so are their reports.
  before(() => void mock.method(console, "error", () => {}));
  after(async () => (await server).close());
  beforeEach(async () => {
    const { requests } = await server;
    requests.length = 0;
    (await server).answer = () => ({ body: grant(1) });
  });
  return server;
}

/** @typedef {Awaited<ReturnType<typeof startServer>>} Server */

async function startServer() {
  /** @type {Request[]} */
  const requests = [];
  const state = {
    url: "",
    requests,
    /** What the next requests are answered. @type {(request: Request) => Answer} */
    answer: () => ({ body: grant(1) }),
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
  const server = http.createServer(async (message, response) => {
    const chunks = [];
    for await (const chunk of message) chunks.push(chunk);
    const form = Object.fromEntries(new URLSearchParams(Buffer.concat(chunks).toString()));
    const request = { method: message.method ?? "", path: message.url ?? "", headers: message.headers, form };
    requests.push(request);
    const { status = 200, body, headers, raw, hang } = state.answer(request);
    if (hang) return;
    response.writeHead(status, { "Content-Type": "application/json", ...headers });
    response.end(raw ?? (body === undefined ? "" : JSON.stringify(body)));
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  state.url = `http://127.0.0.1:${/** @type {import("node:net").AddressInfo} */ (server.address()).port}`;
  return state;
}

/** The GitHub of better-auth's tests, which answers a sign-in by itself. @param {() => Promise<object>} [getToken] */
export function genericGitHub(getToken = async () => ({ accessToken: "gho_1" })) {
  return {
    providerId: "github",
    clientId: "id",
    clientSecret: "secret",
    authorizationUrl: "https://github.com/login/oauth/authorize",
    getToken,
    getUserInfo: async () => ({ id: "583231", name: "Octocat", email: "octocat@example.com", emailVerified: true }),
  };
}
