// Clients, and an owner, that remember what they were answered: they act over HTTP, may lose an answer, and after a fault say
// who was logged out and what works that must not. A world is plain JSON, so that it can be copied with a folder.
import {
  Browser,
  PASSWORD,
  type Tokens,
  callMcp,
  obtainCode,
  redeemCode,
  refreshWith,
  registerClient,
} from "../server.ts";
import type { Program } from "./program.ts";
import type { Report } from "./report.ts";

/**
 * What is known about the end of a login. perhaps: it was asked for and no answer came, so either is right; held: it was
 * answered 503, so it holds for as long as that process lives; yes: it was answered.
 */
export type Ended = "no" | "perhaps" | "held" | "yes";

export interface ModelClient {
  readonly id: string;
  /** Address that it calls from. */
  readonly from: string;
  /** The last answer that arrived. */
  tokens: Tokens;
  /** The refresh token that it was given for: good until that answer is used. */
  previous: string | undefined;
  /** The last answer was used: a call was made with it, or its refresh token was sent. */
  used: boolean;
  /**
   * Whether its refresh token may have been exchanged without its knowing. refused: it was answered 503, so nothing is
   * exchanged for as long as that process lives.
   */
  exchanged: "no" | "refused" | "perhaps";
  /** Refresh tokens that must never be accepted again. */
  superseded: string[];
  ended: Ended;
}

export interface World {
  /** Passwords of which exactly one works: two when no answer came to a change. */
  passwords: string[];
  clients: ModelClient[];
  /** Client ids that were answered and not used since. */
  registered: string[];
}

/** Status of an answer; 0: none arrived. */
export type Status = number;

/** The status of what `call` answers; 0 when no answer arrives. */
export async function statusOf(call: Promise<Response>): Promise<Status> {
  return call.then(
    async (response) => {
      await response.arrayBuffer();
      return response.status;
    },
    () => 0,
  );
}

/** The owner sets up the folder and lets `count` clients in. */
export async function createWorld(program: Program, count: number): Promise<World> {
  const world: World = { passwords: [PASSWORD], clients: [], registered: [] };
  const browser = new Browser(program);
  await browser.setUp(await setupLink(program));
  for (let index = 0; index < count; index++) await logIn(program, world, browser);
  return world;
}

export async function setupLink(program: Program): Promise<string> {
  for (let waited = 0; waited < 5_000; waited += 5) {
    const [link] = /\S+\/setup\?token=\S+/.exec(program.stdout()) ?? [];
    if (link !== undefined) return link;
    await Bun.sleep(5);
  }
  throw new Error(`no setup link: ${program.stdout()}${program.stderr()}`);
}

/** A signed-in browser of the owner. */
export async function signIn(program: Program, password = PASSWORD): Promise<Browser> {
  const browser = new Browser(program);
  const { status } = await browser.signIn(undefined, password);
  if (status !== 303) throw new Error(`login: ${status}`);
  return browser;
}

/** A new client registers and is let in. @throws {Error} when any step of it is refused */
export async function logIn(
  program: Program,
  world: World,
  browser = new Browser(program),
): Promise<ModelClient> {
  const { client_id: id } = await registerClient(program);
  return admit(program, world, id, browser);
}

/** A registered client is let in. @throws {Error} when any step of it is refused */
export async function admit(
  program: Program,
  world: World,
  id: string,
  browser = new Browser(program),
): Promise<ModelClient> {
  const code = await obtainCode(program, id, {}, browser);
  const response = await redeemCode(program, id, code);
  if (response.status !== 200) throw new Error(`token: ${response.status}`);
  const from = `198.51.${world.clients.length % 256}.1`;
  const client = newClient(id, await tokensOf(response), from);
  world.clients.push(client);
  return client;
}

export const newClient = (id: string, tokens: Tokens, from: string): ModelClient => ({
  id,
  from,
  tokens,
  previous: undefined,
  used: false,
  exchanged: "no",
  superseded: [],
  ended: "no",
});

