// @ts-check
// Answers of the server are shown as text and never become HTML.
// biome-ignore lint/suspicious/noRedundantUseStrict: the page loads this file as a classic script
"use strict";

/** @typedef {{ request: string, status: number, body: any }} Answer */
/**
 * @typedef {{
 *   user: any, is_new_user: boolean | null, refresh_token_expires_in: number, header: any, claims: Record<string, any>
 * }} Grant
 */
/**
 * @typedef {{
 *   no_sign_in: string | null, words: string | null, answer: Answer | null, grant: Grant | null, is_next_lost: boolean
 * }} View
 */
/** @typedef {{ operation: string, started_us: number, duration_us: number }} Call */
/** @typedef {{ name: string, before: string | null, after: string | null }} AttributeChange */
/** @typedef {{ pk: string, sk: string, kind: string, attributes: AttributeChange[], left_out: number }} ItemChange */
/** @typedef {{ operation: string, items: ItemChange[], left_out: number }} CallChanges */
/**
 * @typedef {{
 *   number: number, at: number, method: string, route: string, status: number, duration_us: number, calls: Call[],
 *   user: string | null, refused: { code: string, message: string, cause: string | null } | null, lost: boolean,
 *   changes: CallChanges[]
 * }} Answered
 */

/** The interval between reads of the list of requests while the page is visible. */
const POLL_MS = 3000;

/** A window as narrow as a telephone's; page.css has the same width. */
const narrow = matchMedia("(max-width: 36rem)");

/** As many requests as most people want to see. */
const few = () => (narrow.matches ? 5 : 10);

/** Descriptions of the claims, in the order of the page. @type {Record<string, string>} */
const CLAIMS = {
  iss: "who issued it: this API",
  aud: "the API that it is for",
  sub: "the user, for ever",
  client_id: "the app that it was given to",
  scope: "what it may be used for",
  roles: "what an operator made the user",
  sid: "the session: a refresh keeps it",
  session_version: "grows when the user signs out everywhere",
  jti: "its own name: no other token has it",
  auth_time: "when the user signed in at the provider, if it says so",
  iat: "when it was issued",
  exp: "until when it is good",
};
const TIMES = ["iat", "exp", "auth_time"];

