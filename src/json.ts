// JSON that people write: what is wrong with it is told with its line. What programs send is form.ts's.

/** Whether a parsed value is a JSON object: no list, and not null. */
export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const VALUE = "{[sl";
/** Brackets and marks stand for themselves, s for a string, l for any other literal. */
const token =
  /[ \t\r\n]*(?:([{}[\],:])|("(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[\da-fA-F]{4}))*")|(?:-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null)(?![\w.+-]))/gy;

/** @throws {Error} "line 3: ..." */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    const offset = errorOffset(text);
    const line = text.slice(0, offset).split("\n").length;
    throw new Error(`line ${line}: ${problemAt(text, offset)}`, { cause });
  }
}

/** Where a text stops being JSON: the offset of the first character that fits nothing. */
function errorOffset(text: string): number {
  const open: string[] = [];
  let allowed = VALUE;
  let isKey = false;
  let end = 0;
  for (const match of text.matchAll(token)) {
    const kind = match[1] ?? (match[2] === undefined ? "l" : "s");
    if (!allowed.includes(kind)) break;
    end = match.index + match[0].length;
    if (kind === "{" || kind === "[") open.push(kind);
    if (kind === "}" || kind === "]") open.pop();
    const inObject = open.at(-1) === "{";
    if (kind === "{") allowed = "s}";
    else if (kind === "[") allowed = `${VALUE}]`;
    else if (kind === ":") allowed = VALUE;
    else if (kind === ",") allowed = inObject ? "s" : VALUE;
    else if (isKey) allowed = ":";
    else allowed = open.length === 0 ? "" : inObject ? ",}" : ",]";
    isKey = inObject && (kind === "{" || kind === ",");
  }
  return end + (/^[ \t\r\n]*/.exec(text.slice(end))?.[0].length ?? 0);
}

function problemAt(text: string, offset: number): string {
  const rest = text.slice(offset);
  if (rest === "") return text.trim() === "" ? "the file is empty" : "the file ends too early";
  if (/^(\/[/*]|#)/.test(rest)) return "JSON has no comments";
  if (rest.startsWith("'")) return 'strings stand in "double quotes"';
  if (/^[}\]]/.test(rest) && text.slice(0, offset).trimEnd().endsWith(","))
    return `a comma too many before ${rest[0]}`;
  // What stands there may be a secret that slipped out of its quotes.
  if (rest.startsWith('"')) return "did not expect a string";
  if (/^[\w.+-]/.test(rest)) return "did not expect a word without quotes";
  return `did not expect ${String.fromCodePoint(rest.codePointAt(0) ?? 0)}`;
}
