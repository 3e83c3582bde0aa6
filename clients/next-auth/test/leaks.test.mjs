// @ts-check
/**
 * Tests that no token reaches a browser through the callbacks of an app, with the real handlers of next-auth 4 and
 * Auth.js 5.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as v4 from "@cambio/next-auth/v4";
import * as v5 from "@cambio/next-auth/v5";
import { appWith4, appWith5, providerAnswer } from "./handlers.mjs";
import { grant, serverOfTests, USER } from "./server.mjs";

const server = await serverOfTests();

/** Cambio's tokens, and both of the provider's. */
const SECRETS = /cbr_|access-1|gho_|ghr_/;

/**
 * Common callbacks of apps.
 * @type {Record<string, { jwt?: (parameters: any) => any, session?: (parameters: any) => any }>}
 */
const IDIOMS = {
  "no callbacks": {},
  "the user is spread into the token, which becomes the session's user": {
    jwt: ({ token, user }) => ({ ...token, ...user }),
    session: ({ session, token }) => ((session.user = token), session),
  },
  "the provider's access token is kept for the session": {
    jwt: ({ token, account }) => (account && (token.accessToken = account.access_token), token),
    session: ({ session, token }) => ((session.accessToken = token.accessToken), session),
  },
  "the account is spread into the token, and the token into the session": {
    jwt: ({ token, account }) => ({ ...token, ...account }),
    session: ({ session, token }) => ({ ...session, ...token }),
  },
  "the rotation of the documentation starts a token of its own": {
    jwt: ({ token, user, account }) =>
      account && user ? { accessToken: account.access_token, expiresAt: account.expires_at, refreshToken: account.refresh_token, user } : token,
    session: ({ session, token }) => ({ ...session, user: token.user, refreshToken: token.refreshToken, error: token.error }),
  },
  "the user is kept in the token": {
    jwt: ({ token, user }) => (user && (token.user = user), token),
    session: ({ session, token }) => ((session.user = token.user), session),
  },
  "the user is merged into the session's": {
    jwt: ({ token, user }) => (user ? { ...token, user: { ...user } } : token),
    session: ({ session, token }) => ({ ...session, user: { ...session.user, ...token.user } }),
  },
  "the whole token is in the session": {
    session: ({ session, token }) => ((session.token = token), session),
  },
  "account and profile are kept": {
    jwt: ({ token, account, profile }) => (account && Object.assign(token, { account, profile }), token),
    session: ({ session, token }) => Object.assign(session, { account: token.account, profile: token.profile, jwt: token }),
  },
  "id and role are set": {
    jwt: ({ token, user }) => (user && Object.assign(token, { id: user.id, role: user.role ?? "user" }), token),
    session: ({ session, token }) => (Object.assign(session.user, { id: token.id, role: token.role }), session),
  },
  "all parameters are kept": {
    jwt: (parameters) => ({ ...parameters.token, at: parameters.account ? { ...parameters } : parameters.token.at }),
    session: (parameters) => ({ ...parameters.session, ...parameters }),
  },
  "the session has no user": {
    session: ({ token }) => ({ name: token.name }),
  },
};

for (const [version, start] of /** @type {const} */ ([
  ["next-auth 4", (/** @type {any} */ own) => appWith4(server.url, v4.cambio({ url: server.url, clientId: "nextjs", clientSecret: "secret", ...own }))],
  ["Auth.js 5", (/** @type {any} */ own) => appWith5(server.url, v5.cambio({ url: server.url, clientId: "nextjs", clientSecret: "secret", ...own }))],
])) {
  for (const [idiom, callbacks] of Object.entries(IDIOMS)) {
    test(`${version}: where ${idiom}, no browser sees a refresh token or one of the provider`, async () => {
      server.answer = ({ path }) => providerAnswer(path) ?? { body: grant(1, { refresh_token: "cbr_secret" }) };
      /** @type {unknown[]} */
      const events = [];
      const { cookies, signIn, get, onServer } = start({ callbacks, events: { signIn: (/** @type {unknown} */ event) => void events.push(event) } });

      const signedIn = await signIn();
      const shown = [await get("/api/auth/session"), await get("/api/auth/session")];
      const rendered = JSON.stringify(await onServer());

      assert.equal(signedIn.headers.get("Location"), "http://localhost:3000");
      assert.ok(
        [...cookies.keys()].some((name) => name.endsWith("session-token")),
        "signed in",
      );
      assert.equal(server.requests.filter(({ path }) => path === "/token").length, 1);
      for (const { body } of shown) {
        assert.match(body, /Ada|Octocat/);
        assert.doesNotMatch(body, SECRETS);
      }
      assert.match(rendered, /Ada|Octocat/);
      assert.doesNotMatch(rendered, SECRETS, "a server component passes its session on");
      assert.doesNotMatch(`${signedIn.body} ${signedIn.headers.get("Location")} ${signedIn.headers.getSetCookie()}`, SECRETS);
      assert.equal(events.length, 1);
      assert.doesNotMatch(JSON.stringify(events), /cbr_/);
    });
  }

  test(`${version}: an app that asks for the provider's tokens gets them in its jwt callback`, async () => {
    server.answer = ({ path }) => providerAnswer(path) ?? { body: grant(1) };
    /** @type {unknown[]} */
    const seen = [];
    const { signIn } = start({
      providerTokens: true,
      callbacks: { jwt: (/** @type {any} */ { token, account }) => (seen.push(account.access_token), token) },
    });
    await signIn();
    assert.deepEqual(seen, ["gho_secret"]);
  });

  test(`${version}: what an app's callbacks see of the grant is the user, and no refresh token`, async () => {
    server.answer = ({ path }) => providerAnswer(path) ?? { body: grant(1, { user: { ...USER, roles: ["admin"] }, refresh_token: "cbr_secret" }) };
    const { signIn, get } = start({
      exposeAccessToken: true,
      callbacks: {
        jwt: (/** @type {any} */ { token }) => ({ ...token, seen: JSON.stringify(token) }),
        session: (/** @type {any} */ { session, token }) => ({ ...session, user: { ...session.user, roles: token.cambio.user.roles }, seen: token.seen }),
      },
    });
    await signIn();
    const { user, seen, accessToken } = JSON.parse((await get("/api/auth/session")).body);
    assert.deepEqual(user.roles, ["admin"]);
    assert.equal(accessToken, "access-1");
    assert.match(seen, /"cambio":/);
    assert.doesNotMatch(seen, /cbr_/);
  });
}
