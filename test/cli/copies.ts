// Data folders with logins in them, made by the real program: clients that remember their last token, folders to copy, damage
// and start again, and the command line run on them.
import { cpSync, lstatSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type Outcome,
  type Postern,
  programCommand,
  startPostern,
  stopProcesses,
} from "../process.ts";
import {
  type Tokens,
  authorizationUrl,
  callMcp,
  redeemCode,
  refreshWith,
  registerClient,
  temporaryFolder,
} from "../server.ts";

/** Every folder here knows this public URL, so that a copy of it can be served on any port. */
export const ISSUER = "http://localhost:7676";

export interface ModelClient {
  readonly id: string;
  readonly name: string;
  /** The last answer that it was given. */
  tokens: Tokens;
}

/** Starts the program on a folder, which has its owner already unless it is new. */
export const startOn = (data?: string): Promise<Postern> =>
  startPostern({
    settings: { url: ISSUER, rateLimits: "off", ...(data !== undefined && { data }) },
    owner: data === undefined,
  });

export async function logIn(server: Postern, name: string): Promise<ModelClient> {
  const { client_id: id } = await registerClient(server, { client_name: name });
  const response = await server.browser.authorize(authorizationUrl(server, id));
  const code = new URL(response.headers.get("location") ?? "").searchParams.get("code") ?? "";
  const tokens = (await (await redeemCode(server, id, code)).json()) as Tokens;
  return { id, name, tokens };
}

/** Refreshes with the token it has, and remembers the answer. Resolves to the status. */
export async function refresh(server: Postern, client: ModelClient): Promise<number> {
  const response = await refreshWith(server, client.id, client.tokens.refresh_token);
  if (response.status === 200) client.tokens = (await response.json()) as Tokens;
  return response.status;
}

export async function rotate(server: Postern, client: ModelClient, times: number): Promise<void> {
  for (let count = 0; count < times; count++) {
    const status = await refresh(server, client);
    if (status !== 200) throw new Error(`rotation ${count} of ${client.name}: ${status}`);
  }
}

/** What a client gets with what it remembers, without a login: the statuses of a refresh and of a call after it. */
export async function getIn(server: Postern, client: ModelClient): Promise<[number, number]> {
  const refreshed = await refresh(server, client);
  return [refreshed, (await callMcp(server, client.tokens.access_token)).status];
}

/** Ends a login through the command line. */
export async function endLogin(server: Postern, client: ModelClient): Promise<void> {
  const family = client.tokens.refresh_token.slice("prt_".length).split(".")[0] ?? "";
  const { exitCode, stderr } = await server.run("grants", "revoke", family);
  if (exitCode !== 0) throw new Error(stderr);
}

/** Runs the command line. @param prefix starts it in its turn, as strace does */
export async function run(words: readonly string[], prefix: readonly string[] = []) {
  const child = Bun.spawn([...prefix, ...programCommand(), ...words], {
    cwd: tmpdir(),
    env: {},
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [stdout, stderr] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  return { exitCode: await child.exited, stdout, stderr } satisfies Outcome;
}

/** A prefix of a command line that no file of this path can be read by. */
export const unreadable = (path: string): string[] => [
  ..."strace -f -qq -o /dev/null".split(" "),
  "-P",
  path,
  ..."-e trace=read,pread64 -e inject=read,pread64:error=EIO".split(" "),
];

/** A copy of a folder as it is, in a place of its own. */
export function copyOf(folder: string): string {
  const copy = place("data");
  cpSync(folder, copy, { recursive: true, preserveTimestamps: true, filter: isCopied });
  return copy;
}

const isCopied = (path: string): boolean => !path.endsWith("admin.sock");

/** Everything that can be told of a folder from outside: names, modes, times and contents; not who has it. */
export function stateOf(folder: string): Record<string, string> {
  const all = readdirSync(folder, { recursive: true, encoding: "utf8" });
  const rows = all
    .filter((name) => !name.startsWith(".lock"))
    .map((name) => {
      const path = join(folder, name);
      const there = lstatSync(path);
      const content = there.isFile() ? readFileSync(path, "latin1") : "";
      return [name, `${there.mode} ${there.mtimeMs} ${content}`] as const;
    });
  return Object.fromEntries(rows);
}

const made: string[] = [];

/** The name of something in a folder of its own. */
export function place(name: string): string {
  const folder = temporaryFolder();
  made.push(folder);
  return join(folder, name);
}

/** Ends what runs and removes every folder that was made here. For afterAll. */
export async function cleanUp(): Promise<void> {
  await stopProcesses();
  for (const folder of made.splice(0)) rmSync(folder, { recursive: true, force: true });
}

/** Backs a folder up into a new file. */
export async function backUp(folder: string): Promise<string> {
  const file = place("backup.tar.gz");
  const { exitCode, stderr } = await run(["backup", file, "--data", folder]);
  if (exitCode !== 0) throw new Error(stderr);
  return file;
}

/** Restores into a new folder and starts the program on it. */
export async function restored(copy: string, ...flags: string[]): Promise<Postern> {
  const folder = place("data");
  const { exitCode, stderr } = await run(["restore", copy, "--data", folder, ...flags]);
  if (exitCode !== 0) throw new Error(stderr);
  return startOn(folder);
}

export const generationOf = ({ tokens }: ModelClient): number =>
  Number(tokens.refresh_token.split(".")[1]);

/** The generations that a server knows, by client id. */
export async function savedGenerations(server: Postern): Promise<ReadonlyMap<string, number>> {
  const rows = JSON.parse((await server.run("grants", "--json")).stdout) as {
    readonly client_id: string;
    readonly generation: number;
  }[];
  return new Map(rows.map((row) => [row.client_id, row.generation]));
}

/** The generation that a server knows of a client's login; 0: it knows none. */
export const savedGeneration = async (server: Postern, { id }: ModelClient): Promise<number> =>
  (await savedGenerations(server)).get(id) ?? 0;

export interface History {
  readonly folder: string;
  readonly client: ModelClient;
  /** A client whose login was ended by the very last change. */
  readonly ended: ModelClient;
  /** Names of the journals: to state.json.prev, from there to state.json, above it. */
  readonly journals: [string, string, string];
  /** Of state.json.prev and of state.json. */
  readonly previous: number;
  readonly state: number;
  /** The last change. */
  readonly end: number;
}

/** A folder with two snapshots and three journals, the last of five changes or more, as kill -9 left it. */
export async function makeHistory(): Promise<History> {
  const server = await startOn();
  const client = await logIn(server, "Client");
  const ended = await logIn(server, "Ended");
  await server.restart();
  await rotate(server, client, 2);
  await server.restart();
  await rotate(server, client, 4);
  await endLogin(server, ended);
  await server.kill("SIGKILL");
  const { folder } = server;
  const names = readdirSync(folder).filter((name) => name.startsWith("journal."));
  const [first = "", second = "", last = ""] = names.toSorted();
  const [previous, state] = [second, last].map((name) => Number(name.split(".")[1]));
  const lines = readFileSync(join(folder, last), "utf8").trim().split("\n").length;
  if (!previous || !state) throw new Error(`not the history that was meant: ${names.join(", ")}`);
  const journals: History["journals"] = [first, second, last];
  return { folder, client, ended, journals, previous, state, end: state + lines - 1 };
}
