// Which URL behind a request is meant, and which public URL an upstream's Location stands for. Nothing outside the
// configured upstream URL can be named, from either side.
import type { Server } from "../config.ts";
import { OAuthError } from "../errors.ts";

/** A server with an MCP server behind it on HTTP. */
export interface Upstream {
  /** Without query and without a slash at the end: "http://127.0.0.1:3000/mcp". */
  readonly prefix: string;
  /** As configured, without query. */
  readonly base: string;
  /** Query that the owner configured, such as a key; "" when none. */
  readonly query: string;
  /** Host and port. */
  readonly host: string;
  readonly server: Server;
}

export function upstreamOf(server: Server, url: string): Upstream {
  const question = url.indexOf("?");
  const base = question < 0 ? url : url.slice(0, question);
  const from = base.indexOf("//") + 2;
  return {
    prefix: base.endsWith("/") ? base.slice(0, -1) : base,
    base,
    query: question < 0 ? "" : url.slice(question + 1),
    host: base.slice(from, base.indexOf("/", from)),
    server,
  };
}

// What a later decoding could still turn into another path: dot segments, empty segments, and encoded forms of either.
const ambiguous = /\/\/|\/\.{1,2}(?:\/|$)|[\\;\p{Cc}]|%(?:2e|2f|5c|00|25)/iu;

/**
 * The URL to ask for a request on `path` (canonical, decoded) with the query of `requestUrl`.
 *
 * @throws {OAuthError} invalid_request: the path is none of the server's
 */
export function targetUrl(upstream: Upstream, path: string, requestUrl: string): string {
  const { server, base, prefix } = upstream;
  const rest = path.slice(server.path.length);
  const inside = path.startsWith(server.path) && (rest === "" || rest.startsWith("/"));
  if (!inside || ambiguous.test(rest) || !rest.isWellFormed()) {
    throw new OAuthError("invalid_request", "this path is not part of the MCP server");
  }
  const url = rest === "" ? base : prefix + encodeURI(rest).replace(/[?#]/g, encodeURIComponent);
  const query = joined(upstream.query, clientQuery(requestUrl, upstream));
  return query === "" ? url : `${url}?${query}`;
}

/** The client's query without what only we may say: the owner's parameters, and an access token (MCP authorization forbids it there). */
function clientQuery(requestUrl: string, upstream: Upstream): string {
  const question = requestUrl.indexOf("?");
  if (question < 0) return "";
  const fragment = requestUrl.indexOf("#", question);
  const query = requestUrl.slice(question + 1, fragment < 0 ? undefined : fragment);
  const suspect = upstream.query !== "" || /access_token|%/.test(query);
  return suspect ? withoutParameters(query, ["access_token", ...namesIn(upstream.query)]) : query;
}

/**
 * The URL that a Location of an answer from `target` means, if it lies inside the upstream.
 */
export function locationInside(
  upstream: Upstream,
  location: string | null,
  target: string,
): URL | undefined {
  const url = location === null ? null : URL.parse(location, target);
  if (!url || url.username !== "" || url.password !== "") return undefined;
  const bare = url.origin + url.pathname;
  const inside = bare === upstream.prefix || bare.startsWith(`${upstream.prefix}/`);
  return inside ? url : undefined;
}

/** The public URL of a URL inside the upstream; the owner's parameters stay inside. */
export function publicLocation(upstream: Upstream, url: URL): string {
  const rest = (url.origin + url.pathname).slice(upstream.prefix.length);
  const query = withoutParameters(url.search.slice(1), namesIn(upstream.query));
  return upstream.server.resource + rest + (query === "" ? "" : `?${query}`) + url.hash;
}

const joined = (first: string, second: string): string =>
  first === "" || second === "" ? first + second : `${first}&${second}`;

const namesIn = (query: string): string[] => [...new URLSearchParams(query).keys()];

function withoutParameters(query: string, names: readonly string[]): string {
  if (names.length === 0) return query;
  return query
    .split("&")
    .filter((piece) => !namesIn(piece).some((name) => names.includes(name)))
    .join("&");
}
