// The changes for next-auth 4 and Auth.js 5. The result is what the README of @cambio/next-auth shows.
import { posix } from "node:path";
import type { CallExpression, Node, ObjectExpression, Statement } from "@babel/types";
import { type App, Plan } from "./app.js";
import { type Call, callsOf, type Config, configOf, partsOf, sourcesOf } from "./config.js";
import { environmentOf, GITHUB_URL } from "./environment.js";
import { keyOf, plain, Source, walk } from "./source.js";

const HANDLER = "@cambio/next-auth/handler";
/** The members of the options that `...options` replaces, so `cambio()` gets those of the app. */
const KEYS = ["callbacks", "events", "session"];
const AUTH_ROUTE = /(^|\/)app\/.*\[\.\.\.[^/]+\]\/route\.[jt]sx?$/;
const PROXY = /^(src\/)?(proxy|middleware)\.[mc]?[jt]s$/;
const GITHUB = /^(next-auth|@auth\/core)\/providers\/github(\.js)?$/;

export const MATCHER = `export const config = {
  matcher: [
    {
      // Excludes files of Next.js and of public/, routes of Auth.js, and prefetches.
      source: "/((?!api/auth/|_next/|.*\\\\.\\\\w+$).*)",
      missing: [
        { type: "header", key: "next-router-prefetch" },
        { type: "header", key: "purpose", value: "prefetch" },
        { type: "header", key: "sec-purpose", value: "prefetch.*" },
      ],
    },
  ],
};
`;

/** Plans the changes of an app with next-auth. `file` is the file with the call to change, if there are several. */
export function planNextAuth(app: App, file: string | undefined): Plan {
  const plan = new Plan();
  const version = app.library === "next-auth 4" ? 4 : 5;
  const paths = app.mentioning("next-auth").filter((path) => !PROXY.test(path) && (!file || path === posix.normalize(file)));
  const calls = paths.flatMap((path) => callsOf(app.source(path), "next-auth", "default"));
  const [call] = calls;
  if (!call) return plan.giveUp(byHand(version, file ?? "your file with the options of next-auth", `there is no call of NextAuth in ${file ?? "this folder"}`));

  const [, , third] = call.node.arguments;
  const argument = call.node.arguments.length === 3 ? third : call.node.arguments[0];
  const at = `${call.source.path}:${call.source.line(call.node)}`;
  if (!argument || argument.type === "SpreadElement") return plan.giveUp(byHand(version, at, "the call of NextAuth has no options"));
  const config = configOf(app, call.source, argument, call.statement);
  if (typeof config === "string") return plan.giveUp(byHand(version, at, config));

  const others = calls.slice(1).filter((other) => {
    const [options] = other.node.arguments.length === 3 ? [other.node.arguments[2]] : other.node.arguments;
    const found = options && options.type !== "SpreadElement" ? configOf(app, other.source, options, other.statement) : "";
    return typeof found === "string" || found.object !== config.object;
  });
  if (others.length) {
    const places = [call, ...others].map((each) => `${each.source.path}:${each.source.line(each.node)}`);
    return plan.giveUp({ at: places.join(", "), why: `there are several configurations; choose one, such as \`--config "${call.source.path}"\``, lines: [] });
  }
  return version === 4 ? planV4(app, plan, calls, call, config) : planV5(app, plan, call, config);
}

