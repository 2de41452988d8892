/**
 * Lint rules of this project: what reaches the world goes through `src/runtime`.
 *
 * Time, chance, sockets, files and output come to all other code as values, so that tests can replace them and one
 * source runs on Deno, Bun and Node. Everything outside `src/` and `mod.ts` is free.
 */

/** What must not be named, where it may be all the same, and why. */
interface Ban {
  readonly allowedIn: readonly string[];
  readonly reason: string;
}

const CLOCK = {
  allowedIn: ["runtime"],
  reason: "take the time from the runtime's clock, so that tests can simulate it",
};
const TIMER = { allowedIn: ["runtime"], reason: "use the runtime's timers, so that tests need not wait" };
const CHANCE = { allowedIn: ["runtime"], reason: "take random bytes from the runtime, so that tests can repeat them" };
const PRINT = {
  allowedIn: ["runtime"],
  reason: "log through base/log.ts, or print to the writer that src/app was given",
};
const SEAM = { allowedIn: ["runtime"], reason: "only src/runtime knows on which runtime the code runs" };

const GLOBALS: Readonly<Record<string, Ban>> = {
  Deno: SEAM,
  Bun: SEAM,
  process: SEAM,
  Buffer: { allowedIn: ["runtime", "crypto"], reason: "bytes are Uint8Array everywhere else" },
  setTimeout: TIMER,
  setInterval: TIMER,
  setImmediate: TIMER,
  queueMicrotask: TIMER,
  console: PRINT,
  fetch: { allowedIn: ["runtime"], reason: "nothing may connect to the network around Tor" },
  WebSocket: { allowedIn: ["runtime"], reason: "nothing may connect to the network around Tor" },
};

const MEMBERS: Readonly<Record<string, Ban>> = {
  "Date.now": CLOCK,
  "performance.now": CLOCK,
  "performance.timeOrigin": CLOCK,
  "Math.random": CHANCE,
  "crypto.getRandomValues": CHANCE,
  "crypto.randomUUID": CHANCE,
};

const NODE: Ban = { allowedIn: ["runtime", "crypto"], reason: "Node's modules stand behind the runtime's ports" };

const GLOBAL_OBJECTS = ["globalThis", "window", "self", "global"];

