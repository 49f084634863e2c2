// The HTTP answer to posted requests: one JSON body when the answers are all there is to say, an event stream when there is
// more on the way or it takes long.
import { INTERNAL_ERROR, type Fields, errorAnswer, isFields, lineOf } from "./jsonrpc.ts";
import type { EventStream } from "./events.ts";
import type { Sink } from "./link.ts";

/** Where a stream goes on; a client that was cut off may come back to it. */
export interface Output {
  readonly stream: EventStream;
  send(line: string): void;
  end(): void;
}

export interface AnswerOptions {
  /** Ids of the requests, in their order. */
  readonly ids: readonly unknown[];
  /** Whether they came as a batch, and are answered as one. */
  readonly batch: boolean;
  readonly takes: Accepted;
  /** Milliseconds until a stream is opened although nothing was said. */
  readonly opening: number;
  readonly openStream: () => Output;
  /** Everything is answered. */
  readonly onDone: () => void;
  /** A message on the way, for a client that takes no event stream. */
  readonly aside: (line: string) => void;
}

/** What a client accepts. */
export interface Accepted {
  readonly json: boolean;
  readonly events: boolean;
}

/** RFC 9110 §12.5.1, as far as two media types need it. A client that says nothing takes what it gets. */
export function acceptedBy(headers: Headers): Accepted {
  const accept = headers.get("accept")?.toLowerCase() ?? "application/json";
  const takes = (type: string, range: string): boolean =>
    accept.includes(type) || accept.includes(range) || accept.includes("*/*");
  return {
    json: takes("application/json", "application/*"),
    events: takes("text/event-stream", "text/*"),
  };
}

export type Answered =
  | { readonly kind: "json"; readonly body: string; readonly error: number | undefined }
  | { readonly kind: "events"; readonly stream: EventStream };

export interface Answer {
  readonly answered: Promise<Answered>;
  /** For the messages of one request. */
  sink(id: unknown): Sink;
}

interface State extends AnswerOptions {
  readonly given: PromiseWithResolvers<Answered>;
  readonly lines: string[];
  /** Of the first answer, when it is an error. */
  error: number | undefined;
  left: number;
  output: Output | undefined;
  timer: Timer | undefined;
}

export function openAnswer(options: AnswerOptions): Answer {
  const state: State = {
    ...options,
    given: Promise.withResolvers(),
    lines: [],
    error: undefined,
    left: options.ids.length,
    output: undefined,
    timer: undefined,
  };
  if (!options.takes.json) openStream(state);
  else if (options.takes.events) {
    state.timer = setTimeout(() => openStream(state), options.opening);
  }
  return {
    answered: state.given.promise,
    sink: (id) => ({
      passes: (line) => {
        if (!options.takes.events) return options.aside(line);
        openStream(state).send(line);
      },
      answers: (line, fields) => take(state, line, errorCode(fields)),
      fails: (why) => {
        if (why === undefined && state.output) return end(state);
        const text = why ?? "the MCP server ended the subscription";
        take(state, lineOf(errorAnswer(id, INTERNAL_ERROR, text)), INTERNAL_ERROR);
      },
    }),
  };
}

const errorCode = ({ error }: Fields): number | undefined =>
  isFields(error) && typeof error["code"] === "number" ? error["code"] : undefined;

function openStream(state: State): Output {
  if (state.output) return state.output;
  clearTimeout(state.timer);
  const output = state.openStream();
  state.output = output;
  for (const line of state.lines) output.send(line);
  state.given.resolve({ kind: "events", stream: output.stream });
  return output;
}

function take(state: State, line: string, error: number | undefined): void {
  if (state.output) state.output.send(line);
  else state.lines.push(line);
  if (state.lines.length === 1) state.error = error;
  end(state);
}

/** One request less to wait for. */
function end(state: State): void {
  if (--state.left > 0) return;
  clearTimeout(state.timer);
  state.onDone();
  if (state.output) return state.output.end();
  const body = state.batch ? `[${state.lines.join(",")}]` : (state.lines[0] ?? "");
  state.given.resolve({ kind: "json", body, error: state.batch ? undefined : state.error });
}
