// One story for each real client: from its first contact, over restarts and losses, to its revocation, each judged by what
// this client can do about it alone.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cpSync, rmSync } from "node:fs";
import * as jose from "jose";
import { ADMIN_PATH, admin } from "../../src/admin.ts";
import { type Fixture, startInternet } from "../internet.ts";
import { Browser, startServer, temporaryFolder, testClock } from "../server.ts";
import {
  type Replica,
  type World,
  call,
  connect,
  createReplica,
  keep,
  requestRefresh,
  send,
} from "./replica.ts";
import { logIn } from "./replica_login.ts";
import { type Creature, zoo } from "./zoo.ts";

const HOUR = 3600;
const DAY = 24 * HOUR;
let internet: Fixture;
const keys = await jose.generateKeyPair("RS256", { extractable: true });
const folders: string[] = [];
const folder = (): string => {
  const path = temporaryFolder();
  folders.push(path);
  return path;
};

beforeAll(() => {
  internet = startInternet("claude.ai", "chatgpt.com", "github.com");
});
afterAll(async () => {
  await internet.close();
  for (const path of folders) rmSync(path, { recursive: true, force: true });
});

/** A Postern with its owner. Limits are on: no client may run into one by living as it does. */
async function open({ issuer }: Creature, data: string, clock = testClock()): Promise<World> {
  const settings = { url: issuer, rateLimits: "on" };
  const server = await startServer({
    folder: data,
    clock,
    settings,
    internet: internet.internet,
  });
  const browser = new Browser(server);
  await browser.signIn();
  return { server, browser, internet, keys };
}

/** Ends the server of a world and starts one on what `change` makes of its folder. */
async function reopen(world: World, shape: Creature, change: (path: string) => void) {
  const { server } = world;
  await server.close();
  change(server.folder);
  Object.assign(world, await open(shape, server.folder, server.clock));
}

const refreshes = ({ requests }: Replica): string[] =>
  requests.filter((line) => line.startsWith("POST /token refresh_token"));
const registrations = ({ requests }: Replica): string[] =>
  requests.filter((line) => line.startsWith("POST /register"));

