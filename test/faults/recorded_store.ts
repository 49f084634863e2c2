// The real store through everything that it writes, for a recording of its system calls: setup, registrations, consents,
// rotations beside snapshots, revocations, journals that go, a clean stop and a start after it. Arguments: folder, seed, and
// the milliseconds after which it is killed, if it is. Says what it loaded, each change before it asks for it, and again when
// it was answered.
import { writeSync } from "node:fs";
import { type OpenStore, openStore } from "../../src/store/folder.ts";
import type { Client, Grant, TableName, Tables } from "../../src/store/records.ts";
import { START, clientRecord, grantRecord } from "../store/folders.ts";
import { textOfStore } from "./contents.ts";
import { seeded } from "./report.ts";

const [path = "", seed = "1", life] = process.argv.slice(2);
const random = seeded(Number(seed));
const HOUR = 3_600_000;

let hours = 0;
const clock = (): number => hours * HOUR + performance.now();
const say = (line: string): void => void writeSync(1, `${line}\n`);

type Put = { [N in TableName]: [table: N, id: string, record: Tables[N] | null] }[TableName];

let asked = 0;
/** One change of one or more records; `ends` when it takes rights away. */
async function change(store: OpenStore, puts: readonly Put[], ends = false): Promise<void> {
  const number = asked++;
  say(`ask ${JSON.stringify(puts)}`);
  await store[ends ? "revoke" : "update"]((draft) => {
    for (const [table, id, record] of puts) {
      if (record === null) draft.delete(table, id);
      else draft.put(table, id, record);
    }
  });
  say(`done ${number}`);
}

async function open(): Promise<OpenStore> {
  asked = 0;
  const store = await openStore({
    path,
    issuer: "http://localhost:7676",
    now: () => START + Math.floor(clock()),
    monotonic: clock,
    notice: () => undefined,
    fatal: ({ exitCode }) => process.exit(exitCode),
    lockWait: 0,
    spareSpace: 0,
    groupChanges: 3,
  });
  say(`loaded ${await textOfStore(store)}`);
  return store;
}

const grants = new Map<string, Grant>();
let made = 0;

async function setUp(store: OpenStore): Promise<void> {
  await change(store, [["folder", "self", { client_id_key: `key ${seed}`, issuer: "x" }]]);
  const at = START / 1000;
  const owner = { password_hash: `of ${seed}`, epoch: 1, created_at: at, password_changed_at: at };
  await change(store, [["owner", "owner", owner]]);
}

/** A client registers and is let in. */
async function admit(store: OpenStore): Promise<void> {
  const id = `c_${seed}_${made++}`;
  const client: Client = clientRecord({ client_name: `${"n".repeat(random.below(40))}` });
  await change(store, [["clients", id, client]]);
  const grant = grantRecord({ client_id: id });
  await change(store, [
    ["refresh_tokens", `f_${id}`, grant],
    ["clients", id, { ...client, first_grant_at: START / 1000 }],
  ]);
  grants.set(`f_${id}`, grant);
}

async function rotate(store: OpenStore, id: string): Promise<void> {
  const grant = grants.get(id);
  if (!grant) return;
  const next = { ...grant, generation: grant.generation + 1 };
  grants.set(id, next);
  await change(store, [["refresh_tokens", id, next]]);
}

async function end(store: OpenStore, id: string): Promise<void> {
  const client = grants.get(id)?.client_id;
  grants.delete(id);
  if (client === undefined) return;
  const puts: Put[] = [["refresh_tokens", id, null]];
  if (random.chance(0.5)) puts.push(["clients", client, null]);
  await change(store, puts, true);
}

/** Everybody at once, in the order that the seed says. */
async function load(store: OpenStore, count: number): Promise<void> {
  const running: Promise<void>[] = [];
  for (let step = 0; step < count; step++) {
    const ids = [...grants.keys()];
    const kind = random.next();
    if (kind < 0.1 || ids.length < 2) running.push(admit(store));
    else if (kind < 0.2) running.push(end(store, random.pick(ids)));
    else running.push(rotate(store, random.pick(ids)));
    if (random.chance(0.4)) await Promise.all(running.splice(0));
  }
  await Promise.all(running);
}

const first = await open();
if (life !== undefined) setTimeout(() => process.kill(process.pid, "SIGKILL"), Number(life));
if (first.isNew) await setUp(first);
else for (const [id, grant] of await first.refresh_tokens.list()) grants.set(id, grant);
await load(first, 6);
await Promise.all([first.compact(), load(first, 8)]);
await load(first, 3);
await Promise.all([first.compact(), load(first, 4)]);
// Now what was ended an hour ago may go.
hours += 2;
await Promise.all([first.compact(), load(first, 4)]);
hours += 2;
await first.compact();
await load(first, 3);
await first.close();
const second = await open();
await load(second, 5);
await second.compact();
await load(second, 2);
await second.close();
