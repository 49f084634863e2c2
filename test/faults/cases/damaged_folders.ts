// A folder with one thing wrong in it, given to the whole program: it starts with everybody in and says what it found, or it
// refuses, says what to do, and changes nothing.
import { lstatSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { programCommand } from "../../process.ts";
import { type FolderDamage, damages, places } from "../folder_damage.ts";
import { judge } from "../judge.ts";
import { type World, refresh } from "../model.ts";
import { launch, start, startAgain } from "../program.ts";
import type { FaultCase, Report } from "../report.ts";
import { sizes } from "../sizes.ts";
import { type Template, copyTemplate, inUseForLong, templateOf } from "../templates.ts";

/** Milliseconds until a start that refuses has ended. */
const PATIENCE = 20_000;
/** Milliseconds for words of a running program to come. */
const WORDS = 2_000;

const caseOf = (
  name: string,
  list: readonly FolderDamage[],
  needs: FaultCase["needs"],
): FaultCase => ({
  name,
  needs,
  sizes: sizes["damaged folders"],
  async run(size, report) {
    const template = await templateOf(withTwoJournals);
    for (let round = 0; round < size; round++) {
      for (const damage of list) {
        report.tried(damage.name);
        const copy = copyTemplate(template);
        await damageOne(copy, damage, report).finally(() => damage.mend?.(copy.folder));
        rmSync(copy.folder, { recursive: true });
      }
    }
  },
});

export const cases: readonly FaultCase[] = [
  caseOf("damaged files before a start", damages, []),
  caseOf("what is no file of ours before a start", places, ["linux", "root"]),
];

/** Two generations, and two journals above them. */
async function withTwoJournals(): Promise<Template> {
  const { folder, world } = await inUseForLong();
  for (let starts = 0; starts < 2; starts++) {
    const program = await start({ folder });
    for (const client of world.clients) await refresh(program, client);
    await program.kill();
  }
  return { folder, world };
}

async function damageOne(
  { folder, world }: Template,
  damage: FolderDamage,
  report: Report,
): Promise<void> {
  damage.make(folder);
  if (damage.exitCode === 0) return goOn(folder, world, damage, report);
  const before = fingerprint(folder);
  const program = await launch({ folder });
  const exitCode = await Promise.race([program.exited, Bun.sleep(PATIENCE)]);
  await program.kill();
  const said = program.stderr();
  if (exitCode !== damage.exitCode) report.find("wrong", `it ended with ${exitCode}: ${said}`);
  judgeWords(said, damage, report);
  if (fingerprint(folder) !== before) report.find("wrong", "what was refused is changed");
  const check = Bun.spawnSync([...programCommand(), "check", "--data", folder], { env: {} });
  // Root looks into the folders of others.
  if (damage.exitCode === 78 && check.exitCode !== 78) {
    report.find("wrong", `check ends with ${check.exitCode}: ${check.stdout}${check.stderr}`);
  }
}

async function goOn(
  folder: string,
  world: World,
  damage: FolderDamage,
  report: Report,
): Promise<void> {
  const program = await start({ folder });
  // It answers a moment before its words are read here.
  for (let waited = 0; waited < WORDS && !damage.says.test(program.stderr()); waited += 10)
    await Bun.sleep(10);
  judgeWords(program.stderr(), damage, report);
  await judge(program, world, report, { isOlder: damage.isShort === true });
  const open = readdirSync(folder).filter((name) => lstatSync(join(folder, name)).mode & 0o077);
  if (open.length > 0) report.find("wrong", `open to others: ${open.join(", ")}`);
  await program.kill("SIGTERM");
  const again = await startAgain(program);
  if (damage.says.test(again.stderr())) report.find("wrong", "it is said at the next start again");
  await judge(again, world, report, { logsIn: false });
  await again.kill();
}

function judgeWords(said: string, { says }: FolderDamage, report: Report): void {
  if (!says.test(said)) report.find("wrong", `it says: ${said}`);
  if (/^ +at /m.test(said)) report.find("wrong", `it shows its inside: ${said}`);
}

/** Everything in the folder that may not change by a start that refuses: what belongs to a process goes with it. */
function fingerprint(folder: string): string {
  const names = readdirSync(folder).filter((name) => !/^(\.lock|admin\.sock$)/.test(name));
  const entries = names.toSorted().map((name) => {
    const there = lstatSync(join(folder, name));
    const content = there.isFile() ? readFileSync(join(folder, name)).toString("base64") : "";
    return [name, there.ino, there.mode, there.uid, there.size, content];
  });
  const { mode, uid } = lstatSync(folder);
  return JSON.stringify([mode, uid, ...entries]);
}
