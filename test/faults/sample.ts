// The sample of every fault case against the real program: nobody is forced to log in, nothing dead works again, and the next
// start needs no hand. `bun run test:faults` tries each far more often. TEST_SEED makes the choices of a run again.
import { expect } from "bun:test";
import { needs } from "../needs.ts";
import { allCases, runCase } from "./cases.ts";

const SEED = Number(process.env["TEST_SEED"] ?? 1);

for (const each of allCases) {
  needs(...each.needs)(
    each.name,
    async () => {
      const { findings } = await runCase(each, each.sizes.sample, SEED);
      expect(findings).toEqual([]);
    },
    300_000,
  );
}
