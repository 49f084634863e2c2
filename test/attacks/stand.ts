// What every attack is made against: a Postern with a login under way and an owner signed in, and what must hold after each
// attempt: nobody got anything, nothing ended, the next honest login works.
import { expect } from "bun:test";
import { readFileSync, readdirSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { type Listener, listen } from "../../src/app.ts";
import type { GivenSettings } from "../../src/settings.ts";
import {
  Browser,
  type Login,
  type TestServer,
  callMcp,
  logIn,
  refreshWith,
  startServer,
} from "../server.ts";

export interface Stand {
  readonly server: TestServer;
  /** The owner's, signed in. */
  readonly owner: Browser;
  /** A client that was let in before. */
  readonly victim: Login;
  /** Makes an attempt and then holds what must hold. */
  attempt<T>(attack: () => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

export async function startStand(settings: GivenSettings = {}): Promise<Stand> {
  const server = await startServer({ settings });
  const owner = new Browser(server);
  await owner.signIn();
  const victim = await logIn(server, {}, owner);
  // Used once, so that no later use changes anything.
  await callMcp(server, victim.tokens.access_token);
  return {
    server,
    owner,
    victim,
    attempt: async (attack) => {
      const before = await holdings(server);
      const result = await attack();
      expect(await holdings(server)).toEqual(before);
      await expectHonestLogin(server, owner);
      expect(failures(server)).toEqual([]);
      return result;
    },
    close: () => server.close(),
  };
}

/** All that an attacker could want to have more of, or want others to have less of. */
async function holdings(server: TestServer): Promise<unknown> {
  const { store } = server.deps;
  // A first use waits for nobody; here it has to be over.
  await store.update((draft) => draft.get("owner", "owner"));
  const ids = (rows: readonly [string, unknown][]): string[] => rows.map(([id]) => id).toSorted();
  return {
    codes: ids(await store.codes.list()),
    sessions: ids(await store.sessions.list()),
    grants: await store.refresh_tokens.list(),
    owner: await store.owner.get("owner"),
  };
}

export async function expectHonestLogin(server: TestServer, owner: Browser): Promise<Login> {
  const login = await logIn(server, {}, owner);
  expect((await callMcp(server, login.tokens.access_token)).status).toBe(200);
  const refreshed = await refreshWith(server, login.clientId, login.tokens.refresh_token);
  expect(refreshed.status).toBe(200);
  return login;
}

/** Errors of ours, as the audit trail has them. */
export const failures = (server: TestServer): string[] =>
  readFileSync(join(server.folder, "audit.jsonl"), "utf8")
    .split("\n")
    .filter((line) => line.includes('"server_error"'));

/** Everything that a folder holds, by file. */
export function folderTexts(folder: string): Map<string, string> {
  const names = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isFile());
  return new Map(names.map(({ name }) => [name, readFileSync(join(folder, name), "latin1")]));
}

export async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, "127.0.0.1", resolve));
  const { port } = probe.address() as AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  return port;
}

export interface Listening extends Stand {
  readonly port: number;
  /** "Host: localhost:<port>". */
  readonly host: string;
}

/** The same on a real socket. */
export async function startListening(settings: GivenSettings = {}): Promise<Listening> {
  const port = await freePort();
  const stand = await startStand({ port: String(port), ...settings });
  const listener: Listener = listen(stand.server.app, { hostname: "127.0.0.1", port });
  return {
    ...stand,
    port,
    host: `Host: localhost:${port}`,
    close: async () => {
      await listener.close(true);
      await stand.close();
    },
  };
}

/** PAGE of the catalogue: shown on our own origin, nobody is sent anywhere. */
export async function expectPage(response: Response, status: number): Promise<string> {
  expect([response.status, response.headers.get("location")]).toEqual([status, null]);
  expect(response.headers.get("content-type")).toStartWith("text/html");
  return response.text();
}

/** J(e) of the catalogue. */
export async function expectJson(response: Response, status: number, error: string): Promise<void> {
  expect(response.headers.get("cache-control")).toBe("no-store");
  expect([response.status, ((await response.json()) as { error: string }).error]).toEqual([
    status,
    error,
  ]);
}
