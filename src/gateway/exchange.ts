// HTTP around JSON-RPC: the body of a request within its bound, an answer as a response, an error as one. Which child
// answers is not known here.
import type { AuthContext, Call } from "../deps.ts";
import type { Answered } from "./answer.ts";
import { type Fields, errorAnswer, lineOf } from "./jsonrpc.ts";
import { relay } from "./stream.ts";

/** One HTTP request that the guard let in. */
export interface Exchange {
  readonly request: Request;
  readonly context: AuthContext;
  readonly call: Call;
  /** Milliseconds of silence on a stream before a comment is sent, and between two looks at the credential. */
  readonly timing: { readonly silence: number; readonly recheck: number };
}

/** A refusal in the words of JSON-RPC. */
export class RpcError extends Error {
  override readonly name = "RpcError";
  readonly status: number;
  readonly code: number;
  readonly headers: Readonly<Record<string, string>>;
  /** What programs may know besides the sentence. */
  readonly facts: Fields | undefined;

  constructor(
    status: number,
    code: number,
    message: string,
    options: { headers?: Readonly<Record<string, string>>; facts?: Fields | undefined } = {},
  ) {
    super(message);
    this.status = status;
    this.code = code;
    this.headers = options.headers ?? {};
    this.facts = options.facts;
  }
}

/** @param id of the request that is refused, when there is one */
export const errorResponse = (
  { status, code, message, headers, facts }: RpcError,
  id?: unknown,
): Response =>
  new Response(lineOf(errorAnswer(id, code, message, facts)), {
    status,
    headers: { "content-type": "application/json", "cache-control": "no-store", ...headers },
  });

/** The body as text; undefined: it has more than `most` bytes. @throws {TypeError} it is no UTF-8 */
export async function readText(request: Request, most: number): Promise<string | undefined> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  if (Number(request.headers.get("content-length") ?? 0) > most) return undefined;
  for await (const chunk of request.body ?? []) {
    size += chunk.length;
    if (size > most) return undefined;
    chunks.push(chunk);
  }
  return new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(chunks));
}

export interface ResponseOptions {
  readonly headers: Readonly<Record<string, string>>;
  /** HTTP status of an answer that is an error with this code. */
  readonly statusOf: (code: number) => number;
}

/** What the client gets, with its stream looked after until it ends. */
export function responseTo(
  answered: Answered,
  { context, call, timing }: Exchange,
  { headers, statusOf }: ResponseOptions,
): Response {
  // What a token opened is for its bearer alone.
  const common = { "cache-control": "no-store", ...headers };
  if (answered.kind === "json") {
    const { body, error } = answered;
    return new Response(body, {
      status: error === undefined ? 200 : statusOf(error),
      headers: { ...common, "content-type": "application/json" },
    });
  }
  const { stream } = answered;
  const body = relay(stream.body, {
    ...timing,
    events: true,
    stillGood: context.stillGood,
    stop: stream.cut,
    ended: () => undefined,
    keepOpen: call.keepOpen,
    letIdle: call.letIdle,
    opening: 10,
  });
  return new Response(body, {
    headers: { ...common, "content-type": "text/event-stream", "x-accel-buffering": "no" },
  });
}
