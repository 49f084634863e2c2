// Throttles, client addresses and their prefixes. Nothing here locks a client id or the owner out for good: a throttle
// only asks to wait, per network prefix, and its memory is bounded.
import { isIP } from "node:net";
import { tooManyRequests } from "./errors.ts";

/** A token bucket per key: `burst` events at once, then one every `every` seconds. */
export interface Throttle {
  /** Seconds to wait before the next event of this key is welcome; 0: now. Counts nothing. */
  wait(key: string): number;
  count(key: string): void;
  /**
   * Runs `work`, which turns out to be an event of this key or none: `isEvent` is told what it threw, undefined when it did
   * not. Counted before it begins and given back if it was none, so that of very many at once no more begin than there is
   * room for events; the rest wait for those under way.
   * @throws {OAuthError} temporarily_unavailable 429 "too many <what>"
   */
  attempt<T>(
    key: string,
    what: string,
    work: () => Promise<T>,
    isEvent: (error: unknown) => boolean,
  ): Promise<T>;
  /** Forgets the events of a key. */
  forgive(key: string): void;
}

export interface Limits {
  /** Failed logins by prefix. */
  readonly login: Throttle;
  /** The same by network (/24, /48): who has one has very many prefixes. */
  readonly loginNetwork: Throttle;
  /** Failed logins of everybody together: slows answers down, refuses nobody. */
  readonly loginTotal: Throttle;
  readonly register: Throttle;
  readonly authorize: Throttle;
  /** Refused token requests: hosted clients share addresses, so successes are never counted. */
  readonly token: Throttle;
  /** Client documents and keys fetched, by host. */
  readonly document: Throttle;
  /** Wrong bearer tokens; requests without one are normal probes and not counted. */
  readonly guard: Throttle;
}

const KEYS = 10_000;
const MINUTE = 60;

interface UnderWay {
  begin(key: string): void;
  end(key: string): void;
  /** Resolves when the next one of this key ends; undefined when there is none. */
  oneEnds(key: string): Promise<void> | undefined;
}

function underWay(): UnderWay {
  const running = new Map<string, { count: number; ends: PromiseWithResolvers<void> }>();
  return {
    begin: (key) => {
      const { count, ends } = running.get(key) ?? { count: 0, ends: Promise.withResolvers() };
      running.set(key, { count: count + 1, ends });
    },
    end: (key) => {
      const known = running.get(key);
      if (!known || known.count === 1) running.delete(key);
      else running.set(key, { count: known.count - 1, ends: Promise.withResolvers() });
      known?.ends.resolve();
    },
    oneEnds: (key) => running.get(key)?.ends.promise,
  };
}

/** @param monotonic milliseconds that no clock change moves */
export function throttle(burst: number, every: number, monotonic: () => number): Throttle {
  // The time (seconds) at which a key's bucket is full again: GCRA, one number a key.
  const full = new Map<string, number>();
  const attempts = underWay();
  const time = (): number => monotonic() / 1000;

  const wait = (key: string): number =>
    Math.max(0, Math.ceil((full.get(key) ?? 0) - time() - (burst - 1) * every));
  const count = (key: string): void => {
    const next = Math.max(full.get(key) ?? 0, time()) + every;
    full.delete(key);
    full.set(key, next);
    if (full.size <= KEYS) return;
    const [quietest] = full.keys();
    if (quietest !== undefined) full.delete(quietest);
  };
  const giveBack = (key: string): void => {
    const before = (full.get(key) ?? 0) - every;
    if (before > time()) full.set(key, before);
    else full.delete(key);
  };

  return {
    wait,
    count,
    attempt: async (key, what, work, isEvent) => {
      for (let seconds = wait(key); seconds > 0; seconds = wait(key)) {
        const oneEnds = attempts.oneEnds(key);
        if (!oneEnds) throw tooManyRequests(`too many ${what}, try again later`, seconds);
        await oneEnds;
      }
      count(key);
      attempts.begin(key);
      let thrown: unknown;
      try {
        return await work();
      } catch (error) {
        thrown = error;
        throw error;
      } finally {
        if (!isEvent(thrown)) giveBack(key);
        attempts.end(key);
      }
    },
    forgive: (key) => void full.delete(key),
  };
}

const open: Throttle = {
  wait: () => 0,
  count: () => undefined,
  attempt: (_key, _what, work) => work(),
  forgive: () => undefined,
};

/**
 * The throttles of one server.
 * @param enabled false: nobody ever waits
 * @param monotonic milliseconds that no clock change moves
 */
export function createLimits(enabled: boolean, monotonic: () => number): Limits {
  const each = (burst: number, every: number): Throttle =>
    enabled ? throttle(burst, every, monotonic) : open;
  return {
    login: each(5, MINUTE),
    loginNetwork: each(50, MINUTE / 10),
    loginTotal: each(60, 1),
    register: each(20, 6 * MINUTE),
    authorize: each(30, 2),
    token: each(20, 3),
    document: each(10, 6),
    guard: each(60, 1),
  };
}

/** Stands for an address that nobody told, or that cannot be read: many may be behind it. */
export const UNKNOWN = "unknown";

/** An address without port, brackets and zone, IPv4-mapped IPv6 as IPv4; `UNKNOWN` for anything else. */
export function canonicalAddress(text: string | undefined): string {
  // Azure's and IIS's proxies write the port behind the address.
  const [, bracketed, dotted] =
    /^(?:\[(.*)\]|(\d+\.\d+\.\d+\.\d+))(?::\d{1,5})?$/.exec((text ?? "").trim()) ?? [];
  const bare = bracketed ?? dotted ?? (text ?? "").trim();
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(bare)?.[1];
  const address = mapped ?? bare.replace(/%.*$/, "");
  return isIP(address) === 0 ? UNKNOWN : address.toLowerCase();
}

/** The leading `groups` 16-bit groups of an IPv6 address, written out. */
function ipv6Prefix(address: string, groups: number): string {
  const [head = "", tail] = address.split("::");
  const left = head.split(":").filter(Boolean);
  const right = (tail ?? "").split(":").filter(Boolean);
  const gap = tail === undefined ? 0 : 8 - left.length - right.length;
  const all = [...left, ...Array<string>(Math.max(0, gap)).fill("0"), ...right];
  return all
    .slice(0, groups)
    .map((group) => group.replace(/^0+(?=.)/, ""))
    .join(":");
}

/** What throttles count by: an IPv4 address, or the /64 of an IPv6 one. */
export function throttleKey(address: string): string {
  return isIP(address) === 6 ? `${ipv6Prefix(address, 4)}::/64` : address;
}

/** The network of an address: /24 of IPv4, /48 of IPv6. */
export function networkOf(address: string): string {
  if (isIP(address) === 4) return `${address.split(".").slice(0, 3).join(".")}.0/24`;
  return isIP(address) === 6 ? `${ipv6Prefix(address, 3)}::/48` : address;
}

/** Whether two networks are known to be one. */
export const isSameNetwork = (one: string, other: string): boolean =>
  one === other && one !== UNKNOWN;
