// Every numbered step of a start, on folders written by hand.
import { afterEach, describe, expect, test } from "bun:test";
import { existsSync, readFileSync, readdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { FatalError } from "../../src/errors.ts";
import { recover } from "../../src/store/recovery.ts";
import { needs } from "../needs.ts";
import {
  DAY,
  GENESIS,
  type HandJournal,
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
  sumOf,
  testClock,
} from "./folders.ts";

afterEach(cleanUp);

/** Five changes: each writes its own record and the one record that all of them write. */
const ops = [1, 2, 3, 4, 5].map((n) => `${change(`r${n}`, `v${n}`)},${change("all", `v${n}`)}`);

/** What the table holds after the first `rev` changes. */
const stateAt = (rev: number): Record<string, string> => ({
  ...Object.fromEntries(Array.from({ length: rev }, (_, n) => [`r${n + 1}`, `v${n + 1}`])),
  ...(rev > 0 ? { all: `v${rev}` } : {}),
});

/** The five changes in journals that begin at these revs. */
function history(...bases: readonly number[]) {
  const chains = [GENESIS];
  const journals = bases.map((base, index) => {
    const journal = handJournal(base, chains[base] ?? "", ops.slice(base, bases[index + 1]));
    for (const { rev, sum } of journal.changes) chains[rev] = sum;
    return journal;
  });
  const chainAt = (rev: number): string => chains[rev] ?? "";
  return {
    journals,
    chainAt,
    files: filesOf(...journals),
    snapshotAt: (rev: number): string => handSnapshot(rev, chainAt(rev), stateAt(rev)),
  };
}

function filesOf(...journals: readonly HandJournal[]): Record<string, string> {
  return Object.fromEntries(journals.map(({ name, text }) => [name, text]));
}

/** The usual history: two journals, the second from change 4 on. */
const { journals, files: bothJournals, chainAt, snapshotAt } = history(0, 3);
const [first = handJournal(0, GENESIS, []), last = handJournal(0, GENESIS, [])] = journals;
/** The same changes in one journal. */
const {
  journals: [whole = first],
  snapshotAt: wholeSnapshotAt,
  chainAt: wholeChainAt,
} = history(0);

/** Opens, reads, and gives what was found. */
async function load(files: Readonly<Record<string, string | Buffer>>) {
  const path = folderWith(files);
  const { store, notices } = await openFolder(path);
  return { path, store, notices, records: await smallRecords(store) };
}

/** Opens a folder that must be refused; checks that nothing in it changed. */
async function refusal(files: Readonly<Record<string, string | Buffer>>): Promise<FatalError> {
  const path = folderWith(files);
  const before = contentOf(path);
  const error = await openFolder(path).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(contentOf(path)).toEqual(before);
  expect(existsSync(join(path, ".lock"))).toBe(false);
  if (!(error instanceof FatalError))
    throw new Error("the folder was not refused", { cause: error });
  return error;
}

describe("a start", () => {
  test("STORE recovery 1: the folder is made with mode 0700, and says who has it", async () => {
    const path = freshFolder(false);
    const { store, notices } = await openFolder(path);
    expect(statSync(path).mode & 0o777).toBe(0o700);
    const owner: unknown = JSON.parse(readFileSync(join(path, ".lock.json"), "utf8"));
    expect(owner).toMatchObject({ pid: process.pid });
    expect(statSync(join(path, ".lock.json")).mode & 0o777).toBe(0o600);
    expect(statSync(join(path, ".lock")).mode & 0o777).toBe(0o700);
    expect(kindsOf(notices)).toEqual(["new"]);
    await store.close();
    expect(readdirSync(path)).toEqual([]);
  });

  needs("strace")("STORE recovery 1: new folders are synced into the ones above them", () => {
    const path = join(freshFolder(), "a", "b");
    const script = join(import.meta.dir, "child.ts");
    const command = ["strace", "-e", "trace=openat,fsync", process.execPath, script, "exit", path];
    const calls = Bun.spawnSync(command).stderr.toString();
    const above = dirname(path);
    const synced = calls.split("\n").flatMap((call, index, all) => {
      const [, folder] = /openat\(AT_FDCWD, "([^"]+)", O_RDONLY/.exec(call) ?? [];
      return folder !== undefined && all[index + 1]?.startsWith("fsync(") ? [folder] : [];
    });
    expect(synced).toEqual([above, dirname(above)]);
  });

  test("STORE recovery 1: a socket that was left is removed", async () => {
    const { path } = await load({ "admin.sock": "" });
    expect(existsSync(join(path, "admin.sock"))).toBe(false);
  });

  test("STORE recovery 2: temporary snapshots are swept, other names are told and kept", async () => {
    const files = { "state.json.123456": "{}", "notes.txt": "mine", "README.md": "" };
    const { path, notices, store } = await load(files);
    expect(readdirSync(path).toSorted()).toEqual([".lock", ".lock.json", "README.md", "notes.txt"]);
    expect(kindsOf(notices)).toEqual(["foreign-names", "new"]);
    expect(notices[0]?.message).toContain("notes.txt");
    expect(store.isNew).toBe(true);
  });

  test.each([
    ["a snapshot", { "state.json": snapshotAt(1) }],
    ["a journal", filesOf(first)],
  ])("STORE recovery 2: a folder with %s is not new", async (_, files) => {
    const { store } = await load(files);
    expect(store.isNew).toBe(false);
  });

  test("STORE recovery 3: a newer snapshot is left alone, exit code 78", async () => {
    const text = snapshotAt(2).replace(`{"schema":1,`, `{"schema":2,`);
    const error = await refusal({ "state.json": text, "state.json.prev": snapshotAt(1) });
    expect(error.exitCode).toBe(78);
    expect(error.message).toContain("schema 2");
  });

  test("STORE recovery 3: a newer journal is left alone, exit code 78", async () => {
    const head = `{"journal":1,"schema":7,"base":2,"chain":"${chainAt(2)}"`;
    const newer = `${head},"sum":"${sumOf(head)}"}\n`;
    const files = { "state.json": snapshotAt(2), "journal.000000000002.jsonl": newer };
    const error = await refusal(files);
    expect(error.exitCode).toBe(78);
    expect(error.message).toContain("schema 7");
  });
});

