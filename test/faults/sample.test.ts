// The sample of every fault case against the real program: nobody is forced to log in, nothing dead works again, and the next
// start needs no hand. `bun run test:faults` tries each far more often. TEST_SEED makes the choices of a run again.
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { needs } from "../needs.ts";
import { allCases, compiledCases, lanes, runCase } from "./cases.ts";
import { catalogue, catalogueTable } from "./catalogue.ts";
import { misfit, mutants, patchNames } from "./mutants.ts";
import { readPart } from "./table.ts";

const SEED = Number(process.env["TEST_SEED"] ?? 1);
/** Cases at a time: most of what they do is wait. */
const LANES = availableParallelism() + 1;
/** Milliseconds that one case may take. */
const LIMIT = 240_000;

const lane = lanes(LANES);
for (const each of allCases) {
  needs(...each.needs).concurrent(
    each.name,
    async () => {
      const options = { seed: SEED, limit: LIMIT };
      const { findings } = await lane(() => runCase(each, each.sizes.sample, options));
      expect(findings).toEqual([]);
    },
    // They all begin at once, and wait for their turn.
    allCases.length * LIMIT,
  );
}

needs("git").each(mutants)("a store with $what can be made, for $caughtBy", (mutant) => {
  expect(misfit(mutant)).toBeUndefined();
  expect(allCases.map(({ name }) => name)).toContain(mutant.caughtBy);
});

test("every patch is one of the mutants", () => {
  expect(patchNames()).toEqual(mutants.map(({ name }) => name).toSorted());
});

/** The first cell of each row of a table in the document. */
const rowsOf = (part: "faults" | "mutants"): string[] =>
  readPart(part)
    .split("\n")
    .filter((line) => line.startsWith("| "))
    .slice(2)
    .map((line) => line.split(" | ")[0]?.slice(2) ?? "");

test("the last full run has a row for every case and for every mutant", () => {
  expect(rowsOf("faults")).toEqual([...allCases, ...compiledCases].map(({ name }) => name));
  expect(rowsOf("mutants")).toEqual(mutants.map(({ what }) => what));
});

test("the catalogue names cases and tests that there are, and the document has it", () => {
  const names = allCases.map(({ name }) => name);
  for (const { id, cases, tests = [] } of catalogue) {
    expect([id, cases.length + tests.length]).not.toEqual([id, 0]);
    const unknown = cases.filter(
      (each) => !names.some((name) => name === each || name.startsWith(`${each}: `)),
    );
    expect([id, unknown]).toEqual([id, []]);
    for (const [file, title] of tests) {
      expect(readFileSync(join(import.meta.dir, "..", file), "utf8")).toContain(title);
    }
  }
  expect(readPart("catalogue")).toBe(catalogueTable());
});
