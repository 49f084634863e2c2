// When expired records leave, and whose clock is believed.
import { afterEach, describe, expect, test } from "bun:test";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { folderClock } from "../../src/store/expiry.ts";
import {
  type Client,
  type Grant,
  type TableMaps,
  emptyTables,
  sweepExpired,
} from "../../src/store/records.ts";
import {
  DAY,
  START,
  cleanUp,
  clientRecord,
  copyOf,
  freshFolder,
  grantRecord,
  journalNames,
  kindsOf,
  openFolder,
  small,
  testClock,
} from "./folders.ts";

afterEach(cleanUp);

const NOW = START / 1000;
const DAYS = 86_400;

function tables(
  clients: Record<string, Partial<Client>>,
  grants: Record<string, Partial<Grant>>,
): TableMaps {
  const made = emptyTables();
  for (const [id, client] of Object.entries(clients)) made.clients.set(id, clientRecord(client));
  for (const [id, grant] of Object.entries(grants)) made.refresh_tokens.set(id, grantRecord(grant));
  return made;
}

const left = ({ clients, refresh_tokens }: TableMaps): string[] => [
  ...clients.keys(),
  ...refresh_tokens.keys(),
];

describe("the sweep", () => {
  test.each<[string, Record<string, Partial<Client>>, Record<string, Partial<Grant>>, string[]]>([
    ["a grant that ended a week ago", {}, { f_1: { expires_at: NOW - 7 * DAYS } }, []],
    ["a grant that ended a second later", {}, { f_1: { expires_at: NOW - 7 * DAYS + 1 } }, ["f_1"]],
    ["a client never used for 8 days", { c_1: { client_id_issued_at: NOW - 8 * DAYS } }, {}, []],
    [
      "a client never used for less",
      { c_1: { client_id_issued_at: NOW - 8 * DAYS + 1 } },
      {},
      ["c_1"],
    ],
    [
      "a client whose last grant ended 37 days ago",
      { c_1: { first_grant_at: 1, last_grant_ended_at: NOW - 37 * DAYS } },
      {},
      [],
    ],
    [
      "a client with a grant, however old",
      { c_1: { client_id_issued_at: 1, first_grant_at: 1, last_grant_ended_at: 1 } },
      { f_1: { created_at: 1 } },
      ["c_1", "f_1"],
    ],
    [
      "a client whose grant is swept with it only a week over",
      { c_1: { client_id_issued_at: 1, first_grant_at: 1 } },
      { f_1: { expires_at: NOW - 7 * DAYS } },
      ["c_1"],
    ],
    [
      "a client that the owner made",
      { c_1: { source: "static", client_id_issued_at: 1 } },
      {},
      ["c_1"],
    ],
  ])("%s", (_, clients, grants, expected) => {
    const swept = tables(clients, grants);
    const before = swept.clients.size + swept.refresh_tokens.size;
    expect(sweepExpired(swept, NOW)).toBe(before - expected.length);
    expect(left(swept)).toEqual(expected);
  });

  test("a client outlives its last grant by 30 days and a week, though nobody wrote its end down", () => {
    const swept = tables(
      { c_1: { client_id_issued_at: 1, first_grant_at: 1 } },
      { f_1: { expires_at: NOW } },
    );
    sweepExpired(swept, NOW + 7 * DAYS);
    expect(swept.clients.get("c_1")?.last_grant_ended_at).toBe(NOW);
    sweepExpired(swept, NOW + 37 * DAYS - 1);
    expect(left(swept)).toEqual(["c_1"]);
    sweepExpired(swept, NOW + 37 * DAYS);
    expect(left(swept)).toEqual([]);
  });

  test("repeated after a crash comes to the same tables", async () => {
    const path = freshFolder();
    const clock = testClock(START - 20 * DAY);
    const { store } = await openFolder(path, { spareSpace: 0 }, clock);
    await store.update((draft) => {
      for (const n of [1, 2, 3]) {
        draft.put("clients", `c_${n}`, clientRecord({ first_grant_at: 1, client_id_issued_at: 1 }));
        const expires_at = NOW - (12 - 4 * n) * DAYS;
        draft.put("refresh_tokens", `f_${n}`, grantRecord({ client_id: `c_${n}`, expires_at }));
      }
    });
    clock.wait(20 * DAY);
    await store.compact();
    await store.clients.update("c_2", (client) => client && { ...client, client_name: "used" });
    const memory = [await store.clients.list(), await store.refresh_tokens.list()];
    expect(memory[1]?.map(([id]) => id)).toEqual(["f_2", "f_3"]);

    const withSnapshot = await openFolder(copyOf(path), {}, testClock());
    const withoutAny = copyOf(path);
    rmSync(join(withoutAny, "state.json"));
    const fromJournals = await openFolder(withoutAny, {}, testClock());
    for (const { store: crashed } of [withSnapshot, fromJournals]) {
      expect([await crashed.clients.list(), await crashed.refresh_tokens.list()]).toEqual(memory);
    }
  });
});

