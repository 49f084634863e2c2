// Asks the servers behind. Bun's fetch has 256 requests of a process under way, open streams among them, and lets the rest
// wait without a word; only the environment of the process could change that. What comes above our share of them goes
// through node:http, which knows no such limit and costs twice as much. Headers, deadlines and bodies are proxy.ts's.
import { once } from "node:events";
import {
  type ClientRequest,
  type IncomingMessage,
  type RequestOptions,
  request as requestHttp,
} from "node:http";
import { request as requestHttps } from "node:https";

/** Requests that fetch may have under way for us; client documents and alerts have the rest. */
const SHARE = 192;

export interface Asking {
  readonly method: string;
  /** Each name once. */
  readonly headers: readonly [name: string, value: string][];
  readonly body: Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array> | null;
  readonly signal: AbortSignal;
}

/** The way of one request, redirects included. */
export interface Line {
  /** Resolves with the head of the answer, as it came: not decoded, redirects not followed. */
  ask(url: string, asking: Asking): Promise<Response>;
  /** Called when the answer has been read or given up; again does nothing. */
  end(): void;
}

/** Ways to the servers behind, for one Postern. */
export interface Lines {
  open(): Line;
}

/** @param share how many fetch may have under way */
export function createLines(share = SHARE): Lines {
  let underWay = 0;
  const crowded: Line = { ask: askSockets, end: () => undefined };
  return {
    open: () => {
      if (underWay >= share) return crowded;
      underWay++;
      let isOpen = true;
      return {
        ask: askFetch,
        end: () => {
          if (isOpen) underWay--;
          isOpen = false;
        },
      };
    },
  };
}

const askFetch = (url: string, { method, headers, body, signal }: Asking): Promise<Response> =>
  fetch(url, {
    method,
    headers: [...headers],
    body,
    signal,
    redirect: "manual",
    decompress: false,
    // The caller's deadline holds until the answer begins; a stream may then be silent for as long as it likes.
    timeout: false,
    // A proxy in the environment was meant for other programs: nobody else reads what passes here.
    proxy: false,
  });

function askSockets(url: string, { method, headers, body, signal }: Asking): Promise<Response> {
  const options: RequestOptions = {
    method,
    signal,
    headers: { ...Object.fromEntries(headers), ...framing(headers, body) },
    // A connection that was kept may be closed by the other side in the same moment.
    agent: false,
  };
  const request = (url.startsWith("https:") ? requestHttps : requestHttp)(url, options);
  return new Promise((resolve, reject) => {
    // Later ones too: an error that nobody hears ends the process.
    request.on("error", reject);
    request.on("upgrade", (_message, socket) => {
      socket.destroy();
      reject(new Error("it switched protocols"));
    });
    request.on("response", (message) => {
      try {
        resolve(answerOf(message, method));
      } catch (error) {
        request.destroy();
        reject(error);
      }
    });
    if (body instanceof ReadableStream) sendStream(body, request).catch(reject);
    else request.end(body ?? undefined);
  });
}

/** RFC 9112 §6: how long the body is. For most methods node:http knows, and for DELETE it leaves the body out. */
function framing(headers: Asking["headers"], body: Asking["body"]): Record<string, string> {
  if (body === null || headers.some(([name]) => name === "content-length")) return {};
  return body instanceof ReadableStream
    ? { "transfer-encoding": "chunked" }
    : { "content-length": String(body.length) };
}

async function sendStream(body: ReadableStream<Uint8Array>, request: ClientRequest): Promise<void> {
  try {
    for await (const chunk of body) if (!request.write(chunk)) await once(request, "drain");
    request.end();
  } catch (error) {
    request.destroy();
    throw error;
  }
}

/** @throws {RangeError} for a status that is none */
function answerOf(message: IncomingMessage, method: string): Response {
  const { statusCode: status = 0, rawHeaders } = message;
  const headers = new Headers();
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) {
    headers.append(rawHeaders[at] ?? "", rawHeaders[at + 1] ?? "");
  }
  const isEmpty = method === "HEAD" || [204, 205, 304].includes(status);
  if (isEmpty) message.resume();
  return new Response(isEmpty ? null : streamOf(message), { status, headers });
}

function streamOf(message: IncomingMessage): ReadableStream<Uint8Array> {
  const chunks = message[Symbol.asyncIterator]();
  return new ReadableStream({
    pull: async (controller) => {
      const { done, value } = await chunks.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    cancel: () => void message.destroy(),
  });
}
