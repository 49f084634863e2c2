// MCP 2026-07-28: every request is an exchange of its own, and its stream is its life. Clients share a child.
import { type Accepted, openAnswer } from "./answer.ts";
import { type Bridge, ask, identified, identityVariables } from "./bridge.ts";
import { openEvents } from "./events.ts";
import { type Exchange, RpcError, responseTo } from "./exchange.ts";
import {
  type Fields,
  INTERNAL_ERROR,
  INVALID_REQUEST,
  type Message,
  type Request,
  isFields,
  paramsOf,
} from "./jsonrpc.ts";
import type { Sink, Ticket } from "./link.ts";
import { type Pooled, SessionsOnly, envelope, stateless } from "./pool.ts";
import { sentence } from "./post.ts";
import {
  type MirroredParameter,
  type Mismatch,
  mirroredParameters,
  mismatchIn,
  parameterMismatch,
  statusOfError,
  unsupportedIn,
} from "./revision.ts";

/**
 * Answers one message of the stateless revision.
 *
 * @throws {RpcError} 400: the message is none of it, or the server does not speak it
 */
export async function postStateless(
  bridge: Bridge,
  message: Message,
  exchange: Exchange,
  takes: Accepted,
): Promise<Response> {
  const { request, context } = exchange;
  const mismatch = mismatchIn(message, request.headers);
  if (mismatch) throw refusal(mismatch);
  if (bridge.monotonic() < bridge.sessionsOnlyUntil) throw sessionsOnly();
  try {
    // A child that one login has to itself may know whose it is.
    const pooled = bridge.shared
      ? await stateless(bridge, "", {})
      : await stateless(bridge, context.family, identityVariables(context));
    pooled.running.touch();
    const sent = identified(message, context);
    if (sent.kind === "request") return await respond(bridge, pooled, sent, exchange, takes);
    pooled.running.link.tell(sent, exchange);
    return new Response(null, { status: 202 });
  } catch (error) {
    if (error instanceof RpcError) throw error;
    if (error instanceof SessionsOnly) throw sessionsOnly();
    throw new RpcError(200, INTERNAL_ERROR, sentence(bridge, error));
  }
}

const refusal = ({ code, message, facts }: Mismatch): RpcError =>
  new RpcError(400, code, message, { facts });

// No code of the stateless revision: a client that knows both begins with `initialize` then.
const sessionsOnly = (): RpcError =>
  new RpcError(400, INVALID_REQUEST, "this MCP server speaks revisions with sessions: initialize");

async function respond(
  bridge: Bridge,
  pooled: Pooled,
  message: Request,
  exchange: Exchange,
  takes: Accepted,
): Promise<Response> {
  const { bounds } = bridge;
  const { signal, headers } = exchange.request;
  const unsupported = unsupportedIn(message, pooled.revisions ?? []);
  if (unsupported) throw refusal(unsupported);
  if (message.method === "tools/call") {
    pooled.mirrored ??= await listMirrored(bridge, pooled);
    const { name } = paramsOf(message);
    const mirrored = typeof name === "string" ? pooled.mirrored.get(name) : undefined;
    const mismatch = parameterMismatch(mirrored ?? [], message, headers);
    if (mismatch) throw refusal(mismatch);
  }
  let ticket: Ticket | undefined;
  // MCP 2026-07-28 "Cancellation": a client that closes the stream has cancelled.
  const cancel = (): void => ticket?.cancel();
  const answer = openAnswer({
    ids: [message.fields["id"]],
    batch: false,
    takes,
    opening: bounds.opening,
    openStream: () => {
      const stream = openEvents(bounds.waiting, cancel);
      stream.open();
      return { stream, send: (line) => stream.send(line), end: stream.end };
    },
    onDone: () => signal.removeEventListener("abort", cancel),
    aside: () => undefined,
  });
  signal.addEventListener("abort", cancel, { once: true });
  const sink = answer.sink(message.fields["id"]);
  ticket = pooled.running.link.request(message, exchange, learning(pooled, message, sink));
  if (signal.aborted) cancel();
  const answered = await answer.answered;
  return responseTo(answered, exchange, { headers: {}, statusOf: statusOfError });
}

/** What passes tells which parameters headers repeat. */
function learning(pooled: Pooled, { method }: Request, sink: Sink): Sink {
  if (method !== "tools/list") return sink;
  return {
    ...sink,
    answers: (line, fields) => {
      if (pooled.mirrored) pooled.mirrored = new Map([...pooled.mirrored, ...mirroredIn(fields)]);
      sink.answers(line, fields);
    },
  };
}

/** Pages of tools that are asked for; more tools than that have no headers. */
const PAGES = 50;

async function listMirrored({ bounds }: Bridge, { running }: Pooled): Promise<Mirrored> {
  const found: [string, readonly MirroredParameter[]][] = [];
  let cursor: unknown;
  for (let page = 0; page < PAGES; page++) {
    const params = { _meta: envelope, ...(cursor !== undefined && { cursor }) };
    const answer = await ask(running, "tools/list", params, bounds.handshake);
    found.push(...mirroredIn(answer));
    cursor = isFields(answer["result"]) ? answer["result"]["nextCursor"] : undefined;
    if (typeof cursor !== "string") break;
  }
  return new Map(found);
}

type Mirrored = NonNullable<Pooled["mirrored"]>;

function mirroredIn({ result }: Fields): [string, readonly MirroredParameter[]][] {
  const tools = isFields(result) && Array.isArray(result["tools"]) ? result["tools"] : [];
  return tools.flatMap((tool: unknown): [string, MirroredParameter[]][] => {
    if (!isFields(tool) || typeof tool["name"] !== "string") return [];
    return [[tool["name"], mirroredParameters(tool["inputSchema"])]];
  });
}
