// The last steps of a start, hand edits, and what any damage at all comes to.
import { afterEach, describe, expect, test } from "bun:test";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { FatalError } from "../../src/errors.ts";
import { recover } from "../../src/store/recovery.ts";
import {
  DAY,
  GENESIS,
  START,
  change,
  cleanUp,
  clientRecord,
  contentOf,
  copyOf,
  folderWith,
  freshFolder,
  grantRecord,
  handJournal,
  handSnapshot,
  journalNames,
  kindsOf,
  openFolder,
  small,
  smallRecords,
  testClock,
} from "./folders.ts";
import {
  bothJournals,
  chainAt,
  filesOf,
  last,
  load,
  refusal,
  snapshotAt,
  stateAt,
} from "./histories.ts";

afterEach(cleanUp);

describe("when nothing is good", () => {
  test("STORE recovery 12: every reason is told, with the command that saves what can be saved", async () => {
    const error = await refusal({
      "state.json": snapshotAt(4).replace("v3", "v9"),
      "state.json.prev": snapshotAt(1),
      ...filesOf(last),
    });
    expect(error.exitCode).toBe(78);
    expect(error.message).toContain("state.json: its checksum is wrong");
    expect(error.message).toContain("state.json.prev: changes 2 to 3 are missing");
    expect(error.hint).toContain("postern check --salvage");
    expect(error.hint).toContain(`"sum":""}`);
  });

  test("STORE recovery 12: a candidate that its journals contradict gives way to the next", async () => {
    // state.json alone was put back from an older copy.
    const old = handJournal(0, GENESIS, [change("other", "history")]);
    const files = {
      "state.json": handSnapshot(1, old.changes[0]?.sum ?? "", { other: "history" }),
      "state.json.prev": snapshotAt(3),
      ...filesOf(last),
    };
    const { records, notices } = await load(files);
    expect(records).toEqual(stateAt(5));
    expect(kindsOf(notices)).toContain("previous-snapshot");
  });

  test("STORE recovery 13: the bad state.json is set aside and never becomes the one before", async () => {
    const bad = snapshotAt(4).replace("v3", "v9");
    const files = {
      "state.json": bad,
      "state.json.prev": snapshotAt(3),
      ...filesOf(last),
    };
    const { path, store } = await load(files);
    const aside = readdirSync(path).filter((name) => name.startsWith("state.json.corrupt-"));
    expect(aside.map((name) => readFileSync(join(path, name), "utf8"))).toEqual([bad]);
    expect(readFileSync(join(path, "state.json.prev"), "utf8")).toBe(snapshotAt(3));
    expect(readFileSync(join(path, "state.json"), "utf8")).toContain(
      `"rev":5,"chain":"${chainAt(5)}"`,
    );
    await store.close();
    const again = await openFolder(path);
    expect(await smallRecords(again.store)).toEqual(stateAt(5));
    expect(again.notices).toEqual([]);
  });
});

describe("after a load", () => {
  const over = START / 1000 - 8 * 86_400;

  test("STORE recovery 14: what expired long ago is gone, not journaled, and not in the next snapshot", async () => {
    const clock = testClock(START - 30 * DAY);
    const path = freshFolder();
    const first = await openFolder(path, {}, clock);
    await first.store.update((draft) => {
      draft.put("clients", "c_1", clientRecord({ first_grant_at: 1 }));
      draft.put("refresh_tokens", "f_old", grantRecord({ expires_at: over }));
      draft.put("refresh_tokens", "f_new", grantRecord());
    });
    const copy = copyOf(path);
    const journals = journalNames(copy).map((name) => readFileSync(join(copy, name), "utf8"));

    const later = await openFolder(copy, {}, testClock());
    expect((await later.store.refresh_tokens.list()).map(([id]) => id)).toEqual(["f_new"]);
    expect(journalNames(copy).map((name) => readFileSync(join(copy, name), "utf8"))).toEqual(
      journals,
    );
    await later.store.folder.put("a", small("x"));
    await later.store.close();
    const snapshot = readFileSync(join(copy, "state.json"), "utf8");
    expect(snapshot).toContain(`"f_new"`);
    expect(snapshot).not.toContain(`"f_old"`);
  });

  test("STORE recovery 15: a start writes nothing that lasts", async () => {
    const [state, previous] = [snapshotAt(4), snapshotAt(3)];
    const files = { "state.json": state, "state.json.prev": previous, ...filesOf(last) };
    const { path, records } = await load(files);
    expect(records).toEqual(stateAt(5));
    expect(contentOf(path)).toEqual(files);
  });

  test("STORE recovery 15: a start past the size writes a snapshot first", async () => {
    const path = folderWith(bothJournals);
    const { store } = await openFolder(path, { journalLimit: 500, spareSpace: 0 });
    expect(store.counters.compactions).toBe(1);
    expect(readFileSync(join(path, "state.json"), "utf8")).toContain(`"rev":5,`);
  });

  test("STORE recovery 15: a snapshot that fails at the start is a warning", async () => {
    const path = folderWith(bothJournals);
    const options = { journalLimit: 500, spareSpace: Number.MAX_SAFE_INTEGER };
    const { store, notices } = await openFolder(path, options);
    expect(kindsOf(notices)).toEqual(["no-room"]);
    expect(await smallRecords(store)).toEqual(stateAt(5));
  });
});

