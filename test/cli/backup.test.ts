import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { gunzipSync } from "node:zlib";
import { readArchive } from "../../src/store/archive.ts";
import { needs } from "../needs.ts";
import type { Postern } from "../process.ts";
import {
  cleanUp,
  type ModelClient,
  backUp,
  copyOf,
  generationOf,
  getIn,
  logIn,
  place,
  refresh,
  restored,
  run,
  savedGenerations,
  startOn,
  unreadable,
} from "./copies.ts";

afterAll(cleanUp);

describe("postern backup", () => {
  let server: Postern;
  let client: ModelClient;
  beforeAll(async () => {
    server = await startOn();
    client = await logIn(server, "Client");
  });

  test("beside the running server: one archive, 0600, of private files", async () => {
    const file = place("backup.tar.gz");
    const { exitCode, stdout, stderr } = await server.run("backup", file);
    expect([exitCode, stderr]).toEqual([0, ""]);
    expect(stdout).toMatch(
      /^wrote \S+: \d{4}-\S+ \S+ UTC, \d+ B, rev \d+, 1 client, 1 login, an owner\n$/,
    );
    expect(stdout).toContain(` UTC, ${statSync(file).size} B, `);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(readdirSync(dirname(file))).toEqual([basename(file)]);
    const listed = Bun.spawnSync(["tar", "-tvzf", file]).stdout.toString().trim().split("\n");
    expect(listed.map((line) => [line.slice(0, 10), line.split(" ").at(-1)])).toEqual([
      ["-rw-------", "state.json"],
      ["-rw-------", "audit.jsonl"],
    ]);
    expect(gunzipSync(readFileSync(file)).toString("latin1")).not.toContain(
      client.tokens.refresh_token,
    );
  });

  test("the restored folder has the owner, its clients and the audit trail; it is said to be a copy", async () => {
    const copy = await restored(await backUp(server.folder));
    expect(copy.stderr()).toContain("was copied or restored since it was saved on");
    expect((await copy.browser.signIn()).status).toBe(303);
    expect(readFileSync(join(copy.folder, "audit.jsonl"), "utf8")).toContain("client_registered");
    expect(statSync(copy.folder).mode & 0o777).toBe(0o700);
    expect(await getIn(copy, { ...client })).toEqual([200, 200]);
    await copy.kill();
  });

  test("never replaces a file unless --force says so", async () => {
    const file = place("backup.tar.gz");
    writeFileSync(file, "mine");
    const refused = await server.run("backup", file);
    expect(refused).toEqual({
      exitCode: 1,
      stdout: "",
      stderr: `postern: error: ${file} exists\npostern: hint: choose another name, or replace it with --force\n`,
    });
    expect(readFileSync(file, "utf8")).toBe("mine");
    expect((await server.run("backup", file, "--force")).exitCode).toBe(0);
    expect(readArchive(readFileSync(file)).files.has("state.json")).toBe(true);
    expect(readdirSync(dirname(file))).toEqual([basename(file)]);
  });

  test("never replaces a pipe or a link, whatever is said", async () => {
    for (const make of [
      (path: string) => void Bun.spawnSync(["mkfifo", path]),
      (path: string) => symlinkSync("/etc/hostname", path),
    ]) {
      const path = place("backup.tar.gz");
      make(path);
      const { mode } = lstatSync(path);
      for (const flags of [[], ["--force"]]) {
        expect(await server.run("backup", path, ...flags)).toEqual({
          exitCode: 1,
          stdout: "",
          stderr: `postern: error: ${path} exists, and is not a regular file\npostern: hint: choose another name\n`,
        });
      }
      expect(lstatSync(path).mode).toBe(mode);
      expect(readdirSync(dirname(path))).toEqual([basename(path)]);
    }
  });

  test("a folder is replaced with --force when it holds a backup and nothing else", async () => {
    const target = `${place("folder")}/`;
    expect((await server.run("backup", target)).exitCode).toBe(0);
    const { ino } = statSync(target);
    const refused = await server.run("backup", target);
    expect([refused.exitCode, refused.stderr]).toEqual([
      1,
      expect.stringContaining(
        "exists\npostern: hint: choose another name, or replace it with --force",
      ),
    ]);
    expect((await server.run("backup", target, "--force")).exitCode).toBe(0);
    expect(statSync(target).ino).not.toBe(ino);
    expect(readdirSync(target).toSorted()).toEqual(["audit.jsonl", "state.json"]);
    writeFileSync(join(target, "journal.000000000000.jsonl"), "");
    const more = await server.run("backup", target, "--force");
    expect([more.exitCode, more.stderr]).toEqual([
      1,
      expect.stringContaining("more than a backup"),
    ]);
    expect(readdirSync(target)).toHaveLength(3);
    expect(readdirSync(dirname(join(target, ".")))).toEqual(["folder"]);
  });

  test("a link is no way into the data folder", async () => {
    const link = place("link");
    symlinkSync(server.folder, link);
    const before = readFileSync(join(server.folder, "audit.jsonl"), "utf8");
    for (const target of [join(link, "audit.jsonl"), join(link, "new"), `${join(link, "new")}/`]) {
      const { exitCode, stderr } = await server.run("backup", target, "--force");
      expect([exitCode, stderr]).toEqual([
        2,
        expect.stringContaining("is in the data folder itself"),
      ]);
    }
    expect(readFileSync(join(server.folder, "audit.jsonl"), "utf8")).toBe(before);
  });

  needs("strace", "linux")(
    "what of the audit trail cannot be read is left out, and told",
    async () => {
      const file = place("backup.tar.gz");
      const words = ["backup", file, "--data", server.folder];
      const { exitCode, stderr } = await run(words, unreadable(join(server.folder, "audit.jsonl")));
      expect([exitCode, stderr]).toEqual([
        0,
        "postern: warning: not in the backup: audit.jsonl: EIO: i/o error, read\n",
      ]);
      expect([...readArchive(readFileSync(file)).files.keys()]).toEqual(["state.json"]);
    },
  );

  needs("root", "linux")("a disk that may not be written to is told as that", async () => {
    const target = place("disk");
    mkdirSync(target);
    const words = ["-t", "tmpfs", "-o", "ro", "none", target];
    expect(Bun.spawnSync(["mount", ...words]).success).toBe(true);
    try {
      const { exitCode, stderr } = await server.run("backup", join(target, "b.tar.gz"));
      expect([exitCode, stderr]).toEqual([
        77,
        expect.stringContaining("EROFS: read-only file system, open"),
      ]);
    } finally {
      Bun.spawnSync(["umount", target]);
    }
  });

  test("a path that ends in a slash, or an empty folder, becomes a folder that a start takes as it is", async () => {
    const empty = place("empty");
    mkdirSync(empty, { mode: 0o755 });
    for (const target of [`${place("folder")}/`, empty]) {
      expect((await server.run("backup", target)).exitCode).toBe(0);
      expect(statSync(target).mode & 0o777).toBe(0o700);
      const files = readdirSync(target);
      expect(files.toSorted()).toEqual(["audit.jsonl", "state.json"]);
      for (const name of files) expect(statSync(join(target, name)).mode & 0o777).toBe(0o600);
      const copy = await startOn(target);
      expect(await getIn(copy, { ...client })).toEqual([200, 200]);
      await copy.kill();
    }
  });

  test.each<[string, (folder: string) => string, RegExp, number]>([
    ["a folder with something in it", () => join(place("a"), ".."), /is not an empty folder/, 1],
    ["the data folder itself", (folder) => folder, /is in the data folder itself/, 2],
    ["a file in the data folder", (folder) => join(folder, "b.tar.gz"), /is in the data folder/, 2],
    [
      "a folder that is not there",
      () => join(place("a"), "b.tar.gz"),
      /^postern: error: cannot write/,
      1,
    ],
  ])("%s is refused, and nothing is written", async (_, target, message, code) => {
    const path = target(server.folder);
    if (!existsSync(path)) mkdirSync(dirname(dirname(path)), { recursive: true });
    else if (path !== server.folder) writeFileSync(join(path, "something"), "");
    const names = readdirSync(server.folder).toSorted();
    const { exitCode, stderr, stdout } = await server.run("backup", path);
    expect([exitCode, stdout]).toEqual([code, ""]);
    expect(stderr).toMatch(message);
    expect(readdirSync(server.folder).toSorted()).toEqual(names);
  });

  test("without a folder, or without anything in it, there is nothing to back up, and none is made", async () => {
    const file = place("backup.tar.gz");
    const none = place("none");
    expect((await run(["backup", file, "--data", none])).stderr).toStartWith(
      `postern: error: there is no data folder ${none}\n`,
    );
    expect((await run(["backup", file, "--data", dirname(none)])).exitCode).toBe(1);
    expect([existsSync(none), existsSync(file)]).toEqual([false, false]);
  });

  test("a damaged folder makes no backup, and the command that saves what can be saved is named", async () => {
    const damaged = copyOf(server.folder);
    const [journal = ""] = readdirSync(damaged).filter((name) => name.startsWith("journal."));
    const path = join(damaged, journal);
    const text = readFileSync(path, "utf8");
    writeFileSync(path, text.replace(`"redirect_uris"`, `"redirect_urls"`));
    const file = place("backup.tar.gz");
    const { exitCode, stderr } = await run(["backup", file, "--data", damaged]);
    expect([exitCode, existsSync(file)]).toEqual([78, false]);
    expect(stderr).toContain("postern check --salvage <new folder>");
  });
});

test("hot backups under load: each knows every login, and no client has to log in again", async () => {
  const server = await startOn();
  const clients = await Promise.all(["A", "B", "C", "D"].map((name) => logIn(server, name)));
  let isOver = false;
  const load = clients.map(async (client) => {
    while (!isOver) expect(await refresh(server, client)).toBe(200);
  });
  const files: string[] = [];
  const generations: number[][] = [];
  for (let count = 0; count < 5; count++) {
    generations.push(clients.map(generationOf));
    files.push(await backUp(server.folder));
  }
  isOver = true;
  await Promise.all(load);
  await server.kill();
  for (const [index, file] of files.entries()) {
    const copy = await restored(file);
    const known = await savedGenerations(copy);
    for (const [which, client] of clients.entries()) {
      const saved = known.get(client.id) ?? 0;
      // Whatever was answered before the backup began is in it.
      expect(saved).toBeGreaterThanOrEqual(generations[index]?.[which] ?? 0);
      expect(await getIn(copy, { ...client })).toEqual([200, 200]);
    }
    await copy.kill();
  }
}, 60_000);
