import { afterAll, describe, expect, test } from "bun:test";
import { chmodSync, chownSync, existsSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { needs } from "../needs.ts";
import { freePort } from "../process.ts";
import {
  cleanUp,
  ISSUER,
  copyOf,
  generationOf,
  makeHistory,
  place,
  refresh,
  run,
  savedGeneration,
  startOn,
  stateOf,
} from "./copies.ts";
import { edit, flip, flipBoth, remove, write } from "./damage.ts";

afterAll(cleanUp);

const { folder, client, journals, previous, state, end } = await makeHistory();
const [first, second, last] = journals;

const check = (data: string, ...flags: string[]) => run(["check", "--data", data, ...flags]);

describe("postern check", () => {
  test("says of each file what it holds, and what a start works with; every number is right", async () => {
    const { exitCode, stdout } = await check(folder);
    expect(exitCode).toBe(0);
    const size = statSync(join(folder, "state.json")).size;
    expect(stdout).toStartWith(`data folder ${folder}, opened by pid `);
    expect(stdout).toMatch(
      new RegExp(
        `^  state\\.json +${size} B  rev ${state}, saved \\S+ \\S+ UTC on \\S+: 2 clients, 2 logins, an owner$`,
        "m",
      ),
    );
    expect(stdout).toMatch(
      new RegExp(
        `^  state.json.prev +\\d+ B  rev ${previous}, .*: 2 clients, 2 logins, an owner$`,
        "m",
      ),
    );
    expect(stdout).toMatch(new RegExp(`^  ${first} +\\d+ B  changes 1 to ${previous}$`, "m"));
    expect(stdout).toMatch(new RegExp(`^  ${last} +\\d+ B  changes ${state + 1} to ${end}$`, "m"));
    expect(stdout).toMatch(
      new RegExp(
        `^holds: rev ${end}, 2 clients, 1 login, an owner, newest change \\S+ \\S+ UTC$`,
        "m",
      ),
    );
    expect(stdout).toEndWith(`a start works, with state.json, ${last}\n`);
  });

  test("--json tells the same to programs", async () => {
    const { exitCode, stdout } = await check(folder, "--json");
    expect(exitCode).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      folder,
      holds: { rev: end, issuer: ISSUER, clients: 2, logins: 1, owner: true },
      start: { works: true, uses: ["state.json", last] },
      exit_code: 0,
    });
    const damaged = copyOf(folder);
    flipBoth(damaged);
    remove(damaged, first);
    const report = JSON.parse((await check(damaged, "--json")).stdout);
    expect(report).toMatchObject({ start: { works: false, exit_code: 78 }, exit_code: 78 });
    expect(
      report.files.find(({ name }: { name: string }) => name === "state.json").damage,
    ).toContain("checksum is wrong");
  });

  test("beside a busy server it sees a whole state every time, and takes nothing from it", async () => {
    const server = await startOn(copyOf(folder));
    const model = { ...client };
    let isOver = false;
    const load = (async () => {
      while (!isOver) expect(await refresh(server, model)).toBe(200);
    })();
    for (let count = 0; count < 8; count++) {
      const known = generationOf(model);
      const { exitCode, stdout } = await check(server.folder);
      expect([exitCode, stdout.includes("damaged")]).toEqual([0, false]);
      expect(stdout).toContain(`, opened by pid ${server.pid} on host `);
      const rev = Number(/^holds: rev (\d+)/m.exec(stdout)?.[1]);
      expect(rev).toBeGreaterThanOrEqual(end + known - generationOf(client));
    }
    isOver = true;
    await load;
    expect(await server.kill()).toBe(0);
  });

  test("without a folder it says so, and makes none", async () => {
    const none = place("none");
    const { exitCode, stderr } = await check(none);
    expect([exitCode, stderr]).toEqual([
      66,
      `postern: error: there is no data folder ${none}\npostern: hint: name it with --data\n`,
    ]);
    const told = await check(none, "--json");
    expect([told.exitCode, told.stderr]).toEqual([66, ""]);
    expect(JSON.parse(told.stdout)).toMatchObject({
      folder: none,
      files: [],
      start: { works: false, exit_code: 66, message: `there is no data folder ${none}` },
      exit_code: 66,
    });
    expect(existsSync(none)).toBe(false);
  });

  test("a file in the place of the folder is told as one", async () => {
    const file = place("file");
    writeFileSync(file, "");
    expect(await check(file)).toMatchObject({
      exitCode: 78,
      stderr: expect.stringContaining(`${file} cannot be used: it is not a folder\n`),
    });
  });

  needs("root", "linux")("root is told what the folder's owner would be told", async () => {
    const data = copyOf(folder);
    for (const name of readdirSync(data)) chownSync(join(data, name), 12_345, 12_345);
    chownSync(data, 12_345, 12_345);
    const clean = await check(data);
    expect(clean.exitCode).toBe(0);
    expect(clean.stdout).toContain("\nnote: a start as root refuses it: start as user 12345\n");
    chownSync(join(data, last), 0, 0);
    const { exitCode, stdout } = await check(data);
    expect(exitCode).toBe(78);
    expect(stdout).toContain(
      `with exit code 77: ${join(data, last)} belongs to user 0, and this is user 12345`,
    );
  });
});

