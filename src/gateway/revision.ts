// Which MCP revision a posted message speaks, and whether its headers agree with its body (MCP 2026-07-28 "Request
// Metadata"). Decides nothing about who may send it.
import {
  type Fields,
  INVALID_PARAMS,
  type Message,
  type Request,
  isFields,
  metaOf,
  paramsOf,
  plain,
} from "./jsonrpc.ts";

export const VERSION_KEY = "io.modelcontextprotocol/protocolVersion";
export const CLIENT_KEY = "io.modelcontextprotocol/clientInfo";
export const CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities";
const HEADER_MISMATCH = -32_020;
const UNSUPPORTED_VERSION = -32_022;
/** The first revision without sessions and without `initialize`. */
export const STATELESS = "2026-07-28";
/** Those with sessions. */
export const sessionRevisions = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] as const;

/** "session": until 2025-11-25, begun with `initialize`; "stateless": since 2026-07-28. */
export type Era = "session" | "stateless";

/** A message that is refused, as JSON-RPC error with status 400. */
export interface Mismatch {
  readonly code: number;
  readonly message: string;
  readonly facts?: Fields;
}

export const isStateless = (revision: string): boolean =>
  /^\d{4}-\d\d-\d\d$/.test(revision) && revision >= STATELESS;

const claimOf = (message: Message): unknown => metaOf(message)[VERSION_KEY];

/** The body decides; a header that names a stateless revision commits a body that names none. */
export function eraOf(message: Message, headers: Headers): Era {
  const named = headers.get("mcp-protocol-version") ?? "";
  return claimOf(message) !== undefined || isStateless(named) ? "stateless" : "session";
}

/** What is wrong with a stateless message; undefined: nothing. */
export function mismatchIn(message: Message, headers: Headers): Mismatch | undefined {
  if (message.kind === "response") {
    return { code: HEADER_MISMATCH, message: "this revision knows no responses of a client" };
  }
  const claimed = claimOf(message);
  const version = headers.get("mcp-protocol-version");
  if (message.kind === "request") {
    // A handshake of older revisions under the header of a newer one.
    if (claimed === undefined && message.method === "initialize") {
      return disagree("MCP-Protocol-Version", version, undefined);
    }
    const envelope = envelopeProblem(message);
    if (envelope !== undefined) return { code: INVALID_PARAMS, message: envelope };
  }
  if (claimed !== undefined && (version !== null || message.kind === "request")) {
    if (version !== claimed) return disagree("MCP-Protocol-Version", version, claimed);
  }
  const method = headers.get("mcp-method");
  if (method === null && message.kind === "request") {
    return disagree("Mcp-Method", method, message.method);
  }
  const name = message.kind === "request" ? nameOf(message) : undefined;
  if (name !== undefined && !headers.has("mcp-name")) return disagree("Mcp-Name", null, name);
  return headerMismatch(message, headers);
}

/** What a header that is there says otherwise than a message, of whichever revision. */
export function headerMismatch(message: Message, headers: Headers): Mismatch | undefined {
  if (message.kind === "response") return undefined;
  const method = headers.get("mcp-method");
  if (method !== null && method !== message.method) {
    return disagree("Mcp-Method", method, message.method);
  }
  const given = headers.get("mcp-name");
  const name = message.kind === "request" ? nameOf(message) : undefined;
  // Where the body has no name the server says what is missing.
  if (given === null || name === undefined || decodeHeader(given) === name) return undefined;
  return disagree("Mcp-Name", given, name);
}

/** MCP 2026-07-28 "Protocol Version Negotiation": children look at it in their first message alone. */
export function unsupportedIn(
  message: Request,
  revisions: readonly string[],
): Mismatch | undefined {
  const requested = claimOf(message);
  if (typeof requested !== "string" || revisions.includes(requested)) return undefined;
  const facts = { supported: revisions, requested };
  return { code: UNSUPPORTED_VERSION, message: "unsupported protocol version", facts };
}

