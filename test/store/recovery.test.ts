// The numbered steps of a start up to the replay, on folders written by hand.
import { afterEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { recover } from "../../src/store/recovery.ts";
import { needs } from "../needs.ts";
import {
  GENESIS,
  START,
  change,
  cleanUp,
  copyOf,
  freshFolder,
  handJournal,
  handSnapshot,
  journalNames,
  kindsOf,
  openFolder,
  small,
  smallRecords,
  sumOf,
} from "./folders.ts";
import {
  bothJournals,
  chainAt,
  filesOf,
  first,
  history,
  last,
  load,
  ops,
  refusal,
  snapshotAt,
  stateAt,
  whole,
  wholeChainAt,
  wholeSnapshotAt,
} from "./histories.ts";

afterEach(cleanUp);

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

  test("STORE recovery 2: halves of what a restore was to keep aside are swept, and nothing else", async () => {
    const path = freshFolder();
    const parent = dirname(path);
    const name = basename(path);
    const half = "before-20261121T000000.000Z.AbC_12-x.part";
    const others = [`${name}.before-20261121T000000.000Z`, `${name}.mine.part`, `other.${half}`];
    for (const each of [`${name}.${half}`, ...others, join(name, half)]) {
      mkdirSync(join(parent, each));
      writeFileSync(join(parent, each, "state.json"), "half");
    }
    const { notices } = await openFolder(path);
    expect(kindsOf(notices)).toEqual(["new"]);
    const left = readdirSync(parent).filter((each) => each !== name);
    expect(left.toSorted()).toEqual(others.toSorted());
    expect(existsSync(join(path, half))).toBe(false);
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

  test("STORE recovery 5: a journal without a readable header counts as absent, and is told", async () => {
    const absent = { [last.name]: last.text.slice(0, 40) };
    const { records, notices } = await load({ ...filesOf(first), ...absent });
    expect(records).toEqual(stateAt(3));
    expect(notices[0]?.message).toStartWith(`the last 40 bytes of ${last.name} look like a change`);
  });

  test("STORE recovery 5: a journal is made when the change before it is durable, whatever is in it", async () => {
    const later = { "journal.000000000004.jsonl": "" };
    const error = await refusal({ ...filesOf(first), ...later });
    expect(error.message).toContain("change 4 is missing");
  });

  test.each<[string, string | Buffer, string]>([
    ["other line ends", last.text.replaceAll("\n", "\r\n"), "damaged before change 5"],
    ["a byte order mark", `\ufeff${last.text}`, "damaged before change 5"],
    ["two bytes a letter", Buffer.from(last.text, "utf16le"), "damaged from its beginning"],
    ["anything else", "x".repeat(last.text.length), "damaged from its beginning"],
  ])("STORE recovery 5: a journal with %s was not being made", async (_, content, reason) => {
    const error = await refusal({ "state.json": snapshotAt(3), [last.name]: content });
    expect(error.message).toContain(`${last.name} is ${reason}`);
    const alone = await refusal({ [first.name]: content });
    expect(alone.message).toContain(`${first.name} is `);
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

  test("STORE recovery 5: a folder that begins anew because nothing can be read says so", async () => {
    const { records, notices } = await load({ [first.name]: "\0".repeat(first.text.length) });
    expect(records).toEqual({});
    expect(kindsOf(notices)).toEqual(["nothing-read"]);
    expect(notices[0]?.message).toContain(` ${first.text.length} bytes of ${first.name} `);
  });

  test("STORE recovery 5: one acknowledged line is enough, wherever its header is damaged", async () => {
    const { name, header, text } = handJournal(3, chainAt(3), [change("r4", "v4")]);
    for (let place = 0; place < header.length - 1; place++) {
      const damaged = Buffer.from(text);
      damaged[place] = (damaged[place] ?? 0) ^ 1;
      const error = await refusal({ "state.json": snapshotAt(3), [name]: damaged });
      expect(error.message).toContain("damaged before change 4");
    }
    const beheaded = { "state.json": snapshotAt(3), [name]: text.slice(header.length) };
    expect((await refusal(beheaded)).message).toContain("damaged before change 4");
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

  test("STORE recovery 8: more than the one change that failed is another history, laid over this one", async () => {
    const longer = handJournal(0, GENESIS, [
      ...ops.slice(0, 2),
      change("a", "x"),
      change("b", "x"),
    ]);
    const error = await refusal({ [longer.name]: longer.text, ...filesOf(afterFailure) });
    expect(error.exitCode).toBe(78);
    expect(error.message).toContain(`${longer.name} tells another history of change 3`);
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
    expect(error.message).toContain("tells another history of change 3");
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

function reseal(text: string): string {
  const body = text.slice(0, text.lastIndexOf(`"sum":`));
  return `${body}"sum":"${sumOf(body)}"}\n`;
}
