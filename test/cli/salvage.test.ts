import { afterAll, describe, expect, test } from "bun:test";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  statSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { needs } from "../needs.ts";
import { callMcp } from "../server.ts";
import {
  cleanUp,
  type History,
  copyOf,
  generationOf,
  getIn,
  makeHistory,
  place,
  run,
  savedGeneration,
  startOn,
  stateOf,
  unreadable,
} from "./copies.ts";
import { edit, flip, flipBoth, remove, write } from "./damage.ts";

afterAll(cleanUp);

const history = await makeHistory();
const { previous, state, end } = history;

const salvage = (data: string, target: string) =>
  run(["check", "--salvage", target, "--data", data]);

interface Row {
  readonly name: string;
  damage(data: string, journals: History["journals"]): void;
  /** Generations by which what is saved may be behind. */
  readonly behind?: number;
  /** Whether the end of the other login is in what is lost. */
  readonly resurrects?: boolean;
  /** What the client gets, if it is not let in without a login. */
  readonly getsIn?: [number, number];
  /** Of the text. */
  readonly lost: RegExp;
}

const grantLine = (text: string): number =>
  text.split("\n").findIndex((line) => line.includes('"secret_hash"')) + 1;
const readState = (data: string, name = "state.json"): string =>
  readFileSync(join(data, name), "utf8");

