// Parsers of setting values: each takes what a person typed and throws an Error that says what was expected.
import { BlockList, isIP } from "node:net";
import { parseJson } from "./json.ts";

/** How loud a line of the log is, from the quietest to the loudest. */
export const levels = ["debug", "info", "warn", "error"] as const;
export type Level = (typeof levels)[number];

export const list = (text: string): string[] => text.split(/[\s,]+/).filter(Boolean);

/** Whether a URL's host names this machine only: RFC 8252 §7.3 and §8.3. */
export function isLoopbackHost(host: string): boolean {
  return (
    host === "localhost" || host === "[::1]" || host === "::1" || /^127(\.\d{1,3}){3}$/.test(host)
  );
}

/**
 * Where a redirect URI leads, without what differs from login to login: "claude.ai", "localhost" for every name and port
 * of loopback, "cursor:" for an app.
 */
export function redirectHost(uri: string): string {
  const { protocol, host, hostname } = new URL(uri);
  if (protocol !== "http:" && protocol !== "https:") return protocol;
  return isLoopbackHost(hostname) ? "localhost" : host;
}

export function wholeNumber(text: string, min: number, max: number): number {
  const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= min && value <= max))
    throw new Error(`expected a whole number from ${min} to ${max}`);
  return value;
}

export function oneOf<W extends string>(text: string, words: readonly W[]): W {
  const found = words.find((word) => word === text);
  if (found === undefined) throw new Error(`expected ${words.join(" or ")}`);
  return found;
}

/** "90", "90s", "15m", "1h", "90d" as seconds. */
export function duration(text: string, min: number): number {
  const match = /^(\d{1,9})([smhd]?)$/.exec(text);
  const unit = { s: 1, m: 60, h: 3600, d: 86_400 }[match?.[2] || "s"] ?? 1;
  const value = Number(match?.[1] ?? Number.NaN) * unit;
  if (!(value >= min))
    throw new Error(`expected a time of ${min}s or more, such as 90s, 15m, 1h or 90d`);
  return value;
}

export function ipAddress(text: string): string {
  if (isIP(text) === 0) throw new Error(`"${text}" is not an IP address`);
  return text;
}

/** "10.0.0.7", or "10.0.0.0/8" for all that lie in it. */
export function ipNetwork(text: string): string {
  const [address = "", bits, ...rest] = text.split("/");
  if (bits !== undefined) wholeNumber(bits, 1, isIP(address) === 4 ? 32 : 128);
  if (rest.length > 0) throw new Error(`"${text}" is not a network such as 10.0.0.0/8`);
  ipAddress(address);
  return text;
}

/** Whether an address lies in one of the networks, as `ipNetwork` has them. */
export function networkMatcher(networks: readonly string[]): (address: string) => boolean {
  const list = new BlockList();
  for (const network of networks) {
    const [address = "", bits] = network.split("/");
    const isV4 = isIP(address) === 4;
    list.addSubnet(address, Number(bits ?? (isV4 ? 32 : 128)), isV4 ? "ipv4" : "ipv6");
  }
  return (address) => {
    const version = isIP(address);
    return version !== 0 && list.check(address, version === 4 ? "ipv4" : "ipv6");
  };
}

/** RFC 6454 §6.2: "https://inspector.example.com". */
export function webOrigin(text: string): string {
  const url = URL.parse(text);
  if (!url || url.origin === "null" || (text !== url.origin && text !== `${url.origin}/`)) {
    throw new Error(`"${text}" is not an origin such as https://inspector.example.com`);
  }
  return url.origin;
}

// RFC 6749 §3.3: scope-token = 1*( %x21 / %x23-5B / %x5D-7E )
export function scopeWords(text: string): string[] {
  const words = list(text);
  if (
    words.length === 0 ||
    !words.every((word) => /^[\x21\x23-\x5B\x5D-\x7E]{1,100}$/.test(word))
  ) {
    throw new Error("expected scope names without quotes or backslashes, separated by spaces");
  }
  return [...new Set(words)];
}

