// The changes for better-auth. The result is what the README of @cambio/next-auth shows.
import { posix } from "node:path";
import type { Node } from "@babel/types";
import { type App, Plan, type Step } from "./app.js";
import { type Call, callsOf, type Config, configOf, partsOf } from "./config.js";
import { environmentOf, GITHUB_URL } from "./environment.js";
import { keyOf, plain, type Source } from "./source.js";

const SERVER = /^better-auth(\/minimal)?$/;
const CLIENT = /^better-auth\/(react|client)$/;

/** Plans the changes of an app with better-auth. `file` is the file with the call to change, if there are several. */
export function planBetterAuth(app: App, file: string | undefined): Plan {
  const plan = new Plan();
  const paths = app.mentioning("better-auth");
  const chosen = paths.filter((path) => !file || path === posix.normalize(file));
  const [call, ...others] = chosen.flatMap((path) => callsOf(app.source(path), SERVER, "betterAuth"));
  if (!call) return plan.giveUp(byHand(file ?? "your file with the options of better-auth", `there is no call of betterAuth in ${file ?? "this folder"}`));
  const { source } = call;
  const at = `${source.path}:${source.line(call.node)}`;
  if (others.length) {
    const places = [call, ...others].map((each) => `${each.source.path}:${each.source.line(each.node)}`);
    return plan.giveUp(
      byHand(at, `there are several configurations: ${places.join(", ")}. Choose one with --config, such as \`--config ${source.path}\`, or add to each`),
    );
  }
  const [argument] = call.node.arguments;
  if (!argument) return plan.giveUp(byHand(at, "the call of betterAuth has no options"));
  const config = configOf(app, source, argument, call.statement);
  if (typeof config === "string") return plan.giveUp(byHand(at, config));

  if (!config.source.loads("@cambio/next-auth")) {
    const why = connect(app, plan, config);
    if (why) return plan.giveUp(byHand(`${config.source.path}:${config.source.line(config.object)}`, why));
    plan.edit(config.source);
  }
  planToken(app, plan, call);
  planClients(app, plan, paths);
  return plan;
}

/** Adds the plugin. Returns what is not understood. */
function connect(app: App, plan: Plan, config: Config): string | undefined {
  const { source, object } = config;
  const parts = partsOf(app, config, ["plugins", "socialProviders"]);
  if (typeof parts === "string") return parts;
  const plugins = parts.get("plugins");
  if (plugins && !plugins.member) return `\`plugins\` is in \`${plugins.expression}\``;

  const cambio = source.import("@cambio/next-auth/better-auth", "cambio", "connectCambio");
  const added = [`${cambio}()`];
  const social = parts.get("socialProviders")?.value;
  const github = social && githubOf(app, config, plain(social));
  const enterprise = github && addEnterprise(plan, source, github);
  if (enterprise) added.push(enterprise);
  else if (!github) {
    plan.notes.push(
      'The app has no provider GitHub that was found. The local server also has a stand-in OpenID provider: see "Another provider" in the README of @cambio/next-auth.',
    );
  }

  const value = plugins?.value && plain(plugins.value);
  const code = source.styled(added.join(", "));
  if (!value) source.add(object, `plugins: [${added.join(", ")}]`);
  else if (value.type === "ArrayExpression") {
    const [first] = value.elements;
    if (!first) source.insert((value.start ?? 0) + 1, code);
    else {
      const indent = source.indentAt(first.start ?? 0);
      source.insert(first.start ?? 0, `${code},${indent === undefined ? " " : source.eol + indent}`);
    }
  } else if (plugins?.member?.type === "ObjectProperty" && plugins.member.shorthand) source.replace(value, `plugins: [${code}, ...plugins]`);
  else source.wrap(value, `[${code}, ...`, "]");
  return undefined;
}

/** Returns the options of the provider GitHub, which may be a variable of the file. */
function githubOf(app: App, { source, statement }: Config, social: Node): Config | undefined {
  const member = social.type === "ObjectExpression" ? social.properties.find((each) => keyOf(each) === "github") : undefined;
  const found = member?.type === "ObjectProperty" ? configOf(app, source, member.value, statement) : "";
  return typeof found !== "string" && found.source === source && !found.isInFunction ? found : undefined;
}

