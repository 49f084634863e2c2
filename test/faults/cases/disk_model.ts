// Power cuts without a disk: the real store is recorded, killed and recorded again, and every folder that a power cut at any of
// its system calls may leave is opened by the real recovery. Everything answered is there, and the folder goes on.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type TableMaps, emptyTables, tableNames } from "../../../src/store/records.ts";
import { small } from "../../store/folders.ts";
import {
  type Content,
  contentOf,
  counts,
  isSame,
  openHere,
  recoverContent,
  textOf,
  textOfStore,
  writeContent,
} from "../contents.ts";
import {
  type ReplayOptions,
  contentNow,
  crashStates,
  recordingCommand,
  replay,
} from "../disk_model.ts";
import type { FaultCase, Report } from "../report.ts";
import { withScratch } from "../scratch.ts";
import { sizes } from "../sizes.ts";

export const cases: readonly FaultCase[] = [
  {
    name: "power cuts on a model disk",
    sizes: sizes["power cuts on a model disk"],
    needs: ["strace"],
    async run(size, report) {
      await withScratch(async (path) => {
        let before: Content = new Map();
        for (let round = 0; report.tries < size; round++) {
          report.tried(`recording ${round + 1}`);
          const states = await recordedStates(path, before, round % 2 === 1, report);
          // A small number of tries has some of a new folder and some of a copied one.
          const step = round < 2 ? Math.max(1, Math.floor((4 * states.length) / size)) : 1;
          const end = round === 0 ? size / 2 : size;
          for (const [index, state] of states.entries()) {
            if (index % step !== 0 || report.tries >= end) continue;
            report.tried(`recording ${round + 1}, state ${index + 1} of ${states.length}`);
            await judgeState(path, state, report);
          }
          // The next recording begins where a power cut left this one.
          before = round % 4 === 3 ? new Map() : report.random.pick(states).content;
        }
      });
    },
  },
];

interface State {
  readonly content: Content;
  /** What the tables held after each change that was asked for, from the last answered one on. */
  readonly allowed: readonly string[];
}

/** Milliseconds that a recorded store lives at most before it is killed; a whole life is longer. */
const LONGEST_LIFE = 150;
/** Kills until one is between two calls that change names. */
const ATTEMPTS = 20;

interface Recording {
  readonly folder: string;
  /** Of a store that was killed, and of the one after it. */
  readonly texts: readonly string[];
}

/** Records the store on a folder that holds `before`: killed in the middle of something, and then for its whole life. */
async function record(
  parent: string,
  options: Omit<ReplayOptions, "folder">,
  { random }: Report,
): Promise<Recording> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const folder = writeContent(join(parent, "recorded"), options.before);
    const output = join(parent, "recording");
    const life = random.below(LONGEST_LIFE);
    const killed = await recordOnce(folder, output, [random.below(1_000_000), life]);
    // What the kill caught in the middle of a call was made or not: only one that it did not is known for certain.
    const last = [...replay([killed], { ...options, folder })].at(-1);
    if (!last || !isSame(contentNow(last.disk), contentOf(folder))) continue;
    const whole = await recordOnce(folder, output, [random.below(1_000_000)]);
    return { folder, texts: [killed, whole] };
  }
  throw new Error(`no kill in ${ATTEMPTS} left what was recorded`);
}

/** @param words seed, and life in milliseconds */
async function recordOnce(folder: string, output: string, words: number[]): Promise<string> {
  const script = join(import.meta.dir, "../recorded_store.ts");
  const isKilled = words.length > 1;
  const command = [
    ...recordingCommand(output, isKilled),
    process.execPath,
    script,
    folder,
    ...words.map(String),
  ];
  const { exited, stderr } = Bun.spawn(command, { stdio: ["ignore", "ignore", "pipe"] });
  const said = await new Response(stderr).text();
  const exitCode = await exited;
  if (exitCode !== 0 && !(isKilled && exitCode === 137)) {
    throw new Error(`the recorded store ended with ${exitCode}: ${said}`);
  }
  return readFileSync(output, "latin1");
}

/**
 * All states that a power cut may leave of a folder that held `before`.
 * @param isCopied it was copied there a moment ago: until the store has loaded it, it may be anything
 */
async function recordedStates(
  parent: string,
  before: Content,
  isCopied: boolean,
  report: Report,
): Promise<State[]> {
  const options = { before, isSynced: !isCopied, counts };
  const { folder, texts } = await record(parent, options, report);
  let tables = recoverContent(before).tables;
  let told = [textOf(tables)];
  // Of the present process: how many changes the folder had when it was loaded, and whether it has been.
  let [loaded, answered, isLoaded] = [0, 0, !isCopied];
  const states: State[] = [];
  const seen = new Set<string>();
  for (const { disk, said } of replay(texts, { ...options, folder })) {
    const [, word, rest = ""] = /^(loaded|ask|done) (.*)\n$/.exec(said) ?? [];
    if (word === "done") answered = Math.max(answered, loaded + Number(rest) + 1);
    if (word === "ask") {
      apply(tables, JSON.parse(rest));
      told.push(textOf(tables));
      continue;
    }
    if (word === "loaded") {
      loaded = told.lastIndexOf(rest);
      if (loaded < answered) {
        report.find("lost", `after a kill this was loaded: ${rest}`);
        break;
      }
      // Whoever asks is told what it holds, so from here on it must.
      answered = loaded;
      told = told.slice(0, loaded + 1);
      tables = tablesOf(rest);
      isLoaded = true;
    }
    if (!isLoaded) continue;
    for (const content of crashStates(disk, report.random)) {
      const key = `${answered} ${[...content].map(([name, bytes]) => `${name}${Bun.hash(bytes)}`)}`;
      if (seen.has(key)) continue;
      seen.add(key);
      states.push({ content, allowed: told.slice(answered) });
    }
  }
  if (answered === 0 || answered + 1 !== told.length) throw new Error("a change was not answered");
  return states;
}

/** The tables that `textOf` gives this text of. */
function tablesOf(text: string): TableMaps {
  const tables = emptyTables();
  const lists = JSON.parse(text) as [string, object][][];
  for (const [index, name] of tableNames.entries()) {
    const table: Map<string, object> = tables[name];
    for (const [id, record] of lists[index] ?? []) table.set(id, record);
  }
  return tables;
}

type Asked = [table: keyof TableMaps, id: string, record: object | null][];

function apply(tables: TableMaps, changes: Asked): void {
  for (const [name, id, record] of changes) {
    const table: Map<string, unknown> = tables[name];
    if (record === null) table.delete(id);
    else table.set(id, record);
  }
}

/** Opens the folder, writes once more, kills, starts again, stops cleanly and looks again: the state is the answered one. */
async function judgeState(
  parent: string,
  { content, allowed }: State,
  report: Report,
): Promise<void> {
  const path = writeContent(join(parent, "state"), content);
  try {
    const store = await openHere(path);
    const found = await textOfStore(store);
    if (!allowed.includes(found)) {
      report.find("lost", `of ${[...content.keys()]} this was made: ${found}`);
    }
    await store.folder.put("next", small("after the cut"));
    const killed = contentOf(path);
    await store.close();
    for (const [how, left] of [
      ["a kill", killed],
      ["a stop", contentOf(path)],
    ] as const) {
      const again = recoverContent(left);
      const next = again.tables.folder.get("next")?.client_id_key;
      again.tables.folder.delete("next");
      if (next !== "after the cut" || textOf(again.tables) !== found) {
        report.find("lost", `after ${how} the folder holds something else`);
      }
    }
  } catch (error) {
    report.find("failed start", `${[...content.keys()]}: ${error}`);
  }
}