function planV4(app: App, plan: Plan, calls: Call[], call: Call, found: Config): Plan {
  let config = found;
  const isInApp = AUTH_ROUTE.test(call.source.path);
  const route = call.source;
  // A route file may export its handlers only, so the options move where pages can import them.
  const isMoved = isInApp && config.source === route && !route.loads("@cambio/next-auth");
  let moved: Moved | undefined;
  if (isMoved) {
    const result = move(app, call, config);
    if (typeof result === "string") return plan.giveUp(byHand(4, `${route.path}:${route.line(call.node)}`, result));
    moved = result;
    config = moved.config;
  }

  const isConnected = config.source.loads("@cambio/next-auth");
  if (!isConnected) {
    const why = connect(app, plan, config, 4, isInApp);
    if (why) return plan.giveUp(byHand(4, `${found.source.path}:${found.source.line(found.object)}`, why));
    const { source } = config;
    const name = config.name ?? moved?.name;
    if (!isInApp && !source.isCommonJs) source.after(config.statement, source.styled(`export { ${accessTokenOf.get(source)} };`));
    if (isInApp && name) {
      const read = source.import("next-auth", "getServerSession", "readSession");
      const token = source.name("getAccessToken", "getCambioToken");
      source.after(
        config.statement,
        source.styled(`${source.isCommonJs ? "" : "export "}const ${token} = ${accessTokenOf.get(source)}(() => ${read}(${name}));`),
      );
      if (source.isCommonJs) plan.notes.push(`${source.path} has \`${token}\`; add it to its \`module.exports\``);
    }
    const sources = moved ? [source] : sourcesOf(app, config);
    editGitHub(plan, sources, 4);
    if (moved) plan.create(source.path, source.result());
    for (const each of sources) if (each !== moved?.config.source && each !== route) plan.edit(each);
  }

  if (moved) plan.changes.push({ path: route.path, before: route.text, after: moved.route });
  else {
    if (isInApp) for (const each of calls) wrapHandler(plan, each);
    plan.edit(route);
  }
  return plan;
}

function planV5(app: App, plan: Plan, call: Call, config: Config): Plan {
  const { source } = call;
  const at = `${source.path}:${source.line(call.node)}`;
  if (!source.loads("@cambio/next-auth") && !config.source.loads("@cambio/next-auth")) {
    const auth = authOf(call);
    if (!auth) return plan.giveUp(byHand(5, at, "the result of NextAuth is not a variable of the file"));
    const why = connect(app, plan, config, 5, true, call);
    if (why) return plan.giveUp(byHand(5, `${config.source.path}:${config.source.line(config.object)}`, why));
    const token = source.name("getAccessToken", "getCambioToken");
    source.after(call.statement, source.styled(`export const ${token} = ${accessTokenOf.get(source)}(${auth});`));
    const sources = new Set([...sourcesOf(app, config), source]);
    editGitHub(plan, [...sources], 5);
    for (const each of sources) plan.edit(each);
  }
  planRoute(app, plan, source);
  planProxy(app, plan, source);
  return plan;
}

/** The local name of `accessTokenOf` in a source that was connected. */
const accessTokenOf = new WeakMap<Source, string>();

/**
 * Adds `cambio()` and `...options`. The app's own callbacks, events and session options become arguments of
 * `cambio()`, which calls them.
 *
 * @returns what is not understood
 */