function envelopeProblem(message: Request): string | undefined {
  const meta = metaOf(message);
  const needed = `this revision needs params._meta`;
  if (typeof meta[VERSION_KEY] !== "string") return `${needed}["${VERSION_KEY}"]`;
  return isFields(meta[CAPABILITIES_KEY]) ? undefined : `${needed}["${CAPABILITIES_KEY}"]`;
}

/** Which parameter the header Mcp-Name repeats; the tasks are an extension's. */
const nameSources: ReadonlyMap<string, string> = new Map([
  ["tools/call", "name"],
  ["prompts/get", "name"],
  ["resources/read", "uri"],
  ["tasks/get", "taskId"],
  ["tasks/update", "taskId"],
  ["tasks/cancel", "taskId"],
]);

function nameOf(message: Request): string | undefined {
  const source = nameSources.get(message.method);
  const name = source === undefined ? undefined : paramsOf(message)[source];
  return typeof name === "string" ? name : undefined;
}

/** MCP 2026-07-28 "Value Encoding"; undefined: it claims to be Base64 of UTF-8 and is not. */
function decodeHeader(value: string): string | undefined {
  const encoded = /^=\?base64\?(.*)\?=$/.exec(value)?.[1];
  if (encoded === undefined) return value;
  if (!/^(?:[\w+/]{4})*(?:[\w+/]{2}==|[\w+/]{3}=)?$/.test(encoded)) return undefined;
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(Buffer.from(encoded, "base64"));
  } catch {
    return undefined;
  }
}

function disagree(header: string, value: string | null, wanted: unknown): Mismatch {
  const found = value === null ? `${header} is missing` : `${header} is ${JSON.stringify(value)}`;
  const body = wanted === undefined ? "says otherwise" : `says ${JSON.stringify(wanted)}`;
  return { code: HEADER_MISMATCH, message: `header mismatch: ${found}, the body ${body}` };
}

/** A tool's parameter that a header repeats: where it stands in the arguments, and what the header is called. */
export interface MirroredParameter {
  readonly path: readonly string[];
  readonly header: string;
}

/** MCP 2026-07-28 "Schema Extension": the parameters of a tool that say x-mcp-header, along `properties` alone. */
export function mirroredParameters(schema: unknown): MirroredParameter[] {
  const found: MirroredParameter[] = [];
  const visit = (node: unknown, path: readonly string[]): void => {
    if (!isFields(node) || path.length > 16) return;
    const header = node["x-mcp-header"];
    if (typeof header === "string" && /^[!#$%&'*+.^`|~\w-]+$/.test(header) && path.length > 0) {
      found.push({ path, header });
    }
    const { properties } = node;
    if (!isFields(properties)) return;
    for (const [name, child] of Object.entries(properties)) visit(child, [...path, name]);
  };
  visit(schema, []);
  return found;
}

/** MCP 2026-07-28 "Server Behavior for Custom Headers": what of them does not agree with the call. */
export function parameterMismatch(
  parameters: readonly MirroredParameter[],
  call: Request,
  headers: Headers,
): Mismatch | undefined {
  for (const { path, header } of parameters) {
    const value = plain(valueAt(paramsOf(call)["arguments"], path));
    if (value === undefined || value === null || typeof value === "object") continue;
    const name = `Mcp-Param-${header}`;
    const given = headers.get(name);
    const decoded = given === null ? undefined : decodeHeader(given);
    const isEqual =
      typeof value === "number" && /^-?\d+(\.\d+)?$/.test(decoded ?? "")
        ? Number(decoded) === value
        : decoded === String(value);
    if (!isEqual) return disagree(name, given, value);
  }
  return undefined;
}

const valueAt = (root: unknown, path: readonly string[]): unknown =>
  path.reduce<unknown>(
    (node, name) => (isFields(node) && Object.hasOwn(node, name) ? node[name] : undefined),
    root,
  );

/** MCP 2026-07-28 "Protocol Version Header" and "Server Validation": errors that are the request's have its status. */
export function statusOfError(code: number): number {
  if (code === -32_601) return 404;
  return code >= -32_022 && code <= -32_020 ? 400 : 200;
}
