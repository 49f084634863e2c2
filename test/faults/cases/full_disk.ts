// A disk that is full for a while: nothing is answered that is not saved, who is in stays in, a revocation holds, and with
// space everything goes on by itself, the revocation first.
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import {
  Browser,
  authorizationUrl,
  hiddenFields,
  obtainCode,
  redeemCode,
  refreshWith,
  registerClient,
} from "../../server.ts";
import { judge } from "../judge.ts";
import {
  type ModelClient,
  type World,
  callTool,
  createWorld,
  familyOf,
  newClient,
  present,
  processEnded,
  refresh,
  register,
  revoke,
  setupLink,
  signIn,
  tokensOf,
} from "../model.ts";
import { type Program, start, startAgain, stopPrograms } from "../program.ts";
import type { FaultCase, Report } from "../report.ts";
import { sizes } from "../sizes.ts";
import { type SmallDisk, smallDisk } from "../small_disk.ts";

const MIB = 3;
const CLIENTS = 4;
/** Bytes that are left: too few for a group, or enough for some. */
const SLACKS = [0, 0, 4096, 8192];
/** No time in which a superseded token is let pass, so that only the use decides; it ends with the second. */
const settings = { refreshGrace: "0s", siblingGrace: "0s" };
const OVER = 1_100;
/** Milliseconds in which owed revocations are written at the latest. */
const OWED = 20_000;

export const cases: readonly FaultCase[] = [
  {
    name: "full disk that has space again",
    sizes: sizes["full disk"],
    needs: ["linux", "root"],
    async run(size, report) {
      for (let round = 0; round < size; round++) {
        const disk = smallDisk(MIB);
        try {
          await fillAndEmpty(disk, SLACKS[round % SLACKS.length] ?? 0, report);
        } finally {
          await stopPrograms();
          disk.remove();
        }
      }
    },
  },
];

async function fillAndEmpty(disk: SmallDisk, slack: number, report: Report): Promise<void> {
  const { random } = report;
  const restarts = random.chance(0.3);
  const waits = random.chance(0.3);
  report.tried(`${slack} bytes left${restarts ? ", killed meanwhile" : ""}`);
  let program = await start({ folder: disk.folder, settings });
  await setUpInVain(program, disk, report);
  const world = await createWorld(program, CLIENTS);
  const waiting = await askForCode(program);
  const robbed = world.clients.at(-1);
  if (!robbed) throw new Error("the world has no clients");
  await refresh(program, robbed);

  disk.fill(slack);
  await beFull(program, world, waiting, report);
  const comesLate = !restarts && random.chance(0.5);
  if (!comesLate) await steal(program, robbed, report);
  if (restarts) {
    await program.kill();
    processEnded(world);
    program = await startAgain(program);
    for (const client of world.clients) await expectCall(program, client, report);
  }
  disk.empty();
  if (comesLate) await steal(program, robbed, report);

  const [victim] = world.clients;
  if (waits && victim?.ended === "held") await untilWritten(disk, victim, report);
  await goOn(program, world, restarts ? undefined : waiting, report);
  await program.kill();
  processEnded(world);
  program = await startAgain(program);
  await judge(program, world, report);
  await program.kill();
}

/** The setup is refused with a page, and its link goes on working. */
async function setUpInVain(program: Program, disk: SmallDisk, report: Report): Promise<void> {
  const browser = new Browser(program);
  const page = await (await browser.get(await setupLink(program))).text();
  disk.fill(0);
  const nobody: World = { passwords: [], clients: [], registered: [] };
  while ((await register(program, nobody)) === 201);
  const password = "never saved anywhere";
  const fields = { ...hiddenFields(page), password, password_again: password };
  const response = await browser.post("/setup", fields);
  await expectPage("the setup", response, report);
  disk.empty();
}

async function expectPage(what: string, response: Response, report: Report): Promise<void> {
  const text = await response.text();
  if (response.status === 503 && text.includes("Not right now")) return;
  report.find("wrong", `${what} is answered ${response.status}: ${text.slice(0, 300)}`);
}

interface Waiting {
  readonly clientId: string;
  readonly code: string;
}

async function askForCode(program: Program): Promise<Waiting> {
  const { client_id: clientId } = await registerClient(program);
  return { clientId, code: await obtainCode(program, clientId) };
}