/** Adds a provider for the stand-in, and returns its plugin: better-auth's own provider supports github.com only. */
function addEnterprise(plan: Plan, source: Source, { object: github, name }: Config): string | undefined {
  const text = (name: string) => {
    const member = github.properties.find((each) => keyOf(each) === name);
    return member?.type === "ObjectProperty" ? source.of(member.value) : undefined;
  };
  const [id, secret] = [text("clientId"), text("clientSecret")];
  if (!id || !secret || source.text.includes("genericOAuth")) {
    plan.notes.push(
      `${source.path}:${source.line(github)}: the provider GitHub does not use the stand-in of the local server: see "better-auth" in the README of @cambio/next-auth.`,
    );
    return undefined;
  }
  plan.environment.push(...environmentOf(github, ["GITHUB_ID", "GITHUB_SECRET"]));
  const generic = source.import("better-auth/plugins", "genericOAuth", "genericOAuth2");
  const url = source.name("github", "githubUrl");
  const enterprise = source.name("enterprise", "githubEnterprise");
  const last = source.body.filter(({ type }) => type === "ImportDeclaration").at(-1);
  const constant = source.styled(`const ${url} = ${GITHUB_URL}`);
  const statement = source.body[last ? source.body.indexOf(last) + 1 : 0];
  if (statement) source.before(statement, constant + source.eol);
  const [string, profile] = source.isTypeScript ? [": string", ": Record<string, any>"] : ["", ""];
  const code = `
// The provider of better-auth supports github.com only.
function ${enterprise}(url${string}) {
  return {
APP
    providerId: "github",
    authorizationUrl: \`\${url}/login/oauth/authorize\`,
    tokenUrl: \`\${url}/login/oauth/access_token\`,
    userInfoUrl: \`\${url}/api/v3/user\`,
    scopes: ["read:user", "user:email"],
    mapProfileToUser: ({ login, name, email }${profile}) => ({
      name: name ?? login,
      email: email ?? \`\${login}@users.noreply.github.com\`,
    }),
  };
}`;
  const end = source.text.length;
  const gap = source.text.endsWith("\n") ? "" : source.eol;
  const indent = source.unit.repeat(2);
  // A variable with the app at GitHub is spread, as the README does.
  const app = name ? [`...${name}`] : [`clientId: ${id}`, `clientSecret: ${secret}`];
  const styled = source.styled(code).replace("APP", () => app.map((line) => `${indent}${line},`).join(source.eol));
  source.insert(end, `${gap}${styled}${gap ? "" : source.eol}`);
  return `...(${url} ? [${generic}({ config: [${enterprise}(${url})] })] : [])`;
}

/** Adds `getAccessToken` of the app, beside the file of the options. */
function planToken(app: App, plan: Plan, { source, declarator, statement }: Call): void {
  const name = declarator?.id.type === "Identifier" ? declarator.id.name : undefined;
  const isExported = name !== undefined && statement.type === "ExportNamedDeclaration";
  const hasToken = app.mentioning("@cambio/next-auth/better-auth").some((path) => app.source(path).text.includes("accessTokenOf"));
  if (hasToken || !["app", "src/app"].some((path) => app.exists(path))) return;
  const folder = posix.join(posix.dirname(source.path), ".");
  const path = ["token", "cambio-token"].map((each) => posix.join(folder, `${each}.${source.isTypeScript ? "ts" : "js"}`)).find((each) => !app.exists(each));
  if (!isExported || !path || source.isCommonJs) {
    const lines = [
      'import { accessTokenOf } from "@cambio/next-auth/better-auth";',
      'import { headers } from "next/headers";',
      "",
      "export const getAccessToken = accessTokenOf(auth, headers);",
    ];
    plan.steps.push({
      at: posix.join(folder, "token.ts"),
      why: isExported ? "there is such a file already" : `${source.path} does not export the result of betterAuth as a variable`,
      lines,
    });
    return;
  }
  const imported = name === "auth" ? name : `${name} as auth`;
  const lines = [
    'import { accessTokenOf } from "@cambio/next-auth/better-auth";',
    'import { headers } from "next/headers";',
    `import { ${imported} } from "${app.specifier(path, source.path)}";`,
    "",
    "export const getAccessToken = accessTokenOf(auth, headers);",
    "",
  ];
  plan.create(path, source.styled(lines.join("\n")));
}

/** Adds the plugin to each client, so that the browser can store a refreshed session. */
function planClients(app: App, plan: Plan, paths: string[]): void {
  const clients = paths.flatMap((path) => callsOf(app.source(path), CLIENT, "createAuthClient"));
  for (const { source, node } of clients) {
    if (source.loads("@cambio/next-auth")) continue;
    const [argument] = node.arguments;
    const object = argument && plain(argument);
    const member = object?.type === "ObjectExpression" ? object.properties.find((each) => keyOf(each) === "plugins") : undefined;
    const value = member?.type === "ObjectProperty" ? plain(member.value) : undefined;
    const hasSpread = object?.type === "ObjectExpression" && !member && object.properties.some(({ type }) => type === "SpreadElement");
    if ((argument && object?.type !== "ObjectExpression") || hasSpread || (member && value?.type !== "ArrayExpression")) {
      plan.steps.push({
        at: `${source.path}:${source.line(node)}`,
        why: "the options of createAuthClient are not understood",
        lines: ['import { cambioClient } from "@cambio/next-auth/better-auth/client";', "plugins: [cambioClient()],"],
      });
      continue;
    }
    const plugin = `${source.import("@cambio/next-auth/better-auth/client", "cambioClient", "cambioPlugin")}()`;
    if (value?.type === "ArrayExpression") {
      const [first] = value.elements;
      const indent = source.indentAt(first?.start ?? 0);
      source.insert(first?.start ?? (value.start ?? 0) + 1, first ? `${plugin},${indent === undefined ? " " : source.eol + indent}` : plugin);
    } else if (object?.type === "ObjectExpression") source.add(object, `plugins: [${plugin}]`);
    else source.insert((node.end ?? 0) - 1, `{ plugins: [${plugin}] }`);
    plan.edit(source);
  }
  if (clients.length && !app.mentioning("cambio.session").length) {
    plan.notes.push(
      "For the browser to store a refreshed session, call `cambio.session()` of the client in an effect of a component, as the README of @cambio/next-auth shows. Without it, the app works with more calls.",
    );
  }
}

/** The step that does by hand what was not understood. */
function byHand(at: string, why: string): Step {
  return { at, why, lines: ['import { cambio } from "@cambio/next-auth/better-auth";', "", "// as the first plugin of betterAuth:", "plugins: [cambio()],"] };
}
