// Copies of a data folder, as people and backup programs make them while the server runs, and what a copy owes to the clients.
import { closeSync, openSync, readSync, readdirSync, statSync, writeSync } from "node:fs";
import { join } from "node:path";
import { judgeDead } from "./judge.ts";
import { type ModelClient, type World, callTool, present, refresh } from "./model.ts";
import type { Program } from "./program.ts";
import { type Random, type Report, shuffled } from "./report.ts";

export type Copier = (from: string, to: string, random: Random) => Promise<void>;

/** Ways to copy a folder onto another one, which may exist. */
export const copiers = {
  "cp -a": (from, to) => command(["cp", "-a", `${from}/.`, to]),
  rsync: (from, to) => command(["rsync", "-a", `${from}/`, to]),
  tar: (from, to) => command(["sh", "-c", `tar -C "$0" -cf - . | tar -C "$1" -xf -`, from, to]),
  "random order": (from, to, random) => copyAll(from, to, shuffled(listed(from), random), random),
  "snapshot long before its journals": copySnapshotFirst,
} satisfies Record<string, Copier>;

export type CopierName = keyof typeof copiers;

/** What vanishes or changes under them is told, and is no failure. */
async function command(words: string[]): Promise<void> {
  await Bun.spawn(words, { stdio: ["ignore", "ignore", "ignore"] }).exited;
}

const SLICE = 64 * 1024;

const listed = (folder: string): string[] =>
  readdirSync(folder).filter((name) => !name.startsWith(".lock"));

/** One after the other, resting in between and in the middle of a file. */
async function copyAll(
  from: string,
  to: string,
  names: readonly string[],
  random: Random,
): Promise<void> {
  for (const name of names) {
    await Bun.sleep(random.below(40));
    await copyFile(join(from, name), join(to, name), random);
  }
}

/** The longest that a copy which waits for new snapshots waits, in milliseconds. */
const LONGEST = 10_000;

/** The server writes two snapshots after the first file was read, so that nothing there needs the old journals any more. */
async function copySnapshotFirst(from: string, to: string, random: Random): Promise<void> {
  const names = listed(from);
  const snapshots = names.filter((name) => name.startsWith("state."));
  await copyAll(from, to, snapshots, random);
  for (let count = 0, waited = 0; count < 2 && waited < LONGEST; count++) {
    const known = snapshotOf(from);
    for (; snapshotOf(from) === known && waited < LONGEST; waited += 5) await Bun.sleep(5);
  }
  await copyAll(
    from,
    to,
    shuffled(
      names.filter((name) => !snapshots.includes(name)),
      random,
    ),
    random,
  );
}

/** What tells one state.json from the next; 0 when there is none. */
export const snapshotOf = (folder: string): number =>
  statSync(join(folder, "state.json"), { throwIfNoEntry: false })?.ino ?? 0;

async function copyFile(from: string, to: string, random: Random): Promise<void> {
  if (!statSync(from, { throwIfNoEntry: false })?.isFile()) return;
  const source = openSync(from, "r");
  const target = openSync(to, "w", 0o600);
  const slice = Buffer.alloc(SLICE);
  for (;;) {
    const length = readSync(source, slice);
    if (length === 0) break;
    writeSync(target, slice, 0, length);
    if (random.chance(0.1)) await Bun.sleep(random.below(5));
  }
  closeSync(source);
  closeSync(target);
}

/** Adds about 40 KB to the journal and leaves nothing else: enough of them make the server write a snapshot. */
export async function growJournal(program: Program): Promise<void> {
  const uri = `https://client.example/${"x".repeat(2000)}`;
  const response = await program.fetch("/register", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ redirect_uris: Array.from({ length: 20 }, (_, n) => uri + n) }),
  });
  if (response.status !== 201) throw new Error(`register: ${response.status}`);
  const { client_id: id } = (await response.json()) as { client_id: string };
  const { status } = await program.admin("DELETE", `/clients/${id}`);
  if (status !== 200) throw new Error(`removing a client: ${status}`);
}

/** What is known of the clients when a copy begins. */
export const clientsNow = ({ clients }: World): ModelClient[] => structuredClone(clients);

/**
 * The clients that a copy has to let in, with what they hold now that it is finished: those that were in when it began. Whose
 * login ended meanwhile may be in it or not.
 */
export function clientsOfCopy(world: World, before: readonly ModelClient[]): ModelClient[] {
  return before.flatMap(({ id, ended, superseded }) => {
    const now = world.clients.find((client) => client.id === id);
    if (!now || ended === "perhaps" || ended === "held") return [];
    const perhaps = ended === "no" && now.ended !== "no";
    return [structuredClone({ ...now, superseded, ended: perhaps ? "perhaps" : ended })];
  });
}

/** Every client that the copy knows gets in, with its last token or the one that it sent last; the dead stay out. */
export async function judgeCopy(
  program: Program,
  clients: readonly ModelClient[],
  report: Report,
): Promise<void> {
  for (const client of clients) {
    if (client.ended === "no") await judgeIn(program, client, report);
    else if (client.ended === "yes") await judgeOut(program, client, report);
  }
}

async function judgeIn(program: Program, client: ModelClient, report: Report): Promise<void> {
  const { previous, used, superseded } = client;
  if (previous !== undefined && !used && report.random.chance(0.3)) {
    const { status } = await present(program, client, previous);
    if (status !== 200) report.find("lost", `in a copy the token sent last is answered ${status}`);
  }
  const status = await refresh(program, client);
  if (status !== 200) return report.find("lost", `in a copy the last token is answered ${status}`);
  const call = await callTool(program, client);
  if (call !== 200) report.find("lost", `in a copy the new access token is answered ${call}`);
  const [old] = superseded;
  if (old === undefined || !report.random.chance(0.3)) return;
  const answer = await present(program, client, old);
  judgeDead("in a copy a superseded token", answer.status, [400], report);
  // It may be a thief who presents it: the login is over.
  client.ended = "yes";
}

async function judgeOut(program: Program, client: ModelClient, report: Report): Promise<void> {
  const { status } = await present(program, client, client.tokens.refresh_token);
  judgeDead("in a copy a refresh of a revoked login", status, [400], report);
  const call = await callTool(program, client);
  judgeDead("in a copy a call of a revoked login", call, [401], report);
}
