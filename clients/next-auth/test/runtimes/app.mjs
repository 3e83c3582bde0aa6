// @ts-check
/** A session on the server of an app, from the sign-in to the sign-out; `CAMBIO_URL` is in the environment. */
import { createRequire } from "node:module";
import { cambioFetch } from "../../dist/esm/fetch.js";
import { CambioError, isCambioError } from "../../dist/esm/index.js";
import { cambio } from "../../dist/esm/v4.js";

/** @type {object} */
const options = { timeout: 2_000, exposeAccessToken: true };
const { callbacks, events, client } = /** @type {Record<string, any>} */ (cambio(options));
const url = String(process.env.CAMBIO_URL);

const account = { provider: "github", type: "oauth", providerAccountId: "1", access_token: "gho_1" };
const isAllowed = await callbacks.signIn({ user: {}, account });
const opened = await callbacks.jwt({ token: {}, user: {}, account });
const past = Date.now() - 1;
const fresh = await callbacks.jwt({ token: { ...opened, cambio: { ...opened.cambio, expiresAt: past, refreshAt: past } } });
const session = await callbacks.session({ session: { user: {}, expires: "" }, token: fresh });
const answer = await cambioFetch(session, `${url}/v1`)(new Request(`${url}/v1/orders`, { method: "POST", body: "item=tea" }));
const order = await answer.json();
const redirect = await cambioFetch(session, `${url}/v1`)("/elsewhere");
/** @type {unknown} */
let failure;
try {
  await client.me("over");
} catch (error) {
  failure = error;
}
await events.signOut({ token: fresh });

const required = createRequire(import.meta.url)("../../dist/cjs/index.js");
console.log(
  JSON.stringify({
    isAllowed,
    accessTokens: [opened.cambio.accessToken, session.accessToken],
    name: session.user.name,
    order,
    redirect: { status: redirect.status },
    failure: failure instanceof CambioError && failure.kind,
    isCambioError: required.isCambioError(failure) && isCambioError(new required.CambioError("ended", "over")),
  }),
);
