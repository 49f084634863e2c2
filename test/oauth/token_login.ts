// One login as it is seen from outside: its tokens, what its client goes by, and promises 1 and 3 of the design, which are
// held against every answer without regard to the table.
import type { Tokens } from "../server.ts";
import { type Family, type Outcome, SCOPES, born, network } from "./token_table.ts";

const IDLE_TTL = 90 * 86_400;
const SIBLING_GRACE = 3600;
const GRACE = 120;
const ACCESS_TTL = 3600;
export const UNAVAILABLE = "503 temporarily_unavailable";

/** The rules were broken. */
export class Violation extends Error {}

/** What is known of a login from outside, in the history that the folder now tells. */
export interface Facts {
  /** An end was asked for, whether or not it was answered. */
  ending: boolean;
  /** An end was answered. */
  ended: boolean;
  /** The last refresh that was answered with tokens. */
  lastSeen: number;
  /** The newest generation of which a token was used, for certain. */
  usedUpTo: number;
  /** The generation that each refresh token was last answered with; Infinity when that is not known. */
  readonly answered: Map<number, number>;
  /** Where requests without an answer came from: any of them may have made a generation. */
  readonly doubtful: string[];
  /** When and to whom the newest generation was first given. */
  newest: { generation: number; at: number; addresses: string[] };
}

/** What the client that owns the login goes by. */
export interface Holder {
  /** The newest refresh token it was given. */
  held: number;
  heldScope: string;
  /** That one was sent since. */
  heldSent: boolean;
  /** The one it sent for `held`, and whether it used the answer. */
  sent: number | undefined;
  answerUsed: boolean;
  /** The last rotation: what was sent for it first, when, and from where it was sent. */
  rotation: { of: number; at: number; addresses: string[] } | undefined;
  /** When an older one than `held` was sent, and from where: its answer, if lost, may be the successor of `held`. */
  stale: { at: number; addresses: string[] } | undefined;
}

export interface Login {
  readonly name: string;
  readonly id: string;
  readonly clientId: string;
  readonly code: { readonly text: string; readonly process: string; readonly until: number };
  readonly endsAt: number;
  /** What it may be now, and what a crash may bring back. */
  memory: readonly Family[];
  disk: readonly Family[];
  facts: Facts;
  readonly holder: Holder;
  /** A thief has had a part in it: the table still holds, the promise to the client does not. */
  tainted: boolean;
  /** Every token ever seen, by what it is. */
  readonly refreshTokens: Map<number, string>;
  readonly accessTokens: Map<string, string>;
}

/** One request, as it is sent and as the table sees it. */
export interface Request {
  readonly login: Login;
  readonly text: string;
  readonly send: () => Promise<string>;
  readonly outcomes: (family: Family) => readonly Outcome[];
  /** Learns from the answer; undefined when a crash cut it off. `before` is what was known when the request was sent. */
  readonly heard?: (answer: string | undefined, before: Facts) => void;
}

/** A login that was just made, by its first tokens. */
export function newLogin(
  name: string,
  clientId: string,
  code: Login["code"],
  tokens: Tokens,
  now: number,
): Login {
  const address = "203.0.113.7";
  const family = born(now, address);
  return {
    name,
    id: tokens.refresh_token.slice(4, 26),
    clientId,
    code,
    endsAt: family.endsAt,
    memory: [family],
    disk: [family],
    facts: {
      ending: false,
      ended: false,
      lastSeen: now,
      usedUpTo: 0,
      answered: new Map(),
      doubtful: [],
      newest: { generation: 1, at: now, addresses: [address] },
    },
    holder: {
      held: 1,
      heldScope: SCOPES,
      heldSent: false,
      sent: undefined,
      answerUsed: true,
      rotation: undefined,
      stale: undefined,
    },
    tainted: false,
    refreshTokens: new Map([[1, tokens.refresh_token]]),
    accessTokens: new Map([[`1 ${SCOPES}`, tokens.access_token]]),
  };
}

