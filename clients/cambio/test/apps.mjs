// Apps as they are found: each with its files, and the options of `cambio init`. What `init` prints for an app, with
// each diff, is in init/<name>.txt.

/**
 * @typedef {{
 *   files: Record<string, string>,
 *   args?: string[],
 *   folder?: string,
 *   types?: "v4" | "v5" | "better-auth",
 * }} App
 */

/** @param {Record<string, string>} dependencies @param {object} [more] */
const manifest = (dependencies, more) => `${JSON.stringify({ private: true, dependencies, ...more }, null, 2)}\n`;
const V4 = manifest({ next: "16.0.3", "next-auth": "^4.24.15" });
const V5 = manifest({ next: "16.0.3", "next-auth": "5.0.0-beta.32" });
const BETTER = manifest({ next: "16.0.3", "better-auth": "~1.7.25" });
const TSCONFIG = `{
  "compilerOptions": {
    // of create-next-app
    "target": "ES2017", "lib": ["dom", "esnext"], "strict": true, "noEmit": true, "skipLibCheck": true,
    "module": "esnext", "moduleResolution": "bundler", "jsx": "react-jsx",
    "paths": { "@/*": ["./*"], }, /* as it is there */
  },
}
`;
/** An app of create-next-app in TypeScript. @param {string} packageJson @param {Record<string, string>} files */
const typescript = (packageJson, files) => ({ "package.json": packageJson, "package-lock.json": "{}", "tsconfig.json": TSCONFIG, ...files });

const ROUTE_V4 = `import NextAuth from "next-auth";
import { authOptions } from "@/lib/auth";

const handler = NextAuth(authOptions);
export { handler as GET, handler as POST };
`;
const AUTH_V4 = `import type { NextAuthOptions } from "next-auth";
import GitHubProvider from "next-auth/providers/github";

export const authOptions: NextAuthOptions = {
  providers: [
    GitHubProvider({
      clientId: process.env.GITHUB_ID!,
      clientSecret: process.env.GITHUB_SECRET!,
    }),
  ],
};
`;
const ROUTE_V5 = `import { handlers } from "@/auth"
export const { GET, POST } = handlers
`;
const AUTH_V5 = `import NextAuth from "next-auth"
import GitHub from "next-auth/providers/github"

export const { handlers, signIn, signOut, auth } = NextAuth({
  providers: [GitHub],
})
`;
const BETTER_ROUTE = `import { auth } from "@/lib/auth";
import { toNextJsHandler } from "better-auth/next-js";

export const { POST, GET } = toNextJsHandler(auth);
`;
const BETTER_AUTH = `import { betterAuth } from "better-auth";

export const auth = betterAuth({
  socialProviders: {
    github: {
      clientId: process.env.GITHUB_CLIENT_ID as string,
      clientSecret: process.env.GITHUB_CLIENT_SECRET as string,
    },
  },
});
`;
const BETTER_CLIENT = `import { createAuthClient } from "better-auth/react";

export const authClient = createAuthClient();
`;

