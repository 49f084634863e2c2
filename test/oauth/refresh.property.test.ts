// The token table of the design under everything that can happen, in random order: each run is a list of steps made from a
// seed, held against an independent table and against promises 1 and 3. TEST_RUNS sets how many, TEST_SEED where they begin.
import { expect, test } from "bun:test";
import { canFillDisk } from "./token_disk.ts";
import { type Kind, type Step, take } from "./token_steps.ts";
import { World } from "./token_world.ts";

const RUNS = Number(process.env["TEST_RUNS"] ?? 200);
const FIRST_SEED = Number(process.env["TEST_SEED"] ?? 1);
const STEPS = 60;
const SHRINKING = 30_000;

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

type Weights = Partial<Record<Kind, number>>;

const peace: Weights = {
  logIn: 3,
  refresh: 24,
  parallel: 8,
  burst: 1,
  use: 12,
  wrong: 3,
  probe: 20,
  revokeAccess: 3,
  clock: 22,
  restart: 4,
  crash: 7,
  backUp: 4,
  restore: 4,
  disk: 3,
};
const war: Weights = {
  ...peace,
  theft: 8,
  stolenUse: 4,
  crowd: 8,
  revoke: 2,
  codeAgain: 2,
  ownerRevokes: 1,
  endMany: 2,
};

function makeSteps(seed: number): Step[] {
  const random = randomNumbers(seed);
  const weights = Object.entries(seed % 2 === 0 ? peace : war) as [Kind, number][];
  const total = weights.reduce((sum, [, weight]) => sum + weight, 0);
  const kind = (): Kind => {
    let left = random() * total;
    return weights.find(([, weight]) => (left -= weight) < 0)?.[0] ?? "refresh";
  };
  return Array.from({ length: STEPS }, () => ({
    kind: kind(),
    chance: Array.from({ length: 16 }, random),
  }));
}

interface Failure {
  readonly error: Error;
  readonly trace: readonly string[];
}

async function runSteps(
  steps: readonly Step[],
  tally?: Map<string, number>,
): Promise<Failure | undefined> {
  const world = new World(tally);
  try {
    await world.open();
    for (const step of steps) await take(world, step);
    return undefined;
  } catch (error) {
    return { error: error as Error, trace: world.trace };
  } finally {
    await world.close();
  }
}

/** Which rule was broken, without the names and numbers of this run. */
const kindOf = ({ error }: Failure): string =>
  error.message.slice(0, 60).replace(/login \d+|\d+/g, "");

/** Leaves out what the failure does not need: halves first, single steps last. */
async function shrink(steps: readonly Step[], failure: Failure): Promise<Failure> {
  const deadline = performance.now() + SHRINKING;
  let [left, best] = [steps, failure];
  for (let size = Math.ceil(left.length / 2); size >= 1; size = Math.floor(size / 2)) {
    for (let from = 0; from < left.length && performance.now() < deadline;) {
      const fewer = left.toSpliced(from, size);
      const failed = await runSteps(fewer);
      if (failed && kindOf(failed) === kindOf(failure)) [left, best] = [fewer, failed];
      else from += size;
    }
  }
  return best;
}

const rows = [
  "ahead: 200",
  "current: 200",
  "current: 400",
  "one behind: 200",
  "one behind: 400",
  "behind: 400",
  ...(canFillDisk ? ["current: 503"] : []),
];

test(
  `${RUNS} lives of a folder keep to the token table and to promises 1 and 3`,
  async () => {
    if (!canFillDisk) console.warn("without prlimit the disk is never full in these runs");
    const tally = new Map<string, number>();
    for (let seed = FIRST_SEED; seed < FIRST_SEED + RUNS; seed++) {
      const steps = makeSteps(seed);
      const failure = await runSteps(steps, tally);
      if (!failure) continue;
      const { error, trace } = await shrink(steps, failure);
      const lines = trace.map((line, index) => `${String(index + 1).padStart(3)}  ${line}`);
      throw new Error(
        `seed ${seed} (TEST_SEED=${seed} TEST_RUNS=1):\n${lines.join("\n")}\n${error.stack}`,
      );
    }
    // Every row was reached, with each of its answers.
    if (RUNS >= 100) expect([...tally.keys()]).toEqual(expect.arrayContaining(rows));
  },
  RUNS * 2000 + 120_000,
);
