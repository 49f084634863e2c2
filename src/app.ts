// What happens to every request around its handler: path, Host and Origin checks, body limits, CORS, error rendering. Deny
// by default: what the route table (routes.ts) does not name is 404.
import { H3, type H3Event, HTTPError, assertBodySize, serve } from "h3";
import { seeRefusal } from "./attempts/sights.ts";
import type { Config } from "./config.ts";
import type { Call, Deps } from "./deps.ts";
import { recordError } from "./audit.ts";
import { OAuthError, asOAuthError, errorResponse } from "./errors.ts";
import type { Metrics, RouteCounts } from "./metrics.ts";
import {
  addCors,
  clientAddress,
  isAllowedOrigin,
  isAmbiguousPath,
  isOwnHost,
  preflight,
} from "./http.ts";
import { redirectError } from "./oauth/authorize.ts";
import { randomId } from "./primitives.ts";
import { type Route, mountsOf, nothingHere, unnamed } from "./routes.ts";
import { errorPage } from "./web/error_page.ts";

/** Seconds after which a connection on which nothing moves is closed. */
const IDLE = 10;

export interface App {
  readonly fetch: (request: Request) => Response | Promise<Response>;
  readonly h3: H3;
  /** Requests from now on get the routes and settings of `deps`; those under way end with what they began with. */
  reload(deps: Deps): void;
}

/** The whole server as one function from request to answer; it listens nowhere yet. */
export function createApp(deps: Deps): App {
  let routed = routedApp(deps);
  // What serves it takes nothing of an app but its `fetch`, and takes that once.
  const h3 = new H3();
  h3.fetch = (request) => routed.fetch(request);
  return {
    fetch: h3.fetch,
    h3,
    reload: (next) => {
      routed = routedApp(next);
    },
  };
}

function routedApp(deps: Deps): H3 {
  const h3 = new H3({
    silent: true,
    onError: (error) => {
      const refused = asOAuthError(inOurWords(error));
      deps.metrics.route(OTHER, OTHER).count(refused.status, 0);
      return errorResponse(refused);
    },
  });
  // Unique over restarts, and cheaper than random bytes for every request.
  const start = randomId().slice(0, 8);
  let count = 0;
  for (const [path, rows] of mountsOf(deps.config)) {
    const mount = mountOf(rows, deps.metrics);
    h3.all(path, (event) => answer(event, mount, `${start}-${(++count).toString(36)}`, deps));
  }
  return h3;
}

/** In metrics: what no route names. */
const OTHER = "other";

interface Mount {
  readonly rows: readonly Route[];
  /** By row; of what no row takes under undefined. */
  readonly counts: ReadonlyMap<Route | undefined, RouteCounts>;
}

function mountOf(rows: readonly Route[], metrics: Metrics): Mount {
  const counts = new Map<Route | undefined, RouteCounts>([
    [undefined, metrics.route(OTHER, rows[0]?.path ?? OTHER)],
  ]);
  for (const row of rows) counts.set(row, metrics.route(row.method, row.path));
  return { rows, counts };
}

/** The address of an MCP server, opened in a browser by a person who has it from a terminal or a document. */
const isLookedAt = (request: Request, { who }: Pick<Route, "who">): boolean =>
  who === "bearer" &&
  request.method === "GET" &&
  !request.headers.has("authorization") &&
  (request.headers.get("accept") ?? "").includes("text/html");

async function answer(
  event: H3Event,
  { rows, counts }: Mount,
  requestId: string,
  deps: Deps,
): Promise<Response> {
  const began = deps.monotonic();
  const { req } = event;
  const { config } = deps;
  const call: Call = {
    // Well formed: what is not was refused by h3.
    path: decodeURIComponent(event.url.pathname),
    address: clientAddress(req.ip, req.headers, config),
    requestId,
    keepOpen: () => req.runtime?.bun?.server?.timeout(req, 0),
    letIdle: () => req.runtime?.bun?.server?.timeout(req, IDLE),
  };
  const method = req.method === "HEAD" ? "GET" : req.method;
  const row = rows.find((candidate) => candidate.method === method);
  const shown = row ?? rows[0] ?? unnamed(req);
  let response: Response;
  try {
    response = await route(event, rows, row, call, deps);
  } catch (error) {
    if (row?.step !== undefined) seeRefusal(row.step, error, req, call, deps);
    // A client that goes away inside its own body is no failure of ours, and nobody reads the answer.
    const isGone = req.signal.aborted && error instanceof Error && error.name === "AbortError";
    const form = isLookedAt(req, shown) ? "page" : shown.errors;
    response = renderError(isGone ? HTTPError.status(400) : error, form, call, deps);
  }
  const reader = shown.cors ? readingOrigin(shown.who, req, config) : undefined;
  if (reader !== undefined) addCors(response.headers, reader);
  response.headers.set("x-content-type-options", "nosniff");
  response.headers.set("x-request-id", requestId);
  if (config.https) response.headers.set("strict-transport-security", "max-age=31536000");
  counts.get(row)?.count(response.status, deps.monotonic() - began);
  return req.method === "HEAD" ? headOf(response) : response;
}