describe.each(zoo)("$name", (shape) => {
  const registers = shape.identity.by === "registration";
  let world: World;
  beforeAll(async () => {
    world = await open(shape, folder());
  });
  afterAll(() => world.server.close());

  async function loggedIn(): Promise<Replica> {
    const replica = createReplica(shape, world);
    expect(await logIn(replica)).toBeUndefined();
    return replica;
  }
  const expire = (): void => world.server.clock.advance(HOUR + 1);
  /** Until its own clock makes it refresh, where a 401 does not. */
  const untilItLooks = (): void => {
    if (!shape.refresh.when401) expire();
  };
  /** Whether it is still in, without ever having asked its person again. */
  async function expectStillIn(replica: Replica): Promise<void> {
    const { logins } = replica;
    expect(await call(replica)).toBe("answered");
    expect(replica.logins).toBe(logins);
  }

  test("discovers, registers, logs in and calls; nothing is asked in vain but what it always tries", async () => {
    const replica = await loggedIn();
    expect(await call(replica)).toBe("answered");
    const { requests, memory } = replica;
    expect(memory.tokens).toMatchObject({ token_type: "Bearer", expires_in: HOUR, scope: "mcp" });
    expect(requests.filter((line) => / [45]\d\d$/.test(line))).toEqual([
      ...shape.probes.map(({ method, message }) =>
        [method, shape.typed, message, 401].filter(Boolean).join(" "),
      ),
      ...shape.probes.filter(({ method }) => method === "GET").map(() => `GET ${shape.typed} 401`),
      // No stream to open, which all of them accept.
      ...(shape.revision === "2026-07-28" ? [] : [`GET ${shape.typed} 405`]),
    ]);
    const times = shape.identity.by === "registration" ? (shape.identity.times ?? 1) : 0;
    expect(registrations(replica)).toEqual(Array(times).fill("POST /register 201"));
  });

  test("what it asks for elsewhere is a clean 404 or a document, never a login or a page", async () => {
    const replica = createReplica(shape, world);
    for (const path of shape.fallbacks) {
      const response = await send(replica, path);
      // Under the MCP path is nothing but what needs a token; a client goes on after any 4xx.
      const expected = path.startsWith("/mcp/") ? [401] : [200, 404];
      expect(expected).toContain(response.status);
      expect(response.headers.get("content-type")).toStartWith("application/json");
    }
  });

  test("refreshes when it finds it is time, again and again, and asks nobody", async () => {
    const replica = await loggedIn();
    for (let round = 1; round <= 3; round++) {
      expire();
      await expectStillIn(replica);
    }
    expect(refreshes(replica)).toEqual(
      Array(shape.refresh.twice ? 6 : 3).fill("POST /token refresh_token 200"),
    );
    // Who looks at its own clock is never refused.
    expect(replica.refused).toHaveLength(shape.refresh.ahead === undefined ? 3 : 0);
  });

  test("the same refresh twice within 5 ms gets the same answer, which goes on", async () => {
    const replica = await loggedIn();
    const { tokens } = replica.memory;
    if (!tokens) throw new Error("no tokens");
    const [first, second] = await Promise.all([
      requestRefresh(replica, tokens),
      Bun.sleep(3).then(() => requestRefresh(replica, tokens)),
    ]);
    const answer: unknown = await first.clone().json();
    expect(answer).toMatchObject({ refresh_token: expect.stringMatching(/^prt_/), scope: "mcp" });
    expect(await second.json()).toEqual(answer);
    await keep(replica, first);
    for (let round = 1; round <= 2; round++) {
      await expectStillIn(replica);
      expire();
    }
  });

  test("processes that share one login refresh together, and again", async () => {
    const first = await loggedIn();
    const siblings = Array.from({ length: 4 }, () => createReplica(shape, world, first.memory));
    for (let round = 1; round <= 2; round++) {
      expire();
      const outcomes = await Promise.all(siblings.map(call));
      expect(outcomes).toEqual(Array(4).fill("answered"));
    }
  });

  test("a refresh whose answer was lost, twice, costs nothing days later", async () => {
    const replica = await loggedIn();
    const { tokens } = replica.memory;
    for (let lost = 1; tokens && lost <= 2; lost++) {
      expect((await requestRefresh(replica, tokens)).status).toBe(200);
      world.server.clock.advance(2 * DAY);
    }
    await expectStillIn(replica);
    expire();
    await expectStillIn(replica);
  });

  test("a restart is not noticed: no 401 to its token, no refresh, no login", async () => {
    const replica = await loggedIn();
    const before = refreshes(replica).length;
    await reopen(world, shape, () => undefined);
    await expectStillIn(replica);
    const later = createReplica(shape, world, replica.memory);
    await connect(later);
    await expectStillIn(later);
    expect([...replica.refused, ...later.refused]).toEqual([]);
    expect(refreshes(replica)).toHaveLength(before);
    expect(registrations(later)).toEqual([]);
  });

  test("a copy of the running folder that is older than its tokens: it goes on, no login", async () => {
    const replica = await loggedIn();
    const copy = folder();
    cpSync(world.server.folder, copy, { recursive: true });
    for (let round = 1; round <= 3; round++) {
      expire();
      await expectStillIn(replica);
    }
    await reopen(world, shape, (path) => {
      rmSync(path, { recursive: true });
      cpSync(copy, path, { recursive: true });
    });
    untilItLooks();
    await expectStillIn(replica);
    expire();
    await expectStillIn(replica);
  });

  test("a copy as old as its token is a restart like any other", async () => {
    const replica = await loggedIn();
    const copy = folder();
    cpSync(world.server.folder, copy, { recursive: true });
    await reopen(world, shape, (path) => {
      rmSync(path, { recursive: true });
      cpSync(copy, path, { recursive: true });
    });
    await expectStillIn(replica);
    expect(replica.refused).toEqual([]);
  });

  test("a copy from before it came: its person is asked once, and it is in again", async () => {
    const copy = folder();
    // A folder that has been used: its key for client ids is there.
    await loggedIn();
    cpSync(world.server.folder, copy, { recursive: true });
    const replica = await loggedIn();
    const id = replica.memory.clientId;
    await reopen(world, shape, (path) => {
      rmSync(path, { recursive: true });
      cpSync(copy, path, { recursive: true });
    });
    untilItLooks();
    expect(await call(replica)).toBe("needs its person");
    expect(await logIn(replica)).toBeUndefined();
    await expectStillIn(replica);
    // Who holds on to its id is taken in again under it; the others registered anew, or never needed to.
    const keepsId = !registers || (shape.whenUnknown !== "registers" && !shape.asksBeforeBrowser);
    expect(replica.memory.clientId === id).toBe(keepsId);
  });

  test("revoked, it is out at once; its person lets it in again under its old id", async () => {
    const replica = await loggedIn();
    const { clientId } = replica.memory;
    const family = /^pat_([^.]+)/.exec(replica.memory.tokens?.access_token ?? "")?.[1];
    const request = new Request(`http://x${ADMIN_PATH}/grants/${family}`, { method: "DELETE" });
    expect((await admin(request, world.server.deps)).status).toBe(200);
    expect(await call(replica)).toBe("needs its person");
    expect(replica.refused).toHaveLength(1);
    expect(refreshes(replica)).toEqual(
      shape.refresh.when401 ? ["POST /token refresh_token 400"] : [],
    );
    expect(await logIn(replica)).toBeUndefined();
    await expectStillIn(replica);
    expect(replica.memory.clientId).toBe(clientId ?? "");
  });

  test("a server that lost everything: 401 invalid_client, and the way back that this client has", async () => {
    const replica = await loggedIn();
    const { clientId } = replica.memory;
    await reopen(world, shape, (path) => rmSync(path, { recursive: true }));
    untilItLooks();
    expect(await call(replica)).toBe("needs its person");
    const sent = refreshes(replica);
    expect([...new Set(sent)]).toEqual(["POST /token refresh_token 401"]);
    if (registers && replica.memory.clientId !== undefined && !shape.asksBeforeBrowser) {
      // It sends its person away with the dead id: the page says what to press.
      expect(await logIn(replica)).toContain(shape.advice);
      replica.memory.clientId = undefined;
    }
    expect(await logIn(replica)).toBeUndefined();
    await expectStillIn(replica);
    expect(replica.memory.clientId === clientId).toBe(!registers);
  });
});

