// Pure rules: redirect URIs, PKCE, scopes, resource indicators. No state, no I/O.
import type { Config, Server } from "../config.ts";
import { equal, sha256 } from "../primitives.ts";

// RFC 8252 §7.3: only these spellings of loopback; the text is judged, so that no other notation of 127.0.0.1 slips in.
const loopback = /^(http:\/\/(?:localhost|127\.0\.0\.1|\[::1\]))(?::\d{1,5})?((?:[/?].*)?)$/;

const dangerousSchemes = new Set(
  (
    "about blob chrome chrome-extension content data file filesystem ftp intent jar javascript mailto " +
    "moz-extension resource sms tel vbscript view-source ws wss"
  ).split(" "),
);

/** Whether a redirect URI may be registered; `problem` says why not. RFC 8252 §7, OAuth 2.1 §2.3. */
export function checkRedirectUri(text: string): { ok: true } | { ok: false; problem: string } {
  const refuse = (problem: string): { ok: false; problem: string } => ({ ok: false, problem });
  if (text.length > 2048) return refuse("is longer than 2048 characters");
  if (!/^[\x21-\x7e]+$/.test(text) || text.includes("\\"))
    return refuse("has characters a URI cannot have");
  if (text.includes("#")) return refuse("has a fragment");
  const url = URL.parse(text);
  const scheme = /^([A-Za-z][A-Za-z0-9+.-]*):/.exec(text)?.[1]?.toLowerCase();
  if (!url || scheme === undefined) return refuse("is not an absolute URI");
  if (url.username || url.password || /^[^/?]*:\/*[^/?]*@/.test(text))
    return refuse("has a user name");
  if (scheme === "http") {
    if (!loopback.test(text)) return refuse("uses plain http and is not on loopback");
    return { ok: true };
  }
  if (scheme === "https") {
    // Browsers read "https:/host" and "https:host" too; only the one full spelling is compared safely.
    if (!/^https:\/\/[A-Za-z0-9.[\]:_-]+([/?]|$)/.test(text)) return refuse("has no plain host");
    return { ok: true };
  }
  if (dangerousSchemes.has(scheme)) return refuse(`uses the scheme ${scheme}`);
  // RFC 8252 §7.1 and §8.4 want a private-use scheme to be a reversed domain name and one without a dot refused. Cursor
  // registers cursor://..., and one refused URI refuses the whole client. A scheme belongs to whichever
  // app claimed it, dot or no dot: PKCE keeps a stolen code worthless, and the owner sees where it goes.
  return { ok: true };
}

export const isLoopbackRedirect = (uri: string): boolean => loopback.test(uri);

/** The asked redirect URI, when it is one of the registered ones. OAuth 2.1 §2.3.1: the whole text, compared exactly. */
export function matchRedirectUri(registered: readonly string[], asked: string): boolean {
  if (registered.includes(asked)) return true;
  // RFC 8252 §7.3: any port on loopback, all else the same; `localhost` too, since Claude Code registers it portless.
  const parts = loopback.exec(asked);
  if (!parts || !checkRedirectUri(asked).ok) return false;
  return registered.some((uri) => {
    const known = loopback.exec(uri);
    return known !== null && known[1] === parts[1] && known[2] === parts[2];
  });
}

/** RFC 7636 §4.2: the S256 challenge is 32 bytes of base64url. */
export const isCodeChallenge = (text: string): boolean => /^[A-Za-z0-9_-]{43}$/.test(text);

/** RFC 7636 §4.1 and §4.6. */
export function verifyPkce(verifier: string, challenge: string): boolean {
  return /^[A-Za-z0-9._~-]{43,128}$/.test(verifier) && equal(sha256(verifier), challenge);
}

export const scopeList = (text: string): string[] => [...new Set(text.split(" ").filter(Boolean))];

// Words of OpenID Connect that clients add on their own; they ask for nothing that we have.
const neutralScopes = new Set(["offline_access", "openid", "profile", "email"]);

/**
 * The scopes to grant of those offered: unknown words are dropped, no word at all asks for everything.
 * Undefined when something was asked for and nothing of it is offered (RFC 6749 §3.3).
 */
export function grantableScopes(
  asked: string | undefined,
  offered: readonly string[],
): string[] | undefined {
  const words = scopeList(asked ?? "").filter((word) => !neutralScopes.has(word));
  if (words.length === 0) return [...offered];
  const granted = offered.filter((word) => words.includes(word));
  return granted.length > 0 ? granted : undefined;
}

/** The scopes of a refresh: RFC 6749 §6, a subset of the grant; undefined when the request would widen it. */
export function narrowScopes(
  asked: string | undefined,
  granted: readonly string[],
): string[] | undefined {
  const words = scopeList(asked ?? "").filter((word) => !neutralScopes.has(word));
  if (words.length === 0) return [...granted];
  return words.every((word) => granted.includes(word))
    ? granted.filter((word) => words.includes(word))
    : undefined;
}

/** One spelling: no slash at the end, lower-case scheme and host, no default port. Undefined: not an absolute URI. */
function canonicalResource(text: string): string | undefined {
  if (text.includes("#")) return undefined;
  const url = URL.parse(text);
  if (!url || url.origin === "null" || url.username || url.password) return undefined;
  return url.origin + url.pathname.replace(/\/+$/, "") + url.search;
}

/**
 * The server that the resource indicators name (RFC 8707 §2): all spellings of one URL are one resource, an absent one
 * is the first server, and when there is only one server its origin and parent paths name it too.
 * Undefined: a foreign resource, or several.
 */
export function findServer(config: Config, resources: readonly string[]): Server | undefined {
  const named = resources.map((text): Server | undefined => {
    const wanted = canonicalResource(text);
    if (wanted === undefined) return undefined;
    const exact = config.servers.find((server) => server.resource === wanted);
    if (exact || config.servers.length > 1) return exact;
    const [only] = config.servers;
    return wanted === config.origin || only.resource.startsWith(`${wanted}/`) ? only : undefined;
  });
  if (named.length === 0) return config.servers[0];
  return named.every((server) => server !== undefined && server === named[0])
    ? named[0]
    : undefined;
}

/** The server that a stored resource names, in the one spelling that grants keep (RFC 8707 §2); undefined: none at present. */
export function serverOf(config: Config, resource: string): Server | undefined {
  return config.servers.find((server) => server.resource === resource);
}