/** @param {string} id */
function find(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no ${id}`);
  return found;
}

/**
 * @param {string} tag @param {Record<string, string>} attributes @param {(Node | string)[]} children
 */
function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** @type {Grant | null} */
let grant = null;

/** @param {View} view */
function show(view) {
  const before = grant;
  grant = view.grant;
  find("signed-in").hidden = !grant;
  find("signed-out").hidden = Boolean(grant || view.no_sign_in);
  for (const step of ["token-step", "use-step", "sessions-step"]) find(step).hidden = !grant;
  find("lose-answer").setAttribute("aria-pressed", `${view.is_next_lost}`);

  const words = view.words ?? "";
  find("words").textContent = grant ? words : "";
  find("notice").textContent = grant ? "" : (view.no_sign_in ?? words);
  if (grant && view.words && !view.answer) find("answer").hidden = true;
  if (view.answer && grant) showAnswer(view.answer);
  else if (view.answer) {
    const { request, status, body } = view.answer;
    find("notice").append(" ", element("code", {}, `${request}: ${status} ${body?.error ?? ""}`));
  }

  if (grant) {
    showUser(grant);
    showToken(grant, before?.claims ?? grant.claims);
  } else if (before) {
    find("answer").hidden = true;
    find("sessions").replaceChildren();
    // The button that had the focus is gone.
    /** @type {HTMLElement | null} */ (document.querySelector("#signed-out a"))?.focus();
  }
}

/** @param {Grant} grant */
function showUser({ user, is_new_user, refresh_token_expires_in, claims }) {
  find("new-user").textContent = is_new_user ? "made a new user" : "found the user";
  find("token-life").textContent = inWords(claims.exp - claims.iat);
  find("session-life").textContent = inWords(refresh_token_expires_in);
  find("name").textContent = user.name ?? "No name";
  find("user").textContent = [user.email, `user ${user.id}`].filter(Boolean).join(" · ");
}

/** @param {Grant} grant @param {Record<string, any>} before */
function showToken({ header, claims }, before) {
  find("header").textContent = JSON.stringify(header);
  const names = [...Object.keys(CLAIMS), ...Object.keys(claims)].filter((name) => name in claims);
  const rows = [...new Set(names)].map((name) => {
    const value = claims[name];
    const text = typeof value === "string" ? value : JSON.stringify(value);
    const cell = element("td", { role: "cell" }, element("code", {}, text));
    if (JSON.stringify(before[name]) !== JSON.stringify(value)) cell.append(" ", element("span", { class: "tag" }, "changed"));
    let meaning = CLAIMS[name] ?? "set by your operator";
    if (TIMES.includes(name)) meaning += `: ${clock(value)}`;
    return element("tr", { role: "row" }, element("th", { role: "rowheader", scope: "row" }, name), cell, element("td", { role: "cell" }, meaning));
  });
  find("claims").replaceChildren(...rows);
  showTimeLeft();
}

function showTimeLeft() {
  if (!grant) return;
  const { iat, exp } = grant.claims;
  const left = Math.max(0, Math.ceil(exp - Date.now() / 1000));
  const [minutes, seconds] = [Math.floor(left / 60), left % 60];
  find("time-left").textContent = left ? `good for ${minutes}:${String(seconds).padStart(2, "0")} more` : "no longer good: refresh it";
  find("time-bar").style.width = `${Math.min(100, (100 * left) / (exp - iat))}%`;
}

/** @param {Answer} answer */
function showAnswer({ request, status, body }) {
  find("answer").hidden = false;
  find("answer-request").textContent = request;
  find("answer-status").textContent = `${status}`;
  find("answer-status").className = statusClass(status);
  find("answer-body").textContent = body === null ? "no content" : JSON.stringify(body, null, 2);
}

/** @param {any[]} sessions */
function showSessions(sessions) {
  const items = sessions.map((session) => {
    const agent = browserName(session.user_agent);
    const title = element("p", {}, element("b", {}, agent));
    if (session.current) title.append(" ", element("span", { class: "tag" }, "this one"));
    const used = `since ${clock(Date.parse(session.created_at) / 1000)}, last used ${clock(Date.parse(session.last_used_at) / 1000)}`;
    const item = element("li", {}, element("div", {}, title, element("p", { class: "quiet" }, used, " · ", element("code", {}, session.id))));
    if (!session.current) {
      const end = element("button", { "aria-label": `End the session ${session.id} of ${agent}` }, "End");
      end.addEventListener("click", () =>
        act(end, async () => {
          show(await post(`sessions/${encodeURIComponent(session.id)}/end`));
          await loadSessions();
          find("reload-sessions").focus();
        }),
      );
      item.append(end);
    }
    return item;
  });
  find("sessions").replaceChildren(...items);
}

/** @type {Answered[]} */
let requests = [];
let areAllShown = false;
/** The rows of the shown requests, under the keys of the requests. @type {Map<string, HTMLElement[]>} */
const rows = new Map();

/** Tells the requests apart. The numbers begin again when the server is restarted. @param {Answered} [request] */
function keyOf(request) {
  return request && `${request.number} at ${request.at}`;
}

/** @param {Answered[]} latest */
function showRequests(latest) {
  find("no-requests").hidden = Boolean(latest.length);
  if (keyOf(latest[0]) === keyOf(requests[0])) return;
  requests = latest;
  showRows();
}

/** Adds the rows of new requests and removes those of old ones. The others keep the focus and what is unfolded. */
function showRows() {
  find("requests-table").hidden = !requests.length;
  find("all-requests").hidden = areAllShown || requests.length <= few();
  find("all-requests").textContent = `Show all ${requests.length}`;
  const shown = areAllShown ? requests : requests.slice(0, few());
  const keys = new Set(shown.map(keyOf));
  for (const [key, old] of rows) {
    if (keys.has(key)) continue;
    for (const row of old) row.remove();
    rows.delete(key);
  }
  const body = find("requests");
  let nth = 0;
  for (const request of shown) {
    const key = `${keyOf(request)}`;
    const all = rows.get(key) ?? rowsOf(request);
    rows.set(key, all);
    for (const row of all) {
      if (body.children[nth] !== row) body.insertBefore(row, body.children[nth] ?? null);
      nth++;
    }
  }
}

/** The row of a request, and one of its changes if there are any. @param {Answered} request */
function rowsOf(request) {
  const cells = [
    clock(request.at),
    element("div", {}, element("code", {}, `${request.method} ${request.route}`), ...reason(request)),
    element("span", { class: statusClass(request.status) }, `${request.status}`),
    milliseconds(request.duration_us),
    request.calls.length ? element("div", {}, callsInWords(request.calls), picture(request)) : element("span", { class: "quiet" }, "not asked"),
  ];
  const row = element("tr", { role: "row" }, ...cells.map((cell) => element("td", { role: "cell" }, cell)));
  if (!request.changes.length) return [row];
  const cell = element("td", { role: "cell", colspan: "5", "aria-colspan": "5" }, changesOf(request));
  return [row, element("tr", { role: "row", class: "changes" }, cell)];
}

/** The items that a request changed, folded. @param {Answered} request */
function changesOf({ changes }) {
  const items = changes.flatMap(({ operation, items }) => items.map((item) => ({ operation, ...item })));
  const leftOut = changes.reduce((sum, call) => sum + call.left_out, 0);
  const made = items.map(({ operation, pk, sk, kind, attributes, left_out }) => {
    const title = element("p", {}, element("span", { class: "tag" }, kind), " ", element("code", {}, `${pk} ${sk}`), ` by ${operation}`);
    const lines = attributes.map(attributeChange);
    if (left_out) lines.push(element("li", { class: "quiet" }, `and ${left_out} more attributes`));
    if (!lines.length) lines.push(element("li", { class: "quiet" }, "written with the values that it had"));
    return element("li", {}, title, element("ul", {}, ...lines));
  });
  if (leftOut) made.push(element("li", { class: "quiet" }, `and ${leftOut} more items`));
  return element("details", {}, element("summary", {}, changesInWords(items)), element("ul", {}, ...made));
}

/** For example “1 item created, 2 changed”. @param {ItemChange[]} items */
function changesInWords(items) {
  const kinds = ["created", "changed", "deleted", "unchanged"];
  const counts = kinds.map((kind) => /** @type {const} */ ([kind, items.filter((item) => item.kind === kind).length]));
  return counts
    .filter(([, count]) => count)
    .map(([kind, count], nth) => `${count}${nth ? "" : count === 1 ? " item" : " items"} ${kind}`)
    .join(", ");
}

/** @param {AttributeChange} change */
function attributeChange({ name, before, after }) {
  // The beginning of a hash is enough to tell it from another.
  const value = (/** @type {string} */ text) => element("code", { title: text }, text.replace(/^([0-9a-f]{16})[0-9a-f]{48}$/, "$1…"));
  const words = before === null ? "added" : after === null ? "removed" : "changed";
  const values = [before, after].flatMap((text) => (text === null ? [] : [value(text)]));
  const shown = values.length === 2 ? [values[0], " → ", values[1]] : values;
  const time = timeOf(name, after ?? before);
  return element("li", {}, element("span", { class: words }, words), " ", element("b", {}, name), " ", element("span", {}, ...shown, ...time));
}

/** The time of an attribute in words. @param {string} name @param {string | null} text */
function timeOf(name, text) {
  if (!/_(at|until|from)$/.test(name) || !/^\d{10}$/.test(text ?? "")) return [];
  const time = new Date(Number(text) * 1000).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" });
  // DynamoDB deletes an item some time after this attribute (TTL).
  const meaning = name === "expires_at" ? `, then DynamoDB deletes the item: ${time}` : `: ${time}`;
  return [element("span", { class: "quiet" }, meaning)];
}

/** The reason of an error, with the cause of the log, or that the answer was lost. @param {Answered} request */
function reason({ refused, lost }) {
  if (lost) return [element("p", {}, element("span", { class: "tag" }, "answer lost"))];
  if (!refused) return [];
  const { code, message, cause } = refused;
  const text = cause && cause !== message ? `${code}: ${message} (${cause})` : `${code}: ${message}`;
  return [element("p", { class: "quiet" }, text)];
}

/** Calls that overlap ran in parallel; a comma means one after the other. @param {Call[]} calls */
function callsInWords(calls) {
  let end = 0;
  return calls
    .map((call, nth) => {
      const joint = nth === 0 ? "" : call.started_us < end ? " with " : ", ";
      end = Math.max(end, call.started_us + call.duration_us);
      return `${joint}${call.operation} ${milliseconds(call.duration_us)}`;
    })
    .join("");
}

/**
 * Draws the calls to DynamoDB within the time of a request; the text beside it says the same.
 * @param {Answered} request
 */
function picture({ duration_us, calls }) {
  const svg = (/** @type {string} */ tag, /** @type {Record<string, string | number>} */ attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, `${value}`);
    return made;
  };
  /** The end of the last call of each lane. @type {number[]} */
  const lanes = [];
  const bars = calls.map(({ started_us, duration_us: took }) => {
    let lane = lanes.findIndex((end) => end <= started_us);
    if (lane < 0) lane = lanes.length;
    lanes[lane] = started_us + took;
    return { class: "call", x: started_us, width: Math.max(took, duration_us / 100), y: 5 * lane, height: 4 };
  });
  const height = 5 * lanes.length - 1;
  const drawing = svg("svg", { viewBox: `0 0 ${Math.max(duration_us, 1)} ${height}`, height, preserveAspectRatio: "none", "aria-hidden": "true" });
  drawing.append(svg("rect", { class: "whole", width: duration_us, height }), ...bars.map((bar) => svg("rect", bar)));
  return drawing;
}

/** @param {number} status */
function statusClass(status) {
  return status < 400 ? "status" : "status bad";
}

/** @param {number} seconds since the Unix epoch */
function clock(seconds) {
  return new Date(seconds * 1000).toLocaleTimeString("en-GB");
}

/** @param {number} microseconds */
function milliseconds(microseconds) {
  return `${(microseconds / 1000).toFixed(1)}\u00a0ms`;
}

/** @param {number} seconds */
function inWords(seconds) {
  if (seconds >= 172800) return `${Math.floor(seconds / 86400)} days`;
  if (seconds >= 7200) return `${Math.floor(seconds / 3600)} hours`;
  return seconds >= 120 ? `${Math.floor(seconds / 60)} minutes` : "a minute";
}

/** Good enough to recognise one's own devices by. @param {string | null} agent */
function browserName(agent) {
  const browser = /(Firefox|Edg|Chrome|Safari)\//.exec(agent ?? "")?.[1].replace("Edg", "Edge");
  const system = /Android|iPhone|iPad|Windows|Mac OS X|Linux/.exec(agent ?? "")?.[0].replace(" OS X", "");
  return browser ? [browser, system].filter(Boolean).join(" on ") : agent || "An unknown browser";
}

/** @param {string} path @param {RequestInit} [init] */
async function ask(path, init) {
  const response = await fetch(`/try/${path}`, init).catch(() => {
    throw new Error("The server does not answer. Is it still running?");
  });
  // The server was started anew, or another tab signed out.
  if (response.status === 401) show({ no_sign_in: null, words: null, answer: null, grant: null, is_next_lost: false });
  if (!response.ok) throw new Error(await response.text());
  return response.json();
}

/** @param {string} path @returns {Promise<View>} */
function post(path) {
  return ask(path, { method: "POST" });
}

/** The action under way; the next one waits for it. */
let queue = Promise.resolve();

/**
 * Does one thing at a time, and says where it fails.
 * @param {HTMLElement | null} button
 * @param {() => Promise<void>} action
 */
function act(button, action) {
  // A second click while the first is under way is a slip.
  if (button?.hasAttribute("aria-disabled")) return;
  // Not `disabled`, which would take the focus away.
  button?.setAttribute("aria-disabled", "true");
  queue = queue
    .then(action)
    .catch((error) => {
      find(grant ? "words" : "notice").textContent = error instanceof Error ? error.message : `${error}`;
    })
    .then(() => {
      button?.removeAttribute("aria-disabled");
      return loadRequests();
    });
}

async function loadSessions() {
  const view = await post("sessions");
  if (view.answer?.status === 200) showSessions(view.answer.body.sessions);
  else show(view);
}

async function loadRequests() {
  // A poll that fails says nothing: the next one may not.
  await ask("requests").then(showRequests, () => {});
}

for (const path of ["me", "refresh", "lose-answer", "expire", "rotate-keys", "disable", "enable", "sign-out", "sign-out-everywhere"]) {
  const button = find(path);
  button.addEventListener("click", () =>
    act(button, async () => {
      const view = await post(path);
      show(view);
      // After a lost answer, the list would be refused if the token has expired, and that would replace the message.
      if (path === "refresh" && view.answer?.status === 200) await loadSessions();
    }),
  );
}
find("reload-sessions").addEventListener("click", () =>
  act(find("reload-sessions"), async () => {
    const view = await post("sessions");
    show(view);
    if (view.answer?.status === 200) showSessions(view.answer.body.sessions);
  }),
);

find("items-details").addEventListener("toggle", () => {
  if (/** @type {HTMLDetailsElement} */ (find("items-details")).open)
    act(null, async () => {
      const items = await ask("items", { method: "POST" });
      find("items").textContent = items.map((/** @type {any} */ item) => JSON.stringify(item, null, 2)).join("\n");
    });
});

find("all-requests").addEventListener("click", () => {
  areAllShown = true;
  showRows();
  // The button is gone.
  find("requests-heading").focus();
});

/** Twelve claims fill two windows of a telephone: there, whoever wants to read them unfolds them. */
function fold() {
  /** @type {HTMLDetailsElement} */ (find("claims-details")).open = !narrow.matches;
  showRows();
}
fold();
narrow.addEventListener("change", fold);

setInterval(showTimeLeft, 1000);
setInterval(() => {
  if (document.visibilityState === "visible") void loadRequests();
}, POLL_MS);
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible") void loadRequests();
});

act(null, async () => {
  show(await ask("state"));
  if (grant) await loadSessions();
});