export const tokensOf = async (response: Response): Promise<Tokens> =>
  (await response.json()) as Tokens;

/** One refresh with the token it has. @param lose the answer, when there is one, does not reach the client */
export async function refresh(
  program: Program,
  client: ModelClient,
  lose = false,
): Promise<Status> {
  const token = client.tokens.refresh_token;
  client.used = true;
  const answer = await present(program, client, token);
  if (lose || !answer.tokens) {
    if (answer.status !== 503) client.exchanged = "perhaps";
    else if (client.exchanged === "no") client.exchanged = "refused";
    return answer.status;
  }
  // The answer to it has arrived: whatever came before it is of no use to anybody any more.
  if (client.previous !== undefined) client.superseded.push(client.previous);
  Object.assign(client, {
    tokens: answer.tokens,
    previous: token,
    used: false,
    exchanged: "no",
  });
  return answer.status;
}

/** Presents any refresh token; the client forgets the answer. */
export async function present(
  program: Program,
  { id, from }: ModelClient,
  token: string,
): Promise<{ status: Status; tokens?: Tokens }> {
  return refreshWith(program, id, token, {}, from)
    .then(async (response) => {
      const { status } = response;
      if (status === 200) return { status, tokens: await tokensOf(response) };
      await response.arrayBuffer();
      return { status };
    })
    .catch(() => ({ status: 0 }));
}

/** Calls the MCP server with the access token it has. */
export async function callTool(program: Program, client: ModelClient): Promise<Status> {
  const status = await statusOf(callMcp(program, client.tokens.access_token));
  // Without an answer nobody knows whether it came so far.
  if (status === 200 || status === 0) client.used = true;
  return status;
}

/** Gives its login up: RFC 7009 with the refresh token it has. */
export async function revoke(program: Program, client: ModelClient): Promise<Status> {
  const body = new URLSearchParams({ client_id: client.id, token: client.tokens.refresh_token });
  const status = await statusOf(program.fetch("/revoke", { method: "POST", body }, client.from));
  markEnded(client, status);
  return status;
}

/** Notes what the answer to an end says. */
export function markEnded(client: ModelClient, status: Status): void {
  if (client.ended === "yes") return;
  if (status === 200) client.ended = "yes";
  else if (status === 503) client.ended = "held";
  else if (status === 0 && client.ended === "no") client.ended = "perhaps";
}

/** A client registers and goes no further. */
export async function register(program: Program, world: World): Promise<Status> {
  const registered = await registerClient(program).catch((error: unknown) => error);
  if (registered instanceof Error)
    return Number(/register: (\d+)/.exec(registered.message)?.[1] ?? 0);
  world.registered.push((registered as { client_id: string }).client_id);
  return 201;
}

/** The owner changes the password, which ends every login. */
export async function changePassword(
  program: Program,
  world: World,
  password: string,
): Promise<Status> {
  const status = await statusOf(program.admin("PUT", "/password", { password }));
  if (status === 200) world.passwords = [password];
  else if (!world.passwords.includes(password)) world.passwords.push(password);
  for (const client of world.clients) markEnded(client, status);
  return status;
}

/** The process is gone: what held in its memory alone is open again. */
export function processEnded(world: World): void {
  for (const client of world.clients) {
    if (client.ended === "held") client.ended = "perhaps";
    if (client.exchanged === "refused") client.exchanged = "perhaps";
  }
}

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
  const response = await program.admin("GET", "/grants");
  const grants = (await response.json()) as { id: string; generation: number }[];
  const generations = new Map(grants.map(({ id, generation }) => [id, generation]));
  for (const { tokens, ended, exchanged } of world.clients) {
    if (ended !== "no") continue;
    const [family = "", generation] = tokens.refresh_token.slice("prt_".length).split(".");
    const stored = generations.get(family);
    if (stored === undefined) report.find("lost", "a login that was answered is gone");
    else if (stored < Number(generation)) {
      report.find("lost", `generation ${generation} was answered, and ${stored} was saved`);
    } else if (exchanged !== "perhaps" && stored > Number(generation)) {
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