/** The folder of src/ that a file is in; "" for mod.ts; undefined for files that the rules leave alone. */
function folderOf(filename: string): string | undefined {
  const path = filename.replaceAll("\\", "/");
  const inside = /(?:^|\/)src\/([^/]+)\/(?!.*\/src\/)/.exec(path);
  if (inside && !/(?:^|\/)(?:tests|scripts|bench)\//.test(path)) return inside[1];
  return path === "mod.ts" || /^(?!.*\/(?:tests|scripts|bench|src)\/).*\/mod\.ts$/.test(path) ? "" : undefined;
}

type AnyNode = Deno.lint.Node & Record<string, unknown>;

/** Whether an identifier only gives a name to a property, type or label, and refers to no variable. */
function isOnlyName(node: Deno.lint.Identifier): boolean {
  const parent = node.parent as AnyNode;
  switch (parent.type) {
    case "MemberExpression":
      return parent.property === node && !parent.computed;
    case "Property":
      return parent.key === node && parent.value !== node && !parent.computed;
    case "MethodDefinition":
    case "PropertyDefinition":
    case "TSPropertySignature":
    case "TSMethodSignature":
    case "TSAbstractMethodDefinition":
    case "TSAbstractPropertyDefinition":
      return parent.key === node && !parent.computed;
    case "ImportSpecifier":
    case "ExportSpecifier":
    case "TSQualifiedName":
    case "TSTypeReference":
    case "LabeledStatement":
      return true;
    default:
      return false;
  }
}

/** Whether an identifier declares a variable, a parameter or an import of its name. */
function isDeclaration(node: Deno.lint.Node): boolean {
  const parent = (node as AnyNode).parent as AnyNode | undefined;
  switch (parent?.type) {
    case "ImportSpecifier":
    case "ImportDefaultSpecifier":
    case "ImportNamespaceSpecifier":
      return parent.local === node;
    case "FunctionDeclaration":
    case "FunctionExpression":
    case "ArrowFunctionExpression":
    case "TSDeclareFunction":
    case "TSFunctionType":
    case "TSMethodSignature":
      return parent.id === node || (parent.params as unknown[]).includes(node);
    case "ClassDeclaration":
    case "VariableDeclarator":
      return parent.id === node;
    case "CatchClause":
      return parent.param === node;
    case "AssignmentPattern":
      return parent.left === node && isDeclaration(parent);
    case "Property":
      return parent.value === node && isDeclaration(parent);
    case "ObjectPattern":
    case "ArrayPattern":
    case "RestElement":
      return isDeclaration(parent);
    default:
      return false;
  }
}

/** Whether `globalThis` is used other than for one of its properties, named in the place. */
function isTakenWhole(node: Deno.lint.Identifier): boolean {
  if (node.name !== "globalThis" || isOnlyName(node)) return false;
  const parent = node.parent;
  return !(parent.type === "MemberExpression" && parent.object === node && globalPath(parent) !== undefined);
}

/** "a.b" of a member expression on a global, with `globalThis.` taken off; undefined when it is anything else. */
function globalPath(node: Deno.lint.Node): string | undefined {
  if (node.type === "Identifier") return GLOBAL_OBJECTS.includes(node.name) ? "" : node.name;
  if (node.type !== "MemberExpression") return undefined;
  const owner = globalPath(node.object);
  const property: Deno.lint.Node = node.property;
  const name = property.type === "Identifier" && !node.computed
    ? property.name
    : property.type === "Literal" && typeof property.value === "string"
    ? property.value
    : undefined;
  if (owner === undefined || name === undefined) return undefined;
  return owner === "" ? name : `${owner}.${name}`;
}

function ambientRule(): Deno.lint.Rule {
  return {
    create(context): Deno.lint.LintVisitor {
      const folder = folderOf(context.filename);
      if (folder === undefined) return {};
      const check = (node: Deno.lint.Node, name: string, ban: Ban | undefined) => {
        if (!ban || ban.allowedIn.includes(folder)) return;
        context.report({ node, message: `Cannot use ${name} in ${where(folder)}: ${ban.reason}` });
      };
      const own = (table: Readonly<Record<string, Ban>>, name: string) =>
        Object.hasOwn(table, name) ? table[name] : undefined;
      const declared = new Set<string>();
      const used = new Map<Deno.lint.Identifier, Ban>();
      return {
        Identifier(node) {
          const ban = own(GLOBALS, node.name);
          if (ban) {
            if (isDeclaration(node)) declared.add(node.name);
            else if (!isOnlyName(node)) used.set(node, ban);
          } else if (GLOBAL_OBJECTS.includes(node.name) && isTakenWhole(node)) {
            check(node, `all of ${node.name}`, SEAM);
          }
        },
        "Program:exit"() {
          // What the file declares under such a name is its own, wherever it does so.
          for (const [node, ban] of used) if (!declared.has(node.name)) check(node, node.name, ban);
        },
        MemberExpression(node) {
          const path = globalPath(node);
          if (path === undefined) return;
          check(node, path, own(MEMBERS, path));
          // `globalThis.console`: the identifier itself is only a property's name there.
          if (!path.includes(".")) check(node, path, own(GLOBALS, path));
        },
        NewExpression(node) {
          if (node.callee.type === "Identifier" && node.callee.name === "Date" && node.arguments.length === 0) {
            check(node, "new Date()", CLOCK);
          }
        },
        CallExpression(node) {
          if (node.callee.type === "Identifier" && node.callee.name === "Date") check(node, "Date()", CLOCK);
        },
      };
    },
  };
}

function nodeImportRule(): Deno.lint.Rule {
  return {
    create(context): Deno.lint.LintVisitor {
      const folder = folderOf(context.filename);
      if (folder === undefined || NODE.allowedIn.includes(folder)) return {};
      const check = (node: Deno.lint.Node, source: Deno.lint.Node | null | undefined) => {
        if (source?.type !== "Literal" || typeof source.value !== "string") return;
        if (!/^(node|bun):|^bun$/.test(source.value)) return;
        context.report({ node, message: `Cannot import ${source.value} in ${where(folder)}: ${NODE.reason}` });
      };
      return {
        ImportDeclaration: (node) => check(node, node.source),
        ImportExpression: (node) => check(node, node.source),
        ExportNamedDeclaration: (node) => check(node, node.source),
        ExportAllDeclaration: (node) => check(node, node.source),
      };
    },
  };
}

function where(folder: string): string {
  return folder === "" ? "mod.ts" : `src/${folder}`;
}

const plugin: Deno.lint.Plugin = {
  name: "tunic",
  rules: {
    "no-ambient": ambientRule(),
    "no-node-import": nodeImportRule(),
  },
};

export default plugin;
