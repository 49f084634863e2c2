// Sweeps of what has expired, snapshots and restarts, in any order among rotations and ends of logins: no change is lost to a
// sweep, and nothing goes that was not over for a week.
import { join } from "node:path";
import { type OpenStore, openStore } from "../../../src/store/folder.ts";
import { DAY, START, clientRecord, grantRecord } from "../../store/folders.ts";
import type { FaultCase, Report } from "../report.ts";
import { emptied, withScratch } from "../scratch.ts";
import { sizes } from "../sizes.ts";

/** Steps of one interleaving. */
const STEPS = 20;
const LOGINS = 4;

export const cases: readonly FaultCase[] = [
  {
    name: "sweeps among rotations and ends of logins",
    sizes: sizes["sweeps"],
    needs: [],
    run: (size, report) =>
      withScratch(async (path) => {
        for (let round = 0; round < size; round++) await interleave(join(path, "data"), report);
      }),
  },
];

/** What an id stands for; undefined: it was ended. */
type Known = Map<string, { generation: number; expiresAt: number } | undefined>;

async function interleave(path: string, report: Report): Promise<void> {
  report.tried("an interleaving");
  const { random } = report;
  let days = 0;
  const clock = (): number => days * DAY;
  const open = (): Promise<OpenStore> =>
    openStore({
      path,
      issuer: "http://localhost:7676",
      now: () => START + clock(),
      monotonic: clock,
      notice: () => undefined,
      fatal: () => undefined,
      // A program that another case is starting has every descriptor of this process for a moment.
      lockWait: 2_000,
      spareSpace: 0,
      groupChanges: 2,
    });
  emptied(path);
  let store = await open();
  const known: Known = new Map();
  await store.clients.put("c_1", clientRecord({ first_grant_at: START / 1000 }));
  for (let index = 0; index < LOGINS; index++) {
    const expiresAt = START / 1000 + random.below(30) * 86_400;
    known.set(`f_${index}`, { generation: 1, expiresAt });
    await store.refresh_tokens.put(`f_${index}`, grantRecord({ expires_at: expiresAt }));
  }
  let running: Promise<unknown>[] = [];
  for (let step = 0; step < STEPS; step++) {
    const kind = random.below(10);
    if (kind < 5) running.push(rotate(store, known, random.pick([...known.keys()])));
    else if (kind < 6) running.push(end(store, known, random.pick([...known.keys()])));
    else if (kind < 8) running.push(store.compact());
    else if (kind < 9) days += random.below(10);
    else {
      await Promise.all(running);
      running = [];
      await store.close();
      store = await open();
    }
    if (random.chance(0.2)) await Promise.all(running.splice(0));
  }
  await Promise.all(running);
  await compare(store, known, START + clock(), report);
  await store.close();
  store = await open();
  await compare(store, known, START + clock(), report);
  await store.close();
}

async function rotate(store: OpenStore, known: Known, id: string): Promise<void> {
  const before = known.get(id);
  if (!before) return;
  const generation = before.generation + 1;
  known.set(id, { ...before, generation });
  await store.refresh_tokens.update(id, (grant) => grant && { ...grant, generation });
}

async function end(store: OpenStore, known: Known, id: string): Promise<void> {
  known.set(id, undefined);
  await store.revoke((draft) => draft.delete("refresh_tokens", id));
}

async function compare(store: OpenStore, known: Known, now: number, report: Report): Promise<void> {
  for (const [id, wanted] of known) {
    const found = await store.refresh_tokens.get(id);
    if (!wanted) {
      if (found)
        report.find("resurrected", `${id} was ended, and has generation ${found.generation}`);
    } else if (found) {
      if (found.generation === wanted.generation) continue;
      report.find("lost", `${id} has generation ${found.generation}, not ${wanted.generation}`);
    } else if (wanted.expiresAt * 1000 + 7 * DAY > now)
      report.find("lost", `${id} was swept early`);
  }
}
