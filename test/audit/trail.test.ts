// The audit trail read back: its document, what is found and in which order, over rotation, damage and while it is written.
import { afterAll, describe, expect, test } from "bun:test";
import {
  appendFileSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { type AuditEvent, openAudit } from "../../src/audit.ts";
import { eventNames, factsOf, isAtLeast } from "../../src/audit/events.ts";
import { followTrail, readTrail } from "../../src/audit/trail.ts";
import { programCommand } from "../process.ts";
import { logIn, startServer, temporaryFolder } from "../server.ts";

const folders: string[] = [];
afterAll(() => folders.forEach((folder) => rmSync(folder, { recursive: true, force: true })));

function newFolder(): string {
  const folder = temporaryFolder();
  folders.push(folder);
  return folder;
}

const START = Date.UTC(2026, 10, 21);

/** A folder with `count` logins, one a second. */
function written(count: number, rotateAt?: number): string {
  const folder = newFolder();
  let at = START;
  const audit = openAudit({ folder, now: () => at, ...(rotateAt && { rotateAt }) });
  for (let index = 0; index < count; index++) {
    audit.record(index % 10 === 0 ? "login_failed" : "login", {
      index,
      address: `198.51.100.${index % 7}`,
    });
    at += 1000;
  }
  audit.close();
  return folder;
}

const indexes = (events: readonly AuditEvent[]): unknown[] => events.map((event) => event["index"]);

describe("docs/audit.md", () => {
  test("has every event with its level, kind and meaning, and no other", () => {
    const text = readFileSync(join(import.meta.dir, "../../docs/audit.md"), "utf8");
    const rows = [...text.matchAll(/^\| `(\w+)` \| (\w+) \| (\w+) \| (.+) \|$/gm)].map(
      ([, ...row]) => row,
    );
    expect(rows).toEqual(
      eventNames.map((name) => {
        const { level = "", kind = "", title = "" } = factsOf(name) ?? {};
        return [name, level, kind, title];
      }),
    );
  });
});

describe("reading", () => {
  test("gives the newest first, so many as were asked for, and goes on from there", async () => {
    const folder = written(250);
    const first = await readTrail(folder, { limit: 100 });
    expect(indexes(first.events)).toEqual(Array.from({ length: 100 }, (_, index) => 249 - index));
    expect(first.more).toBe(true);
    const before = first.events.at(-1)?.at ?? "";
    const second = await readTrail(folder, { limit: 1000, before });
    expect(indexes(second.events)).toEqual(Array.from({ length: 150 }, (_, index) => 149 - index));
    expect(second.more).toBe(false);
  });

  test("goes on in the file before; a full file is turned over once, also after a restart", async () => {
    const folder = written(400, 20_000);
    const sizes = ["audit.jsonl", "audit.jsonl.1"].map((name) => statSync(join(folder, name)).size);
    expect(sizes[0]).toBeLessThan(20_000);
    expect(sizes[1]).toBeGreaterThan(20_000);
    const rotateAt = (sizes[0] ?? 0) - 1;
    const again = openAudit({ folder, now: () => START + 400_000, rotateAt });
    again.record("login", { index: 400 });
    again.record("login", { index: 401 });
    again.close();
    const { events } = await readTrail(folder, { limit: 1000 });
    const count = events.length;
    expect(indexes(events)).toEqual(Array.from({ length: count }, (_, index) => 401 - index));
    expect(statSync(join(folder, "audit.jsonl.1")).size).toBe(rotateAt + 1);
  });

  test("of files larger than a block leaves out nothing", async () => {
    const folder = written(6000);
    expect(readFileSync(join(folder, "audit.jsonl")).length).toBeGreaterThan(256 * 1024);
    const { events } = await readTrail(folder, { limit: 10_000 });
    expect(indexes(events)).toEqual(Array.from({ length: 6000 }, (_, index) => 5999 - index));
  });

  test("does not tear apart what happened in one millisecond", async () => {
    const folder = newFolder();
    const audit = openAudit({ folder, now: () => START });
    for (let index = 0; index < 5; index++) audit.record("login", { index });
    audit.close();
    const { events, more } = await readTrail(folder, { limit: 2 });
    expect([events.length, more]).toEqual([5, false]);
  });

  test.each([
    [{ level: "warn" }, [40, 30, 20, 10, 0]],
    [{ event: "login_failed" }, [40, 30, 20, 10, 0]],
    [{ kind: "clients" }, []],
    [{ about: "198.51.100.6" }, [48, 41, 34, 27, 20, 13, 6]],
    [{ about: "LOGIN_F", level: "warn" }, [40, 30, 20, 10, 0]],
    [{ since: new Date(START + 47_000).toISOString() }, [49, 48, 47]],
  ] as const)("finds %p", async (query, found) => {
    const folder = folders[0] && folders.length > 20 ? folders[0] : written(50);
    expect(indexes((await readTrail(folder, { limit: 1000, ...query })).events)).toEqual([
      ...found,
    ]);
  });

  test("passes over what cannot be read, and says nothing where there is nothing", async () => {
    const folder = newFolder();
    expect(await readTrail(folder, { limit: 10 })).toEqual({ events: [], more: false });
    writeFileSync(
      join(folder, "audit.jsonl"),
      `{"at":"2026-11-21T00:00:00.000Z","event":"login"}\n{"at":1}\nnull\n[]\n\0\0\n{"torn\n` +
        `{"at":"2026-11-21T00:00:01.000Z","event":"of_a_later_version"}\n{"at":"2026-11-21T00:00:02.0`,
    );
    const { events } = await readTrail(folder, { limit: 10 });
    expect(events.map(({ event }) => String(event))).toEqual(["of_a_later_version", "login"]);
    expect(isAtLeast("of_a_later_version", "error")).toBe(true);
  });
});

describe("following", () => {
  const line = (index: number): string =>
    `${JSON.stringify({ at: new Date(START).toISOString(), event: "login", index })}\n`;

  async function until(found: unknown[], count: number): Promise<void> {
    for (let tries = 0; found.length < count && tries < 100; tries++) await Bun.sleep(50);
  }

  test("tells each event once: written in halves, over a rotation, from an empty folder on", async () => {
    const folder = newFolder();
    const path = join(folder, "audit.jsonl");
    const found: unknown[] = [];
    const stop = new AbortController();
    const started = Promise.withResolvers<number>();
    const done = followTrail(
      folder,
      (event) => void found.push(event["index"]),
      stop.signal,
      async (end) => started.resolve(end),
    );
    expect(await started.promise).toBe(0);
    appendFileSync(path, line(1) + line(2).slice(0, 20));
    await until(found, 1);
    await Bun.sleep(300);
    expect(found).toEqual([1]);
    appendFileSync(path, line(2).slice(20));
    await until(found, 2);
    appendFileSync(path, line(3));
    renameSync(path, `${path}.1`);
    appendFileSync(path, line(4) + line(5));
    await until(found, 5);
    stop.abort();
    await done;
    expect(found).toEqual([1, 2, 3, 4, 5]);
  });
});

describe("postern audit", () => {
  const run = async (...words: string[]) => {
    const child = Bun.spawn([...programCommand(), "audit", ...words], {
      env: {},
      stdio: ["ignore", "pipe", "pipe"],
    });
    const [stdout, stderr] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
    ]);
    return { exitCode: await child.exited, stdout, stderr };
  };

  test("prints lines for people, the oldest first, beside a server and without its lock", async () => {
    const server = await startServer();
    const { clientId } = await logIn(server, { client_name: "Claude\u001b[2J Code" });
    const { exitCode, stdout, stderr } = await run("--data", server.folder);
    expect([exitCode, stderr]).toEqual([0, ""]);
    const lines = stdout.trimEnd().split("\n");
    expect(lines.at(-1)).toMatch(
      new RegExp(
        `^2026-11-21 00:00:00 info  grant created client=${clientId} name="Claude.* Code" `,
      ),
    );
    expect(lines.at(-1)).toContain(" request=");
    expect(stdout).not.toContain("\u001b");
    const found = await run(
      "--data",
      server.folder,
      "--about",
      "claude",
      "--event",
      "client_registered",
      "--json",
    );
    expect(
      found.stdout
        .trimEnd()
        .split("\n")
        .map((text) => JSON.parse(text)),
    ).toMatchObject([{ event: "client_registered", client: clientId }]);
    await server.close();
  });

  test("--follow goes on until it is stopped", async () => {
    const folder = join(newFolder(), "data");
    mkdirSync(folder, { mode: 0o700 });
    const audit = openAudit({ folder, now: () => START });
    audit.record("login", { index: 0 });
    const child = Bun.spawn(
      [...programCommand(), "audit", "--follow", "--json", "--data", folder],
      {
        env: {},
        stdio: ["ignore", "pipe", "inherit"],
      },
    );
    const found: unknown[] = [];
    const read = (async () => {
      let text = "";
      for await (const chunk of child.stdout) {
        text += new TextDecoder().decode(chunk);
        const lines = text.split("\n");
        text = lines.pop() ?? "";
        for (const each of lines) found.push(JSON.parse(each).index);
      }
    })();
    for (let tries = 0; found.length < 1 && tries < 200; tries++) await Bun.sleep(20);
    for (let index = 1; index < 4; index++) audit.record("login", { index });
    for (let tries = 0; found.length < 4 && tries < 200; tries++) await Bun.sleep(20);
    child.kill("SIGTERM");
    expect(await child.exited).toBe(0);
    await read;
    expect(found).toEqual([0, 1, 2, 3]);
    audit.close();
  });

  test.each([
    [["--limit", "0"], "--limit: expected a whole number from 1 to 1000"],
    [["--level", "loud"], "--level: expected debug or info or warn or error"],
    [["--event", "nothing"], "--event: expected start or stop"],
    [["extra"], "postern audit takes no more words"],
  ])("%p ends with one line and exit 2", async (words, message) => {
    const { exitCode, stdout, stderr } = await run(...words, "--data", written(1));
    expect([exitCode, stdout]).toEqual([2, ""]);
    expect(stderr).toStartWith(`postern: error: ${message}`);
  });
});