/** A stream that nobody will read ends here. */
async function headOf(response: Response): Promise<Response> {
  await response.body?.cancel();
  return new Response(null, response);
}

/** Whose pages may read an answer: anybody's; at an MCP endpoint theirs who may call it, so that both agree. */
function readingOrigin(who: Route["who"], request: Request, config: Config): string | undefined {
  if (who !== "bearer") return "*";
  const origin = request.headers.get("origin");
  return origin !== null && isAllowedOrigin(origin, config) ? origin : undefined;
}

async function route(
  event: H3Event,
  rows: readonly Route[],
  row: Route | undefined,
  call: Call,
  deps: Deps,
): Promise<Response> {
  const { req } = event;
  if (isAmbiguousPath(req.url)) {
    throw new OAuthError("invalid_request", "the path can be read in more than one way");
  }
  // DNS rebinding: a foreign name that resolves to us gets nothing. Health checks come by bare address.
  if (!row?.anyHost && !isOwnHost(req.headers.get("host"), deps.config)) {
    throw new OAuthError("invalid_request", "this server does not answer to that Host", {
      status: deps.config.loopback ? 403 : 421,
      detail: `host ${req.headers.get("host")}`,
      advice:
        "Open the server by its public address: it is the one that your clients were given.\nIs that the address? Then start the server with it: `--url https://…`.",
    });
  }
  if (rows.length === 0) throw nothingHere(call);
  // MCP 2026-07-28 "Security & Endpoint": an Origin that is present and not allowed is 403.
  const origin = req.headers.get("origin");
  if (rows[0]?.who === "bearer" && !isAllowedOrigin(origin, deps.config)) {
    throw new OAuthError("access_denied", "this web origin may not call the MCP endpoint", {
      detail: `origin ${origin}; allow it with --allowed-origins`,
    });
  }
  const methods = rows.map((candidate) => candidate.method);
  if (req.method === "OPTIONS" && rows[0]?.cors) return preflight(req, methods);
  if (!row) {
    throw new OAuthError("invalid_request", `the method ${req.method} is not allowed here`, {
      status: 405,
      facts: { sent: [`${req.method} ${call.path}`], expected: methods },
      headers: { allow: methods.join(", ") },
    });
  }
  if (row.body !== undefined) limitBody(event, row.body);
  return row.handler(event.req, deps, call);
}

/** @throws {HTTPError} 413; for a body without a declared length when it is read */
function limitBody(event: H3Event, limit: number): void {
  const { headers } = event.req;
  const declared = headers.get("content-length");
  // Measured: the stream that counts costs a refresh at least an eighth of its time. RFC 9112 §6.3: a body of declared
  // length ends there.
  const counted = declared === null || headers.has("transfer-encoding");
  if (counted) assertBodySize(event, limit);
  else if (Number(declared) > limit) throw HTTPError.status(413);
}

/** The only place where an error becomes an answer. */
function renderError(thrown: unknown, form: Route["errors"], call: Call, deps: Deps): Response {
  const { requestId: request, path, address } = call;
  const where = { request, path, address };
  // A page names its request, so that whoever sees it finds the log line.
  const error = recordError(deps.audit, inOurWords(thrown), where, form === "page");
  if (error.redirect) return redirectError(error, error.redirect, call.requestId, deps);
  if (form === "json") return errorResponse(error);
  return errorPage({ base: deps.config.basePath, error, requestId: call.requestId });
}

/** What h3 refuses (body too large, malformed path), in our own words; anything else as it is. */
function inOurWords(thrown: unknown): unknown {
  if (!HTTPError.isError(thrown) || thrown.status >= 500) return thrown;
  const { status } = thrown;
  const message = status === 413 ? "the body is too large" : "the request is malformed";
  return new OAuthError("invalid_request", message, { status });
}

export interface Listener {
  /** Refuses new connections, lets running requests end; `force` cuts what is open. */
  close(force: boolean): Promise<void>;
}

export interface Address {
  readonly hostname: string;
  readonly port: number;
  /** PEM; absent: plain http. */
  readonly tls?: { readonly cert: string; readonly key: string } | undefined;
}

/** Serves the app on one address. @throws when the port is taken */
export function listen(app: App, { hostname, port, tls }: Address): Listener {
  const server = serve(app.h3, {
    hostname,
    port,
    silent: true,
    // srvx's own shutdown takes seconds and does not end the process (cli/serve.ts does that).
    gracefulShutdown: false,
    // A Host that no URL can have fails before any route; Bun's page for that shows paths, source and stack.
    error: () => errorResponse(asOAuthError(inOurWords(HTTPError.status(400)))),
    // Outside of its development mode Bun shares the port with whoever else asks for it, and connections go to either.
    bun: { development: false, reusePort: false, idleTimeout: IDLE, ...(tls && { tls }) },
  });
  return { close: async (force) => server.close(force) };
}