function connect(app: App, plan: Plan, config: Config, version: 4 | 5, isInApp: boolean, call?: Call): string | undefined {
  const parts = partsOf(app, config, [...KEYS, "adapter", "pages"]);
  if (typeof parts === "string") return parts;
  const own = [...parts.values()].filter(({ key }) => KEYS.includes(key));
  if (config.isInFunction && own.length) {
    return `the options are made for each request, and \`${own.map(({ key }) => key).join("`, `")}\` may need the request`;
  }
  const strategy = stringOf(valueMember(parts.get("session")?.value, "strategy"));
  if (strategy === "database") return 'sessions are in a database (`strategy: "database"`), and Cambio needs them in the cookie';
  if (parts.has("adapter") && strategy !== "jwt") {
    if (readsUser(valueMember(parts.get("callbacks")?.value, "session"))) {
      return "the `session` callback reads `user`, which is missing with Cambio: sessions are in the cookie, and no more in the database";
    }
    plan.notes.push("Sessions are in the cookie now, and no more in the database: your users sign in once more. Users and accounts stay in the database.");
  }

  // With options of another file, `...options` is added to the call, which is in the file that exports `auth`.
  const isImported = call !== undefined && config.source !== call.source;
  const source = isImported ? call.source : config.source;
  const statement = isImported ? call.statement : config.statement;
  const [argument] = isImported ? call.node.arguments : [];

  const members: string[] = [];
  if (isInApp) {
    const isNew = app.next[0] > 15 || app.next[1] >= 1;
    const cookies = source.import("next/headers", "cookies", "requestCookies");
    const after = isNew ? source.import("next/server", "after", "afterAnswer") : undefined;
    if (after) members.push(after === "after" ? after : `after: ${after}`);
    members.push(cookies === "cookies" ? cookies : `cookies: ${cookies}`);
  }
  const taken: Node[] = [];
  /** The comments at the ends of lines, by the index of the member. */
  const notes = new Map<number, string>();
  for (const part of own) {
    if (isImported && argument) members.push(`${part.key}: ${source.of(argument)}.${part.key}`);
    else if (part.member) {
      const { text, note, indent } = source.take(config.object, part.member);
      members.push(reindented(source, text, indent));
      if (note) notes.set(members.length - 1, ` ${note}`);
      taken.push(part.member);
    } else members.push(`${part.key}: ${part.expression}`);
  }
  const { value } = parts.get("callbacks") ?? {};
  if (value && readsTokens(value)) {
    members.push("providerTokens: true");
    plan.notes.push(
      "`providerTokens: true` keeps passing the provider's tokens to your `jwt` callback. If the callback only stores or refreshes them, remove both.",
    );
  }
  const errorPage = stringOf(valueMember(parts.get("pages")?.value, "error"));
  if (errorPage !== undefined) members.push(`errorPage: ${source.quoted(errorPage)}`);

  const cambio = source.import(`@cambio/next-auth/v${version}`, "cambio", "connectCambio");
  const options = source.name("options", "cambioOptions");
  const access = source.name("accessTokenOf", "cambioTokenOf");
  accessTokenOf.set(source, access);
  const local = (name: string, as: string) => (name === as ? name : `${name}: ${as}`);
  // Without `export`, a page reads no token on the server.
  const isReadable = isInApp || !source.isCommonJs;
  const names = isReadable ? `${local("options", options)}, ${local("accessTokenOf", access)}` : local("options", options);
  const { eol, unit } = source;
  const lines = members.map((member, nth) => `${unit}${member},${notes.get(nth) ?? ""}`).join(eol);
  const list = own.length ? `{${eol}${lines}${eol}}` : members.length ? `{ ${members.join(", ")} }` : "";
  // The members have the style of the file already.
  const code = source.styled(`const { ${names} } = ${cambio}(MEMBERS);`).replace("MEMBERS", () => list);
  source.before(statement, code);

  if (isImported && argument) source.replace(argument, `{ ...${source.of(argument)}, ...${options} }`);
  else source.add(config.object, `...${options}`, taken);
  return undefined;
}

/** Returns a member of the app's options with the indentation of a member at the top level. */
function reindented(source: Source, text: string, indent: string): string {
  if (indent === source.unit || !text.includes("\n") || text.includes("`")) return text;
  return text.replaceAll(`\n${indent}`, `\n${source.unit}`);
}

/** Returns the value of a member of an object literal. */
function valueMember(node: Node | undefined, name: string): Node | undefined {
  const object = node && plain(node);
  const member = object?.type === "ObjectExpression" ? object.properties.find((each) => keyOf(each) === name) : undefined;
  return member?.type === "ObjectProperty" ? member.value : member;
}

function stringOf(node: Node | undefined): string | undefined {
  const value = node && plain(node);
  return value?.type === "StringLiteral" ? value.value : undefined;
}

