// Parameters of OAuth requests: parsed once, never repeated, empty as absent.
import { OAuthError } from "./errors.ts";
import { isObject } from "./json.ts";

/** Parameters by name; a repeated one is refused when it is read. `resource` alone may repeat (RFC 8707 §2). */
export class Parameters {
  readonly #search: URLSearchParams;

  constructor(search: URLSearchParams) {
    this.#search = search;
  }

  /**
   * The one value of a parameter; OAuth 2.1 §3.1: empty counts as absent.
   * @throws {OAuthError} invalid_request when it is repeated
   */
  get(name: string): string | undefined {
    const values = this.#search.getAll(name);
    if (values.length > 1) {
      throw new OAuthError("invalid_request", `the parameter ${name} is repeated`);
    }
    return values[0] === "" ? undefined : values[0];
  }

  /** @throws {OAuthError} invalid_request when it is absent or repeated */
  require(name: string): string {
    const value = this.get(name);
    if (value === undefined) {
      throw new OAuthError("invalid_request", `the parameter ${name} is missing`);
    }
    return value;
  }

  all(name: string): string[] {
    return this.#search.getAll(name).filter(Boolean);
  }

  /** Whether this name stands there more than once, equal values included. */
  repeats(name: string): boolean {
    return this.#search.getAll(name).length > 1;
  }
}

/** "application/json": without parameters, in small letters; "" when there is none (RFC 9110 §8.3.1). */
export const mediaType = (request: Request): string =>
  (request.headers.get("content-type") ?? "").split(";", 1)[0]?.trim().toLowerCase() ?? "";

/**
 * RFC 6749 Appendix B: the body of a form POST. Parameters of the query are never mixed in.
 * @throws {OAuthError} invalid_request for another media type
 */
export async function readForm(request: Request): Promise<Parameters> {
  if (mediaType(request) !== "application/x-www-form-urlencoded") {
    throw new OAuthError("invalid_request", "the body must be application/x-www-form-urlencoded");
  }
  return new Parameters(new URLSearchParams(await request.text()));
}

/** @throws {OAuthError} `code` when the body is no JSON object, or one that names a member twice */
export async function readJsonObject(
  request: Request,
  code: "invalid_client_metadata" | "invalid_request",
): Promise<Record<string, unknown>> {
  if (mediaType(request) !== "application/json") {
    throw new OAuthError(code, "the body must be application/json");
  }
  const text = await request.text();
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (cause) {
    throw new OAuthError(code, "the body is not valid JSON", { cause });
  }
  if (!isObject(content)) throw new OAuthError(code, "the body must be a JSON object");
  if (hasDuplicateMember(text)) throw new OAuthError(code, "the body names a member twice");
  return content;
}

/** RFC 8259 §4: which of two members of one name counts differs, so what judged the body before us may have read the other. */
function hasDuplicateMember(validJson: string): boolean {
  // For each open object the names it has; for an open list nothing.
  const open: (Set<unknown> | undefined)[] = [];
  let isName = false;
  for (const [part] of validJson.matchAll(/"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\],]/g)) {
    const names = open.at(-1);
    if (isName && names && part.startsWith('"')) {
      const name: unknown = JSON.parse(part);
      if (names.has(name)) return true;
      names.add(name);
    }
    if (part === "{") open.push(new Set());
    if (part === "[") open.push(undefined);
    if (part === "}" || part === "]") open.pop();
    isName = part === "{" || part === ",";
  }
  return false;
}
