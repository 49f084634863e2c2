// Too little of something: file handles, memory, processor, somewhere to print. The program answers 503 or not at all for as long as it lasts,
// saves nothing by halves, does not end, and goes on by itself.
import { closeSync, openSync, readdirSync, rmSync } from "node:fs";
import { type Socket, connect } from "node:net";
import { Browser, temporaryFolder } from "../../server.ts";
import { memoryLimit, peakMemory, processorLimit } from "../control_group.ts";
import { work } from "../load.ts";
import { judge } from "../judge.ts";
import { type World, createWorld, processEnded, refresh, statusOf } from "../model.ts";
import {
  type Program,
  type ProgramOptions,
  launch,
  start,
  startAgain,
  untilReady,
} from "../program.ts";
import type { FaultCase, Report } from "../report.ts";
import { sizes } from "../sizes.ts";
import { copyTemplate, inUse, templateOf } from "../templates.ts";

const HANDLES = 64;
const MIB = 128;
/** Of one processor. */
const PERCENT = 10;

export const cases: readonly FaultCase[] = [
  {
    name: "64 file handles",
    sizes: sizes["resources"],
    needs: ["linux", "prlimit"],
    async run(size, report) {
      let refused = 0;
      await often(size, async () => void (refused += await runOutOfHandles(report)));
      if (refused === 0) report.find("wrong", "it never ran out of handles");
    },
  },
  {
    name: "128 MB of memory",
    sizes: sizes["resources"],
    needs: ["linux"],
    run: (size, report) => often(size, () => fillMemory(report)),
  },
  {
    name: "a tenth of a processor",
    sizes: sizes["resources"],
    needs: ["linux", "processor groups"],
    run: (size, report) => often(size, () => starve(report)),
  },
  {
    name: "nobody takes what it prints",
    sizes: sizes["resources"],
    needs: ["linux"],
    run: (size, report) =>
      often(size, async () => {
        for (const output of outputs) await printInVain(output, report);
      }),
  },
];

async function often(size: number, once: () => Promise<void>): Promise<void> {
  for (let round = 0; round < size; round++) await once();
}

/** Whoever had the folder last is asked again, with everything that was missing. */
async function judgeAfter(program: Program, world: World, report: Report): Promise<void> {
  if (program.exitCode() !== undefined) {
    report.find("wrong", `it ended with ${program.exitCode()}: ${program.stderr()}`);
  } else await judge(program, world, report, { logsIn: false, reuse: 0 });
  await program.kill();
  processEnded(world);
  const again = await startAgain(program, { prefix: [], output: undefined });
  await judge(again, world, report);
  await again.kill();
}

/**
 * Requests that do not go on take every handle but a few; then they go.
 * @returns how many changes were refused
 */
async function runOutOfHandles(report: Report): Promise<number> {
  // A new process makes its journal with its first change: with the last handle, or not at all.
  const isFresh = report.tries % 2 === 0;
  const left = report.tries % 6 < 2 ? 1 : report.random.below(4);
  report.tried(`${left} left${isFresh ? ", before the first change of a process" : ""}`);
  const { folder, world } = copyTemplate(await templateOf(inUse));
  const program = await start({ folder, prefix: ["prlimit", `--nofile=${HANDLES}`] });
  if (!isFresh) for (const client of world.clients) await refresh(program, client);
  const sockets = await takeHandles(program, left);
  const statuses: number[] = [];
  for (const client of world.clients) statuses.push(await settled(refresh(program, client)));
  const odd = statuses.filter((status) => ![200, 503, 0].includes(status));
  if (odd.length > 0) report.find("wrong", `answered ${odd.join(", ")}`);
  for (const socket of sockets) socket.destroy();
  for (let waited = 0; waited < PATIENCE && handlesOf(program) > HANDLES / 2; waited += 10) {
    await Bun.sleep(10);
  }
  await judgeAfter(program, world, report);
  rmSync(folder, { recursive: true });
  return statuses.filter((status) => status === 503).length;
}

/** Milliseconds until it must be itself again, and until nobody waits for an answer any more. */
const PATIENCE = 10_000;
const settled = (answer: Promise<number>): Promise<number> =>
  Promise.race([answer, Bun.sleep(1_000).then(() => 0)]);

const handlesOf = (program: Program): number => readdirSync(`/proc/${program.pid()}/fd`).length;

