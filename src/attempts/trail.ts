// Joins what single requests show to attempts of one client to get in. In memory, bounded by number and bytes, without a
// secret: of requests and codes there is a hash. Only steps on the way in come here, never a refresh or a call of a
// client that is in.
import { withoutSecrets } from "../audit.ts";
import type { OAuthError } from "../errors.ts";
import { networkOf } from "../limits.ts";
import { randomToken, seconds, sha256 } from "../primitives.ts";
import { type Attempt, type Step, type StepName, isConnected, isLook, orderOf } from "./steps.ts";

/** What one request showed. */
export interface Sight {
  readonly step: StepName;
  /** Why it was refused; absent: it passed. */
  readonly error?: Pick<OAuthError, "code" | "message">;
  readonly clientId?: string | undefined;
  readonly clientName?: string | undefined;
  readonly redirectUri?: string | undefined;
  /** The query of the authorization request. */
  readonly query?: string;
  /** SHA-256 of the code. */
  readonly code?: string;
  readonly family?: string;
}

/** Where it came from. */
export interface Origin {
  /** IP address. */
  readonly address: string;
  readonly agent: string;
  readonly requestId: string;
  /** A check-up of ours, which is no attempt of anybody. */
  readonly hidden?: boolean;
}

export interface Attempts {
  see(sight: Sight, from?: Origin): void;
  /** The newest first. */
  list(): Attempt[];
  /** Removes those that `matches`. */
  forget(matches: (attempt: Attempt) => boolean): void;
}

export interface Bounds {
  readonly attempts: number;
  /** Of all of them with their signs, as JSON. */
  readonly bytes: number;
}
const usual: Bounds = { attempts: 100, bytes: 128 * 1024 };

/** Seconds without a step after which the next one from the same place begins another attempt. */
const PAUSE = 600;
/** Seconds in which a browser may follow the client that opened it from elsewhere. */
const FOLLOWS = 120;
/** Signs that lead to one attempt. */
const KEYS = 16;

interface Kept {
  attempt: Attempt;
  /** Of its signs: by these later steps find it. */
  readonly keys: Set<string>;
  bytes: number;
  /** What is worth least is dropped first. */
  worth: number;
  /** A look of a client that got in from the same place before: shown once it is more than that. */
  readonly again: boolean;
}

interface Trail {
  /** The one begun longest ago first. */
  readonly kept: Set<Kept>;
  readonly byKey: Map<string, Kept>;
  bytes: number;
}

/** @param now epoch milliseconds */
export function createAttempts(now: () => number, bounds = usual): Attempts {
  const trail: Trail = { kept: new Set(), byKey: new Map(), bytes: 0 };
  return {
    see: (sight, from) => {
      if (from?.hidden) return;
      const at = seconds(now());
      const found = find(trail, sight, from, at) ?? begin(trail, sight, from, at);
      if (!found) return;
      add(trail, found, sight, from, at);
      while (trail.kept.size > bounds.attempts || trail.bytes > bounds.bytes) {
        drop(trail, leastTelling(trail, found));
      }
    },
    list: () =>
      [...trail.kept]
        .toReversed()
        .filter(({ again, attempt }) => !again || !isLook(attempt))
        .map(({ attempt }) => attempt)
        .toSorted((a, b) => b.last_at - a.last_at),
    forget: (matches) => {
      for (const each of trail.kept) if (matches(each.attempt)) drop(trail, each);
    },
  };
}

/** A sign by which steps of one attempt know each other. Of what it is made only a hash is kept. */
interface Sign {
  readonly kind: "family" | "code" | "query" | "client" | "place";
  readonly key: string;
}

const sign = (kind: Sign["kind"], text: string): Sign => ({ kind, key: sha256(`${kind} ${text}`) });

const place = ({ address, agent }: Origin): Sign => sign("place", `${networkOf(address)} ${agent}`);

/** The surest first. */
function signsOf({ clientId, query, code, family }: Sight, from: Origin | undefined): Sign[] {
  return [
    ...(family === undefined ? [] : [sign("family", family)]),
    ...(code === undefined ? [] : [sign("code", code)]),
    ...(query === undefined ? [] : [sign("query", query)]),
    ...(clientId === undefined ? [] : [sign("client", clientId)]),
    ...(from === undefined ? [] : [place(from)]),
  ];
}

/** The attempt that a step belongs to. */
function find(trail: Trail, sight: Sight, from: Origin | undefined, at: number): Kept | undefined {
  for (const { kind, key } of signsOf(sight, from)) {
    const found = trail.byKey.get(key);
    if (found && goesOn(found, sight, kind, at)) return found;
  }
  return sight.step === "authorization" && from ? followed(trail, from, at) : undefined;
}

