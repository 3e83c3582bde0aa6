// @ts-check
/**
 * A real, certified third-party OpenID provider with its login and consent pages for development.
 *
 * The provider has two clients: that of Cambio's settings, and a foreign one, whose tokens are equally valid.
 */
import { generateKeyPairSync, randomUUID } from "node:crypto";
import { once } from "node:events";
import http from "node:http";
import { Provider } from "oidc-provider";

/** @typedef {{ id: string, secret: string }} Client */

/** The client of Cambio's settings. */
export const OURS = { id: "our-oidc-client", secret: "our-oidc-client-secret" };
/** A foreign client, whose ID tokens Cambio must refuse. */
export const FOREIGN = { id: "foreign-oidc-client", secret: "foreign-oidc-client-secret" };

/** @param {{ redirectUris: string[] }} options of both clients */
export async function startProvider(options) {
  const provider = new OpenIdProvider(options.redirectUris);
  await provider.start();
  return provider;
}

export class OpenIdProvider {
  issuer = "";
  /** What was asked, for instance `GET /jwks`. @type {string[]} */
  calls = [];

  #redirectUris;
  #keys = [newKey()];
  /** @type {http.RequestListener} */
  #handle = (_, response) => void response.writeHead(503).end();
  #server = http.createServer((request, response) => {
    this.calls.push(`${request.method} ${new URL(request.url ?? "/", this.issuer).pathname}`);
    this.#handle(request, response);
  });

  /** @param {string[]} redirectUris */
  constructor(redirectUris) {
    this.#redirectUris = redirectUris;
  }

  async start() {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    const { port } = /** @type {import("node:net").AddressInfo} */ (this.#server.address());
    this.issuer = `http://localhost:${port}`;
    this.#serve();
  }

  close() {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  /** Signs with a new key from now on, and publishes the former one for the life of its tokens. */
  rotateKeys() {
    this.#keys = [newKey(), this.#keys[0]];
    this.#serve();
  }

  /** Refuses connections until the returned function is called. */
  async goDown() {
    const { port } = /** @type {import("node:net").AddressInfo} */ (this.#server.address());
    this.close();
    return async () => {
      this.#server.listen(port, "127.0.0.1");
      await once(this.#server, "listening");
    };
  }

  #serve() {
    const clients = [OURS, FOREIGN].map(({ id, secret }) => ({ client_id: id, client_secret: secret, redirect_uris: this.#redirectUris }));
    const provider = new Provider(this.issuer, {
      clients,
      jwks: { keys: this.#keys },
      claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name"] },
      // The claims are in the ID token itself, and not only at the userinfo endpoint.
      conformIdTokenClaims: false,
      findAccount: (_, sub) => ({
        accountId: sub,
        claims: () => ({ sub, name: `${sub} Lovelace`, email: `${sub}@example.com`, email_verified: true }),
      }),
      features: { devInteractions: { enabled: true } },
      cookies: { keys: ["the provider's own"] },
      pkce: { required: () => false },
    });
    this.#handle = provider.callback();
  }
}

/** @returns {import("oidc-provider").JWK} */
function newKey() {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const jwk = privateKey.export({ format: "jwk" });
  return /** @type {import("oidc-provider").JWK} */ ({ ...jwk, kid: randomUUID(), alg: "RS256", use: "sig" });
}