/** True if a `session` callback reads `user`, which next-auth passes for sessions in a database only. */
function readsUser(node: Node | undefined): boolean {
  const value = node && plain(node);
  if (value?.type !== "ObjectMethod" && value?.type !== "ArrowFunctionExpression" && value?.type !== "FunctionExpression") return value !== undefined;
  const [parameter] = value.params;
  if (parameter?.type !== "ObjectPattern") return parameter !== undefined;
  return parameter.properties.some((each) => each.type === "RestElement" || (each.key.type === "Identifier" && each.key.name === "user"));
}

/** True if callbacks read a token of the provider. */
function readsTokens(callbacks: Node): boolean {
  let reads = false;
  walk(callbacks, (node, parents) => {
    const parent = parents.at(-1);
    if (node.type !== "Identifier" || !["access_token", "refresh_token", "id_token"].includes(node.name)) return;
    if (parent?.type === "MemberExpression" || parent?.type === "OptionalMemberExpression") {
      reads ||= parent.object.type === "Identifier" && parent.object.name === "account";
    } else if (parents.some(({ type }) => type === "ObjectPattern")) reads = true;
  });
  return reads;
}

/** Wraps the handler of next-auth 4 in a route file. */
function wrapHandler(plan: Plan, { source, node, parents }: Call): void {
  if (source.loads(HANDLER) || !AUTH_ROUTE.test(source.path)) return;
  if (node.arguments.length === 1) {
    const wrap = source.import(HANDLER, "cambioHandler", "wrapHandler");
    source.wrap(node, `${wrap}(`, ")");
    return;
  }
  const handler = parents.find((each) => each.type === "FunctionDeclaration");
  const name = handler?.type === "FunctionDeclaration" && handler.id ? handler.id.name : "handler";
  plan.steps.push({
    at: `${source.path}:${source.line(node)}`,
    why: "the handler is a function of your own",
    lines: [`import { cambioHandler } from "${HANDLER}";`, `const wrapped = cambioHandler(${name});`, "export { wrapped as GET, wrapped as POST };"],
  });
}

/** The options of a route file in a file of their own. */
interface Moved {
  config: Config;
  /** The name of the options. */
  name: string;
  /** The new text of the route file. */
  route: string;
}

