// What a use makes superseded stays so: the first call with a new token ends the one before it, over kill -9 and over a clean
// stop. And what was not used does not: a client that lost its answer gets in however late it asks.
import { rmSync } from "node:fs";
import { temporaryFolder } from "../../server.ts";
import { fillUp } from "../load.ts";
import { judge, judgeDead } from "../judge.ts";
import { type World, callTool, createWorld, present, processEnded, refresh } from "../model.ts";
import { type Program, start, startAgain } from "../program.ts";
import type { FaultCase, Report } from "../report.ts";
import { sizes } from "../sizes.ts";

const CLIENTS = 4;
/** No time in which a superseded token is let pass, so that only the use decides; it ends with the second. */
const settings = { refreshGrace: "0s", siblingGrace: "0s" };
const OVER = 2_000;

export const cases: readonly FaultCase[] = [
  {
    name: "superseded by a use, over a restart",
    sizes: sizes["superseded"],
    needs: [],
    async run(size, report) {
      const folder = temporaryFolder();
      let program = await start({ folder, settings });
      const world = await createWorld(program, CLIENTS);
      for (let round = 0; round < size; round++) {
        const signal = round % 2 === 0 ? "SIGKILL" : "SIGTERM";
        report.tried(`used before ${signal}`);
        await useSome(program, world);
        await program.kill(signal);
        processEnded(world);
        program = await startAgain(program);
        await Bun.sleep(OVER);
        await presentAll(program, world, report);
        await judge(program, world, report, { reuse: 0 });
        await fillUp(program, world, CLIENTS);
      }
      await program.kill();
      rmSync(folder, { recursive: true });
    },
  },
];

/** Half of the clients use what they were answered, and something else is saved after that. */
async function useSome(program: Program, world: World): Promise<void> {
  for (const [index, client] of world.clients.entries()) {
    await refresh(program, client);
    if (index % 2 === 0) await callTool(program, client);
  }
  const last = world.clients.at(-1);
  if (last) await refresh(program, last);
}

/** Everybody presents the token before the one that was answered. */
async function presentAll(program: Program, world: World, report: Report): Promise<void> {
  for (const client of world.clients) {
    const { previous, used } = client;
    if (previous === undefined) continue;
    const { status } = await present(program, client, previous);
    if (used) judgeDead("a superseded token", status, [400], report);
    if (!used && status !== 200)
      report.find("lost", `a token whose answer was lost is answered ${status}`);
    // It may be a thief who presents it: the login is over.
    if (used) client.ended = "yes";
  }
}