needs("root", "linux")("what a user may not read is told as that, not as damage", async () => {
  const nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups".split(" ");
  const data = copyOf(folder);
  chmodSync(join(data, ".."), 0o755);
  const start = ["--data", data, "--port", "1"];
  const other = await run(start, nobody);
  expect([other.exitCode, other.stderr]).toEqual([
    77,
    expect.stringContaining(`${data} belongs to user 0, and this is user 65534\n`),
  ]);
  expect((await check(data)).exitCode).toBe(0);
  expect(await run(["check", "--data", data], nobody)).toMatchObject({ exitCode: 77, stdout: "" });
  const backup = place("backup");
  expect((await run(["restore", data, "--data", backup], nobody)).exitCode).toBe(77);
  for (const name of ["", ...readdirSync(data)]) chownSync(join(data, name), 65_534, 65_534);
  chmodSync(join(data, "state.json"), 0);
  for (const words of [start, ["check", "--data", data]]) {
    const { stdout, stderr } = await run(words, nobody);
    expect(stdout + stderr).toContain(`${data}/state.json may not be read: its mode is 0000\n`);
    expect(stdout + stderr).toContain(`hint: chmod 600 ${data}/state.json\n`);
  }
  expect(readdirSync(data)).toContain("state.json");
});

type Damage = (data: string) => void;

/** What is done to a copy of the folder, check's exit code, and what it says: a start works. */
const survived: [name: string, damage: Damage, exitCode: number, says: string][] = [
  ["nothing but a copy", () => undefined, 0, "note: "],
  [
    "a torn end",
    (data) => edit(data, last, (text) => `${text}{"rev":99,"p`),
    0,
    `note: the last 12 bytes of ${last} look like a change that was never answered: dropped`,
  ],
  ["a name that is not ours", (data) => write(data, "notes.txt", ""), 0, "note: "],
  [
    "a write that did not end",
    (data) => write(data, "state.json.1", "{"),
    0,
    "left by a write that did not end",
  ],
  [
    "an empty new journal",
    (data) => write(data, `journal.${String(end).padStart(12, "0")}.jsonl`, ""),
    0,
    "no change in it",
  ],
  [
    "a new journal that was never finished",
    (data) => write(data, `journal.${String(end).padStart(12, "0")}.jsonl`, `{"journal":1\0\0`),
    0,
    "note: the last 14 bytes of journal.",
  ],
  [
    "a file open to others",
    (data) => chmodSync(join(data, "state.json"), 0o644),
    1,
    "warning: open to others until the next start closes it: state.json",
  ],
  ["modes open to others", (data) => chmodSync(data, 0o755), 1, "warning: open to others"],
  [
    "a damaged state.json",
    (data) => flip(data, "state.json", 3),
    1,
    "damaged: state.json: its checksum is wrong; ",
  ],
  [
    "no state.json",
    (data) => remove(data, "state.json"),
    1,
    "warning: state.json: it is missing; its last generation and the journals are used instead",
  ],
  [
    "a damaged spare",
    (data) => flip(data, "state.json.prev", 3),
    1,
    "damaged: state.json.prev: its checksum is wrong",
  ],
  [
    "both snapshots damaged, and journals from the beginning",
    flipBoth,
    1,
    "state.json.prev: its checksum is wrong; the journals go back to the beginning and are used instead",
  ],
  [
    "damage below the snapshot",
    (data) => flip(data, first, 4),
    1,
    `damaged: ${first}: line 4 is damaged; changes 4 to ${previous} stand behind it`,
  ],
];

