// What app.ts decides of a request before any handler: its path, its client's address, its Host, its Origin, CORS.
import type { Config } from "./config.ts";
import { UNKNOWN, canonicalAddress } from "./limits.ts";
import { isLoopbackHost } from "./values.ts";

/**
 * Whether the path can be read in two ways. What Bun resolved is resolved; of what is still visible in the URL as
 * received, these would mean one thing to us and another to a server behind.
 */
export function isAmbiguousPath(url: string): boolean {
  const start = url.indexOf("/", url.indexOf("://") + 3);
  const end = url.search(/[?#]/);
  const path = start < 0 ? "/" : url.slice(start, end < start ? undefined : end);
  return /\\|\/\/|;|%2f|%5c|%00|%3b|%25|%2e/i.test(path);
}

/**
 * The client's address: the peer's, or behind trusted proxies the right-most address that is not one of theirs, `UNKNOWN`
 * when they name nobody. "auto" trusts one hop, and only from loopback under an https public URL: that is a proxy or
 * tunnel of the owner.
 */
export function clientAddress(peer: string | undefined, headers: Headers, config: Config): string {
  const direct = canonicalAddress(peer);
  const forwarded = (): string[] =>
    (headers.get("x-forwarded-for") ?? "").split(",").map(canonicalAddress);
  if (config.trustedProxies === "auto") {
    const isProxy = config.https && isLoopbackHost(direct);
    return isProxy ? (forwarded().at(-1) ?? UNKNOWN) : direct;
  }
  const { isTrustedProxy } = config;
  if (!isTrustedProxy(direct)) return direct;
  return forwarded().findLast((hop) => !isTrustedProxy(hop)) ?? UNKNOWN;
}

/** Whether the Host names this server: the public host, or loopback by any of its names. Nothing is ever built from it. */
export function isOwnHost(host: string | null, config: Config): boolean {
  if (host === null) return true;
  const name = /^(\[[0-9a-f:.]+\]|[^:@/\\,\s]+)(?::\d{1,5})?$/i.exec(host)?.[1]?.toLowerCase();
  if (name === undefined) return false;
  return isLoopbackHost(name) || name === new URL(config.origin).hostname;
}

/** MCP 2026-07-28 "Security & Endpoint": a page of a foreign site must not drive the MCP endpoint. */
export function isAllowedOrigin(origin: string | null, config: Config): boolean {
  if (origin === null || origin === config.origin || config.allowedOrigins.includes(origin))
    return true;
  const url = URL.parse(origin);
  return url !== null && /^https?:$/.test(url.protocol) && isLoopbackHost(url.hostname);
}

const allowedHeaders =
  "Authorization, Content-Type, Accept, MCP-Protocol-Version, Mcp-Session-Id, Last-Event-ID, Mcp-Method, Mcp-Name";

/**
 * Bearer tokens, not cookies, authorize everything that has CORS: none sends credentials.
 * @param origin whose pages may read the answer; "*" for any
 */
export function addCors(headers: Headers, origin: string): void {
  headers.set("access-control-allow-origin", origin);
  if (origin !== "*") headers.append("vary", "Origin");
  headers.set(
    "access-control-expose-headers",
    "WWW-Authenticate, Mcp-Session-Id, MCP-Protocol-Version, Retry-After",
  );
}

/** The answer to a preflight; asked without a token, so it never needs one. */
export function preflight(request: Request, methods: readonly string[]): Response {
  const asked = (request.headers.get("access-control-request-headers") ?? "").split(",");
  const parameters = asked
    .map((name) => name.trim())
    .filter((name) => /^mcp-param-[a-z0-9-]{1,64}$/i.test(name));
  return new Response(null, {
    status: 204,
    headers: {
      "access-control-allow-methods": [...methods, "OPTIONS"].join(", "),
      "access-control-allow-headers": [allowedHeaders, ...parameters.slice(0, 32)].join(", "),
      "access-control-max-age": "86400",
      vary: "Access-Control-Request-Headers",
    },
  });
}
