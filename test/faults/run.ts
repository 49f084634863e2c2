// bun run test:faults [--long | --sample] [--only NAME] [--seed N] [--until-found] [--write-docs]: every fault case at full
// size, and a table of what came of it; with --mutants the cases are tried themselves. Exit code 1 when anything was lost, came
// back, or did not start, or when a mutant was not caught.
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { buildExecutable } from "../cli/executable.ts";
import { missingParts } from "../needs.ts";
import { withExecutable } from "../process.ts";
import { allCases, compiledCases, lanes, runCase } from "./cases.ts";
import { type Mutant, mutants, runMutant } from "./mutants.ts";
import { READY, starts } from "./program.ts";
import type { FaultCase, FindingKind, Size } from "./report.ts";
import { heading, tableOf, writePart } from "./table.ts";
import { catalogueTable } from "./catalogue.ts";

/** Milliseconds that one case may take. */
const LIMITS = { sample: 300_000, nightly: 3_000_000, long: 2 ** 31 - 1 };
/** Cases at a time: most of what they do is wait. */
const LANES = availableParallelism() + 1;

const { values } = parseArgs({
  options: {
    long: { type: "boolean", default: false },
    sample: { type: "boolean", default: false },
    only: { type: "string", multiple: true },
    seed: { type: "string" },
    mutants: { type: "boolean", default: false },
    "until-found": { type: "boolean", default: false },
    "write-docs": { type: "boolean", default: false },
  },
});
const size: Size = values.long ? "long" : values.sample ? "sample" : "nightly";
const seed = Number(values.seed ?? Date.now() % 1_000_000);

// Whoever ends the run ends what it started.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.once(signal, () => process.exit(1));
}

const isGood = await (values.mutants ? tryMutants() : tryCases());
process.exit(isGood ? 0 : 1);

/** Those of the name that is asked for, or else those with it in their names. */
function choose<T extends { readonly name: string }>(list: readonly T[]): T[] {
  const names = list.map(({ name }) => name);
  const isAsked = ({ name }: T): boolean =>
    values.only?.some((text) => (names.includes(text) ? name === text : name.includes(text))) ??
    true;
  return list.filter(isAsked);
}

async function tryCases(): Promise<boolean> {
  const from = performance.now();
  const chosen = choose(allCases);
  const compiled = choose(compiledCases);
  console.log(`seed ${seed}, ${size} size, ${chosen.length + compiled.length} cases`);
  const rows = [...(await tryAll(chosen)), ...(await tryCompiled(compiled))];
  const head = ["case", "tries", "lost", "resurrected", "failed starts", "other"];
  const table = tableOf(
    head,
    rows.map(({ cells }) => cells),
  );
  const minutes = Math.round((performance.now() - from) / 60_000);
  const facts = [`${minutes} minutes`, ...factsOfStarts()];
  console.log(`\n${table}\n\n${facts.join("; ")}`);
  if (values["write-docs"]) {
    const flags = [...(size === "nightly" ? [] : [`--${size}`]), `--seed ${seed}`].join(" ");
    writePart("faults", `${heading(flags, facts)}\n\n${table}`);
    writePart("catalogue", catalogueTable());
  }
  const failed = rows.filter((row) => row.failed).length;
  console.log(failed === 0 ? "\nnothing lost, nothing resurrected" : `\n${failed} cases failed`);
  return failed === 0 && rows.length > 0;
}

function factsOfStarts(): string[] {
  if (starts.length === 0) return [];
  const taken = starts.toSorted((a, b) => a - b).map(Math.round);
  const within = (part: number): string => `${taken[Math.ceil(part * taken.length) - 1]} ms`;
  const late = taken.filter((each) => each > READY).length;
  return [
    `${taken.length} starts, half of them ready within ${within(0.5)}, 95 % within ${within(0.95)}, ` +
      `all within ${within(1)}, ${late} after more than ${READY} ms`,
  ];
}

function tryAll(cases: readonly FaultCase[]): Promise<Row[]> {
  const lane = lanes(LANES);
  return Promise.all(cases.map((each) => lane(() => tryCase(each))));
}

async function tryCompiled(cases: readonly FaultCase[]): Promise<Row[]> {
  if (cases.length === 0) return [];
  const executable = buildExecutable();
  try {
    return await withExecutable(executable.path, () => tryAll(cases));
  } finally {
    executable.remove();
  }
}

interface Row {
  readonly cells: readonly (string | number)[];
  readonly failed: boolean;
}

async function tryCase(each: FaultCase): Promise<Row> {
  const { name } = each;
  const missing = missingParts(each.needs);
  if (missing.length > 0) {
    console.log(`${name}: skipped, ${missing.join(", ")}`);
    return { cells: [name, "skipped", "", "", "", ""], failed: false };
  }
  const from = performance.now();
  const options = { seed, limit: LIMITS[size], untilFound: values["until-found"] };
  const { findings, tries } = await runCase(each, each.sizes[size], options);
  const seconds = Math.round((performance.now() - from) / 1000);
  for (const { kind, text } of findings) console.log(`${name}: ${kind}: ${text}`);
  console.log(`${name}: ${tries} tries, ${findings.length} findings, ${seconds} s`);
  const count = (...kinds: FindingKind[]): number =>
    findings.filter(({ kind }) => kinds.includes(kind)).length;
  const counts = [count("lost"), count("resurrected"), count("failed start"), count("wrong")];
  return { cells: [name, tries, ...counts], failed: findings.length > 0 };
}

async function tryMutants(): Promise<boolean> {
  const chosen = choose(mutants);
  console.log(`seed ${seed}, ${chosen.length} mutants`);
  const lane = lanes(LANES);
  const rows = await Promise.all(chosen.map((mutant) => lane(() => tryMutant(mutant))));
  const head = ["without the defence", "caught by", "as", "seconds"];
  const table = tableOf(
    head,
    rows.map(({ cells }) => cells),
  );
  console.log(`\n${table}`);
  if (values["write-docs"]) {
    writePart("mutants", `${heading(`--mutants --seed ${seed}`, [])}\n\n${table}`);
  }
  const survivors = rows.filter((row) => row.failed).length;
  console.log(survivors === 0 ? "\nevery mutant is caught" : `\n${survivors} mutants survive`);
  return survivors === 0 && rows.length > 0;
}

async function tryMutant(mutant: Mutant): Promise<Row> {
  const { found, seconds } = await runMutant(mutant, seed);
  console.log(`${mutant.name}: ${found ?? "NOT CAUGHT"} (${seconds} s)`);
  const [kind = ""] = found?.split(": ") ?? ["NOT CAUGHT"];
  return { cells: [mutant.what, mutant.caughtBy, kind, seconds], failed: found === undefined };
}
