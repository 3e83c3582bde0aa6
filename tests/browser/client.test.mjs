// @ts-check
/**
 * The TypeScript package against the API as it runs on Lambda, with a network that loses answers and a browser that does not store
 * them: nobody is logged out.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { after, before, mock } from "node:test";
import { CLIENT, ROOT, scenario, setup, startApi, startGate, stopAll } from "./harness.mjs";
import { OCTOCAT, startStandIn } from "./stand-in.mjs";

const PACKAGE = join(ROOT, "clients/next-auth");
const RUNS = 200;

/** @type {import("./stand-in.mjs").StandIn} */
let github;
/** @type {Awaited<ReturnType<typeof startApi>>} */
let api;
/** @type {Awaited<ReturnType<typeof startGate>>} */
let gate;
/** @type {(options: object) => { callbacks: any, events: any, client: any }} */
let cambio;

before(
  setup(async () => {
    execFileSync("npm", ["run", "--silent", "build"], { cwd: PACKAGE, stdio: "inherit" });
    ({ cambio } = await import(join(PACKAGE, "dist/esm/v4.js")));
    github = await startStandIn();
    api = await startApi("client", github.url);
    gate = await startGate(api.url);
    // What goes wrong here on purpose is reported on purpose.
    mock.method(console, "error", () => {});
  }),
);
after(async () => {
  gate?.close();
  await stopAll();
  await github?.close();
});

/** The same sequence for the same seed, so that a failure can be looked at. @param {number} seed */
function dice(seed) {
  let state = seed;
  /** A number below `sides`. @param {number} sides */
  return (sides) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * sides);
  };
}

/** A process of the app's server; each has its own single flight. */
function startProcess() {
  return cambio({ url: gate.url, clientId: CLIENT.id, clientSecret: CLIENT.secret, timeout: 2000, exposeAccessToken: true });
}

/** @param {any} cookie */
function expired(cookie) {
  const past = Date.now() - 1;
  return { ...cookie, cambio: { ...cookie.cambio, expiresAt: past, refreshAt: past } };
}

async function signIn() {
  const { callbacks } = startProcess();
  const user = {};
  const account = { provider: "github", access_token: await github.token(OCTOCAT.login) };
  assert.equal(await callbacks.signIn({ user, account }), true);
  return callbacks.jwt({ token: {}, user, account });
}

scenario(`in ${RUNS} random runs of parallel requests, lost answers and outages nobody is logged out`, async () => {
  let refreshes = 0;
  for (let run = 0; run < RUNS; run++) {
    const roll = dice(run);
    let cookie = await signIn();
    for (let round = 0; round < 3; round++) {
      // New ones: what the last ones remember would spare the server the question.
      const processes = [startProcess(), startProcess()];
      // Everybody who comes now finds the token expired, in whichever process; what they get may not be stored.
      const weather = roll(4);
      gate.losesAnswers = weather === 0;
      gate.isShut = weather === 1;
      const old = expired(cookie);
      const requests = Array.from({ length: 1 + roll(10) }, async () => {
        const next = await processes[roll(2)].callbacks.jwt({ token: old });
        assert.ok(!next.cambio.hasEnded, `run ${run}, round ${round}`);
        // A server component cannot write a cookie.
        if (roll(3) > 0) cookie = next;
      });
      await Promise.all(requests);
      gate.losesAnswers = gate.isShut = false;
    }

    const app = startProcess();
    const final = await app.callbacks.jwt({ token: expired(cookie) });
    const session = await app.callbacks.session({ session: { user: {}, expires: "" }, token: final });
    assert.equal(session.error, undefined, `run ${run}`);
    assert.equal((await app.client.me(session.accessToken)).name, OCTOCAT.name);
    refreshes += Number(final.cambio.refreshToken !== cookie.cambio.refreshToken);
  }
  assert.equal(refreshes, RUNS, "each ended with a refresh");
});

scenario("after a sign-out the session is gone at the API, and the copy of its cookie ends", async () => {
  const { callbacks, events } = startProcess();
  const cookie = await signIn();

  await events.signOut({ token: cookie });

  const over = await callbacks.jwt({ token: expired(cookie) });
  assert.equal(over.cambio.hasEnded, true);
  const session = await callbacks.session({ session: { user: {}, expires: "" }, token: over });
  assert.equal(session.error, "SessionEnded");
});

scenario("a user who is not let in, and an API that is down, end on different pages", async () => {
  const { callbacks } = startProcess();
  const account = { provider: "github", access_token: "gho_madeup" };
  assert.match(await callbacks.signIn({ user: {}, account }), /error=CambioRefused$/);
  gate.isShut = true;
  assert.match(await callbacks.signIn({ user: {}, account }), /error=CambioUnavailable$/);
  gate.isShut = false;
});
