// Damage to any one file of a folder, byte for byte, opened by the real recovery: it comes to the newest state, or is refused
// and left as it is. Only the end of the last journal may be taken for a change that was never answered.
import { join } from "node:path";
import { PREVIOUS } from "../../../src/store/files.ts";
import { FatalError } from "../../../src/errors.ts";
import { START, clientRecord, grantRecord, small } from "../../store/folders.ts";
import {
  type Content,
  contentOf,
  isSame,
  openHere,
  recoverContent,
  textOf,
  textOfStore,
  writeContent,
} from "../contents.ts";
import { type Damage, type Intact, byteDamages, fileDamages } from "../damaged.ts";
import { type FaultCase, type Report, spread } from "../report.ts";
import { withScratch } from "../scratch.ts";
import { sizes } from "../sizes.ts";

/** One in so many is opened on a disk too, written to, and opened again. */
const ON_DISK = 40;

export const cases: readonly FaultCase[] = [
  {
    name: "damage to any byte of a file",
    sizes: sizes["damaged files"],
    needs: [],
    run: (size, report) =>
      withScratch(async (path) => {
        const intact = await intactFolders(join(path, "intact"));
        for (const each of intact) {
          await judgeAll(path, each, [...fileDamages(each)], report);
          const bytes = [...byteDamages(each)];
          await judgeAll(path, each, spread(bytes, Math.ceil(size / intact.length)), report);
        }
      }),
  },
];

async function judgeAll(
  path: string,
  intact: Intact,
  list: readonly Damage[],
  report: Report,
): Promise<void> {
  for (const damage of list) {
    report.tried(damage.what);
    judgeInMemory(intact, damage, report);
    if (report.tries % ON_DISK === 0) await judgeOnDisk(path, damage, report);
  }
}

async function intactFolders(path: string): Promise<Intact[]> {
  const [these, others] = [await live(path, "this"), await live(path, "other")];
  const without = ({ content, told }: Lived, ...names: string[]): Lived => ({
    content: new Map([...content].filter(([name]) => !names.includes(name))),
    told,
  });
  const make = (
    name: string,
    lived: Lived,
    spares: (names: readonly string[]) => readonly string[],
    other: Lived,
  ): Intact => ({
    ...lived,
    name,
    spare: new Set(spares([...lived.content.keys()])),
    other: other.content,
  });
  const isJournal = (name: string): boolean => name.startsWith("journal");
  const allButLast = (names: readonly string[]): string[] =>
    names.filter((name) => name !== names.findLast(isJournal));
  const none = (): string[] => [];
  return [
    make("two generations", these.old, allButLast, others.old),
    make(
      "one generation",
      without(these.old, "state.json"),
      (names) => names.slice(0, 1),
      others.old,
    ),
    make("a first generation", without(these.first, PREVIOUS), allButLast, others.first),
    make("journals alone", these.young, none, others.young),
    make("state.json alone", stateOf(these.first), none, others.first),
  ];
}

/** As a backup has it. */
function stateOf({ content, told }: Lived): Lived {
  const state = content.get("state.json") ?? Buffer.alloc(0);
  const { rev } = JSON.parse(state.toString()) as { rev: number };
  return { content: new Map([["state.json", state]]), told: told.slice(0, rev + 1) };
}

interface Lived {
  readonly content: Content;
  readonly told: readonly string[];
}

/** A folder that was killed twice and has no snapshot yet, the same with its first, and with its third. */
async function live(
  path: string,
  history: string,
): Promise<Record<"young" | "first" | "old", Lived>> {
  const told: string[] = [];
  let store = await openHere(writeContent(path, new Map()));
  const tell = async (): Promise<void> => void told.push(await textOfStore(store));
  const change = async (count: number): Promise<void> => {
    for (let done = 0; done < count; done++) {
      const id = `${history}_${told.length % 3}`;
      const grant = grantRecord({
        client_id: id,
        generation: told.length,
        rotated_at: START / 1000,
      });
      await store.update((draft) => {
        draft.put("clients", id, clientRecord({ client_name: history }));
        draft.put("refresh_tokens", `f_${id}`, grant);
        draft.put("folder", "newest", small(String(told.length)));
      });
      await tell();
    }
  };
  const kill = async (): Promise<Lived> => {
    const content = contentOf(path);
    await store.close();
    store = await openHere(writeContent(path, content));
    return { content, told: [...told] };
  };
  await tell();
  await change(3);
  await kill();
  await change(3);
  const young = await kill();
  await change(1);
  await store.compact();
  await change(2);
  const first = await kill();
  await change(1);
  await store.compact();
  await change(2);
  await store.compact();
  await change(3);
  const old = await kill();
  await store.close();
  return { young, first, old };
}

function judgeInMemory({ told }: Intact, { content, may, isTold }: Damage, report: Report): void {
  const newest = told.length - 1;
  try {
    const { tables, notices } = recoverContent(content());
    const found = textOf(tables);
    const allowed = may.flatMap((each) =>
      each === "refused" ? [] : each === "newest" ? newest : each,
    );
    const rev = allowed.find((each) => told[each] === found);
    if (rev === undefined) {
      report.find(
        "wrong",
        `it comes to state ${told.lastIndexOf(found)}, not to ${may.join(" or ")}`,
      );
    } else if (isTold && rev < newest && notices.length === 0) {
      report.find("wrong", `it comes to state ${rev} without a word`);
    }
  } catch (error) {
    const isRefusal = error instanceof FatalError && error.exitCode === 78;
    if (!isRefusal || !may.includes("refused")) report.find("failed start", `${error}`);
  }
}

/** What is refused stays as it is; what is taken can be written to, killed and stopped. */
async function judgeOnDisk(parent: string, damage: Damage, report: Report): Promise<void> {
  const content = damage.content();
  const path = writeContent(join(parent, "damaged"), content);
  const store = await openHere(path).catch((error: unknown) => error);
  if (store instanceof Error) {
    if (!(store instanceof FatalError) || store.exitCode !== 78) {
      report.find("failed start", `on a disk: ${store}`);
    } else if (!isSame(content, contentOf(path)))
      report.find("wrong", "what is refused is changed");
    return;
  }
  await goOn(path, store as Awaited<ReturnType<typeof openHere>>, report);
}

async function goOn(
  path: string,
  store: Awaited<ReturnType<typeof openHere>>,
  report: Report,
): Promise<void> {
  await store.folder.put("next", small("after the damage"));
  const found = await textOfStore(store);
  const killed = contentOf(path);
  await store.close();
  for (const left of [killed, contentOf(path)]) {
    const again = recoverContent(left);
    if (textOf(again.tables) !== found) report.find("lost", "the next start finds another state");
  }
}
