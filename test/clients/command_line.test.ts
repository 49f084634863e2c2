// mcp-remote and the Inspector's command line against the real program: nothing of them is ours but the browser.
import { afterAll, describe, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { type Postern, startPostern, stopProcesses } from "../process.ts";
import {
  type CommandLineClient,
  type Home,
  type Identity,
  type Session,
  inspector,
  mcpRemote,
  newHome,
  spoilTokens,
} from "./command_line.ts";

const homes: Home[] = [];
const sessions: Session[] = [];
afterAll(async () => {
  await Promise.all(sessions.map((session) => session.close()));
  await stopProcesses();
  for (const { path } of homes) rmSync(path, { recursive: true, force: true });
});

interface Scene {
  readonly postern: Postern;
  readonly home: Home;
  readonly who: Identity;
  /** The first one, still there. */
  readonly session: Session;
}

function open(client: CommandLineClient, home: Home, postern: Postern): Session {
  const session = client.open(home, postern);
  sessions.push(session);
  return session;
}

/** In a new process of the client. */
async function callAnew(client: CommandLineClient, { home, postern }: Scene): Promise<Identity> {
  const session = open(client, home, postern);
  const who = await session.whoami();
  await session.close();
  return who;
}

async function logIn(client: CommandLineClient): Promise<Scene> {
  const postern = await startPostern();
  const home = await newHome();
  homes.push(home);
  const session = open(client, home, postern);
  const who = await session.whoami();
  expect(home.logins).toHaveLength(1);
  expect(who.subject).toBe("owner");
  return { postern, home, who, session };
}

const grants = async ({ postern }: Scene): Promise<{ id: string; generation: number }[]> =>
  JSON.parse((await postern.run("grants", "--json")).stdout);

describe.each([mcpRemote, inspector])("$name", (client) => {
  test("logs in once; another process, a refused token and a crash cost its person nothing", async () => {
    const scene = await logIn(client);
    const { home, postern, session, who } = scene;
    expect(await callAnew(client, scene)).toEqual(who);
    expect(await grants(scene)).toMatchObject([{ generation: 1 }]);

    expect(spoilTokens(home)).toBe(1);
    expect(await callAnew(client, scene)).toEqual(who);
    expect(await grants(scene)).toMatchObject([{ generation: 2 }]);

    await postern.restart({ signal: "SIGKILL" });
    expect(await callAnew(client, scene)).toEqual(who);
    expect(await session.whoami()).toEqual(who);
    const [grant, ...others] = await grants(scene);
    expect(others).toEqual([]);
    // The first process has the first access token: it lives on.
    expect(grant?.generation).toBe(2);
    expect(home.logins).toHaveLength(1);
  });

  test("revoked, it asks its person, and comes back under its old id", async () => {
    const scene = await logIn(client);
    await scene.session.close();
    const [grant] = await grants(scene);
    expect((await scene.postern.run("grants", "revoke", grant?.id ?? "")).exitCode).toBe(0);
    expect(await callAnew(client, scene)).toMatchObject({ client: scene.who.client });
    expect(scene.home.logins).toHaveLength(2);
  });

  test("of a server that lost everything, it registers and logs in anew by itself", async () => {
    const scene = await logIn(client);
    const { home, postern, session, who } = scene;
    await session.close();
    await postern.kill("SIGKILL");
    postern.wipe();
    await postern.restart();
    await postern.browser.setUp(await postern.setupLink());
    const later = await callAnew(client, scene);
    expect(later.subject).toBe("owner");
    expect(later.client.id).not.toBe(who.client.id);
    expect(home.logins).toHaveLength(2);
  });
});
