// Check-ups: while `postern doctor` looks at this server, a bearer of its own opens nothing and is answered here, by the
// process that made it and no other. It says what arrived of a request, or sends a slow stream to see when that arrives.
// Beginning and ending one is admin/checkup.ts's.
import { type Checkups, checkupProof } from "../checkup.ts";
import type { Server } from "../config.ts";
import type { Call } from "../deps.ts";
import { sha256 } from "../primitives.ts";

/** What arrived of one request, as the doctor reads it. */
export interface Arrived {
  /** That this server says so, and nobody who stands where it should. */
  readonly proof: string;
  readonly method: string;
  readonly path: string;
  /** The MCP server that it was taken for. */
  readonly resource: string;
  /** Who connected here, and whom that makes the client. */
  readonly peer: string;
  readonly address: string;
  /** Without those that carry credentials. */
  readonly headers: Readonly<Record<string, string>>;
  /** SHA-256 of the body. */
  readonly body: string;
}

/** Comes with every answer to the doctor, to see whether it comes through. */
export const ECHO_HEADER = "mcp-session-id";
/** Milliseconds between the two events of the slow stream. */
export const STREAM_PAUSE = 600;
/** Bytes of a body that is read. */
const BODY = 64 * 1024;

/** Answers the bearer of a check-up; undefined for every other request. */
export async function answerCheckup(
  request: Request,
  server: Server,
  checkups: Checkups,
  call: Call,
): Promise<Response | undefined> {
  const pattern = /^bearer +pcu_([A-Za-z0-9_-]{22})\.(seen|stream)$/i;
  const [, key = "", what] = pattern.exec(request.headers.get("authorization") ?? "") ?? [];
  const checkup = checkups.get(key);
  if (!checkup) return undefined;
  if (what === "stream") return slowStream(call);
  const length = Number(request.headers.get("content-length") ?? 0);
  const peer = "ip" in request && typeof request.ip === "string" ? request.ip : "unknown";
  const arrived: Arrived = {
    proof: checkupProof(checkup.id, key),
    method: request.method,
    path: call.path,
    resource: server.resource,
    peer,
    address: call.address,
    headers: Object.fromEntries(
      [...request.headers].filter(([name]) => name !== "authorization" && name !== "cookie"),
    ),
    body: length <= BODY ? sha256(await request.text()) : "",
  };
  return Response.json(arrived, {
    headers: { "cache-control": "no-store", [ECHO_HEADER]: key.slice(0, 8) },
  });
}

/** Two events, and a pause between them: what holds answers back delivers both at once. */
function slowStream(call: Call): Response {
  call.keepOpen();
  const encoder = new TextEncoder();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const body = new ReadableStream<Uint8Array>({
    start: (controller) => {
      controller.enqueue(encoder.encode("event: first\ndata: {}\n\n"));
      timer = setTimeout(() => {
        controller.enqueue(encoder.encode("event: last\ndata: {}\n\n"));
        controller.close();
      }, STREAM_PAUSE);
    },
    cancel: () => clearTimeout(timer),
  });
  return new Response(body, {
    headers: {
      "content-type": "text/event-stream",
      "cache-control": "no-store",
      // As the proxy sends its streams.
      "x-accel-buffering": "no",
    },
  });
}
