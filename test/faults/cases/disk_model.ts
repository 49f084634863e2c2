// Power cuts without a disk: the real store is recorded once, and every folder that a power cut at any of its system calls may
// leave is opened by the real recovery. Everything answered is there, and the folder goes on.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { TableMaps } from "../../../src/store/records.ts";
import { small } from "../../store/folders.ts";
import {
  type Content,
  contentOf,
  counts,
  openHere,
  recoverContent,
  textOf,
  textOfStore,
  writeContent,
} from "../contents.ts";
import { crashStates, recordingCommand, replay } from "../disk_model.ts";
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
          const states = await recordedStates(path, before, report);
          const step = round === 0 ? Math.max(1, Math.floor((2 * states.length) / size)) : 1;
          for (const [index, state] of states.entries()) {
            if (index % step !== 0 || report.tries >= size) continue;
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

/** Records the store on a folder that holds `before`, and gives all states that a power cut may leave. */
async function recordedStates(parent: string, before: Content, report: Report): Promise<State[]> {
  const folder = writeContent(join(parent, "recorded"), before);
  const output = join(parent, "recording");
  const script = join(import.meta.dir, "../recorded_store.ts");
  const seed = String(report.random.below(1_000_000));
  const command = [...recordingCommand(output), process.execPath, script, folder, seed];
  const { exited } = Bun.spawn(command, { stdio: ["ignore", "ignore", "inherit"] });
  if ((await exited) !== 0) throw new Error(`the recorded store ended with ${await exited}`);

  const { tables } = recoverContent(before);
  const told = [textOf(tables)];
  let answered = 0;
  const states: State[] = [];
  const seen = new Set<string>();
  for (const { disk, said } of replay(readFileSync(output, "latin1"), { folder, before, counts })) {
    const [, word, rest = ""] = /^(ask|done) (.*)\n$/.exec(said) ?? [];
    if (word === "done") answered = Math.max(answered, Number(rest) + 1);
    if (word === "ask") {
      apply(tables, JSON.parse(rest));
      told.push(textOf(tables));
      continue;
    }
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