/** Moves the options from a route file into a new file. Returns what is not understood. */
function move(app: App, call: Call, config: Config): Moved | string {
  const { source: route, statement, declarator } = call;
  const extension = posix.extname(route.path).replace("x", "");
  const path = [`${app.base}lib/auth${extension}`, `${app.base}lib/auth-options${extension}`].find((each) => !app.exists(each));
  if (!path) return "the options are in a route file, and lib/auth and lib/auth-options are there already";
  if (call.node.arguments.length !== 1) return "the handler is a function of your own, and the options are in a route file";
  if (declarator?.id.type !== "Identifier") return "the handler is not a variable of the file";
  const handler = declarator.id.name;

  const exports: Statement[] = [];
  const settings: Statement[] = [];
  for (const each of route.body) {
    if (each.type !== "ExportNamedDeclaration") continue;
    const names = each.specifiers.map((specifier) => (specifier.type === "ExportSpecifier" ? specifier.local.name : ""));
    if (!each.declaration && names.every((name) => name === handler)) exports.push(each);
    else if (!each.declaration && !names.includes(handler)) settings.push(each);
    else if (each.declaration?.type === "VariableDeclaration" && isRouteSetting(each.declaration.declarations[0]?.id)) settings.push(each);
    else if (each !== config.statement) return `the route file exports more than its handlers (line ${route.line(each)})`;
  }
  if (!exports.length) return "the handlers are not exported as `export { handler as GET, handler as POST }`";

  const name = config.name ?? "authOptions";
  const moved = new Source(route.path, route.text);
  const isIt = (each: Statement) =>
    each.type === "ImportDeclaration" && each.source.value === "next-auth" && each.specifiers[0]?.type === "ImportDefaultSpecifier";
  const imports = moved.body.find(isIt);
  if (imports?.type !== "ImportDeclaration") return "next-auth is not imported with `import`";
  const twin = (each: Statement) => moved.body[route.body.indexOf(each)] as Statement;

  for (const each of [...exports, ...settings]) removeStatement(moved, twin(each));
  const rest = imports.specifiers.filter((each) => each.type !== "ImportDefaultSpecifier").map((each) => moved.of(each));
  const isTyped = moved.isTypeScript && !config.name;
  const typed = isTyped && !rest.some((each) => /\bNextAuthOptions\b/.test(each)) ? [...rest, "type NextAuthOptions"] : rest;
  if (typed.length) moved.replace(imports, moved.styled(`import { ${typed.join(", ")} } from "next-auth";`));
  else removeStatement(moved, imports);
  if (config.name) {
    removeStatement(moved, twin(statement));
    const own = twin(config.statement);
    if (own.type !== "ExportNamedDeclaration") moved.insert(own.start ?? 0, "export ");
  } else {
    moved.replace(twin(statement), `export const ${name}${moved.isTypeScript ? ": NextAuthOptions" : ""} = ${route.of(config.object)}${moved.styled(";")}`);
  }
  for (const each of moved.body) {
    if (each.type !== "ImportDeclaration" || !each.source.value.startsWith(".")) continue;
    const target = posix.join(posix.dirname(route.path), each.source.value);
    const way = posix.relative(posix.dirname(path), target);
    moved.replace(each.source, moved.quoted(way.startsWith(".") ? way : `./${way}`));
  }

  const text = `${moved.result().trim()}${route.eol}`;
  const source = new Source(path, text);
  const declared = source.body.find((each) => {
    const declaration = each.type === "ExportNamedDeclaration" ? each.declaration : undefined;
    const id = declaration?.type === "VariableDeclaration" ? declaration.declarations[0]?.id : undefined;
    return id?.type === "Identifier" && id.name === name;
  });
  const declaration = declared?.type === "ExportNamedDeclaration" ? declared.declaration : undefined;
  const init = declaration?.type === "VariableDeclaration" ? declaration.declarations[0]?.init : undefined;
  if (!declared || !init) return "the options are not a variable of the file";
  const object = plain(init);
  if (object.type !== "ObjectExpression") return "the options are not an object literal";

  const own = settings.map((each) => route.of(each));
  const isShown = config.isExported && !own.some((each) => each.includes(name)) ? [`export { ${name} };`] : [];
  const lines = [
    `import { cambioHandler } from "${HANDLER}";`,
    'import NextAuth from "next-auth";',
    `import { ${name} } from "${app.specifier(route.path, path)}";`,
    "",
    `const ${handler} = cambioHandler(NextAuth(${name}));`,
    ...isShown,
  ];
  const kept = [...exports.map((each) => route.of(each)), ...own];
  return {
    name,
    config: { source, object, statement: declared, name, isExported: true, isInFunction: false },
    route: `${route.styled(lines.join("\n"))}${route.eol}${kept.join(route.eol)}${route.eol}`,
  };
}

/** True for the settings of a route that Next.js reads, such as `runtime`. */
function isRouteSetting(id: Node | undefined): boolean {
  const names = ["runtime", "dynamic", "dynamicParams", "revalidate", "fetchCache", "preferredRegion", "maxDuration"];
  return id?.type === "Identifier" && names.includes(id.name);
}

function removeStatement(source: Source, statement: Statement): void {
  const end = statement.end ?? 0;
  // With the blank line after it, if there is one before it as well.
  const isBetween = /\n[ \t]*\r?\n$/.test(source.text.slice(0, statement.start ?? 0));
  const rest = (isBetween ? /^[ \t]*(?:\r?\n){0,2}/ : /^[ \t]*(?:\r?\n)?/).exec(source.text.slice(end))?.[0].length ?? 0;
  source.replace({ start: statement.start ?? 0, end: end + rest }, "");
}

