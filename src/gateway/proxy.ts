// Forwards a request that the guard let in to the MCP server behind, and its answer back. Owns the exchange and its
// deadlines; which headers pass is headers.ts's, which URL is meant target.ts's, how a stream is relayed stream.ts's.
import type { AuthContext, Call, Deps } from "../deps.ts";
import { OAuthError, reason } from "../errors.ts";
import type { Asking, Line } from "./dial.ts";
import { requestHeaders, responseHeaders } from "./headers.ts";
import { relay } from "./stream.ts";
import { type Upstream, locationInside, publicLocation, targetUrl, upstreamOf } from "./target.ts";

/** Milliseconds. */
export interface Timing {
  /** A client's connection is kept from going idle when the upstream has not answered by then. */
  readonly lift: number;
  /**
   * The upstream must have begun its answer by then. Clients give up on a tool after one minute by default and tunnels
   * after less than two; five leave room for patient ones and still bound what a hanging upstream can hold.
   */
  readonly firstByte: number;
  /** Until an answer counts as a stream; a comment opens it if it has no event yet. */
  readonly opening: number;
  /** Silence on an event stream before a comment is sent; tunnels cut silent streams after 100 s, some after 30. */
  readonly silence: number;
  /** Between two looks at the credential of an open stream. */
  readonly recheck: number;
}

const usual: Timing = {
  lift: 4_000,
  firstByte: 300_000,
  opening: 10,
  silence: 25_000,
  recheck: 30_000,
};

/**
 * Bodies of a known length up to this many bytes are read whole, in both directions. Upwards it is faster (measured: a
 * third less time a request at one connection, a quarter more requests at 16) and lets them be sent again after a
 * redirect; downwards it costs nothing, and an answer that breaks off becomes a clean 502.
 */
const WHOLE = 64 * 1024;
const REDIRECTS = 3;

type Body = Asking["body"];

/** One request on its way: what its parts need of each other. */
interface Exchange {
  readonly request: Request;
  readonly context: AuthContext;
  readonly deps: Deps;
  readonly call: Call;
  readonly timing: Timing;
  readonly upstream: Upstream;
  readonly line: Line;
  /** Ends the request behind: the client went away, the time is up, or the credential ended. */
  readonly stop: AbortController;
}

/** What went wrong behind us. */
export class UpstreamError extends OAuthError {
  /** What the server did: "cannot be reached". */
  readonly what: string;

  constructor(what: string, status: 502 | 504, detail: string) {
    super("server_error", `the MCP server behind Postern ${what}`, { status, detail });
    this.name = "UpstreamError";
    this.what = what;
  }
}

/**
 * Answers with what the HTTP upstream of `context.server` answers.
 *
 * @throws {OAuthError} invalid_request: the path is none of the server's; server_error 502 or 504: no usable answer,
 *   never a 401, which would make clients log in again
 */
export async function forward(
  request: Request,
  context: AuthContext,
  deps: Deps,
  call: Call,
  timing: Timing = usual,
): Promise<Response> {
  const { server } = context;
  if (server.upstream === undefined) throw new Error(`${server.path} has no upstream`);
  const upstream = upstreamOf(server, server.upstream);
  const target = targetUrl(upstream, call.path, request.url);
  const stop = new AbortController();
  request.signal.addEventListener("abort", () => stop.abort(), { once: true });
  if (request.signal.aborted) stop.abort();
  const line = deps.lines.open();
  stop.signal.addEventListener("abort", line.end, { once: true });
  const exchange: Exchange = { request, context, deps, call, timing, upstream, line, stop };
  let patience: Patience | undefined;
  try {
    const body = await requestBody(request);
    // Not before: a client that stalls inside its own request keeps its idle limit.
    patience = startPatience(exchange);
    return await ask(exchange, target, body);
  } catch (error) {
    line.end();
    return gone(exchange, error);
  } finally {
    patience?.end();
  }
}

interface Patience {
  readonly end: () => void;
}

/** Keeps the client's connection while it waits, for as long as the upstream may take. */
function startPatience({ call, timing, stop }: Exchange): Patience {
  let isLifted = false;
  let timer = setTimeout(() => {
    isLifted = true;
    call.keepOpen();
    timer = setTimeout(
      () => stop.abort(new UpstreamError("did not answer in time", 504, "no answer")),
      timing.firstByte - timing.lift,
    );
  }, timing.lift);
  const end = (): void => {
    clearTimeout(timer);
    // An answer that turns out to be a stream lifts it again.
    if (isLifted) call.letIdle();
  };
  return { end };
}

