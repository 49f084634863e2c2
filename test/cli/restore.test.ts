import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import {
  cpSync,
  existsSync,
  linkSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  statfsSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { needs } from "../needs.ts";
import { type Entry, archive } from "../store/archives.ts";
import { programCommand } from "../process.ts";
import {
  cleanUp,
  type ModelClient,
  backUp,
  copyOf,
  endLogin,
  generationOf,
  getIn,
  logIn,
  place,
  restored,
  rotate,
  run,
  savedGeneration,
  startOn,
  stateOf,
  unreadable,
} from "./copies.ts";

afterAll(cleanUp);

/** Where what a folder held before a restore is. */
const asideOf = (folder: string): string[] =>
  readdirSync(dirname(folder))
    .filter((name) => name.startsWith(`${basename(folder)}.`))
    .map((name) => join(dirname(folder), name));

test("copies 1, 10 and 1,000 rotations old: the client gets in with the last token it was given", async () => {
  const server = await startOn();
  const client = await logIn(server, "Client");
  const files: string[] = [];
  for (const rotations of [990, 9, 1]) {
    files.push(await backUp(server.folder));
    await rotate(server, client, rotations);
  }
  await server.kill();
  for (const [index, file] of files.entries()) {
    const copy = await restored(file);
    const age = generationOf(client) - (await savedGeneration(copy, client));
    expect(age).toBe([1000, 10, 1][index] ?? 0);
    expect(await getIn(copy, { ...client })).toEqual([200, 200]);
    await copy.kill();
  }
}, 60_000);

describe("postern restore", () => {
  /** A folder with two logins, the clients as of its backup, and the backup; then one login is ended and one rotated. */
  let folder: string;
  let file: string;
  let kept: ModelClient;
  let ended: ModelClient;
  beforeAll(async () => {
    const server = await startOn();
    kept = await logIn(server, "Kept");
    ended = await logIn(server, "Ended");
    file = await backUp(server.folder);
    await rotate(server, kept, 3);
    await endLogin(server, ended);
    await server.kill("SIGKILL");
    folder = server.folder;
  });

  test("refuses a folder that a server owns, and changes nothing", async () => {
    const server = await startOn(copyOf(folder));
    const before = stateOf(server.folder);
    const { exitCode, stdout, stderr } = await server.run("restore", file);
    expect([exitCode, stdout]).toEqual([75, ""]);
    expect(stderr).toStartWith(
      `postern: error: the data folder ${server.folder} is in use by pid ${server.pid} on host `,
    );
    expect(stateOf(server.folder)).toEqual(before);
    expect(asideOf(server.folder)).toEqual([]);
    expect(await getIn(server, { ...kept })).toEqual([200, 200]);
    await server.kill();
  });

  test("says from when the copy is, what it undoes, where the old folder is, and what to do next", async () => {
    const data = copyOf(folder);
    const before = Object.keys(stateOf(data)).filter((name) => !name.startsWith(".lock"));
    const { exitCode, stdout, stderr } = await run(["restore", file, "--data", data]);
    expect([exitCode, stderr]).toEqual([0, ""]);
    const [aside = ""] = asideOf(data);
    expect(stdout).toMatch(
      /^restored \S+ from \S+: \d{4}-\S+ \S+ UTC, rev \d+, 2 clients, 2 logins, an owner\n/,
    );
    expect(stdout.split("\n").slice(1)).toEqual([
      `what was there is in ${aside}`,
      "logins that were ended since then are back, and superseded refresh tokens until their client comes:",
      `  postern revoke-all --data ${data} ends every login`,
      `next: postern --data ${data}`,
      "",
    ]);
    expect(readdirSync(data).toSorted()).toEqual(["audit.jsonl", "state.json"]);
    expect(readdirSync(aside).toSorted()).toEqual(before.filter((name) => name !== "setup-link"));
    expect([data, aside].map((path) => statSync(path).mode & 0o777)).toEqual([0o700, 0o700]);
    const server = await startOn(data);
    expect(await getIn(server, { ...kept })).toEqual([200, 200]);
    expect(await getIn(server, { ...ended })).toEqual([200, 200]);
    await server.kill();
    // And back again.
    expect((await run(["restore", aside, "--data", data])).exitCode).toBe(0);
    const back = await startOn(data);
    expect(await savedGeneration(back, kept)).toBe(generationOf(kept));
    expect((await getIn(back, { ...ended }))[0]).toBe(400);
    await back.kill();
  });

  test("--revoke-all: nothing that was let in before works on the restored folder", async () => {
    const data = copyOf(folder);
    const { stdout } = await run(["restore", file, "--revoke-all", "--data", data]);
    expect(stdout).toContain("\nended 2 logins and all browser sessions\n");
    expect(stdout).not.toContain("revoke-all");
    const server = await startOn(data);
    for (const client of [kept, ended]) {
      expect((await getIn(server, { ...client }))[0]).toBe(400);
    }
    const again = await logIn(server, "Again");
    expect(await getIn(server, again)).toEqual([200, 200]);
    await server.kill();
  });

  test("on a terminal it asks whether every login is to end", async () => {
    if (Bun.which("script") === null) return console.warn("skipped: script is missing");
    for (const [answer, logins] of [
      ["y", 0],
      ["", 2],
    ] as const) {
      const data = place("data");
      const words = ["restore", file, "--data", data];
      const { exitCode, printed } = await atQuestion(words, `${answer}\n`);
      expect(exitCode).toBe(0);
      expect(printed).toMatch(
        /The copy is from \d{4}-.* UTC\. Logins that were ended since then come back/,
      );
      const { stdout } = await run([
        "grants",
        "--json",
        "--data",
        data,
        "--url",
        "http://localhost:7676",
      ]);
      expect(JSON.parse(stdout)).toHaveLength(logins);
    }
  });

  test.each([
    ["Ctrl+C", "\u0003"],
    ["Ctrl+D", "\u0004"],
  ])("left by %s at the question it changes nothing, and makes nothing", async (_, key) => {
    if (Bun.which("script") === null) return console.warn("skipped: script is missing");
    const data = place("data");
    const { exitCode, printed } = await atQuestion(["restore", file, "--data", data], key);
    expect(exitCode).toBe(130);
    expect(printed).toMatch(/\[y\/N\] [^\n]*\nnothing was changed\r\n$/);
    expect(existsSync(data)).toBe(false);
  });

  test.each<[string, (data: string) => string]>([
    ["a folder copied by hand", (data) => data],
    ["a tar of the folder", (data) => tarOf(["-C", data, "."])],
    ["a tar of the folder under its name", (data) => tarOf(["-C", dirname(data), "data"])],
    ["a pax archive with times in it", (data) => tarOf(["--format=pax", "-C", data, "."])],
    [
      "a tar of a folder with one file under two names",
      (data) => {
        linkSync(join(data, "audit.jsonl"), join(data, "audit.jsonl.1"));
        return tarOf(["-C", data, "."]);
      },
    ],
    [
      "a tar of a mounted volume, in which an earlier restore kept what was there",
      (data) => {
        const before = made(join(data, "before-20261121T000000.000Z"));
        cpSync(file, join(before, "state.json"));
        return tarOf(["-C", data, "."]);
      },
    ],
    ...["gnu", "pax"].map((format): [string, (data: string) => string] => [
      `a tar (${format}) of a folder with a long name that is not ASCII`,
      (data) => {
        const name = "Grüße ".repeat(30).trim();
        renameSync(data, join(dirname(data), name));
        return tarOf([`--format=${format}`, "-C", dirname(data), name]);
      },
    ]),
  ])("%s is restored, journals and all", async (_, copy) => {
    const data = place("restored");
    const source = copy(copyOf(folder));
    expect(await run(["restore", source, "--data", data])).toMatchObject({
      exitCode: 0,
      stderr: "",
    });
    const server = await startOn(data);
    expect(await savedGeneration(server, kept)).toBe(generationOf(kept));
    expect(await savedGeneration(server, ended)).toBe(0);
    await server.kill();
  });

  test("what is not Postern's is left out of a copy, archive or folder, and named", async () => {
    const copy = copyOf(folder);
    writeFileSync(join(copy, "config.json~"), "{}");
    writeFileSync(join(copy, "._state.json"), "x");
    symlinkSync("/etc/passwd", join(copy, "way"));
    for (const source of [copy, tarOf(["-C", copy, "."])]) {
      const data = place("data");
      const { exitCode, stdout } = await run(["restore", source, "--data", data]);
      expect(exitCode).toBe(0);
      const line = /^left out, not Postern's: (.*)$/m.exec(stdout)?.[1] ?? "";
      expect(line.split(", ").toSorted()).toEqual([`"._state.json"`, `"config.json~"`, `"way"`]);
      expect(readdirSync(data).toSorted()).toEqual(["audit.jsonl", "state.json"]);
    }
  });

  test("a certificate belongs to the machine: the one that is there stays, else that of the copy comes", async () => {
    const copy = copyOf(folder);
    writeFileSync(join(copy, "acme.json"), "theirs");
    const data = place("data");
    const certificate = (): string => readFileSync(join(data, "acme.json"), "utf8");
    expect((await run(["restore", copy, "--data", data])).exitCode).toBe(0);
    expect(certificate()).toBe("theirs");
    writeFileSync(join(data, "acme.json"), "ours");
    for (const source of [copy, file]) {
      expect((await run(["restore", source, "--data", data])).exitCode).toBe(0);
      expect(certificate()).toBe("ours");
    }
    for (const aside of asideOf(data))
      expect(readFileSync(join(aside, "acme.json"), "utf8")).toBe("ours");
  });

  needs("strace", "linux")("what the disk does not give back is kept aside as it is", async () => {
    const data = copyOf(folder);
    const trail = join(data, "audit.jsonl");
    const { ino } = statSync(trail);
    const { exitCode } = await run(["restore", file, "--data", data], unreadable(trail));
    expect(exitCode).toBe(0);
    const [aside = ""] = asideOf(data);
    expect(statSync(join(aside, "audit.jsonl")).ino).toBe(ino);
    expect(statSync(trail).ino).not.toBe(ino);
  });

  needs("strace", "linux")("an audit trail that cannot be read is left out, and told", async () => {
    const copy = copyOf(folder);
    const data = place("data");
    const prefix = unreadable(join(copy, "audit.jsonl"));
    const { exitCode, stderr } = await run(["restore", copy, "--data", data], prefix);
    expect([exitCode, stderr]).toEqual([
      0,
      "postern: warning: not in the copy: audit.jsonl: EIO: i/o error, read\n",
    ]);
    expect(readdirSync(data)).toEqual(["state.json"]);
  });

  test("one that was interrupted is finished by a start, with the settings of the copy", async () => {
    const data = copyOf(folder);
    writeFileSync(join(data, "config.json"), "{}", { mode: 0o600 });
    const state = copyOf(folder);
    await run(["restore", file, "--data", state]);
    const files = {
      "state.json": readFileSync(join(state, "state.json")),
      "config.json": Buffer.from(`{"refreshGrace":"61s"}`),
    };
    const sums = Object.entries(files).map(([name, content]) => {
      writeFileSync(join(data, `${name}.restoring`), content, { mode: 0o600 });
      return [name, createHash("sha256").update(content).digest("hex").slice(0, 16)];
    });
    const list = JSON.stringify(Object.fromEntries(sums));
    writeFileSync(join(data, "restore.json"), list, { mode: 0o600 });
    const server = await startOn(data);
    expect(readFileSync(join(data, "config.json"), "utf8")).toBe(`{"refreshGrace":"61s"}`);
    expect(await savedGeneration(server, ended)).toBe(1);
    await server.kill();
  });

  test("settings come with the copy; what is not Postern's stays where it is", async () => {
    const data = copyOf(folder);
    writeFileSync(join(data, "config.json"), `{"refreshGrace":"60s"}`);
    const copy = await backUp(data);
    writeFileSync(join(data, "config.json"), "broken");
    writeFileSync(join(data, "notes.txt"), "mine");
    writeFileSync(join(data, "state.json.corrupt-1"), "old");
    const { exitCode, stdout } = await run(["restore", copy, "--data", data]);
    expect(exitCode).toBe(0);
    expect(stdout).toContain(`\nsettings: those of the copy, in ${data}/config.json\n`);
    expect(readFileSync(join(data, "config.json"), "utf8")).toBe(`{"refreshGrace":"60s"}`);
    expect(readdirSync(data).toSorted()).toEqual([
      "audit.jsonl",
      "config.json",
      "notes.txt",
      "state.json",
    ]);
    const without = await run(["restore", file, "--data", data]);
    expect(without.stdout).toContain(
      "\nsettings: the copy has none; config.json is kept with what was there\n",
    );
    expect(existsSync(join(data, "config.json"))).toBe(false);
  });

  needs("root", "linux")("on a mounted volume the old folder is kept inside of it", async () => {
    const data = place("data");
    mkdirSync(data);
    expect(Bun.spawnSync(["mount", "-t", "tmpfs", "none", data]).success).toBe(true);
    try {
      cpSync(folder, data, { recursive: true, filter: (path) => !path.endsWith("admin.sock") });
      const { exitCode, stdout } = await run(["restore", file, "--data", data]);
      expect(exitCode).toBe(0);
      const aside = /^what was there is in (.*)$/m.exec(stdout)?.[1] ?? "";
      expect(dirname(aside)).toBe(data);
      const server = await startOn(data);
      expect(await getIn(server, { ...ended })).toEqual([200, 200]);
      expect(server.stderr()).not.toContain("not Postern's");
      await server.kill();
      expect((await run(["restore", aside, "--data", data])).exitCode).toBe(0);
    } finally {
      Bun.spawnSync(["umount", "-l", data]);
    }
  });

  needs("root", "linux")("a disk without room for it changes nothing", async () => {
    const data = place("data");
    mkdirSync(data);
    expect(Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "size=400k", "none", data]).success).toBe(
      true,
    );
    try {
      cpSync(folder, data, { recursive: true, filter: (path) => !path.endsWith("admin.sock") });
      const before = stateOf(data);
      const outcomes: number[] = [];
      for (const pages of [1, 3, 5, 7, 9, 11, 20]) {
        const { bavail, bsize } = statfsSync(data);
        const filler = join(data, "filler");
        writeFileSync(filler, Buffer.alloc((bavail - pages) * bsize));
        const { exitCode, stderr } = await run(["restore", file, "--data", data]);
        outcomes.push(exitCode);
        rmSync(filler);
        if (exitCode === 0) break;
        expect(stderr).toMatch(/ENOSPC.*\npostern: hint: nothing was changed\n$/);
        expect(stateOf(data)).toEqual(before);
      }
      expect(outcomes.length).toBeGreaterThan(2);
      expect(outcomes.at(-1)).toBe(0);
    } finally {
      Bun.spawnSync(["umount", "-l", data]);
    }
  });
});