/** Returns an expression for `auth` of Auth.js, which is added to the destructured names if it is missing. */
function authOf({ source, declarator }: Call): string | undefined {
  const id = declarator?.id;
  if (id?.type === "Identifier") return `${id.name}.auth`;
  if (id?.type !== "ObjectPattern") return undefined;
  for (const each of id.properties) {
    if (each.type === "ObjectProperty" && each.key.type === "Identifier" && each.key.name === "auth") {
      return each.value.type === "Identifier" ? each.value.name : undefined;
    }
  }
  const last = id.properties.at(-1);
  if (!last || last.type === "RestElement" || source.declares("auth")) return undefined;
  source.insert(last.end ?? 0, ", auth");
  return "auth";
}

/** Wraps the handlers of the route of Auth.js. */
function planRoute(app: App, plan: Plan, auth: Source): void {
  const routes = app.mentioning("").filter((path) => AUTH_ROUTE.test(path) && app.source(path).body.length > 0);
  const path = routes.find((each) => imports(app, each, auth.path)) ?? (routes.length === 1 ? routes[0] : undefined);
  const step = (at: string, why: string): void => {
    plan.steps.push({
      at,
      why,
      lines: [
        `import { cambioHandler } from "${HANDLER}";`,
        "export const GET = cambioHandler(handlers.GET);",
        "export const POST = cambioHandler(handlers.POST);",
      ],
    });
  };
  if (!path) {
    step(`${app.base}app/api/auth/[...nextauth]/route`, "there is no route of Auth.js");
    return;
  }
  const source = app.source(path);
  if (source.loads(HANDLER)) return;

  const handlers: [Statement, string][] = [];
  for (const statement of source.body) {
    if (statement.type !== "ExportNamedDeclaration") continue;
    const { declaration, source: from, specifiers } = statement;
    const [first, ...others] = declaration?.type === "VariableDeclaration" ? declaration.declarations : [];
    const lines: string[] = [];
    if (first?.init && !others.length && first.id.type === "ObjectPattern") {
      for (const each of first.id.properties) {
        if (each.type !== "ObjectProperty" || !each.shorthand || each.key.type !== "Identifier") {
          step(`${path}:${source.line(statement)}`, "the handlers have other names");
          return;
        }
        lines.push(`export const ${each.key.name} = cambioHandler(${source.of(first.init)}.${each.key.name});`);
      }
    } else if (first?.init && !others.length && first.id.type === "Identifier" && ["GET", "POST"].includes(first.id.name)) {
      lines.push(`export const ${first.id.name} = cambioHandler(${source.of(first.init)});`);
    } else if (
      from &&
      specifiers.length &&
      specifiers.every((each) => each.type === "ExportSpecifier" && each.exported.type === "Identifier" && each.local.name === each.exported.name)
    ) {
      const names = specifiers.map((each) => (each.exported.type === "Identifier" ? each.exported.name : ""));
      if (names.some((name) => !["GET", "POST"].includes(name))) continue;
      lines.push(`import { ${names.map((name) => `${name} as auth${name}`).join(", ")} } from "${from.value}";`, "");
      lines.push(...names.map((name) => `export const ${name} = cambioHandler(auth${name});`));
    } else continue;
    handlers.push([statement, source.styled(lines.join("\n"))]);
  }
  if (!handlers.length) {
    step(path, "the exports of the route are not those of the documentation");
    return;
  }
  const hasImports = source.body.some(({ type }) => type === "ImportDeclaration");
  if (hasImports) source.import(HANDLER, "cambioHandler", "cambioHandler");
  else source.insert(source.body[0]?.start ?? 0, source.styled(`import { cambioHandler } from "${HANDLER}";\n`));
  for (const [statement, code] of handlers) source.replace(statement, code);
  plan.edit(source);
}

function imports(app: App, path: string, target: string): boolean {
  return app
    .source(path)
    .body.some(
      (node) => (node.type === "ImportDeclaration" || node.type === "ExportNamedDeclaration") && node.source && app.resolve(path, node.source.value) === target,
    );
}