describe("the clock", () => {
  /** A clock that was last right at START, now `off` milliseconds away from it. */
  function clockOff(off: number) {
    const clock = testClock(START + off);
    return {
      clock,
      folder: folderClock(
        START,
        () => clock.wall,
        () => clock.running,
      ),
    };
  }

  test.each([
    [0, true],
    [90 * DAY, true],
    [90 * DAY + 1, false],
    [-1, false],
    [-20 * 365 * DAY, false],
    [10 * 365 * DAY, false],
  ])("%d ms past the newest time in the folder is believed: %p", (off, believed) => {
    expect(clockOff(off).folder.plausible()).toBe(believed);
  });

  test.each([-DAY, 3650 * DAY])("that is %d ms off is believed after a day, not before", (off) => {
    const { clock, folder } = clockOff(off);
    expect(folder.plausible()).toBe(false);
    clock.wait(DAY - 1);
    expect(folder.plausible()).toBe(false);
    clock.wait(1);
    expect(folder.plausible()).toBe(true);
  });

  test("that jumps while running is doubted for a day", () => {
    const { clock, folder } = clockOff(0);
    clock.wait(DAY);
    expect(folder.plausible()).toBe(true);
    clock.wall += 3650 * DAY;
    expect(folder.plausible()).toBe(false);
    clock.wait(DAY);
    expect(folder.plausible()).toBe(true);
  });

  test("of a process that rests for a year is believed all the time", () => {
    const { clock, folder } = clockOff(0);
    expect(folder.plausible()).toBe(true);
    clock.wait(365 * DAY);
    expect(folder.plausible()).toBe(true);
  });

  test("that is doubted does not become the measure of the next start: what runs is counted", () => {
    const { clock, folder } = clockOff(3650 * DAY);
    expect(folder.stamp()).toBe(START);
    clock.wait(3_600_000.5);
    expect(folder.stamp()).toBe(START + 3_600_000);
    clock.wall = START + 5;
    expect(folder.stamp()).toBe(START + 5);
  });

  test("of a folder without any time is believed", () => {
    expect(
      folderClock(
        undefined,
        () => START,
        () => 0,
      ).plausible(),
    ).toBe(true);
  });
});

describe("the time to decide by", () => {
  const begin = (off: number, newest: number | undefined = START) => {
    const clock = testClock(START + off);
    const { time, mayBeAhead } = folderClock(
      newest,
      () => clock.wall,
      () => clock.running,
    );
    return { clock, time, mayBeAhead };
  };

  test.each([
    ["a day back", -DAY],
    ["in 1970", -START],
  ])("goes on from what the folder knows under a clock %s at the start", (_, off) => {
    const { clock, time } = begin(off);
    expect(time()).toBe(START);
    clock.wait(1000);
    expect(time()).toBe(START + 1000);
    clock.wall = START + 5000;
    expect(time()).toBe(START + 5000);
  });

  test.each([
    ["a day back", -DAY],
    ["to 1970", -START],
    ["ten years ahead", 3650 * DAY],
  ])("goes on while a clock that jumped %s is not believed", (_, off) => {
    const { clock, time } = begin(0);
    expect(time()).toBe(START);
    clock.wall += off;
    clock.wait(1000);
    expect(time()).toBe(START + 1000);
    clock.wall -= off;
    expect(time()).toBe(START + 1000);
  });

  test("is the clock's after a rest, however long, so that what expired meanwhile is over", () => {
    const { clock, time } = begin(3650 * DAY);
    expect(time()).toBe(START + 3650 * DAY);
    clock.wall = START + 7;
    expect(time()).toBe(START + 7);
  });

  test.each<[string, number, boolean]>([
    ["right", DAY, false],
    ["90 days ahead", 90 * DAY, false],
    ["further ahead", 91 * DAY, true],
    ["behind", -DAY, false],
  ])(
    "under a clock that is %s may be ahead: until the clock is right or a day has gone by",
    (_, off, ahead) => {
      const { clock, mayBeAhead } = begin(off);
      expect(mayBeAhead()).toBe(ahead);
      clock.wait(DAY - 1);
      expect(mayBeAhead()).toBe(ahead);
      clock.wait(1);
      expect(mayBeAhead()).toBe(false);
    },
  );

  test("is not ahead when the clock was right before, or is again", () => {
    const { clock, mayBeAhead } = begin(91 * DAY);
    clock.wall = START + 7;
    expect(mayBeAhead()).toBe(false);
    clock.wall += 3650 * DAY;
    expect(mayBeAhead()).toBe(false);
  });

  test("is never before there was any Postern, however long the clock says so", () => {
    const { clock, time } = begin(-START, undefined);
    const first = time();
    expect(first).toBeGreaterThan(Date.UTC(2025, 0, 1));
    clock.wait(2 * DAY);
    expect(time()).toBe(first + 2 * DAY);
    clock.wall = START;
    expect(time()).toBe(START);
  });
});

describe("a folder under a wrong clock", () => {
  async function folderWithGrant() {
    const path = freshFolder();
    const { store } = await openFolder(path);
    await store.refresh_tokens.put("f_1", grantRecord({ expires_at: NOW }));
    return copyOf(path);
  }

  test.each<[string, number]>([
    ["ten years ahead", 3650 * DAY],
    ["in 1970", -START],
  ])("%s loses nothing, however often it starts and saves", async (_, off) => {
    const path = await folderWithGrant();
    for (let start = 0; start < 3; start++) {
      const { store, notices, clock } = await openFolder(path, {}, testClock(START + off));
      expect(kindsOf(notices)).toContain("clock");
      await store.folder.put("a", small(String(start)));
      clock.wait(3_600_000);
      await store.close();
    }
    const right = await openFolder(path, {}, testClock(START + DAY));
    expect(await right.store.refresh_tokens.get("f_1")).toBeDefined();
    expect(kindsOf(right.notices)).not.toContain("clock");
    const journals = journalNames(path).map((name) => readFileSync(join(path, name), "utf8"));
    const times = [...journals.join("").matchAll(/"at":(\d+)/g)].map(([, time]) => Number(time));
    // What ran is counted; nothing of the wrong clock is written down.
    expect(times.toSorted()).toEqual([0, 0, 1, 2].map((hours) => START + hours * 3_600_000));
  });

  test("removes what is over once the clock is believed", async () => {
    const path = await folderWithGrant();
    const { store } = await openFolder(path, { spareSpace: 0 }, testClock(START + 30 * DAY));
    expect(await store.refresh_tokens.list()).toEqual([]);
  });
});
