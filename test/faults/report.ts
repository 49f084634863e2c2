// What a fault case tells: how often it was tried and what broke. Sizes, seeds and the shape of a case; no case itself.
import type { PartName } from "../needs.ts";

/** How often a case is tried: inside the normal tests, in a night, and without a bound. */
export interface Sizes {
  readonly sample: number;
  readonly nightly: number;
  readonly long: number;
}
export type Size = keyof Sizes;

/** A fault, tried `size` times against the real program. */
export interface FaultCase {
  readonly name: string;
  readonly sizes: Sizes;
  /** Parts of the machine without which it is skipped. */
  readonly needs: readonly PartName[];
  run(size: number, report: Report): Promise<void>;
}

/** What may break: a client is logged out, something dead works again, a start fails or is slow, anything else. */
export type FindingKind = "lost" | "resurrected" | "failed start" | "wrong";

export interface Finding {
  readonly kind: FindingKind;
  readonly text: string;
}

export interface Report {
  readonly findings: readonly Finding[];
  readonly tries: number;
  readonly random: Random;
  /** Counts one try; later findings are said to be of it. `what` names it: the point, the damage, the moment. */
  tried(what: string): void;
  /** Names what is going on without counting it: the fault did not come. */
  missed(what: string): void;
  find(kind: FindingKind, text: string): void;
}

/** One finding was asked for, and is there. */
export class EnoughFound extends Error {}

/**
 * @param seed what makes every choice of the case again
 * @param untilFound the first finding is thrown out of the case
 */
export function newReport(seed: number, untilFound = false): Report {
  const findings: Finding[] = [];
  let tries = 0;
  let trying = "before the first try";
  return {
    findings,
    get tries() {
      return tries;
    },
    random: seeded(seed),
    tried(what) {
      tries++;
      trying = what;
    },
    missed(what) {
      trying = what;
    },
    find(kind, text) {
      findings.push({ kind, text: `${trying}: ${text} (seed ${seed}, try ${tries})` });
      if (untilFound) throw new EnoughFound();
    },
  };
}

/** Choices that a seed makes the same again. */
export interface Random {
  /** From 0 to 1. */
  next(): number;
  /** A whole number from 0 to below `end`. */
  below(end: number): number;
  /** @throws {RangeError} for an empty list */
  pick<T>(list: readonly T[]): T;
  chance(probability: number): boolean;
}

/** mulberry32 */
export function seeded(seed: number): Random {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000;
  };
  const below = (end: number): number => Math.floor(next() * end);
  return {
    next,
    below,
    pick(list) {
      const index = below(list.length);
      if (!(index in list)) throw new RangeError("nothing to pick from");
      return list[index] as (typeof list)[number];
    },
    chance: (probability) => next() < probability,
  };
}

/** `count` of the list, spread over all of it, the first and the last among them. */
export function spread<T>(list: readonly T[], count: number): T[] {
  if (count >= list.length) return [...list];
  const step = (list.length - 1) / Math.max(1, count - 1);
  const chosen = new Set(Array.from({ length: count }, (_, index) => Math.round(index * step)));
  return list.filter((_, index) => chosen.has(index));
}

export function shuffled<T>(list: readonly T[], random: Random): T[] {
  const keyed = list.map((item) => ({ item, key: random.next() }));
  return keyed.toSorted((a, b) => a.key - b.key).map(({ item }) => item);
}
