// The table of a fault run, and its place in the document that makes the promise, with what it takes to run it again.
import { readFileSync, writeFileSync } from "node:fs";
import { arch, cpus, release, totalmem } from "node:os";
import { join } from "node:path";
import type { Size } from "./report.ts";

const DOCS = join(import.meta.dir, "../../docs/durability.md");
const [BEGIN, END] = ["<!-- faults -->", "<!-- /faults -->"];

type Cells = readonly (string | number)[];

/** In Markdown; all columns but the first are numbers. */
export function tableOf(head: readonly string[], rows: readonly Cells[]): string {
  const line = (cells: Cells): string => `| ${cells.join(" | ")} |`;
  const isNumber = (index: number): boolean =>
    rows.some((cells) => typeof cells[index] === "number");
  const rule = head.map((_, index) => (isNumber(index) ? "--:" : "---"));
  return [line(head), line(rule), ...rows.map(line)].join("\n");
}

/**
 * Puts it between the two markers of the document.
 * @param facts more about the run, a sentence without its full stop each
 */
export function writeTable(
  size: Size,
  seed: number,
  facts: readonly string[],
  table: string,
): void {
  const text = readFileSync(DOCS, "utf8");
  const [before, rest] = [text.indexOf(BEGIN), text.indexOf(END)];
  if (before === -1 || rest === -1) throw new Error(`${DOCS} has no ${BEGIN} ... ${END}`);
  const command = `bun run test:faults${size === "nightly" ? "" : ` --${size}`} --seed ${seed}`;
  const about = [new Date().toISOString().slice(0, 10), ...machine(), ...facts].join("; ");
  const section = `${BEGIN}\n\`${command}\`, ${about}.\n\n${table}\n${END}`;
  writeFileSync(DOCS, text.slice(0, before) + section + text.slice(rest + END.length));
}

function machine(): string[] {
  const [processor] = cpus();
  const gib = Math.round(totalmem() / 2 ** 30);
  const system = /^PRETTY_NAME="(.*)"$/m.exec(readOr("/etc/os-release"))?.[1] ?? process.platform;
  return [
    `${cpus().length} processors (${processor?.model.trim() ?? arch()}), ${gib} GiB`,
    `${system}, kernel ${release()}, Bun ${Bun.version}`,
    "folders on ext4, XFS, tmpfs and overlay",
  ];
}

function readOr(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
