// Everybody at once: each client of a world works on its own until somebody says stop, or the program is gone.
import {
  type ModelClient,
  type Status,
  type World,
  callTool,
  logIn,
  refresh,
  register,
  revoke,
  signIn,
} from "./model.ts";
import type { Program } from "./program.ts";
import type { Report } from "./report.ts";

/**
 * Resolves once `stopped` has and nobody waits for an answer any more.
 * @param revoking probability that a client gives its login up, at each step
 */
export async function work(
  program: Program,
  world: World,
  report: Report,
  stopped: Promise<unknown>,
  revoking = 0.05,
): Promise<void> {
  let isOver = false;
  const over = stopped.then(() => void (isOver = true));
  const working = world.clients.map(async (client) => {
    while (!isOver && client.ended === "no") {
      const status = await act(program, world, client, report, revoking);
      if (status === 0) return;
      if (status !== 200 && status !== 201) report.find("wrong", `under load: ${status}`);
    }
  });
  await Promise.all([over, ...working]);
}

function act(
  program: Program,
  world: World,
  client: ModelClient,
  { random }: Report,
  revoking: number,
): Promise<Status> {
  if (random.chance(revoking)) return revoke(program, client);
  const kind = random.next();
  if (kind < 0.75) return refresh(program, client, random.chance(0.2));
  return kind < 0.95 ? callTool(program, client) : register(program, world);
}

/** Forgets who has ended, and lets others in for them. */
export async function fillUp(program: Program, world: World, count: number): Promise<void> {
  world.clients = world.clients.filter(({ ended }) => ended === "no");
  const [password] = world.passwords;
  const browser = world.clients.length < count ? await signIn(program, password) : undefined;
  while (world.clients.length < count) await logIn(program, world, browser);
}
