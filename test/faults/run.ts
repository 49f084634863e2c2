// bun run test:faults [--long | --sample] [--only NAME] [--seed N] [--mutants] [--write-docs]: every fault case at full size,
// and a table of what came of it. Exit code 1 when anything was lost, came back, or did not start.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { missingParts } from "../needs.ts";
import { allCases, lanes, runCase } from "./cases.ts";
import type { FindingKind, Size } from "./report.ts";

const DOCS = join(import.meta.dir, "../../docs/durability.md");

const LIMITS = { sample: 300_000, nightly: 3_000_000, long: 2 ** 31 - 1 };

const { values } = parseArgs({
  options: {
    long: { type: "boolean", default: false },
    sample: { type: "boolean", default: false },
    only: { type: "string", multiple: true },
    seed: { type: "string" },
    "write-docs": { type: "boolean", default: false },
  },
});
const size: Size = values.long ? "long" : values.sample ? "sample" : "nightly";
const seed = Number(values.seed ?? Date.now() % 1_000_000);

interface Row {
  readonly name: string;
  readonly cells: readonly (string | number)[];
  readonly failed: boolean;
}

const chosen = allCases.filter(
  ({ name }) => values.only === undefined || values.only.some((text) => name.includes(text)),
);
console.log(`seed ${seed}, ${size} size, ${chosen.length} cases`);
const lane = lanes(2);
const rows = await Promise.all(chosen.map((each) => lane(() => tryCase(each))));
const table = tableOf(rows);
console.log(`\n${table}`);
if (values["write-docs"]) writeTable(table);
const failed = rows.filter((row) => row.failed);
console.log(
  failed.length === 0 ? "\nnothing lost, nothing resurrected" : `\n${failed.length} cases failed`,
);
process.exit(failed.length === 0 && rows.length > 0 ? 0 : 1);

async function tryCase(each: (typeof allCases)[number]): Promise<Row> {
  const missing = missingParts(each.needs);
  if (missing.length > 0) {
    console.log(`${each.name}: skipped, ${missing.join(", ")}`);
    return { name: each.name, cells: ["skipped", "", "", "", ""], failed: false };
  }
  const from = performance.now();
  const { findings, tries } = await runCase(each, each.sizes[size], seed, LIMITS[size]);
  const seconds = Math.round((performance.now() - from) / 1000);
  for (const { kind, text } of findings) console.log(`${each.name}: ${kind}: ${text}`);
  console.log(`${each.name}: ${tries} tries, ${findings.length} findings, ${seconds} s`);
  const count = (...kinds: FindingKind[]): number =>
    findings.filter(({ kind }) => kinds.includes(kind)).length;
  const cells = [tries, count("lost"), count("resurrected"), count("failed start"), count("wrong")];
  return { name: each.name, cells, failed: findings.length > 0 };
}

function tableOf(rows: readonly Row[]): string {
  const head =
    "| case | tries | lost | resurrected | failed starts | other |\n|---|--:|--:|--:|--:|--:|";
  return [head, ...rows.map(({ name, cells }) => `| ${[name, ...cells].join(" | ")} |`)].join("\n");
}

/** Between the two markers of the document, with the command that makes it again. */
function writeTable(table: string): void {
  const text = readFileSync(DOCS, "utf8");
  const [begin, end] = ["<!-- faults -->", "<!-- /faults -->"];
  const [before, rest] = [text.indexOf(begin), text.indexOf(end)];
  if (before === -1 || rest === -1) throw new Error(`${DOCS} has no ${begin} ... ${end}`);
  const date = new Date().toISOString().slice(0, 10);
  const command = `bun run test:faults${size === "nightly" ? "" : ` --${size}`} --seed ${seed}`;
  const section = `${begin}\n${date}, \`${command}\`:\n\n${table}\n${end}`;
  writeFileSync(DOCS, text.slice(0, before) + section + text.slice(rest + end.length));
}