/** What a client that follows the rules may send now: the last it was given, or the last it sent, or a sibling's copy. */
export function honestChoices({ holder }: Login, now: number, from: string): number[] {
  const { held, heldSent, sent, answerUsed, rotation } = holder;
  const choices = [held, held];
  if (sent !== undefined && !answerUsed) choices.push(sent);
  if (rotation && rotation.of !== held && !heldSent) {
    const age = now - rotation.at;
    const isNear = rotation.addresses.every((other) => network(other) === network(from));
    if (age <= GRACE || (age <= SIBLING_GRACE && isNear)) choices.push(rotation.of);
  }
  return choices;
}

/** The client sends a refresh token. */
export function honestlySent(
  { holder }: Login,
  generation: number,
  now: number,
  from: string,
): void {
  if (generation === holder.held) {
    holder.heldSent = true;
    holder.answerUsed = true;
  }
  const nothing = { at: now, addresses: [] };
  const { rotation, stale } = holder;
  const known = generation === holder.held ? (stale ?? nothing) : nothing;
  const before = rotation?.of === generation ? rotation : known;
  // Which of the requests rotated is not known here: a sibling goes by the earliest, wherever they came from.
  const at = Math.min(before.at, now);
  holder.rotation = { of: generation, at, addresses: [...before.addresses, from] };
  if (generation < holder.held) {
    const { at: first, addresses } = stale ?? nothing;
    holder.stale = { at: Math.min(first, now), addresses: [...addresses, from] };
  }
}

export interface Sent {
  readonly generation: number;
  readonly address: string;
  readonly honest: boolean;
  /** The client never sees the answer. */
  readonly lost?: boolean;
}

/** Promises 1 and 3 for one answer to a refresh. @throws {Violation} */
export function hearRefresh(
  login: Login,
  sent: Sent,
  answer: string | undefined,
  before: Facts,
  now: number,
): void {
  const { facts } = login;
  if (answer === undefined || answer === UNAVAILABLE) {
    facts.answered.set(sent.generation, Infinity);
    facts.doubtful.push(sent.address);
    return;
  }
  const [, given, scope = SCOPES] = /^200 refresh (\d+), access \d+ "(.*)"/.exec(answer) ?? [];
  if (given === undefined) {
    // An answer within the hour of the access token is not written down again.
    const idleAt = before.lastSeen + IDLE_TTL - ACCESS_TTL;
    const isDue = facts.ending || now >= login.endsAt || now >= idleAt;
    if (sent.honest && !login.tainted && !isDue)
      throw new Violation(`promise 1: ${login.name} is logged out (${answer})`);
    return;
  }
  assertNotDead(login, sent, before, now);
  const generation = Number(given);
  facts.lastSeen = now;
  facts.answered.set(sent.generation, generation);
  facts.usedUpTo = Math.max(facts.usedUpTo, Math.min(sent.generation, generation - 1));
  if (generation > facts.newest.generation)
    facts.newest = { generation, at: now, addresses: [...facts.doubtful, sent.address] };
  else facts.newest.addresses.push(sent.address);
  if (sent.honest && !sent.lost) take(login.holder, sent.generation, generation, scope);
}

function assertNotDead(login: Login, sent: Sent, { ended, ...before }: Facts, now: number): void {
  if (ended) throw new Violation(`promise 3: ${login.name} had ended`);
  const age = now - before.newest.at;
  const isSibling = before.newest.addresses.some((from) => network(from) === network(sent.address));
  if (age <= GRACE || (age <= SIBLING_GRACE && isSibling)) return;
  const answered = before.answered.get(sent.generation) ?? sent.generation + 1;
  if (before.usedUpTo >= answered)
    throw new Violation(`promise 3: refresh ${sent.generation} was superseded and used`);
}

/** The client keeps what it was given. */
function take(holder: Holder, sent: number, generation: number, scope: string): void {
  holder.sent = sent;
  // The same answer again is as used as it was before.
  if (generation <= holder.held) return;
  holder.held = generation;
  holder.heldScope = scope;
  holder.stale = undefined;
  holder.heldSent = false;
  holder.answerUsed = false;
}
