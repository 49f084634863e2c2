// Applies policy and leash to one request: checks what it asks for, hands on what was checked and nothing else, and leaves
// out of lists what may not be used. A connection without either passes untouched and unread.
import type { AuthContext, Call, Deps } from "../deps.ts";
import { mediaType } from "../form.ts";
import { behind } from "./behind.ts";
import { RpcError, errorResponse, readText } from "./exchange.ts";
import { insufficientScope } from "./guard.ts";
import {
  type Fields,
  INVALID_PARAMS,
  INVALID_REQUEST,
  type Message,
  PARSE_ERROR,
  errorAnswer,
  lineOf,
  parseExactly,
  readMessage,
} from "./jsonrpc.ts";
import { changeMessages } from "./narrowing.ts";
import { holds, leaves, narrowed, scopesFor, scopesOf, wantedBy } from "./policy.ts";
import { headerMismatch } from "./revision.ts";

/** Bytes of the largest message that is looked into. */
const MESSAGE = 1024 * 1024;

interface Governed {
  readonly context: AuthContext;
  readonly deps: Deps;
  readonly call: Call;
}

/** @throws {OAuthError} insufficient_scope 403, with one challenge for all that the request needs */
export async function govern(
  request: Request,
  context: AuthContext,
  deps: Deps,
  call: Call,
): Promise<Response> {
  const { policy } = context.server;
  if (Object.keys(policy).length === 0 && !context.leash) {
    return behind(request, context, deps, call);
  }
  const governed = { context, deps, call };
  try {
    if (request.method !== "POST") {
      assertScopes(scopesFor(policy), governed);
      return await narrow(await behind(request, context, deps, call), governed);
    }
    const { messages, text } = await readMessages(request);
    for (const message of messages) assertHeaders(message, request.headers);
    assertScopes(scopesOf(policy, messages), governed);
    const refused = await refusedByLeash(messages, governed);
    if (refused) return refused;
    const checked = withBody(request, text);
    return await narrow(await behind(checked, context, deps, call), governed);
  } catch (error) {
    if (error instanceof RpcError) return errorResponse(error);
    throw error;
  }
}

/** Lists lose what may not be used; what they say of tools is remembered. */
const narrow = (answer: Response, { context, deps }: Governed): Promise<Response> =>
  changeMessages(answer, (message) => {
    deps.tools.learn(context.server, message);
    return narrowed(message, context);
  });

function assertScopes(needed: readonly string[], { context, deps, call }: Governed): void {
  if (holds(context, needed)) return;
  // What it has it is to keep: a client asks for exactly what a challenge names.
  throw insufficientScope(context.server, deps, call, [...context.scopes, ...needed]);
}

/** The messages of a body and how they are written: read once, so that nobody behind reads something else in them. */
async function readMessages(request: Request): Promise<{ messages: Message[]; text: string }> {
  if (mediaType(request) !== "application/json") {
    throw new RpcError(415, INVALID_REQUEST, "the body must be application/json");
  }
  let value: unknown;
  try {
    const text = await readText(request, MESSAGE);
    if (text === undefined) {
      throw new RpcError(413, INVALID_REQUEST, `the body has more than ${MESSAGE} bytes`);
    }
    value = parseExactly(text);
  } catch (error) {
    if (error instanceof RpcError) throw error;
    throw new RpcError(400, PARSE_ERROR, "the body is not valid JSON");
  }
  const values = Array.isArray(value) ? value : [value];
  const messages = values.map((each) => {
    const message = readMessage(each);
    if (message) return message;
    throw new RpcError(400, INVALID_REQUEST, "the body is no JSON-RPC message");
  });
  return { messages, text: lineOf(value) };
}

/** MCP 2026-07-28 "Server Validation": what headers say is what the body says, or nobody gets it. */
function assertHeaders(message: Message, headers: Headers): void {
  const mismatch = headerMismatch(message, headers);
  if (mismatch) throw new RpcError(400, mismatch.code, mismatch.message);
}

function withBody(request: Request, text: string): Request {
  const headers = new Headers(request.headers);
  headers.set("content-length", String(Buffer.byteLength(text)));
  return new Request(request.url, { method: "POST", headers, body: text, signal: request.signal });
}

/** No scope would help here, so the answer is the server's kind of no: clients do not log in again for it. */
async function refusedByLeash(
  messages: readonly Message[],
  { context, deps }: Governed,
): Promise<Response | undefined> {
  const { leash } = context;
  if (!leash) return undefined;
  let isRefused = false;
  for (const { capability, name = "" } of messages.flatMap(wantedBy)) {
    if (capability !== "tools") continue;
    const reads =
      leash.kind === "read-only" && (await deps.tools.isReadOnly(context.server, name, deps));
    if (!leaves(leash, name, reads)) isRefused = true;
  }
  if (!isRefused) return undefined;
  const words = "the owner has narrowed this connection, and this tool is not a part of it";
  const answers = messages.flatMap(({ kind, fields }): Fields[] =>
    kind === "request" ? [errorAnswer(fields["id"], INVALID_PARAMS, words)] : [],
  );
  return new Response(lineOf(messages.length === 1 ? answers[0] : answers), {
    headers: { "content-type": "application/json", "cache-control": "no-store" },
  });
}
