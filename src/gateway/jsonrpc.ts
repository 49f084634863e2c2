// JSON-RPC 2.0 as MCP uses it: which kind a message is, and writing one again without losing anything of it. What methods
// mean is nobody's business here.
import { isObject } from "../json.ts";

export type Fields = Record<string, unknown>;

/** One message; `fields` is the whole of it. Ids are compared by `key`: 1 and "1" are two ids. */
export type Message =
  | {
      readonly kind: "request";
      readonly key: string;
      readonly method: string;
      readonly fields: Fields;
    }
  | { readonly kind: "notification"; readonly method: string; readonly fields: Fields }
  | { readonly kind: "response"; readonly key: string; readonly fields: Fields };
export type Request = Extract<Message, { kind: "request" }>;
export type Notification = Extract<Message, { kind: "notification" }>;

// JSON-RPC 2.0 §5.1
export const PARSE_ERROR = -32_700;
export const INVALID_REQUEST = -32_600;
export const METHOD_NOT_FOUND = -32_601;
export const INVALID_PARAMS = -32_602;
/** What went wrong between client and server, as opposed to within either: MCP leaves no better code. */
export const INTERNAL_ERROR = -32_603;

export const isFields = (value: unknown): value is Fields => isObject(value) && !isRawNumber(value);

/** A number as it was written, which no JavaScript number is equal to. */
interface RawNumber {
  readonly rawJSON: string;
}

// In the language since ES2026; the compiler's library does not know it yet.
const { rawJSON, isRawJSON } = JSON as typeof JSON & {
  rawJSON(text: string): RawNumber;
  isRawJSON(value: unknown): boolean;
};
const isRawNumber = (value: unknown): value is RawNumber => isRawJSON(value);

// Spellings of numbers that do not survive parsing and writing, where a value may begin; those inside of strings only cost
// time. The version in `"jsonrpc":"2.0"` is none.
const fragile = /(?:^|[\s:,[])(?:-0|-?\d{16}|-?\d+[.eE])/;

/**
 * Parses so that `JSON.stringify` gives every number back digit for digit: 64-bit ids, 1.0, 1e400.
 *
 * @throws {SyntaxError}
 */
export function parseExactly(text: string): unknown {
  if (!fragile.test(text)) return JSON.parse(text);
  const keep = (_name: string, value: unknown, context?: { source?: string }): unknown =>
    typeof value === "number" && context?.source !== undefined && String(value) !== context.source
      ? rawJSON(context.source)
      : value;
  return JSON.parse(text, keep);
}

/** A number that is kept as it was written, as a number; anything else as it is. */
export const plain = (value: unknown): unknown =>
  isRawNumber(value) ? Number(value.rawJSON) : value;

/** The key of a request id; undefined: it is none. */
export function idKey(id: unknown): string | undefined {
  if (typeof id === "string") return `"${id}`;
  // 1.0 is answered as 1.
  const number = plain(id);
  return typeof number === "number" ? String(number) : undefined;
}

/** The message that a JSON value is; undefined: it is none. Members that nobody knows stay in it. */
export function readMessage(value: unknown): Message | undefined {
  if (!isFields(value) || value["jsonrpc"] !== "2.0") return undefined;
  const { id, method } = value;
  const key = idKey(id);
  if (typeof method === "string") {
    if (id === undefined) return { kind: "notification", method, fields: value };
    return key === undefined ? undefined : { kind: "request", key, method, fields: value };
  }
  if (method !== undefined || key === undefined) return undefined;
  const isAnswer = "result" in value || isFields(value["error"]);
  return isAnswer ? { kind: "response", key, fields: value } : undefined;
}

/** The parameters of a message; empty when it has none, or none by name. */
export const paramsOf = ({ fields }: Message): Fields =>
  isFields(fields["params"]) ? fields["params"] : {};

/** The metadata of a message's parameters. */
export function metaOf(message: Message): Fields {
  const { _meta: meta } = paramsOf(message);
  return isFields(meta) ? meta : {};
}

/** The message with other parameters and, if given, another id. */
export function withParams({ fields }: Message, params: Fields, id = fields["id"]): Fields {
  return { ...fields, ...(id !== undefined && { id }), params };
}

/** One line for a pipe or an event stream. */
export const lineOf = (value: unknown): string => JSON.stringify(value);

/** A line as it came, fit for an event stream: a bare CR between tokens would end its field (WHATWG HTML §9.2.6). */
export const oneLine = (text: string): string => text.replaceAll("\r", " ");

/** An error answer to the request with this id; null when there is none. */
export function errorAnswer(id: unknown, code: number, message: string, extra?: Fields): Fields {
  const error = { code, message, ...(extra && { data: extra }) };
  return { jsonrpc: "2.0", id: id ?? null, error };
}