/** The same, with the exit code that a start ends with. */
const refused: [name: string, damage: Damage, exitCode: number, says: string][] = [
  [
    "both snapshots damaged, and the first journal gone",
    (data) => {
      flipBoth(data);
      remove(data, first);
    },
    78,
    "state.json.prev: its checksum is wrong",
  ],
  [
    "damage in the middle",
    (data) => flip(data, last, 3),
    78,
    `damaged: ${last}: line 3 is damaged; changes ${state + 3} to ${end} stand behind it`,
  ],
  [
    "a damaged header",
    (data) => flip(data, last, 1),
    78,
    `damaged: ${last}: line 1 is damaged, with changes behind it`,
  ],
  [
    "a header of its own",
    (data) => edit(data, last, (text) => text.replace(`"base":${state}`, `"base":${state + 1}`)),
    78,
    "line 1 is damaged",
  ],
  [
    "no header",
    (data) => edit(data, last, (text) => text.replace(/^.*\n/, "")),
    78,
    "line 1 is damaged",
  ],
  [
    "a journal missing",
    (data) => remove(data, "state.json", second),
    78,
    `changes ${previous + 1} to ${state} are missing`,
  ],
  [
    "only the last journal",
    (data) => remove(data, "state.json", "state.json.prev", first, second),
    78,
    "state.json is missing, and ",
  ],
  [
    "one damaged snapshot, and the first journal gone",
    (data) => {
      flip(data, "state.json", 3);
      remove(data, "state.json.prev", first);
    },
    78,
    "state.json.prev: it is missing",
  ],
  [
    "a journal in which nothing can be read",
    (data) => write(data, last, "overwritten"),
    78,
    `damaged: ${last}: nothing in it can be read`,
  ],
  [
    "a journal with other line ends",
    (data) => edit(data, last, (text) => text.replaceAll("\n", "\r\n")),
    78,
    `damaged: ${last}: line 1 is damaged, with changes behind it`,
  ],
  [
    "a newer schema",
    (data) => edit(data, "state.json", (text) => text.replace(`"schema":1`, `"schema":999`)),
    78,
    "state.json was written by a newer Postern (schema 999)",
  ],
  [
    "a FIFO for a journal",
    (data) => {
      remove(data, last);
      Bun.spawnSync(["mkfifo", join(data, last)]);
    },
    78,
    "is not a regular file",
  ],
  [
    "settings that make no sense",
    (data) => write(data, "config.json", "{"),
    2,
    "config.json is not valid JSON",
  ],
];

describe("of a folder with", () => {
  const checked = async (damage: Damage, code: number, says: string): Promise<[string, string]> => {
    const data = copyOf(folder);
    damage(data);
    const before = stateOf(data);
    const { exitCode, stdout, stderr } = await check(data);
    expect([exitCode, stderr]).toEqual([code, ""]);
    expect(stdout).toContain(says);
    expect(stateOf(data)).toEqual(before);
    return [data, stdout];
  };

  test.each(survived)(
    "%s it says that a start works, and one does",
    async (_, damage, code, says) => {
      const [data, stdout] = await checked(damage, code, says);
      expect(stdout).toMatch(/^a start works/m);
      const server = await startOn(data);
      expect(await savedGeneration(server, client)).toBe(generationOf(client));
      await server.kill();
    },
  );

  test.each(refused)(
    "%s it says why a start refuses, and one does",
    async (_, damage, code, says) => {
      const [data, stdout] = await checked(damage, 78, says);
      const words = ["--data", data, "--port", String(await freePort()), "--url", ISSUER];
      const { exitCode, stderr } = await run(words);
      expect(exitCode).toBe(code);
      const told = /^postern: error: (.*)$/m.exec(stderr)?.[1];
      expect(stdout).toContain(`\na start refuses, with exit code ${code}: ${told}\n`);
    },
  );
});
