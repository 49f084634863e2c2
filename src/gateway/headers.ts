// Which headers pass between client and upstream, and the ones that tell the upstream who asks. Bodies and targets are proxy.ts's.
import type { Config } from "../config.ts";
import type { AuthContext } from "../deps.ts";
import { UNKNOWN } from "../limits.ts";

type Pairs = [name: string, value: string][];

// RFC 9110 §7.6.1, with the older names that still occur.
const hopByHop = [
  "connection",
  "http2-settings",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authentication-info",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
];

const requestDropped = new Set([
  ...hopByHop,
  // MCP authorization: the client's token is for Postern alone and never passed on.
  "authorization",
  "cookie",
  "cookie2",
  // The upstream is asked for the bytes as they are: a compressed event stream could be held back to fill a block.
  "accept-encoding",
  // Set for what is really sent.
  "content-length",
  "expect",
  "host",
  // Other names for path and method, and for the client's address and identity.
  "cf-connecting-ip",
  "cf-connecting-ipv6",
  "client-cert",
  "client-cert-chain",
  "fastly-client-ip",
  "fly-client-ip",
  "forwarded",
  "front-end-https",
  "true-client-ip",
  "x-client-ip",
  "x-cluster-client-ip",
  "x-email",
  "x-groups",
  "x-host",
  "x-http-method",
  "x-http-method-override",
  "x-method-override",
  "x-proxy-user",
  "x-real-ip",
  "x-scheme",
  "x-url-scheme",
]);

// Families of names by which proxies tell who asks, from where, and what was asked for originally.
const requestFamilies = new RegExp(
  `^(?:${[
    "cf-access-",
    "remote-",
    "ssl-client-",
    "tailscale-user-",
    "x-amzn-oidc-",
    "x-auth-(?:email|group|id|name|request|role|subject|user)",
    "x-authenticated-",
    "x-authentik-",
    "x-client-cert",
    "x-consumer-",
    "x-credential-",
    "x-forwarded",
    "x-goog-authenticated-user-",
    "x-goog-iap-",
    "x-ms-client-principal",
    "x-original-",
    "x-pomerium-",
    "x-postern-",
    "x-remote-",
    "x-rewrite-",
    "x-ssl-client-",
    "x-user",
    "x-vouch-",
    "x-webauth-",
  ].join("|")})`,
);

const responseDropped = new Set([
  ...hopByHop,
  "alt-svc",
  "authentication-info",
  "clear-site-data",
  // Set for what is really sent.
  "content-length",
  // Mapped by proxy.ts.
  "location",
  "set-cookie",
  "set-cookie2",
  "strict-transport-security",
  // Orders to a web server that may stand in front of us.
  "x-accel-redirect",
  "x-sendfile",
  // An upstream's challenge would send the client to log in there.
  "www-authenticate",
]);

const notInTokens = /[^a-z0-9-]/;

/** CGI gives `X-Postern-User`, `x_postern_user` and `X.Postern.User` to a program under one name, so they are one name here. */
function canonicalName(name: string): string {
  return notInTokens.test(name) ? name.replace(/[^a-z0-9-]/g, "-") : name;
}

/** RFC 9110 §7.6.1: the names in Connection are for this hop as well. */
function connectionNames(value: string | null): readonly string[] {
  if (value === null || value === "keep-alive" || value === "close") return [];
  return value.split(",").map((name) => canonicalName(name.trim().toLowerCase()));
}

/** Anything but visible ASCII and space becomes %XX of its UTF-8. */
function headerSafe(text: string): string {
  return text.replace(/[^\x20-\x7e]+/g, (part) => encodeURIComponent(part.toWellFormed()));
}

export interface RequestFacts {
  readonly context: AuthContext;
  readonly config: Config;
  /** The client's address, `UNKNOWN` when there is none. */
  readonly address: string;
  /** The owner's headers for this upstream. */
  readonly credentials: readonly (readonly [name: string, value: string])[];
}

/** What the upstream gets: the client's headers without credentials, identities and hop-by-hop ones, then ours. */
export function requestHeaders(headers: Headers, facts: RequestFacts): Pairs {
  const { context, config, address, credentials } = facts;
  const own = credentials.map(([name]) => canonicalName(name.toLowerCase()));
  const named = connectionNames(headers.get("connection"));
  const pairs: Pairs = [];
  for (const [name, value] of headers) {
    const canonical = canonicalName(name);
    if (requestDropped.has(canonical) || requestFamilies.test(canonical)) continue;
    if (own.includes(canonical) || (named.length > 0 && named.includes(canonical))) continue;
    pairs.push([name, value]);
  }
  for (const [name, value] of credentials) pairs.push([name, value]);
  pairs.push(
    ["accept-encoding", "identity"],
    ["x-postern-user", headerSafe(context.subject)],
    ["x-postern-client", headerSafe(context.clientId)],
    ["x-postern-scope", headerSafe(context.scopes.join(" "))],
    ["x-forwarded-proto", config.https ? "https" : "http"],
    ["x-forwarded-host", config.origin.slice(config.origin.indexOf("//") + 2)],
  );
  if (address !== UNKNOWN) pairs.push(["x-forwarded-for", address]);
  return pairs;
}

function namesHost(value: string, host: string): boolean {
  const at = value.indexOf(`//${host}`);
  return at >= 0 && !/^[\w.-]/.test(value.slice(at + 2 + host.length));
}

/**
 * What the client gets: the upstream's headers without hop-by-hop ones, cookies, challenges, CORS (app.ts answers for
 * the origin) and anything that names the upstream's own address.
 *
 * @param upstreamHost host and port of the upstream
 */
export function responseHeaders(headers: Headers, upstreamHost: string): Headers {
  const named = connectionNames(headers.get("connection"));
  const kept = new Headers();
  for (const [name, value] of headers) {
    if (responseDropped.has(name) || name.startsWith("access-control-")) continue;
    if (named.includes(name) || namesHost(value, upstreamHost)) continue;
    kept.append(name, value);
  }
  return kept;
}
