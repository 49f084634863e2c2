// A clock that is set while the program runs, while it rests, or not yet at all: nobody is logged out by it, nothing is swept,
// and the start waits for nothing.
import { join } from "node:path";
import { callMcp } from "../../server.ts";
import { type FakeClock, fakeClock } from "../faketime.ts";
import { judge } from "../judge.ts";
import {
  type ModelClient,
  type World,
  callTool,
  createWorld,
  logIn,
  present,
  refresh,
  register,
  statusOf,
} from "../model.ts";
import { type Program, start, startAgain } from "../program.ts";
import type { FaultCase, Report } from "../report.ts";
import { emptied, withScratch } from "../scratch.ts";
import { sizes } from "../sizes.ts";

export const cases: readonly FaultCase[] = [
  {
    name: "clocks set while running",
    sizes: sizes["clocks"],
    needs: ["linux", "faketime"],
    run: (size, report) => often(size, report, (path) => setWhileRunning(path, report)),
  },
  {
    name: "clocks set across a restart",
    sizes: sizes["clocks"],
    needs: ["linux", "faketime"],
    run: (size, report) => often(size, report, (path) => setAcrossRestart(path, report)),
  },
];

async function often(
  size: number,
  report: Report,
  once: (path: string) => Promise<void>,
): Promise<void> {
  while (report.tries < size) await withScratch(once);
}

const WRONG = ["-1d", "+10y", "@1970-01-01 00:00:10", "-20y", "+1h", "+80d", "+100d"];
/** Further ahead than a rest may be long: at a start nothing is refused for good by such a clock. */
const DOUBTED = new Set(["+10y", "+100d"]);
/** No time in which a superseded token is let pass, so that only the use decides; it ends with the second. */
const settings = { refreshGrace: "0s", siblingGrace: "0s" };
const OVER = 1_100;

async function setWhileRunning(path: string, report: Report): Promise<void> {
  const clock = fakeClock(join(path, "clock"));
  const { environment } = clock;
  let program = await start({ folder: emptied(join(path, "data")), environment });
  const world = await createWorld(program, 3);
  // From try to try another one comes first.
  const turned = report.tries % WRONG.length;
  for (const wrong of [...WRONG.slice(turned), ...WRONG.slice(0, turned)]) {
    report.tried(`set to ${wrong}`);
    clock.set(wrong);
    await everybodyWorks(program, world, report, wrong);
    if (report.random.chance(0.3)) await logIn(program, world);
    clock.set("+0");
    await everybodyWorks(program, world, report, "right again");
  }
  // What is saved now would have been swept by a clock that was believed.
  clock.set("+10y");
  await program.kill("SIGTERM");
  clock.set("+0");
  program = await startAgain(program, { environment });
  await judge(program, world, report);
  await program.kill();
}

/** A client that is told that its token is bad throws it away, so none may be told so by a wrong clock. */
async function everybodyWorks(
  program: Program,
  { clients }: World,
  report: Report,
  when: string,
): Promise<void> {
  for (const client of clients) {
    const status = await refresh(program, client);
    if (status !== 200) report.find("lost", `${when}: the last token is answered ${status}`);
    const call = await callTool(program, client);
    if (call !== 200) report.find("lost", `${when}: a new access token is answered ${call}`);
  }
}

async function setAcrossRestart(path: string, report: Report): Promise<void> {
  const { random } = report;
  const clock = fakeClock(join(path, "clock"));
  const { environment } = clock;
  let program = await start({ folder: emptied(join(path, "data")), environment, settings });
  const world = await createWorld(program, 3);
  await everybodyWorks(program, world, report, "at first");
  const wrong = WRONG[report.tries % WRONG.length] ?? "+0";
  report.tried(`started at ${wrong}`);
  for (let starts = 1 + random.below(3); starts > 0; starts--) {
    await program.kill(random.pick(["SIGTERM", "SIGKILL"]));
    clock.set(wrong);
    program = await startAgain(program, { environment });
    // So that a stop has something to save.
    await register(program, world);
    if (DOUBTED.has(wrong)) await nobodyIsRefused(program, world, report, wrong);
    else await everybodyWorks(program, world, report, wrong);
  }
  const expired = wrong === "+80d" ? await expire(program, world, clock, report) : [];
  await program.kill(random.pick(["SIGTERM", "SIGKILL"]));
  clock.set("+0");
  program = await startAgain(program, { environment });
  await expectExpired(program, expired, report);
  if (expired.length > 0) await everybodyWorks(program, world, report, "right again");
  const [robbed] = world.clients;
  if (robbed) await steal(program, robbed, report);
  await judge(program, world, report);
  await program.kill();
}

/** What is over by a clock that is doubted is put off, so that nobody throws a token away. */
async function nobodyIsRefused(
  program: Program,
  { clients }: World,
  report: Report,
  when: string,
): Promise<void> {
  for (const client of clients) {
    const status = await refresh(program, client);
    if (status !== 200 && status !== 503)
      report.find("lost", `${when}: the last token is answered ${status}`);
    const call = await callTool(program, client);
    // On 401 a client refreshes.
    if (call !== 200 && call !== 401) report.find("wrong", `${when}: a call is answered ${call}`);
  }
}

/** Two more days go by, and are written down. Gives the access tokens that have expired. */
async function expire(
  program: Program,
  world: World,
  clock: FakeClock,
  report: Report,
): Promise<string[]> {
  clock.set("+82d");
  await register(program, world);
  const expired = world.clients.map(({ tokens }) => tokens.access_token);
  await expectExpired(program, expired, report);
  return expired;
}

async function expectExpired(
  program: Program,
  expired: readonly string[],
  report: Report,
): Promise<void> {
  for (const token of expired) {
    const status = await statusOf(callMcp(program, token));
    if (status !== 401) report.find("resurrected", `an expired token is answered ${status}`);
  }
}

/** The token before one that was used comes from elsewhere. */
async function steal(program: Program, robbed: ModelClient, report: Report): Promise<void> {
  await Bun.sleep(OVER);
  const thief = { ...robbed, from: "192.0.2.1" };
  const { status } = await present(program, thief, robbed.previous ?? "");
  if (status !== 400) report.find("resurrected", `a superseded token is answered ${status}`);
  robbed.ended = "yes";
}
