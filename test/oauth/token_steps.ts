// Everything that can happen to a folder of logins, as steps made of numbers: a step means something in whatever state it is
// taken, so a failing list stays a list of steps when some of them are left out.
import { type Login, type Request, honestChoices, honestlySent } from "./token_login.ts";
import {
  accessRevocation,
  codeAgain,
  endOf,
  mistakes,
  ownerRevocation,
  refreshRequest,
  refreshRevocation,
  useRequest,
  wrongToken,
} from "./token_requests.ts";
import { turningPoints } from "./token_table.ts";
import type { World } from "./token_world.ts";

export interface Step {
  readonly kind: Kind;
  /** Numbers from 0 to 1 that decide what the kind leaves open. */
  readonly chance: readonly number[];
}

/** Draws what a step leaves open, in order. */
class Dice {
  #index = 0;
  readonly #chance: readonly number[];
  constructor(chance: readonly number[]) {
    this.#chance = chance;
  }
  next(): number {
    return this.#chance[this.#index++ % this.#chance.length] ?? 0;
  }
  below(limit: number): number {
    return Math.floor(this.next() * limit);
  }
  pick<T>(choices: readonly T[]): T | undefined {
    return choices[this.below(choices.length)];
  }
  happens(share: number): boolean {
    return this.next() < share;
  }
}

const ADDRESSES = ["203.0.113.7", "203.0.113.200", "198.51.100.99"] as const;
const address = (dice: Dice): string => dice.pick(ADDRESSES) ?? ADDRESSES[0];

interface Choice {
  readonly generation?: number;
  readonly from?: string;
}

function honestRefresh(world: World, login: Login, dice: Dice, choice: Choice = {}): Request {
  const { now } = world;
  const from = choice.from ?? address(dice);
  const generation =
    choice.generation ?? dice.pick(honestChoices(login, now, from)) ?? login.holder.held;
  honestlySent(login, generation, now, from);
  return refreshRequest(world, login, {
    who: "the client",
    honest: true,
    generation,
    address: from,
    lost: dice.happens(0.25),
    ...(dice.happens(0.15) && { scope: "read" }),
  });
}

/** The access token that the client has in hand. */
function heldAccess({ holder, accessTokens }: Login): string {
  const name = `${holder.held} ${holder.heldScope}`;
  return accessTokens.has(name) ? name : ([...accessTokens.keys()].at(-1) ?? "");
}

function honestUse(world: World, login: Login): Request {
  login.holder.answerUsed = true;
  return useRequest(world, login, "the client", heldAccess(login));
}

function anyAccess(login: Login, dice: Dice): string {
  return dice.pick([...login.accessTokens.keys()]) ?? "";
}

function theft(world: World, login: Login, dice: Dice): Request {
  login.tainted = true;
  const known = [...login.refreshTokens.keys()].toSorted((a, b) => b - a);
  // The newest ones are the interesting ones.
  const generation = known[Math.floor(dice.next() ** 2 * known.length)] ?? 1;
  const wish = dice.below(8);
  return refreshRequest(world, login, {
    who: "a thief",
    honest: false,
    generation,
    address: address(dice),
    ...(wish === 0 && { scope: "read admin" }),
    ...(wish === 1 && { foreignResource: true }),
  });
}

/** A request that is wrong in itself. */
async function wrong(world: World, login: Login, dice: Dice): Promise<Request> {
  const from = address(dice);
  const asked = { who: "the client", honest: false, generation: login.holder.held, address: from };
  const kind = dice.below(world.diskIsFull ? 4 : 5);
  if (kind === 0) return refreshRequest(world, login, { ...asked, scope: "read admin" });
  if (kind === 1) return refreshRequest(world, login, { ...asked, foreignResource: true });
  return wrongToken(world, login, mistakes[kind - 2] ?? mistakes[0], from);
}

function revokeAny(world: World, login: Login, dice: Dice): Request {
  return refreshRevocation(world, login, dice.pick([...login.refreshTokens.keys()]) ?? 1);
}

