// @ts-check
/** Checks tokens with the libraries of Node. Arguments: issuer, audience, algorithm, tokens. */
import { JwtVerifier } from "aws-jwt-verify";
import { SimpleJwksCache } from "aws-jwt-verify/jwk";
import { createVerifier } from "fast-jwt";
import buildGetJwks from "get-jwks";
import { createRemoteJWKSet, jwtVerify } from "jose";
import jsonwebtoken from "jsonwebtoken";
import jwksClient from "jwks-rsa";

const [issuer, audience, algorithm, ...tokens] = process.argv.slice(2);
const url = `${issuer}/.well-known/jwks.json`;

/** @param {string} token */
async function jose(token) {
  await jwtVerify(token, createRemoteJWKSet(new URL(url)), { issuer, audience, typ: "at+jwt", algorithms: [algorithm] });
}

/** @param {string} token */
async function fastJwt(token) {
  const keys = buildGetJwks();
  const verify = createVerifier({
    key: async (/** @type {import("fast-jwt").DecodedJwt} */ { header }) => keys.getPublicKey({ kid: header.kid, alg: header.alg, domain: issuer }),
    algorithms: [/** @type {import("fast-jwt").Algorithm} */ (algorithm)],
    allowedIss: issuer,
    allowedAud: audience,
  });
  await verify(token);
}

/** @param {string} token */
async function jwt(token) {
  const keys = jwksClient({ jwksUri: url });
  const kid = jsonwebtoken.decode(token, { complete: true })?.header.kid;
  const key = (await keys.getSigningKey(kid)).getPublicKey();
  jsonwebtoken.verify(token, key, { issuer, audience, algorithms: [/** @type {import("jsonwebtoken").Algorithm} */ (algorithm)] });
}

/** @param {string} token */
async function awsJwtVerify(token) {
  // The fetcher of the library accepts https only.
  const fetcher = { fetch: async (/** @type {string} */ uri) => (await fetch(uri)).arrayBuffer() };
  const verifier = JwtVerifier.create({ issuer, audience, jwksUri: url }, { jwksCache: new SimpleJwksCache({ fetcher }) });
  await verifier.verify(token);
}

const LIBRARIES = { jose, "fast-jwt + get-jwks": fastJwt, "jsonwebtoken + jwks-rsa": jwt, "aws-jwt-verify": awsJwtVerify };
for (const [name, verify] of Object.entries(LIBRARIES)) {
  for (const [nth, token] of tokens.entries()) {
    const result = await verify(token).then(
      () => "accepted",
      (error) => `${error.message}`.replaceAll(/\s+/g, " "),
    );
    console.log(`${name}\t${nth}\t${result}`);
  }
}
