// @ts-check
/** A passkey (WebAuthn) without a browser: an ES256 key that signs the challenges of one site. */
import { createHash, generateKeyPairSync, randomBytes, sign } from "node:crypto";
import { isoCBOR } from "@simplewebauthn/server/helpers";

/** Flags of the authenticator data: the user is present and verified, and the data contains a new credential. */
const USER = 0x05;
const NEW_CREDENTIAL = 0x40;

/**
 * Creates an authenticator with one credential.
 * @param {string} origin
 */
export function authenticator(origin) {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const id = randomBytes(16);
  let counter = 0;

  /** @param {number} flags @param {Buffer[]} more */
  function authenticatorData(flags, ...more) {
    const head = Buffer.alloc(5);
    head.writeUInt8(flags);
    head.writeUInt32BE(++counter, 1);
    return Buffer.concat([sha256(new URL(origin).hostname), head, ...more]);
  }
  /** @param {string} type @param {string} challenge */
  const clientData = (type, challenge) => Buffer.from(JSON.stringify({ type, challenge, origin, crossOrigin: false }));
  /** @param {Record<string, unknown>} response */
  const credential = (response) => ({ id: text(id), rawId: text(id), type: "public-key", clientExtensionResults: {}, response });

  return {
    /** Returns the response of `navigator.credentials.create`. @param {{ challenge: string }} options */
    create({ challenge }) {
      const { x = "", y = "" } = publicKey.export({ format: "jwk" });
      /** A COSE key: EC2, ES256, P-256. @type {Map<number, number | Uint8Array>} */
      const key = new Map([
        [1, 2],
        [3, -7],
        [-1, 1],
      ]);
      for (const [name, value] of /** @type {const} */ ([
        [-2, x],
        [-3, y],
      ]))
        key.set(name, new Uint8Array(Buffer.from(value, "base64url")));
      const length = Buffer.from([0, id.length]);
      const data = authenticatorData(USER | NEW_CREDENTIAL, Buffer.alloc(16), length, id, Buffer.from(isoCBOR.encode(key)));
      const attestation = new Map(
        /** @type {[string, any][]} */ ([
          ["fmt", "none"],
          ["attStmt", new Map()],
          ["authData", new Uint8Array(data)],
        ]),
      );
      const attestationObject = text(Buffer.from(isoCBOR.encode(attestation)));
      return credential({ clientDataJSON: text(clientData("webauthn.create", challenge)), attestationObject, transports: ["internal"] });
    },

    /** Returns the response of `navigator.credentials.get`. @param {{ challenge: string }} options */
    get({ challenge }) {
      const client = clientData("webauthn.get", challenge);
      const data = authenticatorData(USER);
      const signature = sign("sha256", Buffer.concat([data, sha256(client)]), privateKey);
      return credential({ clientDataJSON: text(client), authenticatorData: text(data), signature: text(signature) });
    },
  };
}

/** @param {string | Buffer} data */
function sha256(data) {
  return createHash("sha256").update(data).digest();
}

/** @param {Buffer} bytes */
function text(bytes) {
  return bytes.toString("base64url");
}