/** Something that somebody does with a login; several of them make a crowd. */
async function anything(world: World, login: Login, dice: Dice): Promise<Request> {
  const what = dice.below(20);
  if (what < 6) return honestRefresh(world, login, dice);
  if (what < 11) return theft(world, login, dice);
  if (what < 14) return useRequest(world, login, "somebody", heldAccess(login));
  if (what < 16) return wrong(world, login, dice);
  if (what < 18) return accessRevocation(world, login, anyAccess(login, dice));
  return what < 19 ? codeAgain(world, login) : revokeAny(world, login, dice);
}

/** What is under way when the process dies. */
async function underWay(world: World, login: Login, dice: Dice): Promise<Request[]> {
  const requests: Request[] = [];
  const generation = login.holder.held;
  for (let count = 1 + dice.below(3); count > 0; count--) {
    if (login.tainted && dice.happens(0.5)) requests.push(await anything(world, login, dice));
    else if (dice.happens(0.2)) requests.push(honestUse(world, login));
    else requests.push(honestRefresh(world, login, dice, { generation }));
  }
  return requests;
}

/** What shows best whether a login is still there. */
async function afterwards(world: World, login: Login, dice: Dice): Promise<Request> {
  const names = [...login.accessTokens.keys()].slice(-2);
  if (dice.happens(0.3)) return useRequest(world, login, "somebody", dice.pick(names) ?? "");
  return dice.happens(0.5) ? ownerRevocation(world, login) : anything(world, login, dice);
}

/** Somebody comes with an old token at an interesting moment; what happens then has no part in the rest. */
async function probe(world: World, { name }: Login, dice: Dice): Promise<void> {
  if (world.diskIsFull || world.isUnsettled) return;
  await world.apart(async (copy) => {
    const login = copy.logins.find((other) => other.name === name);
    const [family] = login?.memory ?? [];
    if (!login || !family) return;
    login.tainted = true;
    const newest = [...login.accessTokens.keys()].filter(
      (access) => Number.parseInt(access) === family.generation,
    );
    if (dice.happens(0.7))
      await copy.run([useRequest(copy, login, "somebody", dice.pick(newest) ?? "")]);
    const points = turningPoints(family);
    if (dice.happens(0.8)) passTime(copy, dice, [...points, ...points.slice(0, 2)]);
    const behind = dice.pick([-1, 0, 1, 1, 1, 1, 1, 2, 3]) ?? 1;
    const generation = family.generation - behind;
    const sent = { who: "a thief", honest: false, generation, address: address(dice) };
    const request = login.refreshTokens.has(generation)
      ? refreshRequest(copy, login, sent)
      : await anything(copy, login, dice);
    const trouble = dice.next();
    if (trouble < 0.15) copy.fillDisk(0);
    await (trouble > 0.7 ? copy.crash([request]) : copy.run([request]));
    await copy.run([await afterwards(copy, login, dice)]);
  });
}

async function endMany(world: World, login: Login, dice: Dice): Promise<void> {
  const kind = dice.below(3);
  const path = kind === 0 ? `/clients/${login.clientId}` : "/revoke-all";
  const ended =
    kind === 0 ? world.logins.filter(({ clientId }) => clientId === login.clientId) : world.logins;
  if (kind === 0 && world.lostClients.has(login.clientId)) return;
  if (kind === 0) world.lostClients.add(login.clientId);
  const send = (): Promise<string> =>
    kind === 2 ? world.changePassword() : world.asOwner(kind === 0 ? "DELETE" : "POST", path);
  const what = ["its client is deleted", "revoke-all", "new password"][kind] ?? "";
  await world.run(endOf(world, what, ended, send));
  await world.run(ended.map((each) => useRequest(world, each, "somebody", heldAccess(each))));
}

const SPANS = [
  -3600,
  -20,
  1,
  1,
  20,
  20,
  45,
  45,
  600,
  600,
  3000,
  7200,
  86_400,
  9 * 86_400,
  40 * 86_400,
];

