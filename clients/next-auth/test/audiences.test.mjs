// @ts-check
/**
 * Access tokens for several audiences of one session, through the real handlers of next-auth 4 and Auth.js 5, and in
 * random runs against a model of Cambio's sessions.
 */
import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import { test } from "node:test";
import { setImmediate as immediately } from "node:timers/promises";
import { isCambioError } from "@cambio/next-auth";
import { cambioFetch } from "@cambio/next-auth/fetch";
import * as v4 from "@cambio/next-auth/v4";
import * as v5 from "@cambio/next-auth/v5";
import { appWith4, appWith5, providerAnswer } from "./handlers.mjs";
import { grant, serverOfTests, USER } from "./server.mjs";

const server = await serverOfTests();
const [ORDERS, STOCK] = ["https://orders.example.com", "https://stock.example.com"];
const MINUTE = 60_000;

/** A refresh token of a generation of a session, in Cambio's format. @param {number} generation */
const refreshToken = (generation, session = "s") => `cbr_${session.repeat(44)}${`${generation}`.padStart(72, "g")}`;

/** A session at Cambio. It accepts its current refresh token and the one before, as `decide` of shared/src/sessions. */
function sessionModel(session = "s") {
  const state = { generation: 0, isEnded: false, issued: 0, user: USER };
  return {
    state,
    /** Answers a request for a token. @param {Record<string, string>} form */
    answer({ grant_type, refresh_token, audience = "own" }) {
      if (grant_type === "refresh_token") {
        const generation = Number(/g+(\d+)$/.exec(refresh_token)?.[1]);
        if (generation < state.generation - 1) state.isEnded = true;
        if (state.isEnded) return { status: 400, body: { error: "invalid_grant" } };
        state.generation = generation + 1;
      }
      const token = refreshToken(grant_type === "refresh_token" ? state.generation : 0, session);
      return { body: grant(0, { access_token: `${audience} ${++state.issued}`, refresh_token: token, user: state.user }) };
    },
  };
}

/** Lets the server answer as Cambio with one session. */
function startSession() {
  const model = sessionModel();
  server.answer = ({ path, form }) => (path === "/token" ? model.answer(form) : (providerAnswer(path) ?? {}));
  return model;
}

/** Returns the refreshes at Cambio: the generation of the refresh token, and the audience. */
const refreshes = () =>
  server.requests
    .filter(({ form }) => form.grant_type === "refresh_token")
    .map(({ form }) => `${Number(form.refresh_token.slice(-3).replace(/g/g, ""))} ${form.audience}`);

/** @param {Promise<unknown>} call @param {import("@cambio/next-auth").CambioErrorKind} kind */
const failsWith = (call, kind) => assert.rejects(call, (error) => isCambioError(error) && error.kind === kind);

