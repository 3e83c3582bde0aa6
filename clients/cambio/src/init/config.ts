// The place of the options of a library: the call that gets them, and the object literal.
import type {
  ArrowFunctionExpression,
  CallExpression,
  Expression,
  FunctionExpression,
  Node,
  ObjectExpression,
  Statement,
  VariableDeclarator,
} from "@babel/types";
import type { App } from "./app.js";
import { keyOf, plain, type Source, walk } from "./source.js";

/** A call of a library's function, with the statement of the file that contains it. */
export interface Call {
  source: Source;
  node: CallExpression;
  statement: Statement;
  /** The variable that has the result of the call itself. */
  declarator: VariableDeclarator | undefined;
  /** The nodes around the call, the nearest last. */
  parents: readonly Node[];
}

/** The options of a call. */
export interface Config {
  source: Source;
  object: ObjectExpression;
  statement: Statement;
  /** The variable that has the options; undefined if they are in the call. */
  name: string | undefined;
  isExported: boolean;
  /** True if the object is made anew for each request. */
  isInFunction: boolean;
}

/** A part of the options that Cambio replaces: the member or the spread that has the last word on it. */
export interface Part {
  key: string;
  /** The member of the object itself, which is to be moved. */
  member: ObjectExpression["properties"][number] | undefined;
  /** An expression for a part that a spread has. */
  expression: string | undefined;
  value: Node | undefined;
}

/** Finds the calls of a function that a file imports from a module. */
export function callsOf(source: Source, module: string | RegExp, name: string): Call[] {
  const calls: Call[] = [];
  for (const statement of source.body) {
    walk(statement, (node, parents) => {
      if (node.type !== "CallExpression" || !source.is(node.callee, module, name)) return;
      const parent = [...parents].reverse().find((each) => plain(each) === each && each.type !== "AwaitExpression");
      const declarator = parent?.type === "VariableDeclarator" && parent.init && plain(parent.init) === node ? parent : undefined;
      calls.push({ source, node, statement, declarator, parents });
    });
  }
  return calls;
}

/** Finds the variable of a file with this name, at its top level. */
export function variable(source: Source, name: string): { declarator: VariableDeclarator; statement: Statement; isExported: boolean } | undefined {
  for (const statement of source.body) {
    const declaration = statement.type === "ExportNamedDeclaration" ? statement.declaration : statement;
    if (declaration?.type !== "VariableDeclaration") continue;
    const declarator = declaration.declarations.find(({ id }) => id.type === "Identifier" && id.name === name);
    if (declarator) return { declarator, statement, isExported: statement !== declaration || exportsName(source, name) };
  }
  return undefined;
}

/** True if the file has `export { name }`, or sets it in `module.exports`. */
function exportsName(source: Source, name: string): boolean {
  return source.body.some(
    (node) =>
      node.type === "ExportNamedDeclaration" &&
      node.specifiers.some(
        (each) => each.type === "ExportSpecifier" && each.local.name === name && each.exported.type === "Identifier" && each.exported.name === name,
      ),
  );
}

/** Returns the options that a node stands for, or what is not understood about it. */
export function configOf(app: App, source: Source, node: Node, statement: Statement): Config | string {
  const value = plain(node);
  if (value.type === "ObjectExpression") return { source, object: value, statement, name: undefined, isExported: false, isInFunction: false };
  if (value.type === "ArrowFunctionExpression" || value.type === "FunctionExpression") {
    const object = returned(value);
    return object
      ? { source, object, statement, name: undefined, isExported: false, isInFunction: true }
      : "the function of the options does not return one object literal";
  }
  if (value.type !== "Identifier") return "the options are not an object literal";

  const found = variable(source, value.name);
  if (found) {
    const { declarator, isExported } = found;
    const config = declarator.init ? configOf(app, source, declarator.init, found.statement) : "the options are not an object literal";
    return typeof config === "string" || config.name ? config : { ...config, name: value.name, isExported };
  }
  const binding = source.importOf(value.name);
  if (!binding) return `"${value.name}" is not a variable of the file`;
  const path = app.resolve(source.path, binding.module);
  if (!path) return `"${binding.module}", which has the options, is not in this folder`;
  const other = app.source(path);
  const exported = exportOf(other, binding.name);
  return exported ? configOf(app, other, exported.node, exported.statement) : `${path} does not export "${binding.name}" as a variable`;
}

/** Returns what a file exports under a name: the identifier of a variable, or the default export. */
function exportOf(source: Source, name: string): { node: Expression; statement: Statement } | undefined {
  for (const statement of source.body) {
    if (name === "default" && statement.type === "ExportDefaultDeclaration") return { node: statement.declaration as Expression, statement };
  }
  const found = variable(source, name);
  return found?.isExported && found.declarator.id.type === "Identifier" ? { node: found.declarator.id, statement: found.statement } : undefined;
}

/** Returns the object literal that a function returns in its only `return`. */
function returned(value: ArrowFunctionExpression | FunctionExpression): ObjectExpression | undefined {
  if (value.body.type !== "BlockStatement") {
    const body = plain(value.body);
    return body.type === "ObjectExpression" ? body : undefined;
  }
  const objects: (Node | undefined)[] = [];
  walk(value.body, (node, parents) => {
    const isInner = parents.some(({ type }) => /Function|ObjectMethod|ClassMethod/.test(type));
    if (node.type === "ReturnStatement" && !isInner) objects.push(node.argument ? plain(node.argument) : undefined);
  });
  const [object] = objects;
  return objects.length === 1 && object?.type === "ObjectExpression" ? object : undefined;
}

/**
 * Finds the member or the spread that has the last word on each of the keys, as the object is evaluated.
 *
 * @returns what is not understood: a spread of which it is not known whether it has one of the keys.
 */
export function partsOf(app: App, config: Config, keys: readonly string[]): Map<string, Part> | string {
  const parts = new Map<string, Part>();
  for (const member of config.object.properties) {
    if (member.type !== "SpreadElement") {
      const key = keyOf(member);
      if (key === undefined) return `the member \`${config.source.of(member)}\` has a computed name`;
      if (!keys.includes(key)) continue;
      if (member.type !== "ObjectProperty") return `\`${key}\` is a method`;
      parts.set(key, { key, member, expression: undefined, value: member.value });
      continue;
    }
    const text = config.source.of(member.argument);
    const spread = configOf(app, config.source, member.argument, config.statement);
    const isPlain = typeof spread !== "string" && !spread.isInFunction && member.argument.type === "Identifier";
    const below = isPlain ? partsOf(app, spread, keys) : undefined;
    if (!below || typeof below === "string") return `\`...${text}\` may contain ${keys.map((key) => `\`${key}\``).join(", ")}`;
    for (const [key, part] of below) parts.set(key, { key, member: undefined, expression: `${text}.${key}`, value: part.value });
  }
  return parts;
}

/** Returns the file of the options, and of each object that is spread into them. */
export function sourcesOf(app: App, config: Config): Source[] {
  const sources = new Set([config.source]);
  for (const member of config.object.properties) {
    if (member.type !== "SpreadElement") continue;
    const spread = configOf(app, config.source, member.argument, config.statement);
    if (typeof spread !== "string") sources.add(spread.source);
  }
  return [...sources];
}
