// postern check: says what is in a data folder, what is damaged and what a start would do, also beside a running server.
// Changes nothing. How it is found out is store/inspect.ts.
import { readConfig, readDataFolder } from "../config.ts";
import { FatalError } from "../errors.ts";
import { seconds, wallClock } from "../primitives.ts";
import type { GivenSettings } from "../settings.ts";
import type { DataFolder } from "../store/files.ts";
import { lookInto, readAtOnce } from "../store/hot_read.ts";
import { type Holds, type InspectedFile, type Inspection, inspect } from "../store/inspect.ts";
import type { Recovered } from "../store/recovery.ts";
import { bytesText, countsText, timeText } from "./terminal.ts";

/** Exit codes: a start works; it works, and something should be looked at; it would refuse. */
const CLEAN = 0;
const ATTENTION = 1;
const REFUSED = 78;

/** What a start says too and nobody has to do anything about. */
const harmless = new Set(["torn-tail", "foreign-names", "copied", "new", "other-user"]);

/** Resolves to the exit code. */
export async function check(given: GivenSettings, json: boolean): Promise<number> {
  const path = readDataFolder(given, process.env);
  const settings = readSettings(given);
  const unsafeFolder = settings instanceof FatalError ? false : settings.unsafeFolder;
  const unread = settings instanceof FatalError ? settings : undefined;
  const report = await examine(path, unsafeFolder, (folder, found) =>
    reportOf(folder, unread, found),
  ).catch((error: unknown) => {
    if (json && error instanceof FatalError) return closedReport(path, error);
    throw error;
  });
  process.stdout.write(`${json ? JSON.stringify(report, null, 2) : reportText(report)}\n`);
  return report.exit_code;
}

/** What is in a data folder, and what a start would do with it. @throws {FatalError} when there is none */
export const examine = <T>(
  path: string,
  unsafeFolder: boolean,
  report: (folder: DataFolder, found: Inspection) => T,
): Promise<T> =>
  lookInto(path, async (folder) => {
    const options = { folder, unsafeFolder, now: wallClock };
    return report(folder, await readAtOnce(folder, (files) => inspect(options, files), isSound));
  });

/** The settings of a start; a start refuses what cannot be read. */
function readSettings(given: GivenSettings): ReturnType<typeof readConfig> | FatalError {
  try {
    return readConfig(given, process.env);
  } catch (error) {
    if (error instanceof FatalError) return error;
    throw error;
  }
}

const isSound = ({ files, start, notices }: Inspection): boolean =>
  !(start instanceof FatalError) &&
  !files.some(({ damage }) => damage !== undefined) &&
  !notices.some(({ kind }) => kind === "previous-snapshot");

/** As --json prints it. Times are epoch seconds. */
interface CheckReport {
  readonly folder: string;
  readonly holder: string | undefined;
  readonly files: readonly FileRow[];
  readonly holds: HoldsRow | undefined;
  readonly notices: Inspection["notices"];
  readonly start:
    | { readonly works: true; readonly uses: readonly string[] }
    | {
        readonly works: false;
        readonly exit_code: number;
        readonly message: string;
        readonly hint: string | undefined;
      };
  readonly exit_code: number;
}

interface FileRow {
  readonly name: string;
  readonly bytes: number;
  readonly changed_at: number;
  readonly is: string;
  readonly damage: string | undefined;
}

interface HoldsRow extends Omit<Holds, "newest"> {
  readonly newest_at: number | undefined;
}

function reportOf(
  folder: DataFolder,
  settings: FatalError | undefined,
  found: Inspection,
): CheckReport {
  const { files, holder, notices, holds } = found;
  const start = found.start instanceof FatalError ? found.start : (settings ?? found.start);
  const refused = start instanceof FatalError;
  const calls =
    files.some(({ damage }) => damage !== undefined) ||
    notices.some(({ kind }) => !harmless.has(kind));
  return {
    folder: folder.path,
    holder,
    files: files.map(fileRow),
    holds: holds && holdsRow(holds),
    notices,
    start: refused ? refusal(start) : { works: true, uses: usedFiles(start, files) },
    exit_code: refused ? REFUSED : calls ? ATTENTION : CLEAN,
  };
}