/** @type {Record<string, App>} */
export const APPS = {
  // the apps of the README of @cambio/next-auth, without Cambio
  "v4-readme": {
    types: "v4",
    files: typescript(V4, {
      "app/api/auth/[...nextauth]/route.ts": ROUTE_V4,
      "lib/auth.ts": AUTH_V4.replace("import type { NextAuthOptions }", "import { getServerSession, type NextAuthOptions }"),
    }),
  },
  "v5-readme": {
    types: "v5",
    files: typescript(V5, {
      "app/api/auth/[...nextauth]/route.ts": 'import { handlers } from "@/auth";\n\nexport const { GET, POST } = handlers;\n',
      "auth.ts": `import NextAuth from "next-auth";
import GitHub from "next-auth/providers/github";

export const { handlers, auth, signIn, signOut } = NextAuth({
  providers: [GitHub],
});
`,
    }),
  },
  "better-auth-readme": {
    types: "better-auth",
    files: typescript(BETTER, {
      "app/api/auth/[...all]/route.ts": BETTER_ROUTE,
      "lib/auth.ts": `import { betterAuth } from "better-auth";
import { nextCookies } from "better-auth/next-js";

const app = { clientId: process.env.GITHUB_ID!, clientSecret: process.env.GITHUB_SECRET! };

export const auth = betterAuth({
  socialProviders: { github: app },
  plugins: [nextCookies()],
});
`,
    }),
  },

  // next-auth 4
  "v4-options-in-lib": { types: "v4", files: typescript(V4, { "lib/auth.ts": AUTH_V4, "app/api/auth/[...nextauth]/route.ts": ROUTE_V4 }) },
  "v4-options-in-the-route": {
    types: "v4",
    files: typescript(V4, {
      "app/api/auth/[...nextauth]/route.ts": `import NextAuth from "next-auth"
import GithubProvider from "next-auth/providers/github"
import { log } from "../../../log"

export const runtime = "nodejs"

const handler = NextAuth({
  // see the documentation
  providers: [
    GithubProvider({
      clientId: process.env.GITHUB_ID ?? "",
      clientSecret: process.env.GITHUB_SECRET ?? "",
    }),
  ],
  events: { signIn: ({ user }) => log(user.id) },
})

export { handler as GET, handler as POST }
`,
      "app/log.ts": "export const log = (text: string) => console.log(text)\n",
    }),
  },
  "v4-options-in-the-route-javascript": {
    files: {
      "package.json": V4,
      "jsconfig.json": '{ "compilerOptions": { "paths": { "@/*": ["./src/*"] } /* of the app */ } }',
      "yarn.lock": "",
      "src/app/api/auth/[...nextauth]/route.js": `import NextAuth from 'next-auth';
import GitHubProvider from 'next-auth/providers/github';

export const authOptions = {
  providers: [GitHubProvider({ clientId: process.env.GH_ID, clientSecret: process.env.GH_SECRET })],
};

const handler = NextAuth(authOptions);

export { handler as GET, handler as POST };
`,
    },
  },
  "v4-own-callbacks": {
    types: "v4",
    files: typescript(V4, {
      "app/api/auth/[...nextauth]/route.ts": ROUTE_V4,
      "lib/auth.ts": `import { getServerSession, type NextAuthOptions } from "next-auth";
import GitHubProvider from "next-auth/providers/github";

const isAdmin = (login: unknown) => login === "octocat";

/** The options of this app. */
export const authOptions: NextAuthOptions = {
  // signs the session
  secret: process.env.NEXTAUTH_SECRET,
  providers: [
    GitHubProvider({
      clientId: process.env.GITHUB_ID!,
      clientSecret: process.env.GITHUB_SECRET!,
      authorization: { params: { scope: "read:user" } },
    }),
  ],
  // keeps the role
  callbacks: {
    async jwt({ token, profile }) {
      if (profile) token.isAdmin = isAdmin((profile as { login?: string }).login);
      return token;
    },
    session: ({ session, token }) => ({ ...session, note: \`is
  admin: \${token.isAdmin}\` }),
  }, // see above
  pages: { signIn: "/login", error: "/oops" },
  session: { strategy: "jwt", maxAge: 86_400 },
};

export const getAuth = () => getServerSession(authOptions);
`,
    }),
  },
  "v4-keeps-tokens-of-the-provider": {
    types: "v4",
    files: typescript(V4, {
      "app/api/auth/[...nextauth]/route.ts": ROUTE_V4,
      "lib/auth.ts": `${AUTH_V4.replace(
        "\n};",
        `
  callbacks: {
    jwt({ token, account }) {
      if (account) token.github = account.access_token;
      return token;
    },
  },
};`,
      )}`,
    }),
  },
  "v4-satisfies": {
    types: "v4",
    files: typescript(V4, {
      "app/api/auth/[...nextauth]/route.ts": ROUTE_V4,
      "lib/auth.ts": AUTH_V4.replace(": NextAuthOptions =", " =").replace(/};\n$/, "} satisfies NextAuthOptions;\n"),
    }),
  },
  "v4-names-are-taken": {
    types: "v4",
    files: typescript(V4, {
      "app/api/auth/[...nextauth]/route.ts": `import NextAuth from "next-auth";
import { options } from "@/lib/auth";

const handler = NextAuth(options);
export { handler as GET, handler as POST };
`,
      "lib/auth.ts": `import type { NextAuthOptions } from "next-auth";
import GitHubProvider from "next-auth/providers/github";
import { cookies } from "next/headers";

const github = { clientId: process.env.GITHUB_ID!, clientSecret: process.env.GITHUB_SECRET! };
export const after = 5;
export const locale = async () => (await cookies()).get("locale");
export const options: NextAuthOptions = { providers: [GitHubProvider({ ...github })] };
`,
    }),
  },
  "v4-pages": {
    types: "v4",
    files: typescript(V4, {
      "pages/api/auth/[...nextauth].ts": `import NextAuth, { type NextAuthOptions } from "next-auth";
import GitHubProvider from "next-auth/providers/github";

export const authOptions: NextAuthOptions = {
  providers: [
    GitHubProvider({
      clientId: process.env.GITHUB_ID!,
      clientSecret: process.env.GITHUB_SECRET!,
    })
  ]
};

export default NextAuth(authOptions);
`,
      "pages/index.tsx": "export default function Home() {\n  return null;\n}\n",
    }),
  },
  "v4-pages-commonjs": {
    files: {
      "package.json": V4,
      "pnpm-lock.yaml": "",
      "pages/api/auth/[...nextauth].js": `const NextAuth = require("next-auth").default;
const GitHubProvider = require("next-auth/providers/github").default;

module.exports = NextAuth({
\tproviders: [
\t\tGitHubProvider({
\t\t\tclientId: process.env.GITHUB_ID,
\t\t\tclientSecret: process.env.GITHUB_SECRET,
\t\t}),
\t],
});
`,
      "pages/index.js": "module.exports = () => null;\n",
    },
  },
  "v4-a-function-for-each-request": {
    files: typescript(V4, {
      "lib/auth.ts": AUTH_V4,
      "app/api/auth/[...nextauth]/route.ts": `import type { NextRequest } from "next/server";
import NextAuth from "next-auth";
import { authOptions } from "@/lib/auth";

async function handler(request: NextRequest, context: { params: Promise<{ nextauth: string[] }> }) {
  return NextAuth(request as never, context as never, authOptions);
}
export { handler as GET, handler as POST };
`,
    }),
  },
  "v4-options-of-a-function": {
    files: typescript(V4, {
      "lib/auth.ts": "export const makeOptions = () => ({ providers: [] });\n",
      "app/api/auth/[...nextauth]/route.ts": `import NextAuth from "next-auth";
import { makeOptions } from "@/lib/auth";

const handler = NextAuth(makeOptions());
export { handler as GET, handler as POST };
`,
    }),
  },
  "v4-spread-options": {
    types: "v4",
    files: typescript(V4, {
      "app/api/auth/[...nextauth]/route.ts": ROUTE_V4,
      "lib/base.ts": `import type { NextAuthOptions } from "next-auth";

export const base = {
  callbacks: { redirect: ({ baseUrl }) => baseUrl },
  events: { signIn: () => {} },
} satisfies Partial<NextAuthOptions>;
`,
      "lib/auth.ts": AUTH_V4.replace("import type", 'import { base } from "./base";\nimport type').replace(
        "  providers",
        "  ...base,\n  events: {},\n  providers",
      ),
    }),
  },
  "v4-spread-of-an-unknown": {
    files: typescript(V4, {
      "app/api/auth/[...nextauth]/route.ts": ROUTE_V4,
      "lib/auth.ts": AUTH_V4.replace("import type", 'import { base } from "@acme/auth";\nimport type').replace("  providers", "  ...base,\n  providers"),
    }),
  },
  "v4-sessions-in-a-database": {
    files: typescript(V4, {
      "app/api/auth/[...nextauth]/route.ts": ROUTE_V4,
      "lib/auth.ts": AUTH_V4.replace("  providers", '  session: { strategy: "database" },\n  providers'),
    }),
  },
  "v4-with-an-adapter": {
    files: typescript(V4, {
      "app/api/auth/[...nextauth]/route.ts": ROUTE_V4,
      "lib/auth.ts": AUTH_V4.replace("import type", 'import { adapter } from "./adapter";\nimport type').replace(
        "  providers",
        "  adapter: adapter(),\n  providers",
      ),
    }),
  },
  "v4-with-an-adapter-whose-user-is-read": {
    files: typescript(V4, {
      "app/api/auth/[...nextauth]/route.ts": ROUTE_V4,
      "lib/auth.ts": AUTH_V4.replace(
        "  providers",
        "  adapter: adapter(),\n  callbacks: { session: ({ session, user }) => ({ ...session, id: user.id }) },\n  providers",
      ),
    }),
  },
  "v4-two-configurations": {
    files: typescript(V4, {
      "lib/auth.ts": AUTH_V4,
      "app/api/auth/[...nextauth]/route.ts": ROUTE_V4,
      "app/admin/auth/[...nextauth]/route.ts":
        'import NextAuth from "next-auth";\n\nconst handler = NextAuth({ providers: [] });\nexport { handler as GET, handler as POST };\n',
    }),
  },
  "v4-one-of-two-configurations": {
    args: ["--config", "app/api/auth/[...nextauth]/route.ts"],
    files: typescript(V4, {
      "lib/auth.ts": AUTH_V4,
      "app/api/auth/[...nextauth]/route.ts": ROUTE_V4,
      "app/admin/auth/[...nextauth]/route.ts":
        'import NextAuth from "next-auth";\n\nconst handler = NextAuth({ providers: [] });\nexport { handler as GET, handler as POST };\n',
    }),
  },
  "v4-broken-syntax": {
    files: typescript(V4, { "lib/auth.ts": AUTH_V4.replace("],", ""), "app/api/auth/[...nextauth]/route.ts": ROUTE_V4 }),
  },
  "v4-set-up-by-hand": {
    files: typescript(V4, {
      "lib/auth.ts": AUTH_V4.replace("import Git", 'import { cambio } from "@cambio/next-auth/v4";\nimport Git').replace(
        "\n};",
        "\n  ...cambio().options,\n};",
      ),
      "app/api/auth/[...nextauth]/route.ts": ROUTE_V4.replace("import Next", 'import { cambioHandler } from "@cambio/next-auth/handler";\nimport Next').replace(
        "NextAuth(authOptions)",
        "cambioHandler(NextAuth(authOptions))",
      ),
      "package.json": manifest({ "@cambio/next-auth": "file:cambio-next-auth-0.1.0.tgz", next: "16.0.3", "next-auth": "^4.24.15" }),
    }),
  },
  "v4-windows-line-breaks": {
    files: Object.fromEntries(
      Object.entries(
        typescript(V4, {
          "lib/auth.ts": AUTH_V4.replaceAll("GITHUB_ID", "GITHUB_CLIENT_ID").replace(
            "\n};",
            "\n  callbacks: {\n    redirect: ({ baseUrl }) => baseUrl,\n  },\n};",
          ),
          "app/api/auth/[...nextauth]/route.ts": ROUTE_V4,
          ".env.local": "A=1\nB=2\n",
        }),
      ).map(([path, text]) => [path, text.replaceAll("\n", "\r\n")]),
    ),
  },
  "v4-tabs-without-semicolons": {
    types: "v4",
    files: typescript(V4, {
      "lib/auth.ts": `import type { NextAuthOptions } from 'next-auth'
import GitHubProvider from 'next-auth/providers/github'

export const authOptions: NextAuthOptions = {
	providers: [
		GitHubProvider({
			clientId: process.env.GITHUB_ID!,
			clientSecret: process.env.GITHUB_SECRET!
		})
	],
	callbacks: {
		redirect: ({ baseUrl }) => baseUrl
	}
}`,
      "app/api/auth/[...nextauth]/route.ts": ROUTE_V4.replaceAll(";", "").replaceAll('"', "'"),
    }),
  },
  "v4-on-next-15-0": {
    files: typescript(manifest({ next: "15.0.4", "next-auth": "4.24.15" }), { "lib/auth.ts": AUTH_V4, "app/api/auth/[...nextauth]/route.ts": ROUTE_V4 }),
  },
  "v4-without-a-provider-github": {
    types: "v4",
    files: typescript(V4, {
      "lib/auth.ts": AUTH_V4.replaceAll("GitHub", "Google").replaceAll("github", "google").replaceAll("GITHUB", "GOOGLE"),
      "app/api/auth/[...nextauth]/route.ts": ROUTE_V4,
    }),
  },
  "v4-one-line": {
    types: "v4",
    files: typescript(V4, {
      "lib/auth.ts": `import type { NextAuthOptions } from "next-auth";

export const authOptions: NextAuthOptions = { providers: [], session: { maxAge: 60 }, debug: true, callbacks: { redirect: ({ baseUrl }) => baseUrl } };
`,
      "app/api/auth/[...nextauth]/route.ts": ROUTE_V4,
    }),
  },
  "v4-only-callbacks": {
    files: typescript(V4, {
      "lib/auth.ts": "export const authOptions = {\n  events: {},\n};\n",
      "app/api/auth/[...nextauth]/route.ts": ROUTE_V4,
    }),
  },
  "v4-no-call": { files: typescript(V4, { "app/page.tsx": 'import { useSession } from "next-auth/react";\n' }) },

  // Auth.js 5
  "v5-quick-start": {
    types: "v5",
    files: typescript(V5, { "auth.ts": AUTH_V5, "app/api/auth/[...nextauth]/route.ts": ROUTE_V5, "proxy.ts": 'export { auth as proxy } from "@/auth"\n' }),
  },
  "v5-without-a-proxy-in-src": {
    files: {
      ...typescript(V5, { "src/auth.ts": AUTH_V5, "src/app/api/auth/[...nextauth]/route.ts": ROUTE_V5 }),
      "tsconfig.json": TSCONFIG.replace("./*", "./src/*") /* the alias of create-next-app with src */,
      "bun.lock": "",
    },
  },
  "v5-on-next-15": {
    files: typescript(manifest({ next: "~15.5.6", "next-auth": "5.0.0-beta.30" }, { packageManager: "pnpm@10.0.0" }), {
      "auth.ts": AUTH_V5,
      "app/api/auth/[...nextauth]/route.ts": 'export { GET, POST } from "@/auth"\n',
      "middleware.ts": 'export { auth as middleware } from "@/auth"\n\nexport const config = { matcher: ["/dashboard/:path*"] }\n',
    }),
  },
  "v5-own-callbacks": {
    types: "v5",
    files: typescript(V5, {
      "auth.ts": `import NextAuth from "next-auth";
import GitHub from "next-auth/providers/github";

export const { handlers, signIn, signOut } = NextAuth({
  providers: [
    GitHub({
      clientId: process.env.GITHUB_CLIENT_ID,
      clientSecret: process.env.GITHUB_CLIENT_SECRET,
      profile: (profile) => ({ id: String(profile.id), name: profile.login }),
    }),
  ],
  callbacks: {
    authorized: ({ auth }) => !!auth,
    async signIn({ profile }) {
      return profile?.login !== "mallory";
    },
  },
  trustHost: true,
});
`,
      "app/api/auth/[...nextauth]/route.ts": ROUTE_V5,
      "proxy.ts": `import { auth } from "@/auth";

export default auth((request) => {
  if (!request.auth) return Response.redirect(new URL("/login", request.url));
});
`,
      ".env.local": "AUTH_SECRET=mine",
    }),
  },
  "v5-split-configuration": {
    types: "v5",
    files: typescript(V5, {
      "auth.config.ts": `import type { NextAuthConfig } from "next-auth";
import GitHub from "next-auth/providers/github";

export const authConfig = {
  pages: { signIn: "/login" },
  callbacks: {
    authorized: ({ auth }) => !!auth?.user,
  },
  providers: [GitHub],
} satisfies NextAuthConfig;
`,
      "auth.ts": `import NextAuth from "next-auth";
import { authConfig } from "./auth.config";

export const { auth, handlers } = NextAuth({
  ...authConfig,
  session: { maxAge: 3600 },
});
`,
      "app/api/auth/[...nextauth]/route.ts": ROUTE_V5,
      "proxy.ts": `import NextAuth from "next-auth";
import { authConfig } from "./auth.config";

export default NextAuth(authConfig).auth;
`,
    }),
  },
  "v5-imported-configuration": {
    types: "v5",
    files: typescript(V5, {
      "auth.config.ts": `import type { NextAuthConfig } from "next-auth";
import GitHub from "next-auth/providers/github";

export default {
  callbacks: { authorized: ({ auth }) => !!auth },
  providers: [GitHub()],
} satisfies NextAuthConfig;
`,
      "auth.ts": `import NextAuth from "next-auth";
import authConfig from "./auth.config";

export const nextAuth = NextAuth(authConfig);
`,
      "app/api/auth/[...nextauth]/route.ts": `import { nextAuth } from "@/auth";

export const { GET, POST } = nextAuth.handlers;
`,
    }),
  },
  "v5-options-of-a-function": {
    types: "v5",
    files: typescript(V5, {
      "auth.ts": `import NextAuth from "next-auth";
import GitHub from "next-auth/providers/github";

export const { handlers, auth } = NextAuth(() => {
  return { providers: [GitHub] };
});
`,
      "app/api/auth/[...nextauth]/route.ts": 'import { handlers } from "@/auth";\n\nexport const GET = handlers.GET;\nexport const POST = handlers.POST;\n',
    }),
  },
  "v5-callbacks-of-a-function": {
    files: typescript(V5, {
      "auth.ts": `import NextAuth from "next-auth";

export const { handlers, auth } = NextAuth((request) => ({ providers: [], callbacks: { authorized: () => !!request } }));
`,
      "app/api/auth/[...nextauth]/route.ts": ROUTE_V5,
    }),
  },
  "v5-monorepo-folder": {
    folder: "apps/web",
    files: {
      "package.json": manifest({}, { workspaces: ["apps/web", "apps/docs"] }),
      "pnpm-lock.yaml": "",
      ...Object.fromEntries(
        Object.entries({ "package.json": V5, "tsconfig.json": TSCONFIG, "auth.ts": AUTH_V5, "app/api/auth/[...nextauth]/route.ts": ROUTE_V5 }).map(
          ([path, text]) => [`apps/web/${path}`, text],
        ),
      ),
    },
  },
  "v5-monorepo-root": {
    files: {
      "package.json": manifest({}, { workspaces: ["apps/web", "apps/docs"] }),
      "apps/web/package.json": V5,
      "apps/docs/package.json": manifest({ next: "16.0.3" }),
    },
  },
  "v5-no-variable": {
    files: typescript(V5, { "auth.ts": 'import NextAuth from "next-auth";\n\nexport default NextAuth({ providers: [] });\n' }),
  },

  // better-auth
  "better-auth-quick-start": {
    types: "better-auth",
    files: typescript(BETTER, { "lib/auth.ts": BETTER_AUTH, "lib/auth-client.ts": BETTER_CLIENT, "app/api/auth/[...all]/route.ts": BETTER_ROUTE }),
  },
  "better-auth-own-plugins": {
    types: "better-auth",
    files: typescript(BETTER, {
      "lib/auth.ts": `import { betterAuth } from "better-auth";
import { nextCookies } from "better-auth/next-js";
import { admin } from "better-auth/plugins";

const github = { clientId: process.env.GITHUB_ID!, clientSecret: process.env.GITHUB_SECRET! };

export const auth = betterAuth({
  emailAndPassword: { enabled: true },
  socialProviders: { github },
  plugins: [
    admin(),
    nextCookies(), // the last one
  ],
});
`,
      "lib/auth-client.ts": `import { createAuthClient } from "better-auth/react";
import { adminClient } from "better-auth/client/plugins";

export const authClient = createAuthClient({
  baseURL: process.env.NEXT_PUBLIC_URL,
  plugins: [adminClient()],
});
`,
      "app/api/auth/[...all]/route.ts": BETTER_ROUTE,
      ".env.local": "GITHUB_CLIENT_ID=Iv1.mine\n",
    }),
  },
  "better-auth-plugins-of-a-variable": {
    types: "better-auth",
    files: typescript(BETTER, {
      "lib/auth.ts": `import { betterAuth, type BetterAuthOptions } from "better-auth";
import { bearer } from "better-auth/plugins";

const plugins = [bearer()];
const options = {
  plugins,
  socialProviders: {
    github: { clientId: process.env.GITHUB_CLIENT_ID!, clientSecret: process.env.GITHUB_CLIENT_SECRET!, scope: ["repo"] },
  },
} satisfies BetterAuthOptions;

export const auth = betterAuth(options);
`,
      ".env": "GITHUB_CLIENT_ID=Iv1.mine\n",
      "app/page.tsx": "export default function Home() {\n  return null;\n}\n",
    }),
  },
  "better-auth-javascript": {
    files: {
      "package.json": BETTER,
      "lib/auth.js": BETTER_AUTH.replaceAll(" as string", "").replaceAll("CLIENT_", ""),
      "app/api/auth/[...all]/route.js": BETTER_ROUTE,
    },
  },
  "better-auth-spread-of-an-unknown": {
    files: typescript(BETTER, { "lib/auth.ts": BETTER_AUTH.replace("betterAuth({", "betterAuth({\n  ...base(),") }),
  },
  "better-auth-no-call": { files: typescript(BETTER, {}) },

  // no app that Cambio works with
  "nothing-no-library": { files: { "package.json": manifest({ next: "16.0.3" }), "yarn.lock": "" } },
  "nothing-no-app": { files: { "package.json": manifest({}) } },
  "nothing-no-package-json": { files: {} },
  "nothing-both-libraries": { files: { "package.json": manifest({ next: "16.0.3", "next-auth": "4.24.15", "better-auth": "1.7.25" }) } },
  "nothing-old-next-auth": { files: { "package.json": manifest({ next: "16.0.3", "next-auth": "4.22.1" }) } },
  "nothing-old-beta": { files: { "package.json": manifest({ next: "16.0.3", "next-auth": "5.0.0-beta.25" }) } },
  "nothing-old-next": { files: { "package.json": manifest({ next: "14.2.3", "next-auth": "4.24.15" }) } },
  "nothing-version-unknown": { files: { "package.json": manifest({ next: "16.0.3", "next-auth": "beta" }) } },
  "nothing-no-package": {
    args: ["--package", "missing.tgz"],
    files: typescript(V4, { "lib/auth.ts": AUTH_V4, "app/api/auth/[...nextauth]/route.ts": ROUTE_V4 }),
  },
};
