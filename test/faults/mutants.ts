// The harness against itself: the store with one defence taken out, in a copy of the project, must fail a case that it names. A
// patch that no longer applies is a failure too: nobody knows any more what the case is worth.
import { cpSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { FindingKind } from "./report.ts";

const ROOT = resolve(import.meta.dir, "../..");
const PATCHES = join(import.meta.dir, "mutants");
/** Milliseconds until a case that finds nothing has found nothing. */
const PATIENCE = 900_000;

export interface Mutant {
  /** mutants/<name>.patch */
  readonly name: string;
  /** What it leaves out. */
  readonly what: string;
  /** The case that must find it. */
  readonly caughtBy: string;
  /** What it must be found as. Anything else is an accident. */
  readonly as: readonly FindingKind[];
}

export const mutants: readonly Mutant[] = [
  {
    name: "no_folder_sync",
    what: "no sync of the folder that has a new journal",
    caughtBy: "power cuts on a model disk",
    as: ["lost", "failed start"],
  },
  {
    name: "single_write",
    what: "one write, and no look at how much was written",
    caughtBy: "short writes",
    as: ["wrong"],
  },
  {
    name: "answer_before_sync",
    what: "an answer before the sync is done",
    caughtBy: "power cuts on a model disk",
    as: ["lost", "failed start"],
  },
  {
    name: "memory_before_disk",
    what: "memory changed before the disk is",
    caughtBy: "full disk that has space again",
    as: ["wrong"],
  },
  {
    name: "revocation_not_held",
    what: "a revocation that waits for the disk to hold",
    caughtBy: "full disk that has space again",
    as: ["resurrected"],
  },
  {
    name: "lock_by_time",
    what: "a lock that is only a file with a time",
    caughtBy: "starts right after a kill, beside a lock that is left or copied",
    as: ["failed start"],
  },
  {
    name: "no_exclusive",
    what: "a new journal without O_EXCL",
    caughtBy: "something in the place of the next journal",
    as: ["wrong"],
  },
  {
    name: "use_in_memory",
    what: "the use of a generation remembered in memory only",
    caughtBy: "superseded by a use, over a restart",
    as: ["resurrected"],
  },
  {
    name: "corrupt_becomes_empty",
    what: "an empty folder in place of a damaged one",
    caughtBy: "damage to any byte of a file",
    as: ["wrong"],
  },
  {
    name: "sweep_by_wall_clock",
    what: "expired records swept by whatever the clock says",
    caughtBy: "clocks set while running",
    as: ["lost"],
  },
  {
    name: "journal_deleted_early",
    what: "journals that leave with the next snapshot",
    caughtBy: "hot copies under load",
    as: ["lost", "resurrected", "failed start"],
  },
  {
    name: "inherited_journal",
    what: "lines appended to a journal of another process",
    caughtBy: "random kills under load",
    as: ["failed start"],
  },
  {
    name: "tail_not_voided",
    what: "the end of a journal that a later one voids",
    caughtBy: "killed at each call: new journal after a failed sync",
    as: ["failed start"],
  },
  {
    name: "journal_not_looked_at",
    what: "an append without a look at the file",
    caughtBy: "a folder changed under a running server",
    as: ["wrong"],
  },
  {
    name: "loaded_not_synced",
    what: "what was loaded is built on without a sync",
    caughtBy: "power cuts on a model disk",
    as: ["lost", "failed start"],
  },
  {
    name: "one_generation",
    what: "no second generation for a folder that has one only",
    caughtBy: "damage to a young folder or a restored one",
    as: ["failed start"],
  },
  {
    name: "no_flock",
    what: "a lock that everybody gets",
    caughtBy: "eight starts at once, one after the other killed",
    as: ["wrong"],
  },
];

/** The patches in the folder, by name. */
export const patchNames = (): string[] =>
  readdirSync(PATCHES)
    .filter((name) => name.endsWith(".patch"))
    .map((name) => name.replace(/\.patch$/, ""))
    .toSorted();

/** Why the patch does not fit the present source; undefined when it does. */
export const misfit = ({ name }: Mutant): string | undefined => apply(name, ROOT, "--check");

function apply(name: string, folder: string, ...flags: string[]): string | undefined {
  const command = ["git", "apply", ...flags, join(PATCHES, `${name}.patch`)];
  const { success, stderr } = Bun.spawnSync(command, { cwd: folder });
  return success ? undefined : stderr.toString().trim();
}

/** As run.ts prints one. What breaks before anything was tried tells nothing of the defence. */
const FINDING = /^(lost|resurrected|failed start|wrong): (?!before the first try)/;

/** What came of one mutant. */
export interface Verdict {
  /** The first thing that was found, of a kind that counts; undefined: it was not caught. */
  readonly found: string | undefined;
  readonly seconds: number;
}

/** @param seed of the choices that the case makes */
export async function runMutant(mutant: Mutant, seed: number): Promise<Verdict> {
  const folder = mkdtempSync(join(tmpdir(), "postern-mutant-"));
  const from = performance.now();
  try {
    const entries = readdirSync(ROOT, { withFileTypes: true })
      .filter(({ name }) => !/^(node_modules|dist|data|\.git)$/.test(name))
      .map(({ name }) => name);
    for (const name of entries) cpSync(join(ROOT, name), join(folder, name), { recursive: true });
    symlinkSync(join(ROOT, "node_modules"), join(folder, "node_modules"));
    const failure = apply(mutant.name, folder);
    if (failure !== undefined) throw new Error(`${mutant.name}.patch does not apply: ${failure}`);
    assertBuilds(folder);
    return { found: await firstFinding(folder, mutant, seed), seconds: passed(from) };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** A program that does not build fails every case, and tells nothing of the defence. */
function assertBuilds(folder: string): void {
  const command = [process.execPath, "build", "src/main.ts", "--target=bun", "--outdir=built"];
  const { success, stderr } = Bun.spawnSync(command, { cwd: folder, stdout: "ignore" });
  if (!success) throw new Error(`the mutant does not build: ${stderr}`);
}

const passed = (from: number): number => Math.round((performance.now() - from) / 1000);

async function firstFinding(
  folder: string,
  { caughtBy, as }: Mutant,
  seed: number,
): Promise<string | undefined> {
  const words = ["test/faults/run.ts", "--only", caughtBy, "--until-found", "--seed", String(seed)];
  const child = Bun.spawn([process.execPath, ...words], {
    cwd: folder,
    stdio: ["ignore", "pipe", "inherit"],
    timeout: PATIENCE,
    killSignal: "SIGKILL",
  });
  const printed = await new Response(child.stdout).text();
  const prefix = `${caughtBy}: `;
  return printed
    .split("\n")
    .filter((line) => line.startsWith(prefix))
    .map((line) => line.slice(prefix.length))
    .find((text) => as.some((kind) => FINDING.exec(text)?.[1] === kind));
}
