// The compiled program under the faults that end it: one kind of commit of each sort; `bun run test:faults` has them all.
import { afterAll, beforeAll, expect } from "bun:test";
import { buildExecutable } from "../cli/executable.ts";
import { needs } from "../needs.ts";
import { withExecutable } from "../process.ts";
import { compiledCases, runCase } from "./cases.ts";

const TRIED = /: (first start|refresh|snapshot at a clean stop), |^random kills/;
/** Milliseconds that one case may take. */
const LIMIT = 120_000;
const KILLS = 6;

let executable: ReturnType<typeof buildExecutable>;
beforeAll(() => {
  executable = buildExecutable();
}, LIMIT);
afterAll(() => executable.remove());

for (const each of compiledCases.filter(({ name }) => TRIED.test(name))) {
  needs(...each.needs)(
    each.name,
    async () => {
      const size = Math.min(each.sizes.sample, KILLS);
      const run = () => runCase(each, size, { seed: 1, limit: LIMIT });
      expect((await withExecutable(executable.path, run)).findings).toEqual([]);
    },
    2 * LIMIT,
  );
}