/** Sends the request, again where a redirect inside the upstream says so. */
async function ask(exchange: Exchange, first: string, body: Body): Promise<Response> {
  const { request, context, deps, call, upstream, line, stop } = exchange;
  const headers = requestHeaders(request.headers, {
    context,
    config: deps.config,
    address: call.address,
    credentials: deps.credentials.get(context.server.path)?.headers ?? [],
  });
  const length = request.headers.get("content-length");
  if (body instanceof ReadableStream && length !== null) headers.push(["content-length", length]);
  let target = first;
  for (let redirects = 0; ; redirects++) {
    const { method } = request;
    const answer = await line.ask(target, { method, headers, body, signal: stop.signal });
    const again = answer.status === 307 || answer.status === 308;
    const next = again && locationInside(upstream, answer.headers.get("location"), target);
    if (!next || body instanceof ReadableStream || redirects === REDIRECTS) {
      return await clientAnswer(exchange, answer, target);
    }
    await answer.body?.cancel();
    target = next.href;
  }
}

async function requestBody(request: Request): Promise<Body> {
  if (request.method === "GET" || request.method === "HEAD") return null;
  const length = request.headers.get("content-length");
  return length !== null && Number(length) <= WHOLE ? await request.bytes() : request.body;
}

async function clientAnswer(
  exchange: Exchange,
  answer: Response,
  target: string,
): Promise<Response> {
  const { request, upstream } = exchange;
  const { status } = answer;
  const refuse = async (sentence: string, detail: string): Promise<never> => {
    await answer.body?.cancel();
    throw new UpstreamError(sentence, 502, detail);
  };
  if (status === 401 || status === 407) {
    return await refuse("refused Postern's request", `status ${status}`);
  }
  if (status < 200) return await refuse("answered in a way that HTTP does not know", `${status}`);
  const headers = responseHeaders(answer.headers, upstream.host);
  const location = answer.headers.get("location");
  if (location !== null) {
    const inside = locationInside(upstream, location, target);
    if (inside) headers.set("location", publicLocation(upstream, inside));
    else if (status >= 300 && status < 400) {
      return await refuse("redirected to somewhere outside its own URL", `status ${status}`);
    }
  }
  // What a token opened is for its bearer alone; RFC 9111 §3.5 says so for shared caches only.
  const reads = request.method === "GET" || request.method === "HEAD";
  if (reads && !headers.has("cache-control")) headers.set("cache-control", "private, no-store");
  return new Response(await answerBody(exchange, answer, headers), { status, headers });
}

async function answerBody(
  { request, context, call, timing, line, stop }: Exchange,
  answer: Response,
  headers: Headers,
): Promise<BodyInit | null> {
  const { status, body } = answer;
  const length = answer.headers.get("content-length");
  if (request.method === "HEAD" || body === null || [204, 205, 304].includes(status)) {
    // RFC 9110 §8.6: here the length is that of the body a GET would have got.
    if (length !== null && (request.method === "HEAD" || status === 304)) {
      headers.set("content-length", length);
    }
    line.end();
    return null;
  }
  const events =
    headers.get("content-type")?.toLowerCase().startsWith("text/event-stream") ?? false;
  if (events) headers.set("x-accel-buffering", "no");
  else if (length !== null && Number(length) <= WHOLE) {
    return await answer.bytes().finally(line.end);
  }
  return relay(body, {
    events: events && !headers.has("content-encoding"),
    stillGood: context.stillGood,
    stop: () => stop.abort(),
    ended: line.end,
    keepOpen: call.keepOpen,
    letIdle: call.letIdle,
    ...timing,
  });
}

/** The answer to a client that is gone, which nobody reads; for everybody else, the error. */
function gone({ request, stop }: Exchange, error: unknown): Response {
  if (request.signal.aborted) return new Response(null, { status: 499 });
  const cause: unknown = stop.signal.aborted ? stop.signal.reason : error;
  if (cause instanceof UpstreamError) throw cause;
  throw new UpstreamError("cannot be reached", 502, reason(cause));
}
