// Answers of a server with messages changed on the way: one JSON body, or an event stream, event by event. What is changed is
// policy.ts's.
import { OAuthError } from "../errors.ts";
import { type Fields, isFields, lineOf, parseExactly } from "./jsonrpc.ts";

/** Characters of the longest body or event that is looked through. */
const LONGEST = 16 * 1024 * 1024;

/** Returns the same value where nothing changes. */
type Change = (message: Fields) => Fields;

/** @throws {OAuthError} server_error 502: the answer cannot be looked through */
export async function changeMessages(answer: Response, change: Change): Promise<Response> {
  const type = answer.headers.get("content-type")?.split(";", 1)[0]?.trim().toLowerCase();
  const isJson = type === "application/json";
  if (!answer.body || (!isJson && type !== "text/event-stream")) return answer;
  if (answer.headers.has("content-encoding")) {
    await answer.body.cancel();
    throw unreadable("is compressed");
  }
  const { status } = answer;
  const headers = new Headers(answer.headers);
  headers.delete("content-length");
  if (!isJson) return new Response(changeEvents(answer.body, change), { status, headers });
  const body = await readBounded(answer.body);
  return new Response(changeText(body, change), { status, headers });
}

/** The messages of an answer, as they come. */
export async function* messagesIn(answer: Response): AsyncGenerator<Fields> {
  const isEvents = answer.headers.get("content-type")?.startsWith("text/event-stream") ?? false;
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of answer.body ?? []) {
    rest += decoder.decode(chunk, { stream: true });
    if (rest.length > LONGEST) throw unreadable("is too long");
    if (!isEvents) continue;
    const { events, tail } = splitEvents(rest);
    rest = tail;
    for (const event of events) yield* fieldsIn(dataOf(event) ?? "");
  }
  if (!isEvents) yield* fieldsIn(rest);
}

function fieldsIn(text: string): Fields[] {
  try {
    const value: unknown = JSON.parse(text);
    return (Array.isArray(value) ? value : [value]).filter(isFields);
  } catch {
    return [];
  }
}

const unreadable = (why: string): OAuthError =>
  new OAuthError("server_error", "the MCP server behind Postern gave an unusable answer", {
    status: 502,
    detail: `an answer to a narrowed connection ${why}`,
  });

async function readBounded(body: ReadableStream<Uint8Array>): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of body) {
    text += decoder.decode(chunk, { stream: true });
    if (text.length > LONGEST) throw unreadable(`has more than ${LONGEST} characters`);
  }
  return text + decoder.decode();
}

/** The text, written anew only where a message of it changes. */
function changeText(text: string, change: Change): string {
  let value: unknown;
  try {
    value = parseExactly(text);
  } catch {
    // No JSON-RPC, so nothing that a client could take for a list.
    return text;
  }
  const messages = Array.isArray(value) ? value : [value];
  const changed = messages.map((each: unknown) => (isFields(each) ? change(each) : each));
  if (changed.every((each, index) => each === messages[index])) return text;
  return lineOf(Array.isArray(value) ? changed : changed[0]);
}

function changeEvents(
  body: ReadableStream<Uint8Array>,
  change: Change,
): ReadableStream<Uint8Array> {
  const decoder = new TextDecoder();
  const encoder = new TextEncoder();
  let rest = "";
  return body.pipeThrough(
    new TransformStream<Uint8Array, Uint8Array>({
      transform: (chunk, controller) => {
        rest += decoder.decode(chunk, { stream: true });
        const { events, tail } = splitEvents(rest);
        rest = tail;
        if (rest.length > LONGEST) throw unreadable("has an event without an end");
        const text = events.map((event) => changeEvent(event, change)).join("");
        if (text !== "") controller.enqueue(encoder.encode(text));
      },
      flush: (controller) => {
        if (rest.endsWith("\r\r")) controller.enqueue(encoder.encode(changeEvent(rest, change)));
      },
      // WHATWG HTML §9.2.6: an event that has no end was none.
    }),
  );
}

/** Whole events with their ends. WHATWG HTML §9.2.5: a line ends with CRLF, LF or CR, an event with an empty line. */
function splitEvents(text: string): { events: string[]; tail: string } {
  const events: string[] = [];
  let from = 0;
  // A CR at the very end may be the first half of a CRLF.
  for (const { index, 0: end } of text.matchAll(/(?:\r\n|\n|\r(?!\n|$))(?:\r\n|\n|\r(?!$))/g)) {
    if (index < from) continue;
    events.push(text.slice(from, index + end.length));
    from = index + end.length;
  }
  return { events, tail: text.slice(from) };
}

function changeEvent(event: string, change: Change): string {
  const text = dataOf(event);
  const changed = text === undefined ? undefined : changeText(text, change);
  if (changed === undefined || changed === text) return event;
  const others = linesOf(event).filter((line) => line !== "" && !isData.test(line));
  return [...others, `data: ${changed}`, "", ""].join("\n");
}

const isData = /^data(?::|$)/;
const linesOf = (event: string): string[] => event.split(/\r\n|\n|\r/);

/** The data of an event; undefined: it has none. */
function dataOf(event: string): string | undefined {
  const lines = linesOf(event).filter((line) => isData.test(line));
  if (lines.length === 0) return undefined;
  return lines.map((line) => line.replace(/^data:? ?/, "")).join("\n");
}
