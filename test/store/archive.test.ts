// What may be in an archive, and what a reader refuses. Restoring one is test/cli/restore.test.ts.
import { describe, expect, test } from "bun:test";
import { gunzipSync, gzipSync } from "node:zlib";
import { readArchive } from "../../src/store/archive.ts";
import { packArchive, unpackArchive } from "../../src/store/tar.ts";
import { type Entry, archive, tarBlocks } from "./archives.ts";

const state = `{"schema":1}`;
const good = (): Entry => ({ path: "state.json", content: state });
const contents = (bytes: Buffer): Record<string, string> =>
  Object.fromEntries(
    [...readArchive(bytes).files].map(([name, content]) => [name, content.toString()]),
  );

describe("an archive", () => {
  test("gives back what was packed, whatever the sizes", () => {
    for (const size of [0, 1, 511, 512, 513, 100_000]) {
      const files = new Map([
        ["state.json", Buffer.alloc(size, "x")],
        ["config.json", Buffer.from("é")],
      ]);
      const packed = packArchive(files, 1_795_230_439);
      expect(readArchive(packed)).toEqual({ files, foreign: [] });
      expect(gunzipSync(packed).length % 512).toBe(0);
    }
  });

  test.each<[string, Entry[]]>([
    ["bare names", [good()]],
    [
      "names in a folder",
      [
        { path: "data/", type: "5" },
        { ...good(), path: "data/state.json" },
      ],
    ],
    [
      "names in the folder itself",
      [
        { path: "./", type: "5" },
        { ...good(), path: "./state.json" },
      ],
    ],
    ["old entries without a kind", [{ ...good(), type: "\0" }]],
    [
      "extended headers with times",
      [{ path: "x", type: "x", content: "20 mtime=1795230439\n" }, good()],
    ],
    [
      "a name in an extended header",
      [
        { path: "x", type: "x", content: "24 path=data/state.json\n" },
        { path: "cut off", content: state },
      ],
    ],
    [
      "a long name by GNU",
      [
        { path: "././@LongLink", type: "L", content: "data/state.json\0" },
        { path: "cut off", content: state },
      ],
    ],
    [
      "a folder that an earlier restore kept",
      [
        { ...good(), path: "./before-20261121T000000.000Z/state.json" },
        { ...good(), path: "./state.json" },
      ],
    ],
  ])("with %s is read", (_, entries) => {
    expect(contents(archive(...entries))).toEqual({ "state.json": state });
  });

  test("has a file of two names under both", () => {
    const link = { path: "./state.json.prev", type: "1", linkTo: "./state.json" };
    expect(contents(archive({ ...good(), path: "./state.json" }, link))).toEqual({
      "state.json": state,
      "state.json.prev": state,
    });
  });

  test("is read without what is not ours, which is named", () => {
    const read = readArchive(
      archive(
        { path: "data/", type: "5" },
        { ...good(), path: "data/state.json" },
        { path: "data/._state.json", content: "x" },
        { path: "data/\u001b[2Jx", content: "x" },
        { path: "data/way", type: "2", linkTo: "/etc/passwd" },
        { path: "data/pipe", type: "6" },
        { path: "data/mine/config.json", content: "{}" },
        { path: "data/README.md", content: "as a clone brings it" },
      ),
    );
    expect([...read.files.keys()]).toEqual(["state.json"]);
    expect(read.foreign).toEqual(["._state.json", "\u001b[2Jx", "way", "pipe", "mine"]);
  });

  test("without gzip is read", () => {
    expect(contents(gunzipSync(archive(good())))).toEqual({ "state.json": state });
  });

  test("holds no name that is longer than its field", () => {
    expect(() => packArchive(new Map([["x".repeat(101), Buffer.alloc(1)]]), 0)).toThrow("too long");
  });

  test("that unpacks to more than the limit is refused before it is unpacked", () => {
    const bomb = gzipSync(Buffer.alloc(4_000_000));
    expect(() => unpackArchive(bomb, 1_000_000)).toThrow("it unpacks to more than 1000000 bytes");
    expect(unpackArchive(bomb, 8_000_000)).toEqual([]);
  });

  test("of which little was made much is refused, whatever it unpacks to", () => {
    const bomb = gzipSync(Buffer.alloc(100_000_000));
    expect(bomb.length).toBeLessThan(100_000);
    expect(() => unpackArchive(bomb)).toThrow("it unpacks to more than 67108864 bytes");
    const links = Array.from({ length: 70 }, (_, index): Entry => ({
      path: `audit.jsonl.${index}`,
      type: "1",
      linkTo: "state.json",
    }));
    const million = archive({ ...good(), content: "x".repeat(1_000_000) }, ...links);
    expect(() => unpackArchive(million)).toThrow("it unpacks to more than 67108864 bytes");
    const many = archive(...Array.from({ length: 100_001 }, () => ({ path: "x" })));
    expect(() => unpackArchive(many)).toThrow("it has more than 100000 entries");
  });

  test("is refused wherever a byte of its header is wrong", () => {
    const tar = gunzipSync(archive(good()));
    for (let place = 0; place < 512; place++) {
      // Behind the NUL that ends the sum nothing is read.
      if (place === 155) continue;
      const damaged = Buffer.from(tar);
      damaged[place] = (damaged[place] ?? 0) ^ 1;
      expect(() => readArchive(damaged)).toThrow("it is no tar archive, or damaged");
    }
  });

  test.each<[string, () => Buffer, string]>([
    [
      "a path above the folder",
      () => archive(good(), { path: "../config.json" }),
      `"../config.json" leads out of the folder`,
    ],
    [
      "a path above it, further in",
      () => archive({ ...good(), path: "data/../../state.json" }),
      "leads out of the folder",
    ],
    [
      "an absolute path",
      () => archive(good(), { path: "/etc/config.json" }),
      "leads out of the folder",
    ],
    [
      "a Windows path",
      () => archive(good(), { path: "..\\config.json" }),
      "leads out of the folder",
    ],
    [
      "a symbolic link",
      () => archive({ path: "state.json", type: "2", linkTo: "/etc/passwd" }),
      `"state.json" in it is a symbolic link`,
    ],
    [
      "a hard link",
      () => archive(good(), { path: "config.json", type: "1", linkTo: "/etc/passwd" }),
      "is a hard link",
    ],
    [
      "a character device",
      () => archive(good(), { path: "config.json", type: "3" }),
      "is a device",
    ],
    ["a block device", () => archive(good(), { path: "config.json", type: "4" }), "is a device"],
    ["a FIFO", () => archive(good(), { path: "config.json", type: "6" }), "is a FIFO"],
    [
      "an entry of an unknown kind",
      () => archive(good(), { path: "config.json", type: "S" }),
      "is of an unknown kind",
    ],
    ["a file twice", () => archive(good(), good()), `"state.json" is in it twice`],
    [
      "two folders",
      () => archive({ ...good(), path: "a/state.json" }, { path: "b/config.json" }),
      "more than one folder",
    ],
    [
      "a path in an extended header",
      () =>
        archive(
          good(),
          { path: "x", type: "x", content: "26 path=../../config.json\n" },
          { path: "y" },
        ),
      "leads out of the folder",
    ],
    [
      "a long path by GNU that leads out",
      () => archive(good(), { path: "x", type: "L", content: "/etc/config.json\0" }, { path: "y" }),
      "leads out of the folder",
    ],
    ...[
      "26 size=99",
      "27 GNU.sparse.major=1",
      "0 a=b",
      "8 path=a",
      "999 path=a",
      "8 =path",
      "x",
    ].map((text): [string, () => Buffer, string] => [
      `an extended header of "${text}"`,
      () => archive({ path: "x", type: "x", content: `${text}\n` }, good()),
      "extended header",
    ]),
    [
      "a name for all files",
      () => archive({ path: "x", type: "g", content: "20 path=config.json\n" }, good()),
      "changes more than a name",
    ],
    [
      "an extended header without an end",
      () => archive({ path: "x", type: "L", content: "x".repeat(2 ** 20 + 1) }, good()),
      "too large",
    ],
    [
      "a hard link to another folder",
      () =>
        archive(
          { ...good(), path: "a/state.json" },
          { path: "a/b/state.json" },
          {
            path: "a/config.json",
            type: "1",
            linkTo: "a/b/state.json",
          },
        ),
      "is a hard link to what is not in it",
    ],
    [
      "a hard link to what comes later",
      () => archive({ path: "state.json.prev", type: "1", linkTo: "state.json" }, good()),
      "is a hard link to what is not in it",
    ],
    ["a size beyond its end", () => archive({ ...good(), size: "77777777777\0" }), "it ends early"],
    [
      "a size in base 256",
      () => archive({ ...good(), size: "\x80\0\0\0\0\0\0\x7f" }),
      "no tar archive, or damaged",
    ],
    [
      "a negative size",
      () => archive({ ...good(), size: "-0000000001\0" }),
      "no tar archive, or damaged",
    ],
    ["no end", () => gzipSync(tarBlocks(good())), "it ends early"],
    ["half of its gzip", () => archive(good()).subarray(0, -20), "its gzip is damaged"],
    [
      "no archive at all",
      () => Buffer.from("PK\x03\x04".padEnd(2000, "x")),
      "no tar archive, or damaged",
    ],
    ["nothing", () => Buffer.alloc(0), "it ends early"],
  ])("with %s is refused", (_, content, message) => {
    expect(() => readArchive(content())).toThrow(message);
  });
});
