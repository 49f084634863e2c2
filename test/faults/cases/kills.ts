// kill -9 at random under load, and every other way to be ended or not: what was answered is there after the next start, which
// needs no hand.
import { rmSync } from "node:fs";
import { temporaryFolder } from "../../server.ts";
import { fillUp, work } from "../load.ts";
import { judge } from "../judge.ts";
import { type ModelClient, createWorld, present, processEnded, refresh } from "../model.ts";
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
  {
    name: "told to stop under load",
    sizes: sizes["told to stop"],
    needs: [],
    run: stopOften,
  },
  {
    name: "restarts with twenty clients that race themselves",
    sizes: sizes["restarts"],
    needs: [],
    run: restartOften,
  },
];

/** Milliseconds until a program that is told to stop has ended. */
const STOPPED = 10_000;

async function stopOften(size: number, report: Report): Promise<void> {
  const folder = temporaryFolder();
  let program = await start({ folder });
  const world = await createWorld(program, CLIENTS);
  for (let round = 0; round < size; round++) {
    const signal = report.random.pick(["SIGTERM", "SIGINT"] as const);
    report.tried(`${signal} ${round + 1}`);
    const told = Bun.sleep(report.random.next() * LONGEST).then(async () => {
      // Asks to read settings and certificates again: nothing of what runs is given up for it.
      program.signal("SIGHUP");
      await Bun.sleep(report.random.next() * LONGEST);
      return Promise.race([program.kill(signal), Bun.sleep(STOPPED)]);
    });
    await work(program, world, report, told);
    if ((await told) !== 0)
      report.find("wrong", `it ended with ${await told}: ${program.stderr()}`);
    await program.kill();
    processEnded(world);
    program = await startAgain(program);
    await judge(program, world, report, { logsIn: round % 10 === 0 });
    await fillUp(program, world, CLIENTS);
  }
  await program.kill();
  rmSync(folder, { recursive: true });
}

/** The longest life of an ordinary folder: nobody ever logs in again, whatever two processes of one client do at once. */
async function restartOften(size: number, report: Report): Promise<void> {
  const folder = temporaryFolder();
  let program = await start({ folder });
  const world = await createWorld(program, 20);
  for (let round = 0; round < size; round++) {
    report.tried(`restart ${round + 1}`);
    await Promise.all(world.clients.map((client) => race(program, client, report)));
    await program.kill(report.random.pick(["SIGKILL", "SIGTERM"]));
    processEnded(world);
    program = await startAgain(program);
    await judge(program, world, report, { logsIn: false, reuse: 0 });
  }
  await program.kill();
  rmSync(folder, { recursive: true });
}

/** Two refreshes with one token: both are answered, with the same. */
async function race(program: Program, client: ModelClient, report: Report): Promise<void> {
  const { refresh_token: token } = client.tokens;
  const [status, other] = await Promise.all([
    refresh(program, client),
    present(program, client, token),
  ]);
  if (status !== 200 || other.tokens?.refresh_token !== client.tokens.refresh_token) {
    report.find("lost", `two refreshes at once are answered ${status} and ${other.status}`);
  }
}