describe("a snapshot edited by hand", () => {
  const emptied = snapshotAt(5)
    .replace("v3", "mine")
    .replace(/"sum":".*"/, `"sum":""`);
  const edited = { ...stateAt(5), r3: "mine" };

  test("is taken as it is when no journal goes on above it, and sealed at once", async () => {
    const { path, records, notices, store } = await load({
      "state.json": emptied,
      ...bothJournals,
    });
    expect(records).toEqual(edited);
    expect(kindsOf(notices)).toContain("edited");
    await store.folder.put("next", small("x"));
    // A kill from here on must not find an unsealed file below a journal.
    const after = await openFolder(copyOf(path));
    expect(await smallRecords(after.store)).toEqual({ ...edited, next: "x" });
    expect(kindsOf(after.notices)).toEqual(["copied"]);
  });

  test.each(["{}", `{"client_id_key":1,"issuer":""}`, `{"client_id_key":"of the folder"}`])(
    "with %s for a record is not taken, and the record is named",
    async (record) => {
      const line = `"r3":${JSON.stringify(small("mine"))}`;
      const odd = emptied.replace(line, `"r3":${record}`);
      expect(odd).not.toBe(emptied);
      const error = await refusal({ "state.json": odd, ...bothJournals });
      expect(error.message).toContain(
        `state.json: its record "r3" in "folder" is none of that table`,
      );
      const { records } = await load({
        "state.json": odd,
        "state.json.prev": snapshotAt(3),
        ...bothJournals,
      });
      expect(records).toEqual(stateAt(5));
    },
  );

  test("is set aside, loudly, when a journal goes on above it", async () => {
    const old = snapshotAt(3).replace(/"sum":".*"/, `"sum":""`);
    const files = { "state.json": old, "state.json.prev": snapshotAt(2) };
    const { records, notices } = await load({ ...files, ...bothJournals });
    expect(records).toEqual(stateAt(5));
    const told = notices.find(({ kind }) => kind === "previous-snapshot")?.message;
    expect(told).toContain("emptied by hand");
    const error = await refusal({ "state.json": old, ...filesOf(last) });
    expect(error.message).toContain("emptied by hand, but there are journals above it");
  });
});

describe("any damage at all", () => {
  // Two generations and their journals: one flipped bit anywhere either changes nothing or is refused; only the end of
  // the last line cannot be told from a change that was never answered.
  const files: Record<string, string> = {
    "state.json": snapshotAt(3),
    "state.json.prev": snapshotAt(1),
    ...bothJournals,
  };
  const [lastName = ""] = Object.keys(files).toReversed();
  const lastLine = (files[lastName] ?? "").trimEnd().lastIndexOf("\n") + 1;

  test.each(Object.keys(files))("one flipped bit in %s never makes another state", (damaged) => {
    const bytes = Buffer.from(files[damaged] ?? "");
    const refused: number[] = [];
    for (let bit = 0; bit < 8 * bytes.length; bit++) {
      const position = bit >> 3;
      const flipped = Buffer.from(bytes);
      flipped[position] = (bytes[position] ?? 0) ^ (1 << (bit & 7));
      const read = (name: string, limit?: number): Buffer =>
        (name === damaged ? flipped : Buffer.from(files[name] ?? "")).subarray(0, limit);
      try {
        const { tables, rev } = recover({ names: Object.keys(files), read });
        const dropped = damaged === lastName && position >= lastLine;
        expect([rev, tables.folder.get("all")]).toEqual(
          dropped && rev === 4 ? [4, small("v4")] : [5, small("v5")],
        );
      } catch (error) {
        if (!(error instanceof FatalError)) throw error;
        expect(error.exitCode).toBe(78);
        refused.push(position);
      }
    }
    // A snapshot has another behind it; the older journal is covered by state.json.
    if (damaged !== lastName) {
      const schema = (files[damaged] ?? "").indexOf(`"schema":`) + `"schema":`.length;
      expect(refused.filter((position) => position !== schema)).toEqual([]);
    }
  });
});
