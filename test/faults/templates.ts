// Folders to begin from, each with what the clients know of it: new, in use, with snapshots, damaged, nearly full, expired.
import {
  appendFileSync,
  cpSync,
  readFileSync,
  readdirSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { checksum } from "../../src/primitives.ts";
import { openStore } from "../../src/store/folder.ts";
import {
  PASSWORD,
  logIn as logInAt,
  refreshWith,
  startServer,
  temporaryFolder,
  testClock,
} from "../server.ts";
import { type World, createWorld, newClient, refresh, register, tokensOf } from "./model.ts";
import { ISSUER, start } from "./program.ts";

/** Where the program makes a new state.json, in bytes of journal. */
const JOURNAL_LIMIT = 4 * 1024 * 1024;

/** A folder and what the clients know of it. */
export interface Template {
  readonly folder: string;
  readonly world: World;
}

/** Makes a folder, and tells what the clients know of it. */
export type Prepare = () => Promise<Template>;

const templates = new Map<Prepare, Promise<Template>>();
process.on("exit", () => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});
const folders: string[] = [];

/** Made once, and the same for all that begin there. */
export function templateOf(prepare: Prepare): Promise<Template> {
  const known = templates.get(prepare);
  if (known) return known;
  const made = prepare().then((template) => {
    folders.push(template.folder);
    return template;
  });
  templates.set(prepare, made);
  return made;
}

export const copyTemplate = ({ folder, world }: Template): Template => ({
  folder: copyFolder(folder),
  world: structuredClone(world),
});

/** Files with their times; a socket is nothing without its process. */
export function copyFolder(folder: string, copy = temporaryFolder()): string {
  const filter = (path: string): boolean => !path.endsWith(".sock");
  cpSync(folder, copy, { recursive: true, preserveTimestamps: true, filter });
  return copy;
}

export const nothing = async (): Promise<Template> => ({
  folder: temporaryFolder(),
  world: { passwords: [PASSWORD], clients: [], registered: [] },
});

/** An owner, a client that is only registered, and three that are in, some for longer. */
export async function inUse(): Promise<Template> {
  return lived("SIGKILL");
}

async function lived(end: NodeJS.Signals): Promise<Template> {
  const folder = temporaryFolder();
  const program = await start({ folder });
  const world = await createWorld(program, 3);
  await register(program, world);
  for (const client of world.clients.slice(1)) {
    for (let turn = 0; turn < 3; turn++) await refresh(program, client);
  }
  await program.kill(end);
  return { folder, world };
}

/** As above, and stopped once: one generation of state.json, and journals from the beginning. */
export async function young(): Promise<Template> {
  return lived("SIGTERM");
}

/** As above, with two generations of state.json, and journals that the next one lets go. */
export async function inUseForLong(): Promise<Template> {
  const { folder, world } = await lived("SIGTERM");
  const program = await start({ folder });
  for (const client of world.clients) await refresh(program, client);
  await program.kill("SIGTERM");
  const before = Date.now() / 1000 - 7200;
  const journals = readdirSync(folder).filter((name) => name.startsWith("journal."));
  for (const name of journals) utimesSync(join(folder, name), before, before);
  return { folder, world };
}

export async function damaged(): Promise<Template> {
  const template = await inUseForLong();
  appendFileSync(join(template.folder, "state.json"), "damage");
  return template;
}

/** As an owner leaves it who wants an edited state.json to count: a start has to write it anew. */
export async function edited(): Promise<Template> {
  const template = await inUseForLong();
  const path = join(template.folder, "state.json");
  writeFileSync(path, readFileSync(path, "utf8").replace(/"sum":"\w+"\}\n$/, `"sum":""}\n`));
  return template;
}

/** As `postern restore` leaves it when it is killed after the rename that counts. */
export async function halfRestored(): Promise<Template> {
  const template = await inUseForLong();
  const { folder } = template;
  const state = readFileSync(join(folder, "state.json"));
  writeFileSync(join(folder, "state.json.restoring"), state, { mode: 0o600 });
  const settings = Buffer.from(`{"refreshGrace":"61s"}`);
  writeFileSync(join(folder, "config.json.restoring"), settings, { mode: 0o600 });
  const list = JSON.stringify({
    "state.json": checksum().add(state).end(),
    "config.json": checksum().add(settings).end(),
  });
  writeFileSync(join(folder, "restore.json"), list, { mode: 0o600 });
  appendFileSync(join(folder, "state.json"), "what was there before");
  return template;
}

/** The journals lack a few refreshes until they are long enough for a new state.json. */
export async function nearlyFull(): Promise<Template> {
  const template = await inUseForLong();
  const { folder } = template;
  const store = await openStore({
    path: folder,
    issuer: ISSUER,
    now: Date.now,
    monotonic: () => performance.now(),
    notice: () => undefined,
    fatal: () => undefined,
  });
  // A new record each time: one that is there already is no change.
  const fill = (length: number): Promise<void> =>
    store.folder.put("filler", { client_id_key: "x".repeat(length), issuer: "" });
  while (store.counters.bytes < JOURNAL_LIMIT - 65_000) await fill(60_000);
  await store.folder.delete("filler");
  await fill(Math.max(0, JOURNAL_LIMIT - store.counters.bytes - 1_500));
  // As kill -9 would leave it: a clean end would write the state.json.
  const copy = copyFolder(folder);
  await store.close();
  rmSync(folder, { recursive: true });
  return { ...template, folder: copy };
}

/** Two logins of which one ended 20 days ago. */
export async function expired(): Promise<Template> {
  const folder = temporaryFolder();
  const clock = testClock(Date.now() - 20 * 86_400_000);
  const settings = { url: ISSUER, refreshAbsoluteTtl: "1h" };
  const brief = await startServer({ folder, clock, settings });
  const over = await logInAt(brief);
  const server = await brief.restart({ refreshAbsoluteTtl: "365d" });
  const { clientId, tokens } = await logInAt(server);
  clock.at = Date.now();
  const response = await refreshWith(server, clientId, tokens.refresh_token);
  const client = newClient(clientId, await tokensOf(response), "203.0.113.7");
  await server.close();
  const ended = { ...newClient(over.clientId, over.tokens, "203.0.113.7"), ended: "yes" as const };
  return { folder, world: { passwords: [PASSWORD], clients: [client, ended], registered: [] } };
}
