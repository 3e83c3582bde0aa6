// @ts-check
/** The pages of the README, rendered with each answer that an API gives. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { test } from "node:test";
import ts from "typescript";

const require = createRequire(import.meta.url);
// Both come with Next.js, without types.
const [{ createElement, Suspense }, { renderToStaticMarkup }] = ["react", "react-dom/server"].map((name) => require(name));
const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");

const API = "https://auth.example.com";
process.env.CAMBIO_URL = API;

/** Returns the only access token, also in place of a refused one. */
const getAccessToken = async () => ({ token: "access-1", expiresAt: Date.now() + 60_000 });
/**
 * The modules that the page imports, for a session.
 * @type {Record<string, (session: object | null) => Record<string, object>>}
 */
const SECTIONS = {
  "next-auth 4": (session) => ({ "next-auth": { getServerSession: async () => session }, "@/lib/auth": { authOptions: {}, getAccessToken } }),
  "Auth.js 5": (session) => ({ "@/auth": { auth: async () => session, getAccessToken } }),
  "better-auth": (session) => ({
    "next/headers": { headers: async () => new Headers() },
    "next/navigation": { redirect: () => {} },
    "@/lib/auth": { auth: { api: { cambioSession: async () => session } } },
  }),
};

for (const [section, modulesFor] of Object.entries(SECTIONS)) {
  const text = readme.split(/^## /m).find((part) => part.startsWith(`${section}\n`)) ?? "";
  const page = /^```tsx\n\/\/ app\/page\.tsx\n([^]*?)^```$/m.exec(text)?.[1];
  assert.ok(page, section);
  const options = { jsx: ts.JsxEmit.ReactJSX, module: ts.ModuleKind.CommonJS, target: ts.ScriptTarget.ES2022 };
  const { outputText: code } = ts.transpileModule(page, { compilerOptions: options });

  /** The page as text. @param {object | null} session @param {() => Promise<Response>} answer of the API */
  async function rendered(session, answer) {
    /** @type {Record<string, object>} */
    const modules = { "next/server": { connection: async () => {} }, ...modulesFor(session) };
    /** @type {{ default?: () => any }} */
    const exports = {};
    const fetchedAt = globalThis.fetch;
    globalThis.fetch = /** @type {any} */ (answer);
    try {
      new Function("exports", "require", code)(exports, (/** @type {string} */ name) => modules[name] ?? require(name));
      const { type, props } = /** @type {() => any} */ (exports.default)();
      assert.equal(type, Suspense);
      const element = await props.children.type(props.children.props);
      // React writes a script beside a form with a server action.
      return renderToStaticMarkup(createElement("main", null, element)).replace(/<script>.*?<\/script>|<[^>]*>/g, "");
    } finally {
      globalThis.fetch = fetchedAt;
    }
  }

  const signIn = section === "better-auth" ? /^Sign in with GitHub$/ : /^Sign in$/;
  const session = { accessToken: "access-1", token: "access-1", expiresAt: Date.now() + 60_000, user: {} };
  /** @type {Record<string, [object | null, () => Promise<Response>, RegExp]>} */
  const cases = {
    "the name, while the API accepts the token": [session, async () => Response.json({ name: "Ada" }), /^Hello Ada\. Sign out$/],
    "the way to sign in, after a sign-out elsewhere": [session, async () => Response.json({ error: "invalid_token" }, { status: 401 }), signIn],
    "a request to try again, while the API is down": [session, async () => new Response("oops", { status: 503 }), /^Please try again in a moment\.$/],
    "a request to try again, after any other answer": [session, async () => Response.json({}, { status: 404 }), /^Please try again in a moment\.$/],
    "the way to sign in, without a session": [null, async () => Response.error(), signIn],
    "the way to sign in, after the session": [{ error: "SessionEnded" }, async () => Response.error(), signIn],
    "a request to try again, while there is no token": [{ error: "Unavailable", user: {} }, async () => Response.error(), /^Please try again in a moment\.$/],
  };
  for (const [what, [session, answer, text]] of Object.entries(cases)) {
    test(`the README's page for ${section} shows ${what}`, async () => {
      assert.match(await rendered(session, answer), text);
    });
  }
}