for (const [version, cambio, appWith] of /** @type {[string, typeof v4.cambio, typeof appWith4][]} */ ([
  ["next-auth 4", v4.cambio, appWith4],
  ["Auth.js 5", v5.cambio, appWith5],
])) {
  /** An app with a browser that has signed in. @param {object} [more] */
  async function start(more) {
    const model = startSession();
    /** @type {any[]} */
    const events = [];
    const onEvent = (/** @type {any} */ event) => void events.push(event);
    const ours = cambio({ url: server.url, clientId: "nextjs", clientSecret: "secret", onEvent, ...more });
    const app = appWith(server.url, ours);
    await app.signIn();
    events.length = 0;
    const session = async () => JSON.parse((await app.get("/api/auth/session")).body);
    return { model, app, events, session, getAccessToken: ours.accessTokenOf(() => app.onServer()) };
  }
  /** @param {import("node:test").TestContext} t @param {number} minutes */
  const later = (t, minutes) => t.mock.timers.enable({ apis: ["Date"], now: Date.now() + minutes * MINUTE });

  test(`${version}: each audience has a token of its own, which is requested once`, async () => {
    const { getAccessToken, events } = await start();

    const tokens = await Promise.all([ORDERS, STOCK, ORDERS, undefined].map((audience) => getAccessToken({ audience })));
    const again = await getAccessToken({ audience: ORDERS });

    assert.match(tokens[0].token, /^https:\/\/orders/);
    assert.match(tokens[1].token, /^https:\/\/stock/);
    assert.equal(tokens[3].token, "own 1");
    assert.deepEqual([tokens[2], again], [tokens[0], tokens[0]]);
    assert.ok(Math.abs(again.expiresAt - Date.now() - 15 * MINUTE) < MINUTE);
    assert.deepEqual(refreshes().sort(), [`0 ${ORDERS}`, `0 ${STOCK}`]);
    assert.deepEqual(events.map(({ type, audience }) => `${type} ${audience}`).sort(), [`refresh ${ORDERS}`, `refresh ${STOCK}`]);
    assert.doesNotMatch(JSON.stringify(events), /cbr_|own|https:\/\/\w+\.example\.com \d/);
  });

  test(`${version}: a token for another audience changes neither the session nor what a browser gets`, async () => {
    const { app, getAccessToken, session } = await start({ exposeAccessToken: true });
    const before = new Map(app.cookies);
    await getAccessToken({ audience: ORDERS });
    assert.deepEqual(app.cookies, before);
    const shown = await session();
    assert.equal(shown.accessToken, "own 1");
    assert.doesNotMatch(JSON.stringify([shown, await app.onServer()]), /orders/);
  });

  test(`${version}: a token for another audience is renewed before it expires, after a change of roles, and where it was refused`, async (t) => {
    const { getAccessToken, session, model } = await start();
    const asked = async (/** @type {object} */ more = {}) => (await getAccessToken({ audience: ORDERS, ...more })).token;
    const first = await asked();
    assert.equal(await asked({ refused: "another" }), first);
    const tokens = await Promise.all([1, 2, 3].map(() => asked({ refused: first })));
    assert.deepEqual([new Set(tokens).size, refreshes().length], [1, 2], "three calls share one");
    assert.notEqual(tokens[0], first);
    assert.equal(await asked(), tokens[0]);

    later(t, 14.5);
    model.state.user = { ...USER, roles: /** @type {any} */ (["admin"]) };
    await session();
    const renewed = await asked();
    assert.notEqual(renewed, tokens[0], "it was due, and so were the roles");
    assert.equal(await asked(), renewed);
    t.mock.timers.setTime(Date.now() + 12 * MINUTE);
    assert.notEqual(await asked(), renewed);
  });

  test(`${version}: after update(), the tokens of all audiences have the new roles`, async () => {
    const { app, getAccessToken, model } = await start();
    const first = await getAccessToken({ audience: ORDERS });
    model.state.user = { ...USER, roles: /** @type {any} */ (["admin"]) };
    const { csrfToken } = JSON.parse((await app.get("/api/auth/csrf")).body);
    await app.post("/api/auth/session", { csrfToken });
    const second = await getAccessToken({ audience: ORDERS });
    assert.notEqual(second.token, first.token);
    assert.deepEqual(await getAccessToken({ audience: ORDERS }), second);
  });

  test(`${version}: slow requests with the cookie before a refresh end no session`, async (t) => {
    const { app, getAccessToken, session, model } = await start();
    const before = new Map(app.cookies);
    later(t, 14.5);
    await session();
    const stored = new Map(app.cookies);
    assert.notDeepEqual(stored, before);
    await getAccessToken({ audience: ORDERS });
    const { csrfToken } = JSON.parse((await app.get("/api/auth/csrf")).body);
    await app.post("/api/auth/session", { csrfToken });
    await getAccessToken({ refused: (await getAccessToken()).token });
    // A request that began before the refresh comes to its call only now.
    t.mock.timers.setTime(Date.now() + 5 * MINUTE);
    app.cookies.clear();
    for (const [name, value] of before) app.cookies.set(name, value);
    await getAccessToken({ audience: STOCK });
    await getAccessToken();
    assert.deepEqual([model.state.isEnded, model.state.generation], [false, 1], refreshes().join());

    for (const [name, value] of stored) app.cookies.set(name, value);
    t.mock.timers.setTime(Date.now() + 12 * MINUTE);
    assert.equal((await session()).error, undefined);
    await getAccessToken({ audience: ORDERS });
    assert.deepEqual([model.state.isEnded, model.state.generation], [false, 2], refreshes().join());
  });

  test(`${version}: in the last seconds before a session is due, a request waits, and then sends the current refresh token`, async (t) => {
    const { getAccessToken, session } = await start();
    later(t, 14.5);
    await session();
    const due = Date.now() + 14 * MINUTE;
    t.mock.timers.setTime(due - 3_000);
    await getAccessToken({ audience: ORDERS });
    t.mock.timers.reset();
    t.mock.timers.enable({ apis: ["Date", "setTimeout"], now: due - 1_500 });
    const { token } = await getAccessToken();
    const answers = Promise.all([getAccessToken({ audience: STOCK }), getAccessToken({ refused: token })]);
    // Both come to their call: this clock is the real one.
    for (const startedAt = performance.now(); performance.now() - startedAt < 500; ) await immediately();
    assert.deepEqual(refreshes(), ["0 undefined", `0 ${ORDERS}`]);
    t.mock.timers.tick(1_500);
    await answers;
    assert.deepEqual(refreshes().slice(2).sort(), [`1 ${STOCK}`, "1 undefined"]);
  });

  test(`${version}: update() does not change when the session is due, so that all of its cookies are due at that time`, async (t) => {
    const { app, session } = await start();
    later(t, 14.5);
    await session();
    t.mock.timers.setTime(Date.now() + 10 * MINUTE);
    const { csrfToken } = JSON.parse((await app.get("/api/auth/csrf")).body);
    await app.post("/api/auth/session", { csrfToken });
    t.mock.timers.setTime(Date.now() + 4.5 * MINUTE);
    await session();
    assert.deepEqual(refreshes(), ["0 undefined", "0 undefined", "1 undefined"]);
  });

  test(`${version}: no callback and no browser sees a part of a refresh token`, async (t) => {
    /** @type {unknown[]} */
    const seen = [];
    const callbacks = {
      jwt: (/** @type {any} */ { token }) => (seen.push(structuredClone(token)), token),
      session: (/** @type {any} */ { session, token }) => ({ ...session, token, more: { ...token.cambio } }),
    };
    const { session } = await start({ callbacks });
    later(t, 14.5);
    seen.push(await session(), await session());
    assert.equal(refreshes().length, 1);
    // Refresh tokens end with many of this letter.
    assert.doesNotMatch(JSON.stringify(seen), /gggg|cbr_/);
  });

  test(`${version}: a good token is used while Cambio fails, and its absence is the failure of Cambio`, async (t) => {
    const { getAccessToken, model, events } = await start();
    const { token } = await getAccessToken({ audience: ORDERS });
    events.length = 0;
    later(t, 13);
    server.answer = () => ({ status: 503, headers: { "Retry-After": "30" } });
    assert.equal((await getAccessToken({ audience: ORDERS })).token, token);
    assert.equal((await getAccessToken({ audience: ORDERS })).token, token);
    assert.equal(refreshes().length, 2, "a failed call is not repeated at once");
    assert.deepEqual(
      events.map(({ type, audience }) => `${type} ${audience}`),
      [`refreshFailed ${ORDERS}`],
    );
    await failsWith(getAccessToken({ audience: STOCK }), "unavailable");
    await failsWith(getAccessToken({ audience: ORDERS, refused: token }), "unavailable");
    server.answer = () => ({ status: 400, body: { error: "invalid_target" } });
    await failsWith(getAccessToken({ audience: STOCK }), "misconfigured");
    assert.equal((await getAccessToken()).token, "own 1", "the session goes on");
    model.state.isEnded = true;
    server.answer = ({ form }) => model.answer(form);
    await failsWith(getAccessToken({ audience: STOCK }), "ended");
    t.mock.timers.setTime(Date.now() + 5 * MINUTE);
    await failsWith(getAccessToken({ audience: ORDERS }), "ended");
  });

  test(`${version}: a good token is returned within a second while Cambio hangs`, async (t) => {
    const watched = new EventEmitter();
    const isOver = once(watched, "refreshFailed");
    const onEvent = (/** @type {{ type: string }} */ { type }) => watched.emit(type);
    const { getAccessToken } = await start({ timeout: 4_000, onEvent });
    const { token } = await getAccessToken({ audience: ORDERS });
    later(t, 12);
    server.answer = () => ({ hang: true });
    const startedAt = performance.now();
    for (const _ of [1, 2]) assert.equal((await getAccessToken({ audience: ORDERS })).token, token);
    assert.ok(performance.now() - startedAt < 3_000);
    assert.equal(refreshes().length, 2);
    // The call goes on, and the next test counts its own requests.
    await isOver;
  });

  test(`${version}: no one gets a token for an audience without a session`, async () => {
    const { app, getAccessToken } = await start();
    await getAccessToken({ audience: ORDERS });
    app.cookies.clear();
    await failsWith(getAccessToken({ audience: ORDERS }), "ended");
  });

  test(`${version}: two users never share a token`, async () => {
    const { app, getAccessToken } = await start();
    const first = await getAccessToken({ audience: ORDERS });
    const other = sessionModel("t");
    other.state.issued = 100;
    server.answer = ({ path, form }) => (path === "/token" ? other.answer(form) : (providerAnswer(path) ?? {}));
    await app.signIn();
    const second = await getAccessToken({ audience: ORDERS });
    assert.notEqual(second.token, first.token);
  });

  test(`${version}: cambioFetch calls an API with the token for its audience, and renews that after a 401`, async () => {
    const { getAccessToken, model } = await start();
    /** @type {(string | undefined)[]} */
    const seen = [];
    server.answer = ({ path, form, headers }) => {
      if (path === "/token") return model.answer(form);
      seen.push(headers.authorization);
      return seen.length === 1 ? { status: 401, body: {} } : { body: [1] };
    };
    const answer = await cambioFetch(getAccessToken, server.url, { audience: ORDERS })("/orders");
    assert.deepEqual(await answer.json(), [1]);
    assert.deepEqual(seen, [`Bearer ${ORDERS} 2`, `Bearer ${ORDERS} 3`]);
  });
}