/** Adds the proxy that stores the refreshed session, or wraps the one of the app. */
function planProxy(app: App, plan: Plan, auth: Source): void {
  const name = app.next[0] >= 16 ? "proxy" : "middleware";
  const extension = auth.isTypeScript ? "ts" : "js";
  const bases = [...new Set([app.base, "", "src/"])];
  const path = bases
    .flatMap((base) => ["proxy", "middleware"].flatMap((each) => ["ts", "js", "mts", "mjs"].map((end) => `${base}${each}.${end}`)))
    .find((each) => app.exists(each));
  if (!path) {
    const made = `${app.base}${name}.${extension}`;
    const [imported, used] = exportedAuth(auth);
    if (!imported) {
      plan.steps.push(proxyStep(made, "`auth` is not exported", name));
      return;
    }
    const code = `import { cambioProxy } from "@cambio/next-auth/v5";
import { ${imported} } from "${app.specifier(made, auth.path)}";

export const ${name} = cambioProxy(${used});

${MATCHER}`;
    plan.create(made, auth.styled(code));
    return;
  }
  const source = app.source(path);
  if (source.loads("@cambio/next-auth")) return;
  const used = posix.basename(path).startsWith("proxy") ? "proxy" : "middleware";
  // `export { auth as proxy } from "@/auth"`, of the documentation of Auth.js.
  const reexport = source.body.find((node) => node.type === "ExportNamedDeclaration" && node.source && node.specifiers.length === 1);
  const specifier = reexport?.type === "ExportNamedDeclaration" ? reexport.specifiers[0] : undefined;
  const isAuth = specifier?.type === "ExportSpecifier" && specifier.local.name === "auth" && specifier.exported.type === "Identifier";
  const isOnly = source.body.every((node) => node === reexport || (node.type === "ExportNamedDeclaration" && /^export const config\b/.test(source.of(node))));
  if (!isAuth || !isOnly || reexport?.type !== "ExportNamedDeclaration" || specifier.exported.type !== "Identifier") {
    plan.steps.push(proxyStep(source.path, "the proxy is your own", used));
    return;
  }
  const exported = specifier.exported.name === "default" ? "export default cambioProxy(auth);" : `export const ${specifier.exported.name} = cambioProxy(auth);`;
  const lines = [`import { cambioProxy } from "@cambio/next-auth/v5";`, `import { auth } from "${reexport.source?.value}";`, "", exported];
  source.replace(reexport, source.styled(lines.join("\n")));
  if (source.body.length === 1) source.insert(reexport.end ?? 0, source.eol + source.eol + source.styled(MATCHER).trimEnd());
  else
    plan.notes.push(
      `${path} keeps your \`matcher\`. Let it exclude files and prefetches, as that of the README of @cambio/next-auth does: shared caches must not store a session's cookie.`,
    );
  plan.edit(source);
}

/** Returns what a file exports of Auth.js, and the expression for `auth` of it. */
function exportedAuth(source: Source): [imported?: string, used?: string] {
  const [call] = callsOf(source, "next-auth", "default");
  const id = call?.statement.type === "ExportNamedDeclaration" ? call.declarator?.id : undefined;
  if (id?.type === "Identifier") return [id.name, `${id.name}.auth`];
  if (id?.type !== "ObjectPattern") return [];
  const member = id.properties.find((each) => each.type === "ObjectProperty" && each.key.type === "Identifier" && each.key.name === "auth");
  const name = member?.type === "ObjectProperty" && member.value.type === "Identifier" ? member.value.name : "auth";
  return [name, name];
}

function proxyStep(at: string, why: string, name: string) {
  return {
    at,
    why,
    lines: [
      `import { cambioProxy } from "@cambio/next-auth/v5";`,
      `export const ${name} = cambioProxy(auth); // or cambioProxy(auth((request) => …)), around your own`,
    ],
  };
}