const rows: readonly Row[] = [
  {
    name: "no snapshot at all but one set aside",
    damage(data) {
      remove(data, "state.json.prev");
      edit(data, "state.json", (text) => text.replace('"issuer"', '"issufr"'));
      renameSync(join(data, "state.json"), join(data, "state.json.corrupt-20261121T000000.000Z"));
    },
    lost: /^nothing is lost$/m,
  },
  {
    name: "one line of the last journal damaged",
    damage: (data, [, , last]) => flip(data, last, 3),
    lost: new RegExp(`^ {2}change ${state + 2}$`, "m"),
  },
  {
    name: "the header of the last journal damaged",
    damage: (data, [, , last]) => flip(data, last, 1),
    lost: /^nothing is lost$/m,
  },
  {
    name: "the last journal overwritten",
    damage: (data, [, , last]) => write(data, last, "overwritten"),
    behind: 4,
    resurrects: true,
    lost: /^ {2}whatever journal\.\d+\.jsonl held: nothing in it can be read$/m,
  },
  {
    name: "the last journal with other line ends",
    damage: (data, [, , last]) => edit(data, last, (text) => text.replaceAll("\n", "\r\n")),
    lost: /^nothing is lost$/m,
  },
  {
    name: "the header and the line below it lost",
    damage: (data, [, , last]) => edit(data, last, (text) => text.split("\n").slice(2).join("\n")),
    lost: new RegExp(`^ {2}change ${state + 1}$`, "m"),
  },
  {
    name: "the last line damaged, which ends a login, and one before it",
    damage(data, [, , last]) {
      flip(data, last, 3);
      flip(data, last, end - state + 1);
    },
    resurrects: true,
    lost: new RegExp(`^ {2}change ${state + 2}$`, "m"),
  },
  {
    name: "snapshots and the first journal gone",
    damage: (data, [first]) => remove(data, "state.json", "state.json.prev", first),
    getsIn: [401, 200],
    lost: new RegExp(
      `^ {2}the clients of 1 login, which must connect again\n {2}changes 1 to ${previous}$`,
      "m",
    ),
  },
  {
    name: "only a truncated state.json",
    damage(data, journals) {
      remove(data, "state.json.prev", ...journals);
      edit(data, "state.json", (text) => text.slice(0, text.indexOf('"api_keys"') - 8));
    },
    behind: 4,
    resurrects: true,
    lost: /^ {2}lines of state\.json that cannot be read: \d+ \(folder\)$/m,
  },
  {
    name: "a state.json that an editor laid out anew",
    damage(data, journals) {
      remove(data, "state.json.prev", ...journals);
      edit(data, "state.json", (text) => JSON.stringify(JSON.parse(text), null, 2));
    },
    behind: 4,
    resurrects: true,
    lost: /state\.json is damaged in a place that cannot be told/,
  },
  {
    name: "a login's record damaged in both snapshots, and journals gone",
    damage(data, journals) {
      remove(data, ...journals);
      for (const name of ["state.json", "state.json.prev"]) {
        const line = grantLine(readState(data, name));
        if (name === "state.json")
          edit(data, name, (text) => text.replace(/("secret_hash":")[\w-]/, "$1\u0000"));
        else flip(data, name, line + 8);
      }
    },
    behind: 6,
    resurrects: true,
    lost: /^ {2}lines of state\.json that cannot be read: \d+ \(refresh_tokens\)$/m,
  },
  {
    name: "windows line ends and a byte order mark",
    damage(data, journals) {
      remove(data, "state.json.prev", ...journals);
      edit(data, "state.json", (text) => `\u00ef\u00bb\u00bf${text.replaceAll("\n", "\r\n")}`);
    },
    behind: 4,
    resurrects: true,
    lost: /state\.json is damaged in a place that cannot be told/,
  },
];
describe("postern check --salvage", () => {
  test.each(rows)(
    "$name",
    async ({ damage, behind = 0, resurrects = false, getsIn = [200, 200], lost }) => {
      const { folder, journals, client, ended } = history;
      const data = copyOf(folder);
      damage(data, journals);
      const before = stateOf(data);
      expect((await run(["check", "--data", data])).exitCode).toBe(78);
      const saved = place("saved");
      const { exitCode, stdout, stderr } = await salvage(data, saved);
      expect(stdout).toMatch(lost);
      expect([exitCode, stderr]).toEqual([stdout.includes("nothing is lost") ? 0 : 1, ""]);
      expect(stateOf(data)).toEqual(before);
      const isWhole = exitCode === 0;
      expect(stdout.includes(`revoke-all --data ${saved} ends every login`)).toBe(!isWhole);
      expect(readdirSync(saved).toSorted()).toEqual(["audit.jsonl", "state.json"]);
      expect([
        statSync(saved).mode & 0o777,
        statSync(join(saved, "state.json")).mode & 0o777,
      ]).toEqual([0o700, 0o600]);
      const server = await startOn(saved);
      expect(server.stderr()).toContain("was copied or restored since it was saved");
      expect(generationOf(client) - (await savedGeneration(server, client))).toBe(behind);
      expect(await getIn(server, { ...client })).toEqual(getsIn);
      const endedAgain = (await callMcp(server, ended.tokens.access_token)).status;
      expect(endedAgain).toBe(resurrects ? 200 : 401);
      await server.kill();
    },
  );

  test("of a folder that a start takes, everything is saved", async () => {
    const { folder, client, ended } = history;
    const data = copyOf(folder);
    write(data, "config.json", `{"refreshGrace":"60s"}`);
    flip(data, "state.json", 3);
    const saved = place("saved");
    mkdirSync(saved);
    const { exitCode, stdout } = await salvage(data, saved);
    expect(exitCode).toBe(0);
    expect(stdout).toBe(
      `saved into ${saved}\n  clients: 2 saved\n  logins: 1 saved\n  owner: 1 saved\n  the folder's own key: 1 saved\n` +
        `nothing is lost\nnext: postern --data ${saved}\n`,
    );
    expect(readState(saved, "config.json")).toBe(`{"refreshGrace":"60s"}`);
    const server = await startOn(saved);
    expect(await savedGeneration(server, client)).toBe(generationOf(client));
    expect((await getIn(server, { ...ended }))[0]).toBe(400);
    await server.kill();
  });

  needs("strace", "linux")(
    "a trail that cannot be read, and half a restore, are losses",
    async () => {
      const data = copyOf(history.folder);
      write(data, "restore.json", "{}");
      const saved = place("saved");
      const words = ["check", "--salvage", saved, "--data", data];
      const { exitCode, stdout, stderr } = await run(words, unreadable(join(data, "audit.jsonl")));
      expect([exitCode, stderr]).toEqual([1, ""]);
      expect(stdout).toContain(
        "\nlost\n  what was to be restored: a restore was interrupted, and its files are not there as they were\n" +
          "  audit.jsonl: EIO: i/o error, read\n",
      );
      expect(readdirSync(saved)).toEqual(["state.json"]);
      const checked = await run(["check", "--data", data], unreadable(join(data, "audit.jsonl")));
      expect(checked.exitCode).toBe(78);
      expect(checked.stdout).toContain(
        "\na start refuses, with exit code 78: a restore was interrupted",
      );
      expect(checked.stdout).toContain(
        "\ndamaged: audit.jsonl: it cannot be read: EIO: i/o error, read\n",
      );
    },
  );

  test("journals of the damaged folder, laid beside what was saved of it, are told from it", async () => {
    const { folder, journals } = history;
    const [, , last] = journals;
    const data = copyOf(folder);
    flip(data, last, 3);
    const saved = place("saved");
    await salvage(data, saved);
    copyFileSync(join(folder, last), join(saved, last));
    const { exitCode, stdout } = await run(["check", "--data", saved]);
    expect(exitCode).toBe(78);
    expect(stdout).toContain(`tells another history of change ${end}`);
  });

  test("what an older folder went on with, before another took its place, stays out", async () => {
    const [data, other] = [copyOf(history.folder), copyOf(history.folder)];
    const addKey = (name: string, folder: string) => run(["keys", "add", name, "--data", folder]);
    await addKey("kept", data);
    for (const name of ["first", "second", "third"]) await addKey(name, other);
    const journals = readdirSync(other).filter((name) => name.startsWith("journal."));
    for (const name of journals.filter((each) => !existsSync(join(data, each))))
      copyFileSync(join(other, name), join(data, name));
    const checked = await run(["check", "--data", data]);
    expect(checked.exitCode).toBe(78);
    expect(checked.stdout).toMatch(/journal\.\d+\.jsonl tells another history of change/);
    const saved = place("saved");
    const { exitCode, stdout } = await salvage(data, saved);
    expect([exitCode, stdout]).toEqual([
      1,
      expect.stringMatching(/^ {2}what journal\.\d+\.jsonl tells of another history/m),
    ]);
    expect(stdout).toContain(`revoke-all --data ${saved} ends every login`);
    const { stdout: keys } = await run(["keys", "--data", saved]);
    expect(keys).toContain("kept");
    expect(keys).not.toMatch(/first|second|third/);
  });

  test.each<[string, (data: string) => string, number, string]>([
    ["a folder with something in it", (data) => dirname(data), 1, "is not an empty folder"],
    ["a file", (data) => join(data, "state.json"), 1, "is not an empty folder"],
    ["the damaged folder", (data) => data, 1, "is not an empty folder"],
    ["a folder in it", (data) => join(data, "saved"), 2, "is in the data folder itself"],
  ])("never writes into %s", async (_, target, code, message) => {
    const data = copyOf(history.folder);
    flipBoth(data);
    const before = stateOf(dirname(data));
    const { exitCode, stdout, stderr } = await salvage(data, target(data));
    expect([exitCode, stdout]).toEqual([code, ""]);
    expect(stderr).toContain(message);
    expect(stateOf(dirname(data))).toEqual(before);
  });

  test("leaves a newer Postern's folder alone", async () => {
    const data = copyOf(history.folder);
    edit(data, "state.json", (text) => text.replace(`"schema":1`, `"schema":2`));
    const saved = place("saved");
    const { exitCode, stderr } = await salvage(data, saved);
    expect(exitCode).toBe(78);
    expect(stderr).toContain("was written by a newer Postern");
    expect(existsSync(saved)).toBe(false);
  });

  test("makes no folder when there is nothing to save", async () => {
    const data = copyOf(history.folder);
    for (const name of ["state.json", "state.json.prev", ...history.journals])
      write(data, name, "?");
    const saved = place("saved");
    const { exitCode, stderr } = await salvage(data, saved);
    expect([exitCode, existsSync(saved)]).toEqual([1, false]);
    expect(stderr).toStartWith(
      `postern: error: there is nothing to save in ${data}\npostern: hint: restore a backup`,
    );
  });

  test("is what the message of a failing start names", async () => {
    const data = copyOf(history.folder);
    flipBoth(data);
    remove(data, history.journals[0]);
    const { exitCode, stderr } = await run(["--data", data, "--port", "1"]);
    expect(exitCode).toBe(78);
    expect(stderr).toContain(
      "postern: hint: `postern check --salvage <new folder>`, with the same --data, writes what can be saved",
    );
  });
});
