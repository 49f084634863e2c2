// Fetching a client's document from the internet without becoming anybody's proxy: the URL is judged before any DNS query,
// every resolved address before any connection, and the connection goes to the address that was judged.
import type { Deps } from "../deps.ts";
import { OAuthError, errorCode, reason } from "../errors.ts";
import { isObject } from "../json.ts";

/** How names are resolved and which certificates count; tests stand a TLS fixture in for the internet. */
export interface Internet {
  /** All addresses of a name, IPv4 and IPv6. */
  resolve(host: string): Promise<readonly string[]>;
  /** Whether an address may be dialled. */
  isAllowed(address: string): boolean;
  /** PEM of a certificate authority beside the system's. */
  readonly ca?: string;
}

export interface Fetched {
  /** undefined: not modified since the given ETag. */
  readonly content: Record<string, unknown> | undefined;
  readonly etag: string | undefined;
  /** Seconds that HTTP allows it to be kept (RFC 9111 §4.2.1); 0: not at all. */
  readonly maxAge: number;
}

/** How many fetches run at once. */
export interface FetchSlots {
  /** Gives the slot back when it is called; undefined: none is free. */
  take(): (() => void) | undefined;
}

export function createFetchSlots(): FetchSlots {
  let taken = 0;
  return {
    take: () => {
      if (taken === AT_ONCE) return undefined;
      taken++;
      return () => void taken--;
    },
  };
}

const LARGEST = 10 * 1024;
/** Milliseconds for everything, the name included. */
const DEADLINE = 5000;
/** Milliseconds that an address has to begin its answer while there is another to try. */
const PATIENCE = 1200;
/** How many addresses of a name are tried: who owns a name does not make us knock at a hundred doors. */
const ADDRESSES = 4;
const AT_ONCE = 4;

const specialNames =
  /(^|\.)(localhost|local|internal|intranet|lan|home|corp|test|example|invalid|onion|arpa)$/;