function mountPath(text: string): string {
  if (
    !/^(\/[A-Za-z0-9._~-]+)+$/.test(text) ||
    /\/\.{1,2}(\/|$)/.test(text) ||
    text.startsWith("/.well-known")
  ) {
    throw new Error("expected a path such as /mcp");
  }
  return text;
}

/** First segments of paths that are Postern's own, now or kept for it. */
const ownPaths = new Set(
  (
    "account admin api authorize connect consent device healthz introspect jwks login logout " +
    "metrics readyz register revoke setup token userinfo"
  ).split(" "),
);

/** The path of an MCP endpoint: none that Postern answers itself. */
export function serverPath(text: string): string {
  const [, first = ""] = mountPath(text).toLowerCase().split("/");
  if (ownPaths.has(first)) {
    throw new Error(`/${first} is Postern's own; choose another path, such as /mcp`);
  }
  return text;
}

function parseUrl(text: string): URL {
  const url = URL.parse(text);
  if (!url || (url.protocol !== "https:" && url.protocol !== "http:"))
    throw new Error("expected a URL that begins with https:// or http://");
  if (url.username || url.password) throw new Error("a URL here carries no user name or password");
  if (url.hash) throw new Error("a URL here carries no fragment");
  return url;
}

/** The issuer: origin and path, without a slash at the end. */
export function publicUrl(text: string): string {
  const url = parseUrl(text);
  if (url.search) throw new Error("a public URL carries no query");
  if (url.protocol === "http:" && !isLoopbackHost(url.hostname)) {
    throw new Error(
      `clients refuse plain http off loopback; use https://${url.host} with a tunnel or reverse proxy in front`,
    );
  }
  // Clients compare the issuer byte for byte (RFC 8414 §3.3): one spelling, without a slash at the end.
  const path = url.pathname.replace(/\/+$/, "");
  if (path !== "") mountPath(path);
  return url.origin + path;
}

export function httpsUrl(text: string): string {
  const url = parseUrl(text);
  if (url.protocol !== "https:") throw new Error("expected an https URL");
  return url.href;
}

export function emailAddress(text: string): string {
  if (!/^[^\s@<>",;:]+@[^\s@<>",;:]+$/.test(text)) throw new Error("expected an e-mail address");
  return text;
}

export function upstreamUrl(text: string): string {
  return parseUrl(text).href;
}

/** The word of `words` that `word` was probably meant to be. */
export function nearest(word: string, words: readonly string[]): string | undefined {
  const distance = (a: string, b: string): number => {
    let row = Array.from({ length: b.length + 1 }, (_, index) => index);
    for (let i = 1; i <= a.length; i++) {
      const next = [i];
      for (let j = 1; j <= b.length; j++) {
        const swap = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
        next.push(Math.min(swap, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
      }
      row = next;
    }
    return row[b.length] ?? 0;
  };
  const ranked = words
    .map((candidate) => ({ candidate, score: distance(word, candidate) }))
    // Of two letters, both may be wrong: then it is another word.
    .filter(({ candidate, score }) => score < Math.max(word.length, candidate.length))
    .toSorted((a, b) => a.score - b.score)[0];
  return ranked && ranked.score <= Math.max(2, word.length / 3) ? ranked.candidate : undefined;
}

/** The hint to a word that is none of these. */
export function didYouMean(word: string, words: readonly string[]): string {
  const near = nearest(word, words);
  return near === undefined ? `there are: ${words.join(", ")}` : `did you mean ${near}?`;
}

/** Words of a command line: split at spaces, quotes hold together; or a JSON array. Nothing is expanded. */
export function commandWords(text: string): string[] {
  const words = text.startsWith("[") ? jsonStrings(text) : shellWords(text);
  if (words.length === 0 || words[0] === "")
    throw new Error("expected a program and its arguments");
  return words;
}

function jsonStrings(text: string): string[] {
  const value = parseJson(text);
  if (Array.isArray(value) && value.every((each) => typeof each === "string")) return value;
  throw new Error("expected an array of strings");
}

function shellWords(text: string): string[] {
  const part = /\s+|"((?:[^"\\]|\\.)*)"|'([^']*)'|\\(.)|([^\s"'\\]+)|(.)/gsu;
  const words: string[] = [];
  let word: string | undefined;
  for (const [piece, double, single, escaped, bare, odd] of text.matchAll(part)) {
    if (odd !== undefined) throw new Error(`a ${odd} is left open`);
    const added = double?.replaceAll(/\\(.)/gs, "$1") ?? single ?? escaped ?? bare;
    if (added !== undefined) word = (word ?? "") + added;
    else if (piece !== "" && word !== undefined) {
      words.push(word);
      word = undefined;
    }
  }
  return word === undefined ? words : [...words, word];
}