/** Whether a step that leads to an attempt is a part of it, and not the beginning of the next one. */
function goesOn(
  { attempt }: Kept,
  { step, error }: Sight,
  kind: Sign["kind"],
  at: number,
): boolean {
  const isSoon = at - attempt.last_at <= PAUSE;
  // A call that fails much later says nothing of the way in, and the good ones after it go unseen.
  if (kind === "family" || kind === "code") return isSoon || !error;
  if (step === "call" || !isSoon) return false;
  return kind === "query" || !hasTokens(attempt);
}

const hasTokens = ({ steps }: Attempt): boolean =>
  steps.some(({ step, outcome }) => step === "token" && outcome === "passed");

/**
 * A browser with a client that was not seen before: a known id, or one with a document. It was opened by the client that
 * asked last and has no id yet: in the same network, or anywhere when there is no other.
 */
function followed(trail: Trail, from: Origin, at: number): Kept | undefined {
  const network = networkOf(from.address);
  const waiting = [...trail.kept].filter(
    ({ attempt }) => isLook(attempt) && at - attempt.last_at <= FOLLOWS,
  );
  const near = waiting.filter(({ attempt }) => attempt.network === network);
  return near.at(-1) ?? (waiting.length === 1 ? waiting[0] : undefined);
}

/** A new attempt, when a step can be the first one. */
function begin(trail: Trail, { step, error }: Sight, from: Origin | undefined, at: number) {
  if (!from || ["login", "consent", "code", "call"].includes(step)) return undefined;
  if (step === "token" && !error) return undefined;
  const before = trail.byKey.get(place(from).key);
  if (before && isLook(before.attempt)) drop(trail, before);
  const kept: Kept = {
    attempt: {
      id: randomToken(6),
      started_at: at,
      last_at: at,
      network: networkOf(from.address),
      agent: cut(from.agent, 160),
      steps: [],
      last: step,
    },
    keys: new Set(),
    bytes: 0,
    worth: 0,
    again: before !== undefined && (before.again || isConnected(before.attempt)),
  };
  trail.kept.add(kept);
  return kept;
}

function add(trail: Trail, kept: Kept, sight: Sight, from: Origin | undefined, at: number): void {
  const { attempt } = kept;
  const before = attempt.steps.find(({ step }) => step === sight.step);
  const step: Step = {
    step: sight.step,
    first_at: before?.first_at ?? at,
    last_at: at,
    times: (before?.times ?? 0) + 1,
    outcome: sight.error ? "refused" : "passed",
    ...(sight.error && { error: sight.error.code, reason: cut(sight.error.message, 300) }),
    ...(from && { request: from.requestId }),
  };
  const { clientId, clientName, redirectUri } = sight;
  kept.attempt = {
    ...attempt,
    last_at: at,
    ...(clientId !== undefined && { client_id: cut(clientId, 300) }),
    ...(clientName !== undefined && { client_name: cut(clientName, 100) }),
    ...(redirectUri !== undefined && { redirect_uri: cut(redirectUri, 300) }),
    steps: before
      ? attempt.steps.map((each) => (each === before ? step : each))
      : [...attempt.steps, step],
    last: sight.step,
  };
  kept.worth = worthOf(kept.attempt);
  for (const { key } of signsOf(sight, from)) remember(trail, kept, key);
  const bytes = JSON.stringify([kept.attempt, ...kept.keys]).length;
  trail.bytes += bytes - kept.bytes;
  kept.bytes = bytes;
}

function remember(trail: Trail, kept: Kept, key: string): void {
  kept.keys.delete(key);
  kept.keys.add(key);
  trail.byKey.set(key, kept);
  const [oldest] = kept.keys;
  if (kept.keys.size <= KEYS || oldest === undefined) return;
  kept.keys.delete(oldest);
  if (trail.byKey.get(oldest) === kept) trail.byKey.delete(oldest);
}

function drop(trail: Trail, kept: Kept): void {
  trail.kept.delete(kept);
  trail.bytes -= kept.bytes;
  for (const key of kept.keys) if (trail.byKey.get(key) === kept) trail.byKey.delete(key);
}

/** What makes room: looks before attempts, attempts before those that the owner took part in, the oldest first. */
function leastTelling({ kept }: Trail, newest: Kept): Kept {
  let least: Kept | undefined;
  for (const each of kept)
    if (each !== newest && !(least && least.worth <= each.worth)) least = each;
  return least ?? newest;
}

const worthOf = (attempt: Attempt): number =>
  isLook(attempt) ? 0 : attempt.steps.some(isOwners) ? 2 : 1;

/** Anybody can be refused: what passed at the login or after it took the owner. */
const isOwners = ({ step, outcome }: Step): boolean =>
  outcome === "passed" && orderOf(step) >= orderOf("login");

/** People paste tokens where an id belongs. */
const cut = (text: string, longest: number): string => {
  const safe = withoutSecrets(text);
  return safe.length > longest ? `${safe.slice(0, longest - 1)}…` : safe;
};