test("after the most tokens that a process keeps, the one that was used least recently is requested again", async () => {
  const model = sessionModel();
  let calls = 0;
  /** @type {typeof globalThis.fetch} */
  const fetch = async (_, init) => (calls++, Response.json(model.answer(Object.fromEntries(/** @type {any} */ (init?.body))).body));
  const { callbacks, accessTokenOf } = v4.cambio({ url: "https://auth.example.com", clientId: "nextjs", clientSecret: "secret", fetch });
  const { jwt, session } = /** @type {Record<string, (parameters: object) => any>} */ (/** @type {unknown} */ (callbacks));
  const account = { provider: "github", access_token: "gho_1" };
  const token = await jwt({ token: {}, user: {}, account });
  const getAccessToken = accessTokenOf(async () => session({ session: { user: {}, expires: "" }, token: await jwt({ token }) }));
  const ask = async (/** @type {number} */ nth) => void (await getAccessToken({ audience: `https://api-${nth}.example.com` }));

  for (let nth = 0; nth < 1_000; nth++) await ask(nth);
  await ask(0);
  await ask(1_000);
  assert.equal(calls, 1_002, "with the sign-in");
  await ask(0);
  assert.equal(calls, 1_002);
  await ask(1);
  assert.equal(calls, 1_003);
});