async function beFull(
  program: Program,
  world: World,
  { clientId, code }: Waiting,
  report: Report,
): Promise<void> {
  const [victim, witness, ...others] = world.clients;
  if (!victim || !witness) throw new Error("the world has no clients");
  let status = 200;
  for (let turn = 0; turn < 60 && status === 200; turn++) status = await refresh(program, witness);
  if (status !== 503) report.find("wrong", `no refresh was refused: ${status}`);
  const refused = await refreshWith(program, witness.id, witness.tokens.refresh_token);
  const body = await refused.text();
  if (!refused.headers.has("retry-after") || !body.includes("temporarily_unavailable")) {
    report.find("wrong", `a refresh is answered ${refused.status}: ${body}`);
  }
  for (const client of [victim, witness, ...others]) await expectCall(program, client, report);

  const registered = await register(program, world);
  if (registered !== 503) report.find("wrong", `a registration is answered ${registered}`);
  const redeemed = await redeemCode(program, clientId, code);
  if (redeemed.status !== 503) report.find("wrong", `a code is answered ${redeemed.status}`);
  const owner = await signIn(program);
  const consent = await owner.authorize(authorizationUrl(program, clientId));
  await expectPage("the consent", consent, report);

  await revoke(program, victim);
  if (victim.ended === "no") report.find("wrong", "a revocation is neither saved nor refused");
  await expectCall(program, victim, report);
  if ((await present(program, victim, victim.tokens.refresh_token)).status === 200) {
    report.find("resurrected", "a revoked login goes on while the disk is full");
  }
}

/** What was superseded by a use, on whatever disk, comes from elsewhere. It is refused, and ends the login. */
async function steal(program: Program, robbed: ModelClient, report: Report): Promise<void> {
  await Bun.sleep(OVER);
  const thief = { ...robbed, from: "192.0.2.1" };
  const { status } = await present(program, thief, robbed.previous ?? "");
  if (status !== 400 && status !== 503) {
    report.find("resurrected", `a superseded token is answered ${status}`);
  }
  robbed.ended = status === 503 ? "held" : "yes";
  await expectCall(program, robbed, report);
  const again = await present(program, thief, robbed.previous ?? "");
  if (again.status !== 400) report.find("wrong", `and, the next time, ${again.status}`);
}

/** Whoever is in may call; whoever gave it up may not. */
async function expectCall(program: Program, client: ModelClient, report: Report): Promise<void> {
  const status = await callTool(program, client);
  if (client.ended === "perhaps") return;
  const wanted = client.ended === "no" ? 200 : 401;
  const kind = wanted === 200 ? "lost" : "resurrected";
  if (status !== wanted) report.find(kind, `a call with the disk full is answered ${status}`);
}

/** What is owed is written without anybody asking. */
async function untilWritten(disk: SmallDisk, victim: ModelClient, report: Report): Promise<void> {
  const { family } = familyOf(victim.tokens);
  const end = `["refresh_tokens","${family}",null]`;
  const isWritten = (): boolean =>
    readdirSync(disk.folder)
      .filter((name) => name.startsWith("journal."))
      .some((name) => readFileSync(join(disk.folder, name), "utf8").includes(end));
  for (let waited = 0; waited < OWED; waited += 50) {
    if (isWritten()) {
      victim.ended = "yes";
      return;
    }
    await Bun.sleep(50);
  }
  report.find("wrong", `a revocation is not written ${OWED} ms after there was space`);
}

/** With space: nobody has to be told, and what is owed goes first. */
async function goOn(
  program: Program,
  world: World,
  waiting: Waiting | undefined,
  report: Report,
): Promise<void> {
  for (const client of world.clients.slice(1).filter(({ ended }) => ended === "no")) {
    const status = await refresh(program, client);
    if (status !== 200) report.find("lost", `a refresh with space is answered ${status}`);
  }
  for (const client of world.clients) if (client.ended === "held") client.ended = "yes";
  if (!waiting) return;
  const redeemed = await redeemCode(program, waiting.clientId, waiting.code);
  if (redeemed.status !== 200) {
    report.find("wrong", `the code that was refused is answered ${redeemed.status}`);
    return;
  }
  world.clients.push(newClient(waiting.clientId, await tokensOf(redeemed), "198.51.99.1"));
}
