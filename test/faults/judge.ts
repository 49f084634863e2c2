// What is asked of a program after a fault: is anyone logged out, does anything work that was ended or superseded. The clients
// and what they remember are model.ts.
import { Browser } from "../server.ts";
import {
  type ModelClient,
  type World,
  type Status,
  callTool,
  familyOf,
  generationsOf,
  refresh,
  present,
  signIn,
  logIn,
  markEnded,
  admit,
} from "./model.ts";
import type { Program } from "./program.ts";
import type { Report } from "./report.ts";

export interface JudgeOptions {
  /** The folder may be older than the answers: generations go forward instead of being there. */
  readonly isOlder?: boolean;
  /** Clients whose superseded token is tried, which ends them. */
  readonly reuse?: number;
  /** Also logs the owner in and a new client, and tries what was registered. */
  readonly logsIn?: boolean;
}

/** Whether to try it this time: it costs as much as all the rest, and is wanted where it may be another password now. */
export const logsIn = ({ passwords }: World, { tries }: Report): boolean =>
  passwords.length > 1 || tries % 3 === 1;

/** After a fault, on a running program: everybody tries to get in with what they remember. The world goes on from there. */
export async function judge(
  program: Program,
  world: World,
  report: Report,
  { isOlder = false, reuse = 1, logsIn = true }: JudgeOptions = {},
): Promise<void> {
  if (!isOlder) await judgeGenerations(program, world, report);
  if (logsIn) await judgeOwner(program, world, report);
  for (const client of world.clients) await judgeClient(program, client, report, isOlder);
  const trying = world.clients.filter(({ ended, superseded }) => ended === "no" && superseded[0]);
  for (const client of trying.slice(0, reuse)) await judgeReuse(program, client, report);
}

/** Nothing was answered before it was durable: the folder knows every generation that a client was given. */
async function judgeGenerations(program: Program, world: World, report: Report): Promise<void> {
  const generations = await generationsOf(program);
  for (const { tokens, ended, exchanged } of world.clients) {
    if (ended !== "no") continue;
    const { family, generation } = familyOf(tokens);
    const stored = generations[family];
    if (stored === undefined) report.find("lost", "a login that was answered is gone");
    else if (stored < generation) {
      report.find("lost", `generation ${generation} was answered, and ${stored} was saved`);
    } else if (exchanged !== "perhaps" && stored > generation) {
      report.find("wrong", `generation ${stored} holds, and ${generation} was answered`);
    }
  }
}

async function judgeOwner(program: Program, world: World, report: Report): Promise<void> {
  const works: string[] = [];
  for (const password of world.passwords) {
    if ((await new Browser(program).signIn(undefined, password)).status === 303)
      works.push(password);
  }
  const [password] = works;
  if (password === undefined || works.length > 1) {
    report.find("wrong", `${works.length} of ${world.passwords.length} passwords log the owner in`);
    return;
  }
  const isHeld = world.clients.some(({ ended }) => ended === "held");
  if (world.passwords.length > 1 && !isHeld) {
    // One commit: the new password and the end of every login come together or not at all.
    const ended = password === world.passwords[0] ? "no" : "yes";
    for (const client of world.clients) if (client.ended === "perhaps") client.ended = ended;
    world.passwords = [password];
  }
  const browser = await signIn(program, password);
  for (const id of [...world.registered, undefined]) {
    const known = { ...world, clients: [] };
    const admitted =
      id === undefined ? logIn(program, known, browser) : admit(program, known, id, browser);
    await admitted.catch((error: unknown) =>
      report.find("lost", `a client is not let in: ${error}`),
    );
  }
  world.registered = [];
}

async function judgeClient(
  program: Program,
  client: ModelClient,
  report: Report,
  isOlder: boolean,
): Promise<void> {
  if (client.ended === "perhaps") return judgePerhaps(program, client, report);
  if (client.ended !== "no") return judgeEnded(program, client, report);
  const { previous, tokens, used } = client;
  // A client that lost its answer sends the token again; that must not cost it the login.
  if (previous !== undefined && !used && report.random.chance(0.5)) {
    const answer = await present(program, client, previous);
    if (answer.tokens?.refresh_token !== tokens.refresh_token) {
      report.find("lost", `the token sent last is answered ${answer.status}, not what it was`);
    }
  }
  const call = await callTool(program, client);
  // An older folder may not know it; its client refreshes by itself then.
  if (call !== 200 && !(isOlder && call === 401))
    report.find("lost", `an access token is answered ${call}`);
  const status = await refresh(program, client);
  if (status !== 200) report.find("lost", `the last refresh token is answered ${status}`);
}

/** Nobody was told whether it ended: it has ended altogether, or it goes on. */
async function judgePerhaps(program: Program, client: ModelClient, report: Report): Promise<void> {
  const call = await callTool(program, client);
  const status = await refresh(program, client);
  if ((call === 200) !== (status === 200)) {
    report.find("wrong", `a login is neither ended nor whole: ${call}, ${status}`);
  }
  client.ended = status === 200 ? "no" : "yes";
}

async function judgeEnded(program: Program, client: ModelClient, report: Report): Promise<void> {
  const { previous, tokens, ended } = client;
  judgeDead("a call of a revoked login", await callTool(program, client), [401], report);
  // What holds in memory alone may have to be written first.
  const wanted = ended === "held" ? [400, 503] : [400];
  for (const token of [tokens.refresh_token, previous]) {
    if (token === undefined) continue;
    const { status } = await present(program, client, token);
    judgeDead("a refresh of a revoked login", status, wanted, report);
  }
}

/** What is dead is refused as such: neither let in nor passed over. */
export function judgeDead(
  what: string,
  status: Status,
  wanted: readonly Status[],
  report: Report,
): void {
  if (wanted.includes(status)) return;
  report.find(status === 200 ? "resurrected" : "wrong", `${what} is answered ${status}`);
}

/** A superseded token comes back: it is refused, and it ends the login. */
async function judgeReuse(program: Program, client: ModelClient, report: Report): Promise<void> {
  const { status } = await present(program, client, report.random.pick(client.superseded));
  judgeDead("a superseded token", status, [400], report);
  if (status !== 400) {
    markEnded(client, status === 503 ? 503 : 0);
    return;
  }
  client.ended = "yes";
  await judgeEnded(program, client, report);
}
