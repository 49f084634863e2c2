import { describe, expect, test } from "bun:test";
import {
  canonicalAddress,
  isSameNetwork,
  networkOf,
  throttle,
  throttleKey,
} from "../src/limits.ts";

describe("throttle", () => {
  test("a burst, then one every so often; nothing is counted by asking", () => {
    let now = 0;
    const limit = throttle(3, 10, () => now);
    for (let count = 0; count < 3; count++) {
      expect(limit.wait("a")).toBe(0);
      expect(limit.wait("a")).toBe(0);
      limit.count("a");
    }
    expect(limit.wait("a")).toBe(10);
    expect(limit.wait("b")).toBe(0);
    now += 9000;
    expect(limit.wait("a")).toBe(1);
    now += 1000;
    expect(limit.wait("a")).toBe(0);
    limit.count("a");
    expect(limit.wait("a")).toBe(10);
    limit.forgive("a");
    expect(limit.wait("a")).toBe(0);
  });

  describe("attempts, of which only some are events", () => {
    const failing = async (): Promise<never> => {
      await Bun.sleep(1);
      throw new Error("event");
    };
    const isEvent = (error: unknown): boolean => error !== undefined;
    const outcomes = async (promises: Promise<unknown>[]): Promise<Record<string, number>> => {
      const settled = await Promise.allSettled(promises);
      const words = settled.map((each) =>
        each.status === "rejected" ? each.reason.message : "ok",
      );
      return Object.fromEntries(
        [...Map.groupBy(words, (word) => word)].map(([word, all]) => [word, all.length]),
      );
    };

    test("of many failures at once no more are tried than may fail", async () => {
      const limit = throttle(3, 10, () => 0);
      let tried = 0;
      const all = Array.from({ length: 100 }, () =>
        limit.attempt("a", "failures", () => (tried++, failing()), isEvent),
      );
      expect(await outcomes(all)).toEqual({ event: 3, "too many failures, try again later": 97 });
      expect([tried, limit.wait("a"), limit.wait("b")]).toEqual([3, 10, 0]);
    });

    test("successes at once wait for each other, and none is refused or counted", async () => {
      const limit = throttle(3, 10, () => 0);
      let running = 0;
      let most = 0;
      const all = Array.from({ length: 100 }, () =>
        limit.attempt(
          "a",
          "failures",
          async () => {
            most = Math.max(most, ++running);
            await Bun.sleep(1);
            running--;
          },
          isEvent,
        ),
      );
      expect(await outcomes(all)).toEqual({ ok: 100 });
      expect([most, limit.wait("a")]).toEqual([3, 0]);
      await outcomes([limit.attempt("a", "failures", failing, isEvent)]);
      await outcomes([limit.attempt("a", "failures", failing, isEvent)]);
      expect(limit.wait("a")).toBe(0);
    });

    test("what is given back is one event, not those before it", async () => {
      let now = 0;
      const limit = throttle(2, 10, () => now);
      limit.count("a");
      now += 3000;
      await limit.attempt("a", "failures", async () => undefined, isEvent);
      limit.count("a");
      expect(limit.wait("a")).toBe(7);
    });
  });

  test("remembers 10,000 keys, the quietest go first", () => {
    const limit = throttle(1, 1000, () => 0);
    limit.count("first");
    for (let count = 0; count < 9_999; count++) limit.count(`key ${count}`);
    limit.count("first");
    limit.count("one more");
    expect(limit.wait("first")).toBeGreaterThan(0);
    expect(limit.wait("key 0")).toBe(0);
    expect(limit.wait("key 1")).toBeGreaterThan(0);
  });
});

describe("addresses", () => {
  test.each([
    ["::ffff:10.0.0.1", "10.0.0.1"],
    ["[2001:DB8::1]", "2001:db8::1"],
    ["fe80::1%eth0", "fe80::1"],
    ["1.2.3.4:5678", "1.2.3.4"],
    [" 1.2.3.4:5678 ", "1.2.3.4"],
    ["[::1]:99", "::1"],
    ["[::ffff:10.0.0.1]:443", "10.0.0.1"],
    ["2001:db8::1:8080", "2001:db8::1:8080"],
    ["1.2.3.4:", "unknown"],
    ["1.2.3.4:567890", "unknown"],
    ["1.2.3.4:80:80", "unknown"],
    ["[1.2.3.4", "unknown"],
    ["[evil]:80", "unknown"],
    ["999.1.1.1:80", "unknown"],
    ["", "unknown"],
    ["evil", "unknown"],
    [undefined, "unknown"],
  ])("%p is %s", (text, address) => expect(canonicalAddress(text)).toBe(address));

  test.each([
    ["203.0.113.9", "203.0.113.9", "203.0.113.0/24"],
    ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", "2001:db8:1::/48"],
    ["2001:db8::6", "2001:db8:0:0::/64", "2001:db8:0::/48"],
    ["2001:0db8:0001:0002::", "2001:db8:1:2::/64", "2001:db8:1::/48"],
    ["::1", "0:0:0:0::/64", "0:0:0::/48"],
    ["unknown", "unknown", "unknown"],
  ])("%s counts as %s, its network is %s", (address, key, network) => {
    expect([throttleKey(address), networkOf(address)]).toEqual([key, network]);
  });

  test("what cannot be read is no network that two have in common", () => {
    expect(isSameNetwork("203.0.113.0/24", "203.0.113.0/24")).toBe(true);
    expect(isSameNetwork("203.0.113.0/24", "203.0.114.0/24")).toBe(false);
    expect(isSameNetwork(networkOf("unknown"), networkOf("unknown"))).toBe(false);
  });
});