/** Runs a command on a terminal and types when it asks. */
async function atQuestion(
  words: readonly string[],
  typed: string,
): Promise<{ exitCode: number; printed: string }> {
  const line = [...programCommand(), ...words].map((word) => `'${word}'`).join(" ");
  const child = Bun.spawn(["script", "-qec", line, "/dev/null"], { stdin: "pipe" });
  let printed = "";
  for await (const chunk of child.stdout) {
    const asked = printed.includes("[y/N]");
    printed += new TextDecoder().decode(chunk);
    if (!asked && printed.includes("[y/N]")) void child.stdin.write(typed);
  }
  return { exitCode: await child.exited, printed };
}

/** An archive that tar makes. */
function tarOf(words: readonly string[]): string {
  const file = place("copy.tgz");
  const { success, stderr } = Bun.spawnSync(["tar", "-czf", file, ...words]);
  if (!success) throw new Error(stderr.toString());
  return file;
}

describe("an archive from a stranger", () => {
  let state: string;
  beforeAll(async () => {
    const server = await startOn();
    await server.kill();
    state = readFileSync(join(server.folder, "state.json"), "utf8");
  });
  const good = (): Entry => ({ path: "state.json", content: state });

  test("made by hand as it should be, it is restored", async () => {
    const file = place("copy.tar.gz");
    writeFileSync(
      file,
      archive({ path: "data/", type: "5" }, { ...good(), path: "data/state.json" }),
    );
    expect((await run(["restore", file, "--data", place("data")])).exitCode).toBe(0);
  });

  test("anything in it that has no place in a data folder is refused, and nothing is written", async () => {
    const rows: [Entry[], string][] = [
      [[good(), { path: "../config.json" }], `"../config.json" leads out of the folder`],
      [[good(), { path: "config.json", type: "2", linkTo: "/etc/passwd" }], "is a symbolic link"],
      [[{ path: "config.json", content: "{}" }], "there is no state in it"],
      [[{ ...good(), content: state.replace("issuer", "issufr") }], "its checksum is wrong"],
    ];
    for (const [entries, message] of rows) {
      const file = place("copy.tar.gz");
      writeFileSync(file, archive(...entries));
      const data = join(dirname(file), "data");
      const { exitCode, stdout, stderr } = await run(["restore", file, "--data", data]);
      expect([exitCode, stdout]).toEqual([78, ""]);
      expect(stderr).toStartWith(`postern: error: ${file} cannot be restored: `);
      expect(stderr).toContain(message);
      expect(readdirSync(dirname(file))).toEqual(["copy.tar.gz"]);
    }
  });

  test.each<[string, (path: string) => void, string]>([
    ["is not there", () => undefined, "there is no "],
    [
      "is a FIFO",
      (path) => void Bun.spawnSync(["mkfifo", path]),
      "it is neither a file nor a folder",
    ],
    ["is an empty folder", (path) => void mkdirSync(path), "there is no state in it"],
    [
      "is a folder with a FIFO for its state",
      (path) => void Bun.spawnSync(["mkfifo", join(made(path), "state.json")]),
      "is not a regular file",
    ],
  ])("that %s is refused in one line", async (_, make, message) => {
    const path = place("copy");
    make(path);
    const data = join(dirname(path), "data");
    const { exitCode, stderr } = await run(["restore", path, "--data", data]);
    expect(exitCode).toBeGreaterThan(0);
    expect(stderr).toContain(message);
    expect(stderr).not.toContain(" at ");
    expect(existsSync(data)).toBe(false);
  });

  test("the data folder is no copy of itself, under whatever name", async () => {
    const server = await startOn();
    await server.kill();
    const link = place("link");
    symlinkSync(server.folder, link);
    const before = stateOf(server.folder);
    for (const source of [server.folder, link]) {
      const { exitCode, stderr } = await server.run("restore", source);
      expect([exitCode, stderr]).toEqual([
        2,
        `postern: error: ${source} is the data folder itself\n`,
      ]);
    }
    expect(stateOf(server.folder)).toEqual(before);
  });
});

function made(path: string): string {
  mkdirSync(path);
  return path;
}