/** What is wrong with a document URL, by its text alone; undefined when it may be fetched. */
export function documentUrlProblem(text: string): string | undefined {
  if (text.length > 2048 || !/^[\x21-\x7e]+$/.test(text) || /[\\#]/.test(text))
    return "it is not a plain URL";
  const match = /^https:\/\/([a-z0-9-]+(?:\.[a-z0-9-]+)+)(?::(\d{1,5}))?(\/[^?]+)(?:\?.*)?$/.exec(
    text,
  );
  const [, host = "", port, path = ""] = match ?? [];
  if (!match || URL.parse(text)?.href !== text)
    return "it must be https, with a lower-case name and a path";
  if (/(^|\/)(\.|%2e){1,2}(\/|$)/i.test(path)) return "its path has dot segments";
  if (/^[\d.]+$/.test(host) || specialNames.test(host)) return "its host is not on the internet";
  if (port !== undefined && Number(port) < 1024) return "its port is not one of a web server";
  return undefined;
}

/**
 * GETs a JSON object for the owner, within what one host and all together are asked for.
 * @throws {OAuthError} with the reason as detail; never says whether a host or port exists
 */
export async function fetchDocument(url: string, deps: Deps, etag?: string): Promise<Fetched> {
  const { host } = new URL(url);
  const giveBack = deps.limits.document.wait(host) > 0 ? undefined : deps.fetchSlots.take();
  if (!giveBack) {
    throw new OAuthError(
      "temporarily_unavailable",
      "too many client documents at once, try again soon",
      {
        headers: { "retry-after": "10" },
      },
    );
  }
  deps.limits.document.count(host);
  try {
    return await fetchJson(url, deps, etag);
  } finally {
    giveBack();
  }
}

/** GETs a JSON object; how often is the caller's care. @throws {OAuthError} as `fetchDocument` */
export async function fetchJson(url: string, deps: Deps, etag?: string): Promise<Fetched> {
  const stop = AbortSignal.timeout(DEADLINE);
  try {
    return await Promise.race([get(url, stop, deps, etag), rejected(stop)]);
  } catch (error) {
    if (error instanceof OAuthError) throw error;
    throw unusable(error);
  }
}

const unusable = (cause: unknown): OAuthError =>
  new OAuthError("invalid_client", "The document that describes this client could not be used.", {
    status: 400,
    detail: reason(cause),
    cause,
    facts: { cause: publicCause(cause) },
  });

/** A refusal of ours, in words for the owner. */
class Unfit extends Error {}

/** An inner name and one that does not exist read alike: the page tells nothing of the network that we stand in. */
function publicCause(error: unknown): string {
  if (error instanceof Unfit) return error.message;
  if (error instanceof SyntaxError) return "it is not valid JSON";
  const code = errorCode(error);
  if (code.startsWith("ERR_ENCODING")) return "it is not UTF-8";
  if (/CERT|TLS|SSL|SIGNATURE/.test(code)) return "the certificate of its host is not valid";
  return "its host could not be reached";
}

const rejected = (stop: AbortSignal): Promise<never> =>
  new Promise((_resolve, reject) => {
    stop.addEventListener(
      "abort",
      () => reject(new Unfit(`it took longer than ${DEADLINE / 1000} seconds`)),
      { once: true },
    );
  });

async function get(
  url: string,
  stop: AbortSignal,
  deps: Deps,
  etag: string | undefined,
): Promise<Fetched> {
  const target = new URL(url);
  const addresses = await deps.internet.resolve(target.hostname);
  if (addresses.length === 0) throw new Error("its name does not resolve");
  // One inner address among them is enough: what is dialled must not depend on luck.
  if (!addresses.every((each) => deps.internet.isAllowed(each)))
    throw new Error("its name leads to an inner address");
  const response = await dial(target, addresses.slice(0, ADDRESSES), stop, deps, etag);
  const caching = cachingOf(response.headers);
  if (response.status === 304 && etag !== undefined) return { ...caching, content: undefined };
  // CIMD §Client Information Discovery: 200 alone is success, redirects are not followed.
  if (response.status !== 200) throw new Unfit(`it was answered with status ${response.status}`);
  if (
    !/^application\/([a-z0-9.+-]+\+)?json(;|$)/i.test(response.headers.get("content-type") ?? "")
  ) {
    throw new Unfit("it is not JSON by its media type");
  }
  return { ...caching, content: parse(await readLimited(response)) };
}

/** The answer of the first address that gives one. */
async function dial(
  target: URL,
  [address = "", ...others]: readonly string[],
  stop: AbortSignal,
  deps: Deps,
  etag: string | undefined,
): Promise<Response> {
  const pinned = new URL(target);
  pinned.hostname = address.includes(":") ? `[${address}]` : address;
  // An address that swallows everything must leave time for the next; the last may use what is left.
  const patience = new AbortController();
  const timer = others.length > 0 && setTimeout(() => patience.abort(), PATIENCE);
  const { ca } = deps.internet;
  try {
    return await fetch(pinned, {
      headers: {
        host: target.host,
        accept: "application/json",
        "accept-encoding": "identity",
        ...(etag !== undefined && { "if-none-match": etag }),
      },
      // The certificate must be the name's, not the address's.
      tls: { serverName: target.hostname, ...(ca !== undefined && { ca }) },
      redirect: "manual",
      proxy: false,
      signal: AbortSignal.any([stop, patience.signal]),
    });
  } catch (error) {
    if (others.length === 0 || stop.aborted) throw error;
    return dial(target, others, stop, deps, etag);
  } finally {
    if (timer) clearTimeout(timer);
  }
}

async function readLimited(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.length;
    if (size > LARGEST) throw new Unfit(`it is larger than ${LARGEST} bytes`);
    chunks.push(chunk);
  }
  return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Buffer.concat(chunks));
}

function parse(text: string): Record<string, unknown> {
  const content: unknown = JSON.parse(text);
  if (!isObject(content)) throw new Unfit("it is no JSON object");
  return content;
}

/** How long an answer may be kept, and by which mark it is asked for again: RFC 9111 §4.2.1, §5.2.2. */
function cachingOf(headers: Headers): Pick<Fetched, "etag" | "maxAge"> {
  const control = headers.get("cache-control") ?? "";
  if (/\bno-store\b/i.test(control)) return { etag: undefined, maxAge: 0 };
  const etag = headers.get("etag") ?? undefined;
  if (/\b(no-cache|private)\b/i.test(control)) return { etag, maxAge: 0 };
  const stated = /\bmax-age=(\d{1,9})\b/i.exec(control)?.[1];
  const seconds = stated === undefined ? secondsToExpiry(headers) : Number(stated);
  return { etag, maxAge: Math.max(0, seconds - Number(headers.get("age") ?? 0)) };
}

/** RFC 9111 §5.3: a date that is none is past. Without any, five minutes. */
function secondsToExpiry(headers: Headers): number {
  const expires = headers.get("expires");
  if (expires === null) return 300;
  const seconds = (Date.parse(expires) - Date.parse(headers.get("date") ?? "")) / 1000;
  return Number.isNaN(seconds) ? 0 : seconds;
}