describe("choosing a snapshot", () => {
  const damages: [string, string][] = [
    ["a wrong sum", snapshotAt(4).replace("v3", "v9")],
    ["no JSON", `{"schema":1,\n"sum":"${sumOf(`{"schema":1,\n`)}"}\n`],
    ["a wrong shape", `{"schema":1,"rev":4,\n"sum":"${sumOf(`{"schema":1,"rev":4,\n`)}"}\n`],
    ["nothing in it", ""],
    ["half of it", snapshotAt(4).slice(0, 200)],
    ["a foreign table", reseal(snapshotAt(4).replace(`"folder":{\n`, `"wishes":{\n`))],
  ];

  test("STORE recovery 4: state.json is taken when it is good", async () => {
    const { records } = await load({
      "state.json": snapshotAt(4),
      "state.json.prev": snapshotAt(2),
    });
    expect(records).toEqual(stateAt(4));
  });

  test.each(damages)(
    "STORE recovery 4: with %s in state.json the one before is taken",
    async (_, text) => {
      const files = {
        "state.json": text,
        "state.json.prev": snapshotAt(2),
        ...bothJournals,
      };
      const { records, notices } = await load(files);
      expect(records).toEqual(stateAt(5));
      expect(kindsOf(notices)).toContain("previous-snapshot");
    },
  );

  test("STORE recovery 4: a state.json that the disk does not give back gives way to the one before", () => {
    const files: Record<string, string> = { "state.json.prev": snapshotAt(2), ...bothJournals };
    const read = (name: string, limit?: number): Buffer => {
      if (name === "state.json") throw new Error("EIO");
      return Buffer.from(files[name] ?? "").subarray(0, limit);
    };
    const { rev, notices } = recover({ names: ["state.json", ...Object.keys(files)], read });
    expect(rev).toBe(5);
    expect(notices[0]?.message).toStartWith("state.json: EIO; ");
  });

  test("STORE recovery 4: a missing state.json gives way to the one before, loudly", async () => {
    const files = { "state.json.prev": snapshotAt(2), ...filesOf(first, last) };
    const { records, notices } = await load(files);
    expect(records).toEqual(stateAt(5));
    expect(notices.find(({ kind }) => kind === "previous-snapshot")?.message).toContain("missing");
  });

  test("STORE recovery 4: without snapshots, journals from the beginning are enough", async () => {
    const { records, notices } = await load(bothJournals);
    expect(records).toEqual(stateAt(5));
    expect(notices).toEqual([]);
  });

  test("STORE recovery 4: an edited one set aside does not make whole journals less", async () => {
    const { records } = await load({ ...bothJournals, "state.json.edited-1": "x" });
    expect(records).toEqual(stateAt(5));
  });

  test.each([
    ["the journals begin later", filesOf(last)],
    ["a damaged one was set aside", { "state.json.corrupt-20261121T000000.000Z": "x" }],
    ["a damaged one below journals was", { ...filesOf(first), "state.json.corrupt-1": "x" }],
    ["an edited one was set aside", { "state.json.edited-20261121T000000.000Z": "x" }],
  ])("STORE recovery 4: without snapshots it never starts empty when %s", async (_, files) => {
    const error = await refusal(files);
    expect(error.exitCode).toBe(78);
    expect(error.message).toContain("state.json is missing");
  });
});

describe("replay", () => {
  test("STORE recovery 5: journals are read by their base, whatever the order of the listing", async () => {
    const many = filesOf(...history(0, 2, 3, 4).journals.toReversed());
    expect((await load(many)).records).toEqual(stateAt(5));
  });

  test("STORE recovery 5: a journal without a readable header counts as absent", async () => {
    const absent = { [last.name]: last.text.slice(0, 40), "journal.000000000004.jsonl": "" };
    const { records } = await load({ ...filesOf(first), ...absent });
    expect(records).toEqual(stateAt(3));
  });

  test("STORE recovery 5: a header under another base's name is not readable", async () => {
    const files = {
      ...filesOf(first),
      "journal.000000000002.jsonl": last.text,
    };
    const error = await refusal(files);
    expect(error.message).toContain("damaged before change 5");
  });

  test("STORE recovery 5: damage in the header of acknowledged lines is damage, not absence", async () => {
    const damaged = last.text.replace(`"base":3`, `"base":4`);
    const error = await refusal({ ...filesOf(first), [last.name]: damaged });
    expect(error.exitCode).toBe(78);
  });

  test("STORE recovery 5: one acknowledged line is enough, wherever its header is damaged", async () => {
    const { name, header, text } = handJournal(3, chainAt(3), [change("r4", "v4")]);
    for (let place = 0; place < header.length - 1; place++) {
      const damaged = Buffer.from(text);
      damaged[place] = (damaged[place] ?? 0) ^ 1;
      const error = await refusal({ "state.json": snapshotAt(3), [name]: damaged });
      expect(error.message).toContain("damaged before change 4");
    }
  });

  test("STORE recovery 6: rev and chain begin with the snapshot", async () => {
    const { records } = await load({ "state.json": snapshotAt(3), ...filesOf(last) });
    expect(records).toEqual(stateAt(5));
  });

  test("STORE recovery 7: lines below the snapshot are skipped", async () => {
    const { records } = await load({ "state.json": snapshotAt(2), ...bothJournals });
    expect(records).toEqual(stateAt(5));
  });

  test("STORE recovery 7: a line of the snapshot's rev with another sum is another history", async () => {
    const other = handJournal(0, GENESIS, [change("x", "1"), change("x", "2"), change("x", "3")]);
    const error = await refusal({ "state.json": snapshotAt(2), [other.name]: other.text });
    expect(error.message).toContain("another history of change 2");
  });

  // Change 3 failed in the first journal, was answered 503, and became another one in the next.
  const old = handJournal(0, GENESIS, [...ops.slice(0, 2), change("failed", "x")]);
  const afterFailure = handJournal(2, old.changes[1]?.sum ?? "", ops.slice(2));

  test("STORE recovery 8: a journal named N voids what older journals hold above N", async () => {
    const { records } = await load({ [old.name]: old.text, ...filesOf(afterFailure) });
    expect(records).toEqual(stateAt(5));
  });

  test("STORE recovery 8: a void line of the snapshot's rev is no other history", async () => {
    const files = {
      "state.json": handSnapshot(3, afterFailure.changes[0]?.sum ?? "", stateAt(3)),
      [old.name]: old.text,
      ...filesOf(afterFailure),
    };
    expect((await load(files)).records).toEqual(stateAt(5));
  });

  test("STORE recovery 9: a change that is missing is never passed over", async () => {
    const gap = whole.header + whole.changes[0]?.text + whole.changes[2]?.text;
    expect((await refusal({ [whole.name]: gap })).message).toContain("damaged before change 3");
    const later = await refusal({ "state.json": snapshotAt(1), ...filesOf(last) });
    expect(later.message).toContain("changes 2 to 3 are missing");
    const [one] = whole.changes;
    const third = `{"rev":3,"prev":"${one?.sum}","at":${START},"ops":[${ops[2]}]`;
    const skipping = `${whole.header}${one?.text}${third},"sum":"${sumOf(one?.sum + third)}"}\n`;
    expect((await refusal({ [whole.name]: skipping })).message).toContain("change 2 is missing");
  });

  test("STORE recovery 9: a line that follows another history is refused", async () => {
    const other = handJournal(2, sumOf("other"), ops.slice(2, 4));
    const error = await refusal({ "state.json": snapshotAt(2), [other.name]: other.text });
    expect(error.message).toContain("change 3 is missing");
  });

  test("STORE recovery 10: a journal that ends before the next begins is refused", async () => {
    const torn = first.text.slice(0, -20);
    const error = await refusal({ [first.name]: torn, ...filesOf(last) });
    expect(error.message).toContain("change 3 is missing");
  });

  test("STORE recovery 10: a header alone is enough to know that changes are missing", async () => {
    const error = await refusal({
      "state.json": snapshotAt(2),
      ...filesOf(handJournal(4, chainAt(4), [])),
    });
    expect(error.message).toContain("changes 3 to 4 are missing");
  });

  test("STORE recovery 11: a bad line with a good one behind it is damage", async () => {
    const damaged = whole.text.replace(`"rev":4`, `"rev":6`);
    expect((await refusal({ [whole.name]: damaged })).message).toContain("damaged before change 5");
    const inSum = whole.text.replace(`"sum":"${wholeChainAt(4)}"`, `"sum":"${GENESIS}"`);
    expect((await refusal({ [whole.name]: inSum })).message).toContain("damaged before change 5");
  });

  test("STORE recovery 11: damage below the snapshot is nothing to stop for", async () => {
    const damaged = whole.text.replace(`"v2"`, `"v7"`);
    const { records } = await load({ "state.json": wholeSnapshotAt(5), [whole.name]: damaged });
    expect(records).toEqual(stateAt(5));
  });

  test("STORE recovery 11: whatever an unsynced last line looks like, it is dropped or whole", async () => {
    const line = whole.changes[4]?.text ?? "";
    const before = whole.text.slice(0, -line.length);
    for (let length = 0; length < line.length - 1; length += 7) {
      for (const rest of ["", "\0".repeat(line.length - length)]) {
        const { records, notices } = await load({
          [whole.name]: before + line.slice(0, length) + rest,
        });
        expect(records).toEqual(stateAt(4));
        const torn =
          notices.find(({ kind }) => kind === "torn-tail")?.message ?? "the last 0 bytes of";
        expect(torn).toContain(` ${length + rest.length} bytes `);
      }
      await cleanUp();
    }
    expect((await load({ [whole.name]: before + line.trimEnd() })).records).toEqual(stateAt(5));
  });

  test("STORE recovery 11: whatever an unsynced first journal looks like, the start goes on", async () => {
    const { name, header, changes } = last;
    const text = `${header}${changes[0]?.text}`;
    for (let length = 0; length < text.length - 1; length += 7) {
      const files = { "state.json": snapshotAt(3), [name]: text.slice(0, length) };
      const { records, store, path } = await load(files);
      expect(records).toEqual(stateAt(3));
      await store.folder.put("next", small("x"));
      expect(journalNames(path)).toEqual([name]);
      expect((await smallRecords((await openFolder(copyOf(path))).store))["next"]).toBe("x");
      await cleanUp();
    }
  });
});

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
    const files = { "state.json": snapshotAt(3), ...filesOf(last) };
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

function reseal(text: string): string {
  const body = text.slice(0, text.lastIndexOf(`"sum":`));
  return `${body}"sum":"${sumOf(body)}"}\n`;
}