/** The same sequence for the same seed. @param {number} seed */
function dice(seed) {
  let state = seed;
  /** @param {number} sides */
  return (sides) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * sides);
  };
}

/** The random runs, each by the seed of its number. */
const RUNS = Number(process.env.CAMBIO_TEST_RUNS || 60);
/** The times between two rounds, in seconds: from the same moment to the end of a token. */
const PAUSES = [0, 1, 20, 300, 838, 840, 842, 1000];
/** The time for which a request may be under way, in milliseconds. */
const SLOWEST = 5 * MINUTE;

test(`in ${RUNS} random runs with several audiences, no session ends`, async (t) => {
  const counts = { requests: 0, audiences: 0, slow: 0, lost: 0, down: 0, forced: 0, renders: 0 };
  // Before the clock is replaced: a module takes the time that it takes.
  await import("../dist/esm/on-demand.js");
  // One clock for all runs: what a run leaves behind has timers of the same clock.
  t.mock.timers.enable({ apis: ["Date", "setTimeout"], now: 1_800_000_000_000 });
  for (let run = 0; run < RUNS; run++) {
    const roll = dice(run);
    const model = sessionModel();
    let weather = "fine";
    /** @type {typeof fetch} */
    const network = async (_, init) => {
      // Requests reach Cambio in any order.
      for (let turns = roll(3); turns > 0; turns--) await immediately();
      if (weather === "down") throw new TypeError("fetch failed");
      const { status = 200, body } = /** @type {{ status?: number, body: object }} */ (model.answer(Object.fromEntries(/** @type {any} */ (init?.body))));
      if (weather === "lost" && roll(2)) throw new TypeError("fetch failed");
      return Response.json(body, { status });
    };
    const process = () =>
      v4.cambio({
        url: "https://auth.example.com",
        clientId: "nextjs",
        clientSecret: "secret",
        fetch: network,
        exposeAccessToken: true,
        logger: { error() {}, info() {} },
      });
    const callbacks = () => /** @type {Record<string, (parameters: object) => any>} */ (/** @type {unknown} */ (process().callbacks));

    const account = { provider: "github", type: "oauth", providerAccountId: "1", access_token: "gho_1" };
    let cookie = await callbacks().jwt({ token: {}, user: { id: "1" }, account });
    /** The cookies of the browser and when each was replaced. @type {{ cookie: any, until: number }[]} */
    const former = [];
    let processes = [process(), process()];

    for (let round = 0; round < 6; round++) {
      t.mock.timers.setTime(Date.now() + PAUSES[roll(PAUSES.length)] * 1000);
      weather = ["fine", "fine", "fine", "lost", "down"][roll(5)];
      counts.lost += Number(weather === "lost");
      counts.down += Number(weather === "down");
      if (roll(3) === 0) processes = [process(), process()];
      const requests = Array.from({ length: 1 + roll(6) }, async () => {
        const recent = former.filter(({ until }) => Date.now() - until <= SLOWEST);
        const isSlow = recent.length > 0 && roll(4) === 0;
        const held = isSlow ? recent[roll(recent.length)].cookie : cookie;
        const action = ["page", "own", ORDERS, STOCK, "refused", "update"][roll(6)];
        const isRender = roll(3) === 0;
        counts.requests++;
        counts.slow += Number(isSlow);
        const app = processes[roll(2)];
        const { jwt, session } = /** @type {Record<string, (parameters: object) => any>} */ (/** @type {unknown} */ (app.callbacks));
        let next = held;
        const reads = async (/** @type {object} */ more = {}) => {
          next = await jwt({ token: held, ...more });
          return session({ session: { user: {}, expires: "" }, token: structuredClone(next) });
        };
        let error;
        if (action === "page") ({ error } = await reads());
        else if (action === "update") ({ error } = await reads({ trigger: "update" }));
        else {
          const audience = action.startsWith("https") ? action : undefined;
          counts.audiences += Number(Boolean(audience));
          const refused = action === "refused" || roll(5) === 0 ? held.cambio.accessToken : undefined;
          counts.forced += Number(Boolean(refused));
          const getAccessToken = app.accessTokenOf(() => reads());
          const token = await getAccessToken({ ...(audience && { audience }), ...(refused && { refused }) }).catch((failure) => ({ failure }));
          if ("failure" in token) error = token.failure.kind;
          else assert.ok(token.token.startsWith(audience ?? "own"), `${run}.${round}: ${token.token}`);
        }
        if (weather === "fine") assert.equal(error, undefined, `run ${run}, round ${round}: ${action}`);
        assert.ok(error !== "ended" && error !== "SessionEnded", `run ${run}, round ${round}: ${action} logged out`);
        counts.renders += Number(isRender);
        return { next, held, isRender };
      });
      let isOver = false;
      const answers = Promise.all(requests).finally(() => (isOver = true));
      answers.catch(() => {});
      for (let waited = 0; !isOver && waited < 5 * MINUTE; waited += 250) {
        for (let turn = 0; turn < 5; turn++) await immediately();
        if (!isOver) t.mock.timers.tick(250);
      }
      assert.ok(isOver, `run ${run}: a request waits for ever`);
      // The answers reach the browser in any order, those of slow requests too.
      const stored = (await answers).filter(({ isRender }) => !isRender).sort(() => roll(3) - 1);
      for (const { next } of stored) {
        former.push({ cookie, until: Date.now() });
        cookie = next;
      }
      assert.equal(model.state.isEnded, false, `run ${run}, round ${round}`);
    }
  }
  for (const [name, count] of Object.entries(counts)) assert.ok(count > RUNS, `${name}: ${count}`);
});
