// The table of a fault run, and its place in the document that makes the promise, with what it takes to run it again.
import { readFileSync, writeFileSync } from "node:fs";
import { arch, cpus, release, tmpdir, totalmem } from "node:os";
import { join } from "node:path";

const DOCS = join(import.meta.dir, "../../docs/durability.md");

/** The parts of the document that are written by a run. */
export type Part = "faults" | "mutants" | "catalogue";

type Cells = readonly (string | number)[];

/** In Markdown; all columns but the first are numbers. */
export function tableOf(head: readonly string[], rows: readonly Cells[]): string {
  const line = (cells: Cells): string => `| ${cells.join(" | ")} |`;
  const isNumber = (index: number): boolean =>
    rows.some((cells) => typeof cells[index] === "number");
  const rule = head.map((_, index) => (isNumber(index) ? "--:" : "---"));
  return [line(head), line(rule), ...rows.map(line)].join("\n");
}

/** What stands in the document between the two markers of a part. @throws {Error} the markers are not there */
export function readPart(part: Part): string {
  const { text, from, to } = findPart(part);
  return text.slice(from, to).trim();
}

export function writePart(part: Part, content: string): void {
  const { text, from, to } = findPart(part);
  writeFileSync(DOCS, `${text.slice(0, from)}\n\n${content}\n\n${text.slice(to)}`);
}

function findPart(part: Part): { text: string; from: number; to: number } {
  const text = readFileSync(DOCS, "utf8");
  const [begin, end] = [`<!-- ${part} -->`, `<!-- /${part} -->`];
  const [before, to] = [text.indexOf(begin), text.indexOf(end)];
  if (before === -1 || to === -1) throw new Error(`${DOCS} has no ${begin} ... ${end}`);
  return { text, from: before + begin.length, to };
}

/**
 * What stands above a table of the document: how to make it again, and where it was made.
 * @param flags of `bun run test:faults`
 * @param facts more about the run, each as a part of one sentence
 */
export function heading(flags: string, facts: readonly string[]): string {
  const about = [new Date().toISOString().slice(0, 10), ...machine(), ...facts].join("; ");
  return `\`bun run test:faults ${flags}\`: ${about}.`;
}

function machine(): string[] {
  const [processor] = cpus();
  const gib = Math.round(totalmem() / 2 ** 30);
  const system = /^PRETTY_NAME="(.*)"$/m.exec(readOr("/etc/os-release"))?.[1] ?? process.platform;
  return [
    `${cpus().length} processors (${processor?.model.trim() ?? arch()}), ${gib} GiB`,
    `${system}, kernel ${release()}, Bun ${Bun.version}`,
    `folders on ${diskOf(tmpdir())}, in memory, and on disks of their own with ext4, XFS and overlay`,
  ];
}

/** The file system that a path is on. */
function diskOf(path: string): string {
  const { success, stdout } = Bun.spawnSync(["stat", "-f", "-c", "%T", path]);
  return success
    ? stdout.toString().trim().replace("ext2/ext3", "ext4")
    : "the disk of this machine";
}

function readOr(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