/** Lets the provider GitHub use the stand-in if `GITHUB_URL` is set. */
function editGitHub(plan: Plan, sources: Source[], version: 4 | 5): void {
  for (const source of sources) {
    let isFound = false;
    for (const statement of source.body) {
      walk(statement, (node, parents) => {
        if (isFound || !source.is(node, GITHUB, "default") || parents.some(({ type }) => type === "ImportDeclaration")) return;
        const parent = parents.at(-1);
        if (version === 5 && parent?.type === "ArrayExpression")
          source.replace(node, `${node.name}(${source.styled("{ enterprise: { baseUrl: process.env.GITHUB_URL } }")})`);
        else if (parent?.type === "CallExpression" && parent.callee === node) editGitHubCall(plan, source, parent, version, statement);
        else return;
        isFound = true;
      });
    }
    if (isFound) return;
  }
  if (!sources.some(({ text }) => text.includes("GITHUB_URL"))) {
    plan.notes.push(
      'The app has no provider GitHub that was found. The local server also has a stand-in OpenID provider: see "Another provider" in the README of @cambio/next-auth.',
    );
  }
}

function editGitHubCall(plan: Plan, source: Source, call: CallExpression, version: 4 | 5, statement: Statement): void {
  const [argument] = call.arguments;
  if (version === 5 && !argument) {
    source.insert((call.end ?? 0) - 1, "{ enterprise: { baseUrl: process.env.GITHUB_URL } }");
    return;
  }
  const object: ObjectExpression | undefined = argument?.type === "ObjectExpression" ? argument : undefined;
  const keys = object?.properties.map(keyOf) ?? [];
  const set = ["enterprise", "issuer", "authorization", "token", "userinfo"].find((key) => keys.includes(key));
  if (!object || set) {
    plan.notes.push(
      `${source.path}:${source.line(call)}: the provider GitHub ${set ? `sets \`${set}\` itself` : "is not understood"}, so it does not use the stand-in of the local server.`,
    );
    return;
  }
  plan.environment.push(...environmentOf(object, version === 4 ? ["GITHUB_ID", "GITHUB_SECRET"] : ["AUTH_GITHUB_ID", "AUTH_GITHUB_SECRET"]));
  if (version === 5) {
    source.add(object, "enterprise: { baseUrl: process.env.GITHUB_URL }");
    return;
  }
  const github = source.name("github", "githubUrl");
  const known = source.isTypeScript ? "!" : "";
  source.before(statement, source.styled(`const ${github} = ${GITHUB_URL}`));
  source.add(
    object,
    `...(${github} && {
  issuer: \`\${${github}}/login/oauth\`,
  authorization: \`\${${github}}/login/oauth/authorize\`,
  token: \`\${${github}}/login/oauth/access_token\`,
  userinfo: { url: \`\${${github}}/api/v3/user\`, request: ({ client, tokens }) => client.userinfo(tokens.access_token${known}) },
})`,
  );
}

/** The step that does by hand what was not understood. */
function byHand(version: 4 | 5, at: string, why: string) {
  const lines =
    version === 4
      ? [
          'import { cookies } from "next/headers"; // in the app folder',
          'import { after } from "next/server"; // in the app folder',
          'import { cambio } from "@cambio/next-auth/v4";',
          "",
          "// callbacks, events and session options of your own become members of this argument",
          "const { options, accessTokenOf } = cambio({ after, cookies });",
          "// as the last member of the options of NextAuth:",
          "  ...options,",
          "// after them:",
          "export const getAccessToken = accessTokenOf(() => getServerSession(authOptions));",
        ]
      : [
          'import { cookies } from "next/headers";',
          'import { after } from "next/server";',
          'import { cambio } from "@cambio/next-auth/v5";',
          "",
          "// callbacks, events and session options of your own become members of this argument",
          "const { options, accessTokenOf } = cambio({ after, cookies });",
          "// as the last member of the options of NextAuth:",
          "  ...options,",
          "// after the call of NextAuth:",
          "export const getAccessToken = accessTokenOf(auth);",
        ];
  return { at, why, lines };
}