/** Of a folder that is not there, or that nobody may look into. */
const closedReport = (folder: string, error: FatalError): CheckReport => ({
  folder,
  holder: undefined,
  files: [],
  holds: undefined,
  notices: [],
  start: refusal(error),
  exit_code: error.exitCode,
});

const refusal = ({ exitCode, message, hint }: FatalError): CheckReport["start"] => ({
  works: false,
  exit_code: exitCode,
  message,
  hint,
});

const holdsRow = ({ newest, ...rest }: Holds): HoldsRow => ({
  ...rest,
  newest_at: newest === undefined ? undefined : seconds(newest),
});

const fileRow = (file: InspectedFile): FileRow => ({
  name: file.name,
  bytes: file.bytes,
  changed_at: seconds(file.changedAt),
  is: whatIs(file),
  damage: file.damage,
});

const named: ReadonlyMap<string, string> = new Map([
  ["config.json", "settings"],
  ["audit.jsonl", "audit trail"],
  ["setup-link", "lets the first owner in"],
]);
const others: Readonly<Record<InspectedFile["kind"], string>> = {
  file: "",
  temporary: "left by a write that did not end; the next start removes it",
  kept: "set aside, never loaded",
  lock: "sign of a process that has the folder",
  socket: "admin socket",
  tolerated: "left alone",
  foreign: "not Postern's",
};

function whatIs({ name, kind, snapshot, journal }: InspectedFile): string {
  if (snapshot) {
    const { rev, savedAt, host } = snapshot;
    const where = host === "" ? "" : ` on ${host}`;
    return `rev ${rev}, saved ${timeText(savedAt)}${where}: ${countsText(snapshot)}`;
  }
  if (!journal) return named.get(name) ?? others[kind];
  const { first, last } = journal;
  if (first === undefined || last === undefined) return "no change in it";
  return first === last ? `change ${first}` : `changes ${first} to ${last}`;
}

/** The snapshot, and the journals that go on above it. */
function usedFiles({ snapshot }: Recovered, files: readonly InspectedFile[]): string[] {
  const rev = snapshot?.header.rev ?? 0;
  const above = files.filter(({ journal }) => (journal?.last ?? 0) > rev);
  return [...(snapshot ? [snapshot.name] : []), ...above.map(({ name }) => name)];
}

function reportText(report: CheckReport): string {
  const { folder, holder, files, holds, notices, start } = report;
  const width = Math.max(...files.map(({ name }) => name.length), 0);
  const damaged = files.filter(({ damage }) => damage !== undefined);
  const worth = (kind: string): string => (harmless.has(kind) ? "note" : "warning");
  return [
    `data folder ${folder}${holder === undefined ? "" : `, opened by ${holder}, which runs or was killed`}`,
    ...files.map(({ name, bytes, is }) =>
      `  ${name.padEnd(width)}  ${bytesText(bytes).padStart(9)}  ${is}`.trimEnd(),
    ),
    ...(holds
      ? [
          `holds: rev ${holds.rev}, ${countsText(holds)}` +
            (holds.newest_at === undefined
              ? ""
              : `, newest change ${timeText(holds.newest_at * 1000)}`),
        ]
      : []),
    ...damaged.map(({ name, damage }) => `damaged: ${name}: ${damage}`),
    ...notices.map(({ kind, message }) => `${worth(kind)}: ${message}`),
    ...(start.works
      ? [`a start works${start.uses.length === 0 ? "" : `, with ${start.uses.join(", ")}`}`]
      : [
          `a start refuses, with exit code ${start.exit_code}: ${start.message}`,
          ...(start.hint === undefined ? [] : [`hint: ${start.hint}`]),
        ]),
  ].join("\n");
}
