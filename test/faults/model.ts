// Clients, and an owner, that remember what they were answered: they act over HTTP and may lose an answer. A world is plain
// JSON, so that it can be copied with a folder. What a fault did to them is judge.ts.
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

/** The login that a refresh token is of, and its generation. */
export function familyOf({ refresh_token: token }: Tokens): { family: string; generation: number } {
  const [family = "", generation] = token.slice("prt_".length).split(".");
  return { family, generation: Number(generation) };
}

/** The generation of each login, by its family. */
export type Generations = Readonly<Record<string, number>>;

/** As the server has them. */
export async function generationsOf(program: Program): Promise<Generations> {
  const response = await program.admin("GET", "/grants");
  const grants = (await response.json()) as { id: string; generation: number }[];
  return Object.fromEntries(grants.map(({ id, generation }) => [id, generation]));
}

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
