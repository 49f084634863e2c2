// kill -9 at random under load: what was answered is there after the next start, which needs no hand.
import { rmSync } from "node:fs";
import { temporaryFolder } from "../../server.ts";
import {
  type World,
  callTool,
  createWorld,
  judge,
  logIn,
  processEnded,
  refresh,
  register,
  revoke,
  signIn,
} from "../model.ts";
import { type Program, start, startAgain } from "../program.ts";
import type { FaultCase, Report } from "../report.ts";
import { sizes } from "../sizes.ts";

const CLIENTS = 4;
/** Milliseconds that a load runs at most before the kill. */
const LONGEST = 60;

export const cases: readonly FaultCase[] = [
  {
    name: "random kills under load",
    sizes: sizes["random kills under load"],
    needs: [],
    async run(size, report) {
      const folder = temporaryFolder();
      let program = await start({ folder });
      const world = await createWorld(program, CLIENTS);
      for (let round = 0; round < size; round++) {
        report.tried(`kill ${round + 1}`);
        await loadUntilKilled(program, world, report);
        processEnded(world);
        program = await startAgain(program);
        await judge(program, world, report, { logsIn: round % 10 === 0, reuse: 1 });
        world.clients = world.clients.filter(({ ended }) => ended === "no");
        const browser = world.clients.length < CLIENTS ? await signIn(program) : undefined;
        while (world.clients.length < CLIENTS) await logIn(program, world, browser);
      }
      await program.kill();
      rmSync(folder, { recursive: true });
    },
  },
];

/** Every client works on its own, all at once, until the process is gone. */
async function loadUntilKilled(program: Program, world: World, report: Report): Promise<void> {
  const { random } = report;
  const delay = random.next() * LONGEST;
  const killed = Bun.sleep(delay).then(() => program.kill());
  const working = world.clients.map(async (client) => {
    for (;;) {
      const kind = random.next();
      const status =
        kind < 0.7
          ? await refresh(program, client, random.chance(0.2))
          : kind < 0.9
            ? await callTool(program, client)
            : kind < 0.95
              ? await register(program, world)
              : await revoke(program, client);
      if (status === 0 || client.ended !== "no") return;
      if (status !== 200 && status !== 201) report.find("wrong", `under load: ${status}`);
    }
  });
  await Promise.all([killed, ...working]);
}
