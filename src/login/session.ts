// Browser sessions of the owner: random ids in memory, one cookie. A second cookie marks the browser itself, so that a
// form given out before the login still belongs to it afterwards.
import type { Call, Deps } from "../deps.ts";
import { networkOf } from "../limits.ts";
import { randomToken, seconds, sha256 } from "../primitives.ts";
import type { Session } from "../store/records.ts";

const IDLE_TTL = 12 * 3600;
const ABSOLUTE_TTL = 30 * 86_400;

export interface FoundSession {
  /** SHA-256 of the cookie: the session's id in the table, and what its forms are bound to. */
  readonly id: string;
  readonly session: Session;
}

const grammar = /^[A-Za-z0-9_-]{43}$/;

/** `__Host-` needs Secure, which Safari drops on http loopback; ports share cookies there, so the name has the port. */
function cookieName(deps: Deps, kind: "session" | "browser"): string {
  const { https, issuer } = deps.config;
  const base = https ? "__Host-postern" : `postern_${new URL(issuer).port || "80"}`;
  return kind === "session" ? base : `${base}_browser`;
}

function readCookie(request: Request, name: string): string | undefined {
  for (const pair of (request.headers.get("cookie") ?? "").split(/; */)) {
    if (!pair.startsWith(`${name}=`)) continue;
    const value = pair.slice(name.length + 1);
    return grammar.test(value) ? value : undefined;
  }
  return undefined;
}

function cookie(deps: Deps, kind: "session" | "browser", value: string, maxAge: number): string {
  const secure = deps.config.https ? "; Secure" : "";
  return `${cookieName(deps, kind)}=${value}; Path=/; HttpOnly; SameSite=Lax; Max-Age=${maxAge}${secure}`;
}

/** The live session of a request, its idle time started anew. Ends with its epoch: password change, revoke-all. */
export async function findSession(request: Request, deps: Deps): Promise<FoundSession | undefined> {
  const value = readCookie(request, cookieName(deps, "session"));
  if (value === undefined) return undefined;
  const id = sha256(value);
  const owner = await deps.store.owner.get("owner");
  const now = seconds(deps.now());
  const session = await deps.store.sessions.update(id, (current) => {
    if (!current || current.epoch !== owner?.epoch) return undefined;
    // A clock that was ahead at the login must not make it last longer.
    const created_at = Math.min(current.created_at, now);
    const expires_at = Math.min(now + IDLE_TTL, created_at + ABSOLUTE_TTL);
    return { ...current, created_at, last_used_at: now, expires_at };
  });
  return session && { id, session };
}

/** Starts a session; the answer must carry the cookie. A new id at every login, so none can be planted before. */
export async function startSession(
  epoch: number,
  from: Pick<Session, "network" | "browser">,
  deps: Deps,
): Promise<{ id: string; cookie: string }> {
  const value = randomToken();
  const id = sha256(value);
  const now = seconds(deps.now());
  await deps.store.sessions.put(id, {
    subject: "owner",
    epoch,
    ...from,
    created_at: now,
    last_used_at: now,
    expires_at: now + IDLE_TTL,
    answered: new Map(),
  });
  return { id, cookie: cookie(deps, "session", value, ABSOLUTE_TTL) };
}

/** What is remembered of the browser that signs in. */
export const browserOf = (request: Request, call: Call): Pick<Session, "network" | "browser"> => ({
  network: networkOf(call.address),
  browser: browserName(request.headers.get("user-agent") ?? ""),
});

/** Ends a session on the server; returns the header that removes the cookie. */
export async function endSession(id: string, deps: Deps): Promise<string> {
  await deps.store.sessions.delete(id);
  return cookie(deps, "session", "", 0);
}

/** What identifies this browser to forms before the login; `cookie` must be set when it is new. */
export function browserBinding(request: Request, deps: Deps): { binding: string; cookie?: string } {
  const known = readCookie(request, cookieName(deps, "browser"));
  if (known !== undefined) return { binding: sha256(known) };
  const value = randomToken();
  return { binding: sha256(value), cookie: cookie(deps, "browser", value, ABSOLUTE_TTL) };
}

const browsers = [
  ["Edge", /\bEdgA?\//],
  ["Opera", /\bOPR\//],
  ["Firefox", /\b(?:Firefox|FxiOS)\//],
  ["Chrome", /(?:Chrome|Chromium|CriOS)\//],
  ["Safari", /\bSafari\//],
] as const;
const systems = [
  ["Android", /\bAndroid\b/],
  ["iPhone", /\biPhone\b/],
  ["iPad", /\biPad\b/],
  ["Windows", /\bWindows\b/],
  ["macOS", /\bMac OS X\b/],
  ["ChromeOS", /\bCrOS\b/],
  ["Linux", /\bLinux\b/],
] as const;

/** A User-Agent in words that its owner knows it by; nothing of the text itself, which anybody may write. */
function browserName(userAgent: string): string {
  const named = (list: readonly (readonly [string, RegExp])[]): string | undefined =>
    list.find(([, pattern]) => pattern.test(userAgent))?.[0];
  const browser = named(browsers) ?? "a browser";
  const system = named(systems);
  return system === undefined ? browser : `${browser} on ${system}`;
}