async function takeHandles(program: Program, left: number): Promise<Socket[]> {
  const sockets: Socket[] = [];
  const wanted = HANDLES - left;
  for (let waited = 0; waited < PATIENCE && handlesOf(program) < wanted; waited += 5) {
    for (let missing = wanted - handlesOf(program); missing > 0; missing--) {
      const socket = connect(program.options.port, "127.0.0.1");
      // Nobody takes a connection before it says something.
      socket.on("error", () => undefined).write("GET / HTTP/1.1\r\n");
      sockets.push(socket);
    }
    // Before the next look at what came of them.
    await Bun.sleep(50);
  }
  return sockets;
}

/** Guessed passwords take 19 MiB each while they are compared; long forms and registrations take what they can. */
async function fillMemory(report: Report): Promise<void> {
  const limit = memoryLimit(MIB);
  report.tried(limit ? "in a control group" : "by its own account");
  const folder = temporaryFolder();
  const program = await start({ folder, ...(limit && { prefix: limit.prefix }) });
  const world = await createWorld(program, 6);
  const flood = Array.from({ length: 200 }, (_, index) => {
    if (index % 4 === 0) return guess(program).catch(() => 0);
    const body = JSON.stringify({ redirect_uris: [`https://c.example/${"x".repeat(2_000)}`] });
    const headers = { "content-type": "application/json" };
    return statusOf(
      program.fetch("/register", { method: "POST", headers, body }, `192.0.${index}.1`),
    );
  });
  await Promise.all([...flood, work(program, world, report, Bun.sleep(1_500), 0)]);
  if (program.exitCode() === undefined) {
    const peak = peakMemory(program.pid());
    if (peak > MIB) report.find("wrong", `it took ${Math.round(peak)} MiB`);
  }
  await judgeAfter(program, world, report);
  limit?.remove();
  rmSync(folder, { recursive: true });
}

/** Everything takes ten times as long, a stop too; the end comes in the middle of it. */
async function starve(report: Report): Promise<void> {
  const signal = report.random.pick(["SIGKILL", "SIGTERM"] as const);
  report.tried(`ended by ${signal}`);
  const limit = processorLimit(PERCENT);
  const { folder, world } = copyTemplate(await templateOf(inUse));
  const program = await launch({ folder, ...(limit && { prefix: limit.prefix }) });
  await untilReady(program, PATIENCE);
  await judge(program, world, report, { logsIn: false, reuse: 0 });
  const ended = Bun.sleep(report.random.next() * 1_000).then(() => program.kill(signal));
  await work(program, world, report, ended);
  const exitCode = await ended;
  if (exitCode !== (signal === "SIGTERM" ? 0 : 137)) {
    report.find("wrong", `it ended with ${exitCode}: ${program.stderr()}`);
  }
  if (limit?.throttled() === 0) report.find("wrong", "it had all the processor that it wanted");
  limit?.remove();
  processEnded(world);
  const again = await startAgain(program, { prefix: [] });
  await judge(again, world, report);
  await again.kill();
  rmSync(folder, { recursive: true });
}

const guess = async (program: Program): Promise<number> =>
  (await new Browser(program).signIn(undefined, "guessed")).status;

interface Output {
  readonly name: string;
  /** Something that takes nothing. */
  readonly device?: string;
  readonly prefix?: readonly string[];
}

const outputs: readonly Output[] = [
  { name: "a full device", device: "/dev/full" },
  { name: "no output at all", prefix: ["sh", "-c", `exec "$0" "$@" >&- 2>&-`] },
  { name: "a reader that left", prefix: ["bash", "-c", `exec "$0" "$@" > >(exec true) 2>&1`] },
];

async function printInVain({ name, device, prefix }: Output, report: Report): Promise<void> {
  report.tried(name);
  const { folder, world } = copyTemplate(await templateOf(inUse));
  const handle = device === undefined ? undefined : openSync(device, "w");
  const options: ProgramOptions = {
    folder,
    ...(prefix && { prefix }),
    ...(handle !== undefined && { output: { stdout: handle, stderr: handle } }),
  };
  const program = await start(options);
  if (handle !== undefined) closeSync(handle);
  await work(program, world, report, Bun.sleep(300), 0.05);
  await judgeAfter(program, world, report);
  rmSync(folder, { recursive: true });
}