/** The entry of this name, logged in at a Postern of its own. */
async function alone(name: string): Promise<Replica> {
  const shape = zoo.find((each) => each.name === name);
  if (!shape) throw new Error(`no ${name} in the zoo`);
  const world = await open(shape, folder());
  opened.push(world);
  const replica = createReplica(shape, world);
  expect(await logIn(replica)).toBeUndefined();
  return replica;
}
const opened: World[] = [];
afterAll(() => Promise.all(opened.map(({ server }) => server.close())));

describe("habits of one client", () => {
  test("mcp-remote looks at the authorization URL itself: nothing happens, and 4xx makes it register", async () => {
    const replica = await alone("mcp-remote");
    const { clientId } = replica.memory;
    await logIn(replica);
    expect(replica.requests).toContain("GET /authorize 200");
    expect(replica.memory.clientId).toBe(clientId ?? "");
    // Its tokens are gone, its registration is not: no refresh tells it that the server lost it.
    replica.memory.tokens = undefined;
    await reopen(replica.world, replica.shape, (path) => rmSync(path, { recursive: true }));
    expect(await logIn(replica)).toBeUndefined();
    expect(replica.requests).toContain("GET /authorize 400");
    expect(await call(replica)).toBe("answered");
    expect(replica.memory.clientId).not.toBe(clientId ?? "");
  });

  test("Gemini CLI registers nonsense after a 401: 400 in JSON, and nothing is stored", async () => {
    const replica = await alone("Gemini CLI");
    const count = async (): Promise<number> =>
      (await replica.world.server.deps.store.clients.list()).length;
    const before = await count();
    const response = await send(replica, "/register", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ client_name: "Gemini CLI MCP Client", redirect_uris: [] }),
    });
    expect([response.status, await response.json()]).toMatchObject([
      400,
      { error: "invalid_redirect_uri" },
    ]);
    expect(await count()).toBe(before);
  });

  test("mcporter with a new id shows its old refresh token: refused, and the login it belongs to lives", async () => {
    const replica = await alone("mcporter");
    const { tokens } = replica.memory;
    if (!tokens) throw new Error("no tokens");
    const next = createReplica(replica.shape, replica.world);
    await logIn(next);
    const response = await requestRefresh(next, tokens);
    expect([response.status, await response.json()]).toMatchObject([
      400,
      { error: "invalid_grant" },
    ]);
    replica.world.server.clock.advance(HOUR + 1);
    expect([await call(next), await call(replica)]).toEqual(["answered", "answered"]);
  });

  test("Inspector is a page: it reads what it needs, and never what the owner sees", async () => {
    const replica = await alone("Inspector");
    for (const path of ["/authorize?client_id=x", "/login", "/"])
      await expect(send(replica, path)).rejects.toThrow("no leave to read");
    const response = await send(replica, "/mcp", { method: "POST" });
    expect(response.headers.get("www-authenticate")).toStartWith("Bearer ");
  });

  test("Copilot CLI ends its session with a token that is dead: 401, and nothing comes of it", async () => {
    const replica = await alone("Copilot CLI, registered");
    const end = async (): Promise<number> => {
      const headers = { authorization: `Bearer ${replica.memory.tokens?.access_token}` };
      return (await send(replica, "/mcp", { method: "DELETE", headers })).status;
    };
    // The built-in server has no sessions.
    expect(await end()).toBe(405);
    replica.world.server.clock.advance(HOUR + 1);
    expect(await end()).toBe(401);
    expect(await call(replica)).toBe("answered");
  });
});
