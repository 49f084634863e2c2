// Folders with far more in them than anybody's: fifty thousand logins, ten thousand leftovers. A start is ready in time, who is in
// stays in, and what is not ours is left alone.
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { clientRecord, grantRecord } from "../../store/folders.ts";
import { openHere } from "../contents.ts";
import { peakMemory } from "../control_group.ts";
import { judge } from "../judge.ts";
import { createWorld, processEnded, refresh } from "../model.ts";
import { start, startAgain } from "../program.ts";
import type { FaultCase, Report } from "../report.ts";
import { emptied, often } from "../scratch.ts";
import { sizes } from "../sizes.ts";

const CLIENTS = 10_000;
/** Of each client. */
const LOGINS = 5;
/** MiB that such a folder may take, snapshots included. */
const MEMORY = 512;
const LEFTOVERS = 10_000;

export const cases: readonly FaultCase[] = [
  {
    name: "fifty thousand logins",
    sizes: sizes["large folders"],
    needs: ["linux"],
    run: (size, report) => often(size, (path) => holdMany(path, report)),
  },
  {
    name: "ten thousand leftovers",
    sizes: sizes["large folders"],
    needs: [],
    run: (size, report) => often(size, (path) => sweepMany(path, report)),
  },
];

async function holdMany(path: string, report: Report): Promise<void> {
  report.tried(`${CLIENTS} clients, ${CLIENTS * LOGINS} logins`);
  const folder = emptied(join(path, "data"));
  let program = await start({ folder });
  const world = await createWorld(program, 2);
  await program.kill("SIGTERM");
  await fill(folder);
  program = await startAgain(program);
  await judge(program, world, report, { reuse: 0 });
  await program.kill();
  processEnded(world);
  program = await startAgain(program);
  for (const client of world.clients) await refresh(program, client);
  const peak = peakMemory(program.pid());
  if (peak > MEMORY) report.find("wrong", `it took ${Math.round(peak)} MiB`);
  await program.kill("SIGTERM");
  program = await startAgain(program);
  await judge(program, world, report);
  await program.kill();
}

async function fill(folder: string): Promise<void> {
  const store = await openHere(folder);
  for (let first = 0; first < CLIENTS; first += 100) {
    await store.update((draft) => {
      for (let index = first; index < first + 100; index++) {
        const id = `many_${index}`;
        draft.put("clients", id, clientRecord({ client_name: `Client ${index}` }));
        for (let login = 0; login < LOGINS; login++) {
          draft.put("refresh_tokens", `f_${id}_${login}`, grantRecord({ client_id: id }));
        }
      }
    });
  }
  await store.close();
}

async function sweepMany(path: string, report: Report): Promise<void> {
  report.tried(`${LEFTOVERS} files`);
  const folder = emptied(join(path, "data"));
  let program = await start({ folder });
  const world = await createWorld(program, 2);
  await program.kill();
  processEnded(world);
  for (let count = 0; count < LEFTOVERS; count++) {
    writeFileSync(join(folder, `state.json.${count}`), "half");
  }
  const foreign = ["state.json.1x", "notes.txt", "state.json.12.old"];
  for (const name of foreign) writeFileSync(join(folder, name), "not ours");
  program = await startAgain(program);
  const left = readdirSync(folder).filter((name) => /^state\.json\.\d+$/.test(name));
  if (left.length > 0) report.find("wrong", `${left.length} leftovers are still there`);
  const gone = foreign.filter((name) => !existsSync(join(folder, name)));
  if (gone.length > 0) report.find("wrong", `${gone.join(", ")} was not ours to remove`);
  await judge(program, world, report);
  await program.kill();
}
