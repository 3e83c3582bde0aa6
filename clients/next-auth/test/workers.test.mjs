// @ts-check
import assert from "node:assert/strict";
import { generateKeyPairSync, verify } from "node:crypto";
import { readFileSync } from "node:fs";
import { after, test } from "node:test";
import { Miniflare, Response } from "miniflare";
import { grant } from "./server.mjs";

const WORKER = `
  import { cambioFetch } from "./fetch.js";
  import { createClient } from "./index.js";
  import { vouch } from "./vouch.js";
  export default {
    async fetch(request) {
      if (request.method === "POST") {
        const sign = vouch({ key: await request.json(), clientId: "worker", url: "https://auth.example.com" });
        return new Response(await sign({ id: "17" }));
      }
      const client = createClient({ url: "https://auth.example.com", clientId: "worker", clientSecret: "secret" });
      try {
        if (new URL(request.url).pathname === "/refresh") return Response.json(await client.refresh("refresh-1"));
        return await cambioFetch({ accessToken: "access-1" }, "https://api.example.com/v1")("/orders");
      } catch ({ kind, message, cause }) {
        return Response.json({ kind, message, cause: String(cause) }, { status: 500 });
      }
    },
  };
`;
const modules = ["fetch.js", "index.js", "sign.js", "vouch.js"].map((path) => {
  const contents = readFileSync(new URL(`../dist/esm/${path}`, import.meta.url), "utf8");
  return { type: /** @type {const} */ ("ESModule"), path, contents };
});

// Before 2024-11-11, Cloudflare Workers refuse each `cache`; `redirect: "error"` is refused up to now.
for (const compatibilityDate of ["2024-09-01", "2025-09-01"]) {
  /** @type {() => Response} */
  let answer = () => Response.json(grant(2));
  /** @type {{ url: string, authorization: string | null }[]} */
  const requests = [];
  const workers = new Miniflare({
    modules: [{ type: "ESModule", path: "worker.js", contents: WORKER }, ...modules],
    compatibilityDate,
    cf: false,
    /** @param {import("miniflare").Request} request */
    outboundService({ url, headers }) {
      requests.push({ url, authorization: headers.get("Authorization") });
      return answer();
    },
  });
  after(() => workers.dispose());

  test(`Cloudflare Workers of ${compatibilityDate} refresh, and call the API`, async () => {
    const refreshed = await workers.dispatchFetch("http://worker/refresh");
    assert.equal(refreshed.status, 200, await refreshed.clone().text());
    assert.equal(/** @type {{ accessToken: string }} */ (await refreshed.json()).accessToken, "access-2");

    assert.equal((await workers.dispatchFetch("http://worker/api")).status, 200);
    assert.deepEqual(requests.at(-1), { url: "https://api.example.com/v1/orders", authorization: "Bearer access-1" });
  });

  test(`Cloudflare Workers of ${compatibilityDate} vouch for a user`, async () => {
    const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const body = JSON.stringify({ ...privateKey.export({ format: "jwk" }), kid: "one" });
    const answer = await workers.dispatchFetch("http://worker/", { method: "POST", body });
    const [header, claims, signature] = (await answer.text()).split(".");
    const key = { key: publicKey, dsaEncoding: /** @type {const} */ ("ieee-p1363") };
    assert.ok(verify("sha256", Buffer.from(`${header}.${claims}`), key, Buffer.from(signature, "base64url")));
    const { iss, sub, aud } = JSON.parse(Buffer.from(claims, "base64url").toString());
    assert.deepEqual([iss, sub, aud], ["worker", "17", "https://auth.example.com/token"]);
  });

  test(`Cloudflare Workers of ${compatibilityDate} follow no redirect with the client secret`, async () => {
    requests.length = 0;
    answer = () => new Response(null, { status: 302, headers: { Location: "https://elsewhere.example.com/" } });

    const refused = await workers.dispatchFetch("http://worker/refresh");

    assert.equal(/** @type {{ kind: string }} */ (await refused.json()).kind, "misconfigured");
    assert.deepEqual(
      requests.map(({ url }) => url),
      ["https://auth.example.com/token"],
    );
  });
}
