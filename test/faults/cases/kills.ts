// kill -9 at random under load: what was answered is there after the next start, which needs no hand.
import { rmSync } from "node:fs";
import { temporaryFolder } from "../../server.ts";
import { fillUp, work } from "../load.ts";
import { createWorld, judge, processEnded } from "../model.ts";
import { start, startAgain } from "../program.ts";
import type { FaultCase } from "../report.ts";
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
        const killed = Bun.sleep(report.random.next() * LONGEST).then(() => program.kill());
        await work(program, world, report, killed);
        processEnded(world);
        program = await startAgain(program);
        await judge(program, world, report, { logsIn: round % 10 === 0, reuse: 1 });
        await fillUp(program, world, CLIENTS);
      }
      await program.kill();
      rmSync(folder, { recursive: true });
    },
  },
];