/** @param points moments to stop at, or a second beside one; any span when they are over */
function passTime(world: World, dice: Dice, points: readonly number[] = []): void {
  const spans = points
    .map((point) => point - 1 + dice.below(3) - world.now)
    .filter((seconds) => seconds > 0);
  const seconds = dice.pick(spans) ?? dice.pick(SPANS) ?? 1;
  world.passTime(seconds);
}

type Act = (world: World, login: Login, dice: Dice) => Promise<void> | void;

const acts = {
  refresh: (world, login, dice) => world.run([honestRefresh(world, login, dice)]),
  parallel: (world, login, dice) => {
    const from = address(dice);
    const generation = dice.pick(honestChoices(login, world.now, from)) ?? login.holder.held;
    // A sibling's stale copy is good from its own network only.
    const choice = generation === login.holder.held ? { generation } : { generation, from };
    const count = 2 + dice.below(6);
    return world.run(
      Array.from({ length: count }, () => honestRefresh(world, login, dice, choice)),
    );
  },
  /** More tokens in an hour than a login may have, then an old one of them. */
  burst: async (world, login, dice) => {
    for (let count = 0; count < 9; count++)
      await world.run([honestRefresh(world, login, dice, { generation: login.holder.held })]);
    const older = [...login.accessTokens.keys()].filter(
      (name) => Number.parseInt(name) < login.holder.held,
    );
    await world.run([useRequest(world, login, "the client", dice.pick(older) ?? "")]);
  },
  use: (world, login) => world.run([honestUse(world, login)]),
  theft: (world, login, dice) => world.run([theft(world, login, dice)]),
  stolenUse: (world, login, dice) => {
    login.tainted = true;
    return world.run([useRequest(world, login, "a thief", anyAccess(login, dice))]);
  },
  wrong: async (world, login, dice) => world.run([await wrong(world, login, dice)]),
  revokeAccess: (world, login) => world.run([accessRevocation(world, login, heldAccess(login))]),
  revoke: (world, login, dice) => world.run([revokeAny(world, login, dice)]),
  codeAgain: (world, login) => world.run([codeAgain(world, login)]),
  ownerRevokes: (world, login) => world.run([ownerRevocation(world, login)]),
  endMany,
  crowd: async (world, login, dice) => {
    login.tainted = true;
    const requests: Request[] = [];
    for (let count = 2 + dice.below(3); count > 0; count--)
      requests.push(await anything(world, login, dice));
    await world.run(requests);
  },
  probe,
  clock: (world, login, dice) =>
    passTime(world, dice, dice.happens(0.5) ? login.memory.flatMap(turningPoints) : []),
  restart: async (world) => {
    if (!world.diskIsFull) await world.restart();
  },
  crash: async (world, login, dice) => {
    const isCalm = !world.diskIsFull && !world.isUnsettled;
    const requests = isCalm && dice.happens(0.7) ? await underWay(world, login, dice) : [];
    const isAtAnswer = requests.length > 0 && dice.happens(0.5);
    await world.crash(requests, isAtAnswer ? undefined : dice.below(12));
  },
  backUp: (world) => {
    if (world.backups.length < 5) world.backUp();
  },
  restore: async (world, _login, dice) => {
    const backup = dice.pick(world.backups);
    if (backup) await world.restore(backup);
  },
  disk: (world, _login, dice) => {
    if (world.diskIsFull) world.heal();
    else world.fillDisk(dice.happens(0.5) ? 0 : dice.below(4000));
  },
} satisfies Record<string, Act>;

export type Kind = keyof typeof acts | "logIn";

/** Takes one step. @throws {Violation} */
export async function take(world: World, { kind, chance }: Step): Promise<void> {
  const dice = new Dice(chance);
  const living = world.logins.filter(({ memory }) => memory.some(({ alive }) => alive));
  if (kind === "logIn" || living.length === 0) {
    const known = dice.happens(0.3) ? dice.pick(living) : undefined;
    const isLost = known !== undefined && world.lostClients.has(known.clientId);
    if (living.length < 4) await world.logIn(isLost ? undefined : known);
    return;
  }
  const login = dice.pick(dice.happens(0.8) ? living : world.logins);
  if (login) await acts[kind](world, login, dice);
}
