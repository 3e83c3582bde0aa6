// A source file of the app: its syntax tree, and edits that leave every other byte as it is.
import { parse, type ParserPlugin } from "@babel/parser";
import type { File, Identifier, Node, ObjectExpression, Statement } from "@babel/types";
import { UserError } from "../errors.js";

/** The local name of an import: the module, and the exported name (`default` for a default import). */
interface Binding {
  module: string;
  name: string;
}

interface Edit {
  start: number;
  end: number;
  text: string;
  /** True for lines that come before all others at the place. */
  isFirst?: true;
}

/** A name to import. `instead` is its local name if the file has another meaning for it. */
interface Wanted {
  name: string;
  local: string;
  isType: boolean;
}

export type Visit = (node: Node, parents: readonly Node[]) => void;

/** Visits a node and all below it, each with its parents, the nearest last. */
export function walk(node: Node, visit: Visit, parents: readonly Node[] = []): void {
  visit(node, parents);
  const below = [...parents, node];
  for (const [key, value] of Object.entries(node)) {
    if (/comments$/i.test(key)) continue;
    for (const child of Array.isArray(value) ? value : [value]) if (isNode(child)) walk(child, visit, below);
  }
}

function isNode(value: unknown): value is Node {
  return typeof value === "object" && value !== null && "type" in value && typeof value.type === "string" && "start" in value;
}

/** Returns the expression without `satisfies`, `as`, `!` and parentheses around it. */
export function plain(node: Node): Node {
  switch (node.type) {
    case "TSSatisfiesExpression":
    case "TSAsExpression":
    case "TSNonNullExpression":
    case "TSTypeAssertion":
    case "ParenthesizedExpression":
      return plain(node.expression);
    default:
      return node;
  }
}

/** Returns the name of a member that is not computed. */
export function keyOf(member: ObjectExpression["properties"][number]): string | undefined {
  if (member.type === "SpreadElement" || member.computed) return undefined;
  if (member.key.type === "Identifier") return member.key.name;
  return member.key.type === "StringLiteral" ? member.key.value : undefined;
}

export class Source {
  readonly file: File;
  /** True for a file that loads modules with `require` only. */
  readonly isCommonJs: boolean;
  readonly isTypeScript: boolean;
  /** The line break of the file. */
  readonly eol: string;
  /** One level of indentation. */
  readonly unit: string;
  readonly #quote: string;
  readonly #end: string;
  readonly #imports = new Map<string, Binding>();
  readonly #names = new Set<string>();
  readonly #edits: Edit[] = [];
  readonly #wanted = new Map<string, Wanted[]>();