/** Text by name. Where it stands is part of it: "file:<path>" and "env:<name>" are read at the start, not here. */
export type References = Readonly<Record<string, string>>;

function entriesOf(text: string, separator: RegExp, split: (entry: string) => [string, string]) {
  if (!text.startsWith("{")) return text.split(separator).filter(Boolean).map(split);
  const entries = Object.entries(Object(parseJson(text)));
  if (entries.every(([, each]) => typeof each === "string")) return entries as [string, string][];
  throw new Error("expected text for each name");
}

/** "NAME" (ours, passed on), "NAME=value", "NAME=file:<path>", "NAME=env:<name>", separated by commas; or a JSON object. */
export function variables(text: string): References {
  const entries = entriesOf(text, /\s*,\s*/, (entry) => {
    const at = entry.indexOf("=");
    return at < 0 ? [entry, `env:${entry}`] : [entry.slice(0, at), entry.slice(at + 1)];
  });
  for (const [name, value] of entries) {
    // What stands there may be a value that slipped out of its place.
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) throw new Error("expected NAME=value");
    if (/^POSTERN_/i.test(name) || /^env:POSTERN_/i.test(value)) {
      throw new Error("POSTERN_ variables are Postern's own");
    }
  }
  return Object.fromEntries(entries);
}

/** Scopes by what needs them: "*", "tools", "tools/delete_*", "tools/delete_note", and so for prompts and resources. */
export type Policy = Readonly<Record<string, readonly string[]>>;

/** "tools=notes:read, tools/delete_*=notes:write notes:delete", or a JSON object of the same. */
export function policy(text: string): Policy {
  const entries = entriesOf(text, /\s*[,\r\n]\s*/, (entry) => {
    const at = entry.lastIndexOf("=");
    return [entry.slice(0, at), entry.slice(at + 1)];
  });
  return Object.fromEntries(
    entries.map(([key, words]) => {
      if (/^(?:\*|(?:tools|prompts|resources)(?:\/.+)?)$/s.test(key))
        return [key, scopeWords(words)];
      throw new Error(
        `expected *, tools, prompts or resources, with /name or /prefix*, not "${key}"`,
      );
    }),
  );
}

const notForOwners =
  /^(?:connection|content-length|host|te|transfer-encoding|upgrade|x-postern-.*)$/;

/** "Name: value", "Name: file:<path>", "Name: env:<name>", one a line; or a JSON object. */
export function headerLines(text: string): References {
  const entries = entriesOf(text, /\s*[\r\n]+\s*/, (entry) => {
    const at = entry.indexOf(":");
    if (at < 1) throw new Error("expected Name: value");
    return [entry.slice(0, at), entry.slice(at + 1).trim()];
  });
  for (const [name, value] of entries) {
    if (!/^[!#$%&'*+.^`|~\w-]+$/.test(name)) throw new Error("expected Name: value");
    if (notForOwners.test(name.toLowerCase()))
      throw new Error(`the header ${name} is not yours to set`);
    if (/[\r\n\0]/.test(value)) throw new Error(`the header ${name} has a line end in it`);
  }
  return Object.fromEntries(entries);
}
