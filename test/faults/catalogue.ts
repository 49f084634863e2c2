// The catalogue of faults, in its order, each with what shows that it is survived: cases of this folder by their names, and tests
// elsewhere. The document that makes the promise has the same table.
import { tableOf } from "./table.ts";

export interface CatalogueEntry {
  readonly id: string;
  /** What goes wrong. */
  readonly fault: string;
  /** Names of cases, or what such names begin with before a colon. */
  readonly cases: readonly string[];
  readonly tests?: readonly TestReference[];
  /** What comes of it, where that is not simply that nothing is lost. */
  readonly note?: string;
}

/** A test by its file under test/, and words of its title. */
export type TestReference = readonly [file: string, title: string];

const KILLED = "killed at each call";
const FAILING = "failing calls";
const ANY_BYTE = "damage to any byte of a file";
const DAMAGED = "damaged files before a start";
const NO_FILE = "what is no file of ours before a start";
const CHANGED = "a folder changed under a running server";
const LEFT = "starts right after a kill, beside a lock that is left or copied";
const EIGHT = "eight starts at once, one after the other killed";
const HELD = "a folder that another process has";
const CLOCKS = ["clocks set while running", "clocks set across a restart"];

export const catalogue: readonly CatalogueEntry[] = [
  { id: "F01", fault: "`kill -9` before each system call of a change", cases: [KILLED] },
  { id: "F02", fault: "`kill -9` at random under load", cases: ["random kills under load"] },
  {
    id: "F03",
    fault: "told to stop in the middle of everything",
    cases: ["told to stop under load"],
    tests: [["cli/verbs.test.ts", "a stop lets a running request end and cuts an endless one"]],
  },
  { id: "F04", fault: "each system call of a change fails", cases: [FAILING] },
  {
    id: "F05",
    fault: "a sync fails once",
    cases: [FAILING, `${KILLED}: new journal after a failed sync`],
  },
  {
    id: "F06",
    fault: "a write is cut short",
    cases: ["short writes", "every write of every commit cut short", "short writes that go on"],
  },
  { id: "F07", fault: "the disk is full for a while", cases: ["full disk that has space again"] },
  {
    id: "F08",
    fault: "power cut right after an answer",
    cases: ["power cuts on ext4", "power cuts on xfs"],
  },
  {
    id: "F09",
    fault: "power cut under load",
    cases: ["power cuts on ext4", "power cuts on xfs"],
  },
  {
    id: "F10",
    fault: "every state that a power cut may leave, by the order of writes and syncs",
    cases: ["power cuts on a model disk"],
  },
  { id: "F11", fault: "an empty file", cases: [ANY_BYTE, DAMAGED] },
  {
    id: "F12",
    fault: "a file cut off, flipped, filled with NUL, converted",
    cases: [ANY_BYTE, DAMAGED, "damage to a young folder or a restored one"],
  },
  {
    id: "F13",
    fault: "JSON of another shape, one odd record",
    cases: [ANY_BYTE, DAMAGED],
    tests: [
      ["store/damage.test.ts", "for a record is not taken, and the record is named"],
      ["cli/salvage.test.ts", "a state.json that an editor laid out anew"],
    ],
    note: "refused and named; `check --salvage` saves the others",
  },
  {
    id: "F14",
    fault: "an older schema",
    cases: [ANY_BYTE, DAMAGED],
    note: "there has been one schema so far: another is never guessed at",
  },
  {
    id: "F15",
    fault: "a newer schema",
    cases: [ANY_BYTE, DAMAGED],
    tests: [["cli/salvage.test.ts", "leaves a newer Postern's folder alone"]],
    note: "refused, nothing changed",
  },
  {
    id: "F16",
    fault: "a file changed by hand while running",
    cases: [CHANGED],
    tests: [["store/compaction.test.ts", "is kept as .edited- and never becomes the one before"]],
    note: "a journal: the server ends; `state.json`: kept aside",
  },
  {
    id: "F17",
    fault: "the folder deleted, replaced or unmounted while running",
    cases: [CHANGED, "a disk unmounted under a running server"],
    note: "503, and the server ends",
  },
  {
    id: "F18",
    fault: "two processes, one folder",
    cases: [HELD],
    tests: [["store/lock.test.ts", "says at once whom it waits for, then ends with exit code 75"]],
  },
  { id: "F19", fault: "two containers, both process 1", cases: [HELD] },
  {
    id: "F20",
    fault: "a start right after `kill -9`",
    cases: [LEFT],
    tests: [["store/lock.test.ts", "by kill -9 frees the folder at once"]],
  },
  { id: "F21", fault: "eight starts at once", cases: [EIGHT] },
  { id: "F22", fault: "a lock from the future, or from another machine", cases: [LEFT, ...CLOCKS] },
  { id: "F23", fault: "a process that stands still, and then goes on", cases: [HELD] },
  {
    id: "F24",
    fault: "a clock set forward or back, while running and across a restart",
    cases: CLOCKS,
    tests: [
      ["store/expiry.test.ts", "a folder under a wrong clock"],
      ["oauth/clocks.test.ts", "80 days ahead at a start, and right again"],
      ["oauth/clocks.test.ts", "more than 90 days ahead at a start"],
    ],
  },
  { id: "F25", fault: "no clock at boot: 1970", cases: CLOCKS },
  {
    id: "F26",
    fault: "copies made while running, in any order of files",
    cases: ["hot copies under load", "hot copies by rsync", "archives of a live folder, restored"],
    tests: [["cli/backup.test.ts", "hot backups under load"]],
  },
  {
    id: "F27",
    fault: "an old copy restored, or laid over a newer folder",
    cases: [
      "old copies restored",
      "old copies laid over a newer folder",
      "old copies laid over a running server",
    ],
    tests: [["cli/restore.test.ts", "copies 1, 10 and 1,000 rotations old"]],
    note: "what was ended since is back: `restore --revoke-all`; laid over a newer folder it may be refused with exit code 78",
  },
  {
    id: "F28",
    fault: "a copy that runs beside its original",
    cases: ["a copy that runs beside its original"],
    note: "neither can know; nobody is logged out",
  },
  {
    id: "F29",
    fault: "a folder or files that others may read",
    cases: [NO_FILE],
    tests: [["store/permissions.test.ts", "that let others in are tightened and told once"]],
  },
  { id: "F30", fault: "files of another owner", cases: [NO_FILE], note: "refused" },
  {
    id: "F31",
    fault: "a link, FIFO, device or folder in the place of a file",
    cases: [NO_FILE, "something in the place of the next journal"],
    tests: [["store/permissions.test.ts", "a link to the folder itself is followed once"]],
    note: "refused, never followed",
  },
  { id: "F32", fault: "a read-only disk", cases: [NO_FILE], note: "refused in one line" },
  {
    id: "F33",
    fault: "no hard links, no sync of folders, slow syncs",
    cases: ["a file system that lacks something"],
  },
  {
    id: "F34",
    fault: "an overlay, as in a container",
    cases: ["an overlay, as in a container"],
    note: "said at every start: it goes with the container",
  },
  {
    id: "F35",
    fault: "64 file handles, 128 MB of memory, a share of a processor",
    cases: ["64 file handles", "128 MB of memory", "a tenth of a processor"],
  },
  { id: "F36", fault: "ten thousand leftovers", cases: ["ten thousand leftovers"] },
  { id: "F37", fault: "fifty thousand logins", cases: ["fifty thousand logins"] },
  {
    id: "F38",
    fault: "sweeps that race rotations and revocations",
    cases: ["sweeps among rotations and ends of logins"],
  },
  {
    id: "F39",
    fault: "`kill -9` in a start that writes",
    cases: [
      `${KILLED}: start over a damaged state`,
      `${KILLED}: start over a state edited by hand`,
      `${KILLED}: start over half a restore`,
    ],
    tests: [["cli/restore_crash.test.ts", "killed at any step"]],
  },
  {
    id: "F40",
    fault: "another version on the same folder",
    cases: [ANY_BYTE, DAMAGED],
    note: "as F14 and F15",
  },
  {
    id: "F41",
    fault: "the MCP server behind is down, hangs or is cut",
    cases: ["the MCP server behind down, hanging or cut"],
    tests: [["gateway/stream.test.ts", "256 MB pass in bounded memory"]],
  },
  {
    id: "F42",
    fault: "another public URL",
    cases: [],
    tests: [["oauth/refresh.test.ts", "a grant of another public URL sleeps, and wakes"]],
  },
  {
    id: "F43",
    fault: "an exception where none is expected",
    cases: [],
    tests: [
      ["app.test.ts", "500 server_error, and not a word of it"],
      ["store/commit.test.ts", "that throws leaves nothing of itself, and its neighbours are kept"],
    ],
  },
  {
    id: "F44",
    fault: "nobody takes what is printed",
    cases: ["nobody takes what it prints"],
    tests: [["cli/verbs.test.ts", "a closed stdout does not stop it"]],
  },
  {
    id: "F45",
    fault: "a hundred restarts, twenty clients that race themselves",
    cases: ["restarts with twenty clients that race themselves"],
  },
  {
    id: "F46",
    fault: "a second fault before the first is mended",
    cases: [
      "a snapshot that failed or was killed, then damage",
      "state.json changed while running, then a snapshot that fails",
    ],
    note: "refused only where nothing else in the folder has the state",
  },
];

/** As it stands in the document. */
export function catalogueTable(): string {
  const rows = catalogue.map(({ id, fault, cases, tests = [], note = "" }) => {
    const links = tests.map(([file, title]) => `[${title}](../test/${file})`);
    return [id, fault, [...cases, ...links].join("<br>"), note];
  });
  return tableOf(["", "fault", "shown by", "what comes of it"], rows);
}
