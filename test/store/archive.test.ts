// What may be in an archive, and what a reader refuses. Restoring one is test/cli/restore.test.ts.
import { describe, expect, test } from "bun:test";
import { gunzipSync, gzipSync } from "node:zlib";
import { readArchive } from "../../src/store/archive.ts";
import { packArchive, unpackArchive } from "../../src/store/tar.ts";
import { type Entry, archive, tarBlocks } from "./archives.ts";

const state = `{"schema":1}`;
const good = (): Entry => ({ path: "state.json", content: state });
const contents = (bytes: Buffer): Record<string, string> =>
  Object.fromEntries([...readArchive(bytes)].map(([name, content]) => [name, content.toString()]));

describe("an archive", () => {
  test("gives back what was packed, whatever the sizes", () => {
    for (const size of [0, 1, 511, 512, 513, 100_000]) {
      const files = new Map([
        ["state.json", Buffer.alloc(size, "x")],
        ["config.json", Buffer.from("é")],
      ]);
      const packed = packArchive(files, 1_795_230_439);
      expect(readArchive(packed)).toEqual(files);
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
  ])("with %s is read", (_, entries) => {
    expect(contents(archive(...entries))).toEqual({ "state.json": state });
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
      "a link to a folder outside",
      () =>
        archive(
          { path: "data", type: "2", linkTo: "/tmp" },
          { ...good(), path: "data/state.json" },
        ),
      "is a symbolic link",
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
    [
      "a name that is not ours",
      () => archive(good(), { path: ".bashrc", content: "x" }),
      `".bashrc" is no file of a data folder`,
    ],
    [
      "a name that moves the cursor",
      () => archive(good(), { path: "\u001b[2Jx", content: "x" }),
      `"\ufffd[2Jx" is no file`,
    ],
    ["a file twice", () => archive(good(), good()), `"state.json" is in it twice`],
    [
      "two folders",
      () => archive({ ...good(), path: "a/state.json" }, { path: "b/config.json" }),
      "more than one folder",
    ],
    [
      "a path in an extended header",
      () => archive({ path: "x", type: "x", content: "26 path=../../config.json\n" }, good()),
      "extended names",
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