  /** @param path relative to the folder of the app. */
  constructor(
    readonly path: string,
    readonly text: string,
  ) {
    this.isTypeScript = /\.[mc]?tsx?$/.test(path);
    const plugins: ParserPlugin[] = this.isTypeScript ? ["typescript"] : [];
    if (!/\.[mc]?ts$/.test(path)) plugins.push("jsx");
    try {
      this.file = parse(text, { sourceType: "module", allowReturnOutsideFunction: true, plugins });
    } catch (error) {
      throw new UserError(`${path} cannot be parsed: ${(error as Error).message}; repair it, and run the command again`);
    }
    this.eol = /\r?\n/.exec(text)?.[0] ?? "\n";
    this.unit = /^(\t| {2,8})\S/m.exec(text)?.[1] ?? "  ";
    const { body } = this.file.program;
    this.isCommonJs = !body.some(({ type }) => /^(Import|Export)/.test(type)) && /\brequire\s*\(/.test(text);

    walk(this.file.program, (node, parents) => this.#read(node, parents.at(-1)));
    const quotes = [...text.matchAll(/\bfrom\s*(["'])|\brequire\(\s*(["'])/g)].map((match) => match[1] ?? match[2]);
    this.#quote = quotes.filter((quote) => quote === "'").length > quotes.length / 2 ? "'" : '"';
    const simple = body.filter((node) => {
      const { type } = node.type === "ExportNamedDeclaration" && node.declaration ? node.declaration : node;
      return /^(Import|ExportAll|ExportNamed|Variable|Expression)/.test(type);
    });
    const ended = simple.filter(({ end }) => text[(end ?? 0) - 1] === ";");
    this.#end = simple.length > 0 && ended.length * 2 < simple.length ? "" : ";";
  }

  #read(node: Node, parent: Node | undefined): void {
    if (node.type === "ImportDeclaration") {
      for (const each of node.specifiers) {
        const name = each.type === "ImportSpecifier" ? nameOf(each.imported) : each.type === "ImportDefaultSpecifier" ? "default" : "*";
        this.#imports.set(each.local.name, { module: node.source.value, name });
      }
    }
    // `const NextAuth = require("next-auth").default`, `const { a } = require("b")`
    if (node.type === "VariableDeclarator" && node.init) {
      const isDefault = node.init.type === "MemberExpression" && node.init.property.type === "Identifier" && node.init.property.name === "default";
      const call = isDefault && node.init.type === "MemberExpression" ? node.init.object : node.init;
      const [argument] = call.type === "CallExpression" && call.callee.type === "Identifier" && call.callee.name === "require" ? call.arguments : [];
      if (argument?.type === "StringLiteral") {
        const module = argument.value;
        if (node.id.type === "Identifier") this.#imports.set(node.id.name, { module, name: "default" });
        if (node.id.type === "ObjectPattern") {
          for (const each of node.id.properties) {
            if (each.type !== "ObjectProperty" || each.key.type !== "Identifier" || each.value.type !== "Identifier") continue;
            this.#imports.set(each.value.name, { module, name: each.key.name });
          }
        }
      }
    }
    const isKey =
      (parent?.type === "MemberExpression" && parent.property === node && !parent.computed) ||
      (parent?.type === "ObjectProperty" && parent.key === node && !parent.computed && !parent.shorthand) ||
      (parent?.type === "ImportSpecifier" && parent.imported === node && parent.local !== node);
    if (node.type === "Identifier" && !isKey) this.#names.add(node.name);
  }

  get body(): Statement[] {
    return this.file.program.body;
  }

  /** Returns the source text of a node. */
  of(node: Node): string {
    return this.text.slice(node.start ?? 0, node.end ?? 0);
  }

  line(node: Node): number {
    return node.loc?.start.line ?? 1;
  }

  /** Returns what an identifier is the local name of. */
  importOf(name: string): Binding | undefined {
    return this.#imports.get(name);
  }

  /** True if the file loads this module, or one below it. */
  loads(module: string): boolean {
    const isIt = (other: string) => other === module || other.startsWith(`${module}/`);
    return [...this.#imports.values()].some((binding) => isIt(binding.module));
  }

  /** True if the node is the local name of an export of a module. */
  is(node: Node, module: string | RegExp, name: string): node is Identifier {
    const binding = node.type === "Identifier" ? this.#imports.get(node.name) : undefined;
    return binding?.name === name && (typeof module === "string" ? binding.module === module : module.test(binding.module));
  }

  /** Returns the name, or the other one if the file uses the name already, and takes it. */
  name(wanted: string, other: string): string {
    let name = wanted;
    for (let nth = 1; this.#names.has(name); nth++) name = nth === 1 ? other : `${other}${nth}`;
    this.#names.add(name);
    return name;
  }

  /** True if the name is an import or a variable of the whole file. */
  declares(name: string): boolean {
    if (this.#imports.has(name)) return true;
    const declared = this.body.map((node) => (node.type === "ExportNamedDeclaration" && node.declaration ? node.declaration : node));
    return declared.some((node) => {
      if (node.type === "VariableDeclaration") return node.declarations.some(({ id }) => new RegExp(`\\b${name}\\b`).test(this.of(id)));
      return (node.type === "FunctionDeclaration" || node.type === "ClassDeclaration") && node.id?.name === name;
    });
  }

  /** Returns a string literal in the style of the file. */
  quoted(text: string): string {
    return `${this.#quote}${text}${this.#quote}`;
  }

  /** Returns lines of code with the semicolons, quotes and line breaks of the file. The code has `;` and `"`. */
  styled(code: string): string {
    let text = code.replace(/"([^"'\n\\]*)"/g, (_, inner: string) => this.quoted(inner));
    if (!this.#end) text = text.replace(/;(?=[ \t]*(?:\/\/.*)?$)/gm, "");
    if (this.unit !== "  ") text = text.replace(/^(?: {2})+/gm, (indent) => this.unit.repeat(indent.length / 2));
    return text.replaceAll("\n", this.eol);
  }

  replace(node: { start?: number | null; end?: number | null }, text: string): void {
    this.#edits.push({ start: node.start ?? 0, end: node.end ?? 0, text });
  }

  insert(at: number, text: string): void {
    this.#edits.push({ start: at, end: at, text });
  }

  wrap(node: Node, before: string, after: string): void {
    this.insert(node.start ?? 0, before);
    this.insert(node.end ?? 0, after);
  }

  /** Imports a name, and returns its local name: another one if the file has its own meaning for it. */
  import(module: string, name: string, other: string, isType = false): string {
    for (const [local, binding] of this.#imports) if (binding.module === module && binding.name === name) return local;
    const local = this.name(name === "default" ? other : name, other);
    this.#imports.set(local, { module, name });
    const wanted = this.#wanted.get(module) ?? [];
    wanted.push({ name, local, isType });
    this.#wanted.set(module, wanted);
    return local;
  }

  /** Adds lines before the statement and the comments directly above it. */
  before(statement: Statement, code: string): void {
    const previous = this.body.filter(({ end }) => (end ?? 0) <= (statement.start ?? 0)).at(-1);
    const lastLine = previous?.loc?.end.line ?? 0;
    let start = statement.start ?? 0;
    let line = this.line(statement);
    for (const comment of [...(statement.leadingComments ?? [])].reverse()) {
      if ((comment.loc?.start.line ?? 0) <= lastLine || (comment.loc?.end.line ?? 0) < line - 1) break;
      start = comment.start ?? start;
      line = comment.loc?.start.line ?? line;
    }
    this.insert(start, code + this.eol);
  }

  /** Adds lines after the statement and a comment at the end of its line. */
  after(statement: Statement, code: string): void {
    this.insert(this.#endOfLine(statement.end ?? 0), this.eol + code);
  }

  /** Returns the position after the comments that follow on the same line. */
  #endOfLine(at: number): number {
    const rest = /^[ \t]*(?:\/\/[^\r\n]*|\/\*[^\r\n]*?\*\/[ \t]*(?=\r?\n|$))?/.exec(this.text.slice(at))?.[0] ?? "";
    const end = at + rest.length;
    return /^(\r?\n|$)/.test(this.text.slice(end)) ? at + rest.trimEnd().length : at;
  }

  /** Returns the white space at the beginning of the line of a position, or nothing if other text is before it. */
  indentAt(at: number): string | undefined {
    const line = this.text.slice(this.text.lastIndexOf("\n", at - 1) + 1, at);
    return /^\s*$/.test(line) ? line : undefined;
  }

  /** Returns the white space at the beginning of the line, whatever is on it. */
  lineIndent(at: number): string {
    return /^[ \t]*/.exec(this.text.slice(this.text.lastIndexOf("\n", at - 1) + 1))?.[0] ?? "";
  }

  /** Adds a member at the end of an object literal. `code` has the indentation of the top level. */
  add(object: ObjectExpression, code: string, removed: readonly Node[] = []): void {
    const inner = (indent: string) => this.styled(code).replaceAll(this.eol, this.eol + indent);
    const members = object.properties.filter((member) => !removed.includes(member));
    const last = members.at(-1);
    const isOneLine = object.loc?.start.line === object.loc?.end.line;
    const comma = object.extra?.trailingComma;
    const hasComma = typeof comma === "number";
    if (!last) {
      const end = (object.end ?? 0) - 1;
      // All members were moved elsewhere, with the lines that they were on.
      if (removed.length && !isOneLine) this.insert(end, `${this.unit}${inner(this.lineIndent(end) + this.unit)},${this.eol}${this.lineIndent(end)}`);
      else this.replace({ start: (object.start ?? 0) + 1, end }, ` ${inner(this.lineIndent(object.start ?? 0))} `);
      return;
    }
    const lastEnd = last.end ?? 0;
    if (isOneLine) {
      this.insert(lastEnd, `, ${inner(this.lineIndent(object.start ?? 0))}`);
      return;
    }
    const indent = this.indentAt(object.properties[0]?.start ?? 0) ?? this.lineIndent(object.end ?? 0) + this.unit;
    const isLast = last === object.properties.at(-1);
    if (hasComma || !isLast) {
      const at = isLast ? Number(comma) + 1 : lastEnd + (/^[^,]*,/.exec(this.text.slice(lastEnd))?.[0].length ?? 0);
      this.insert(this.#endOfLine(at), `${this.eol}${indent}${inner(indent)}${hasComma ? "," : ""}`);
    } else {
      this.insert(lastEnd, ",");
      this.insert(this.#endOfLine(lastEnd), `${this.eol}${indent}${inner(indent)}`);
    }
  }

  /**
   * Removes a member of an object literal with its own lines. Returns its text with the comments above it, and the
   * comment on its last line.
   */
  take(object: ObjectExpression, member: ObjectExpression["properties"][number]): { text: string; note: string; indent: string } {
    const nth = object.properties.indexOf(member);
    const previousEnd = object.properties[nth - 1]?.loc?.end.line ?? object.loc?.start.line ?? 0;
    const comments = (member.leadingComments ?? []).filter((comment) => (comment.loc?.start.line ?? 0) > previousEnd);
    const start = comments[0]?.start ?? member.start ?? 0;
    const end = member.end ?? 0;
    const text = this.text.slice(start, end);
    const comma = /^\s*,/.exec(this.text.slice(end))?.[0].length ?? 0;
    const indent = this.indentAt(start);
    let to = end + comma;
    const lineEnd = this.#endOfLine(to);
    const rest = /^\r?\n/.exec(this.text.slice(lineEnd))?.[0];
    if (indent !== undefined && rest) {
      const note = this.text.slice(to, lineEnd).trim();
      this.replace({ start: start - indent.length, end: lineEnd + rest.length }, "");
      return { text, note, indent };
    }
    const previous = object.properties[nth - 1];
    if (comma || !previous) to += /^ */.exec(this.text.slice(to))?.[0].length ?? 0;
    this.replace({ start: comma || !previous ? start : (previous.end ?? start), end: to }, "");
    return { text, note: "", indent: "" };
  }

  /** Returns the text with all edits. */
  result(): string {
    this.#addImports();
    // Edits at the same place stay in the order in which they were made; no two overlap.
    const rank = ({ isFirst, start, end }: Edit) => (isFirst ? 0 : start === end ? 1 : 2);
    const edits = this.#edits.map((edit, nth) => ({ ...edit, nth })).sort((a, b) => a.start - b.start || rank(a) - rank(b) || a.nth - b.nth);
    let [text, at] = ["", 0];
    for (const { start, end, text: added } of edits) {
      text += this.text.slice(at, Math.max(at, start)) + added;
      at = Math.max(at, end);
    }
    return text + this.text.slice(at);
  }

  get isChanged(): boolean {
    return this.#edits.length > 0 || this.#wanted.size > 0;
  }

  #addImports(): void {
    const lines: string[] = [];
    for (const [module, wanted] of this.#wanted) {
      const specifiers = (isNamed: boolean) =>
        wanted
          .filter(({ name }) => (name !== "default") === isNamed)
          .map(
            ({ name, local, isType }) => `${isType ? "type " : ""}${name === local || !isNamed ? local : `${name}${this.isCommonJs ? ":" : " as"} ${local}`}`,
          );
      const [named, [standard]] = [specifiers(true), specifiers(false)];
      if (this.isCommonJs) {
        const left = standard ?? `{ ${named.join(", ")} }`;
        lines.push(`const ${left} = require(${this.quoted(module)})${standard ? ".default" : ""}${this.#end}`);
        continue;
      }
      const there = this.body.find((node) => node.type === "ImportDeclaration" && node.source.value === module && node.importKind !== "type");
      const last = there?.type === "ImportDeclaration" ? there.specifiers.at(-1) : undefined;
      if (last && last.type !== "ImportNamespaceSpecifier" && !standard) {
        const isNamed = last.type === "ImportSpecifier";
        this.insert(last.end ?? 0, isNamed ? `, ${named.join(", ")}` : `, { ${named.join(", ")} }`);
        continue;
      }
      const left = [standard, named.length && `{ ${named.join(", ")} }`].filter(Boolean).join(", ");
      lines.push(`import ${left} from ${this.quoted(module)}${this.#end}`);
    }
    this.#wanted.clear();
    if (!lines.length) return;
    const loads = (node: Statement) =>
      node.type === "ImportDeclaration" || (this.isCommonJs && node.type === "VariableDeclaration" && /\brequire\(/.test(this.of(node)));
    const last = this.body.filter(loads).at(-1);
    const code = lines.join(this.eol);
    if (last) this.after(last, code);
    else {
      const [first] = this.body;
      const directive = this.file.program.directives.at(-1);
      if (directive) this.insert(this.#endOfLine(directive.end ?? 0), this.eol + code);
      else {
        const at = first?.start ?? 0;
        this.#edits.push({ start: at, end: at, text: `${code}${this.eol}${this.eol}`, isFirst: true });
      }
    }
  }
}

function nameOf(node: Identifier | { value: string }): string {
  return "name" in node ? node.name : node.value;
}
