// What the owner leaves of the tools to a connection: chosen on the consent page, changed afterwards, in force from the next
// call on.
import { afterAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { ownFolder, startPostern, stopProcesses } from "../process.ts";
import {
  Browser,
  type TestServer,
  type Tokens,
  authorizationUrl,
  hiddenFields,
  obtainCode,
  redeemCode,
  refreshWith,
  registerClient,
  startServer,
  temporaryFolder,
} from "../server.ts";
import { textOf } from "../web/read.ts";
import { closeStages, startUpstream } from "./stage.ts";
import { type Wire, initialize, messageOf, messagesOf, odd, request } from "./stdio_stage.ts";

const servers: TestServer[] = [];
afterAll(closeStages);
afterAll(async () => {
  await Promise.all(servers.map((server) => server.close()));
  await stopProcesses();
});

const tools = [
  { name: "read_note", title: "Read a note", annotations: { readOnlyHint: true } },
  { name: "add_note", description: "Adds a note.", annotations: { readOnlyHint: false } },
  { name: "plain" },
];

/** An MCP server with sessions; says what it was asked. */
function startNotes(): { url: string; asked: string[]; listed: () => number } {
  const asked: string[] = [];
  const upstream = startUpstream((given, body) => {
    if (given.method !== "POST") return new Response(null, { status: 200 });
    const { id, method, params } = JSON.parse(body) as Required<Wire>;
    asked.push(method === "tools/call" ? String(params["name"]) : method);
    if (id === undefined) return new Response(null, { status: 202 });
    const headers: Record<string, string> =
      method === "initialize" ? { "mcp-session-id": "session" } : {};
    if (method !== "initialize" && given.headers.get("mcp-session-id") !== "session") {
      return new Response(null, { status: 400 });
    }
    const result =
      method === "tools/list"
        ? { tools }
        : { protocolVersion: "2025-11-25", capabilities: {}, serverInfo: {} };
    return Response.json({ jsonrpc: "2.0", id, result }, { headers });
  });
  const listed = (): number => asked.filter((each) => each === "tools/list").length;
  return { url: upstream.url, asked, listed };
}

interface World {
  readonly server: TestServer;
  readonly browser: Browser;
  readonly notes: ReturnType<typeof startNotes>;
}

async function start(entry: object = {}): Promise<World> {
  const notes = startNotes();
  const folder = temporaryFolder();
  const own = { path: "/mcp", name: "Notes", upstream: notes.url, ...entry };
  writeFileSync(join(folder, "config.json"), JSON.stringify({ servers: [own] }));
  const server = await startServer({ folder });
  servers.push(server);
  const browser = new Browser(server);
  await browser.signIn();
  return { server, browser, notes };
}

interface Connection {
  readonly clientId: string;
  readonly family: string;
  tokens: Tokens;
  ask(message: object): Promise<Response>;
  /** The names of the tools that it sees. */
  tools(): Promise<string[]>;
  /** "ok", or the error of a call. */
  call(name: string): Promise<string>;
}

/** Logs a client in; the owner chooses these fields on the consent page. */
async function connect(
  { server, browser }: World,
  choice: URLSearchParams | Record<string, string>,
  known?: string,
): Promise<Connection> {
  const clientId = known ?? (await registerClient(server)).client_id;
  const page = await (await browser.get(authorizationUrl(server, clientId))).text();
  const fields = new URLSearchParams({ ...hiddenFields(page), decision: "allow" });
  for (const [name, value] of new URLSearchParams(choice)) fields.append(name, value);
  const answer = await browser.send("/consent", {
    method: "POST",
    headers: { origin: server.config.origin, "sec-fetch-site": "same-origin" },
    body: fields,
  });
  const location = answer.headers.get("location");
  if (location === null) throw new Error(`${answer.status} ${await answer.text()}`);
  const code = new URL(location).searchParams.get("code") ?? "";
  const tokens = (await (await redeemCode(server, clientId, code)).json()) as Tokens;
  const connection: Connection = {
    clientId,
    family: tokens.refresh_token.slice(4, 26),
    tokens,
    ask: (message) =>
      server.fetch("/mcp", {
        method: "POST",
        headers: {
          authorization: `Bearer ${connection.tokens.access_token}`,
          "content-type": "application/json",
          accept: "application/json, text/event-stream",
          "mcp-session-id": "session",
        },
        body: JSON.stringify(message),
      }),
    tools: async () => {
      const { result = {} } = await messageOf(await connection.ask(request(1, "tools/list")));
      return (result["tools"] as { name: string }[]).map(({ name }) => name);
    },
    call: async (name) => {
      const { error } = await messageOf(await connection.ask(request(1, "tools/call", { name })));
      return error?.message ?? "ok";
    },
  };
  return connection;
}

const all = ["read_note", "add_note", "plain"];
const NARROWED = "the owner has narrowed this connection, and this tool is not a part of it";
const outcomes = async (connection: Connection): Promise<string[]> => {
  const found: string[] = [];
  for (const name of all) if ((await connection.call(name)) === "ok") found.push(name);
  return found;
};

describe("on the consent page", () => {
  test.each<[string, string, string[]]>([
    ["nothing is chosen", "", all],
    ["all", "leash=all", all],
    ["those that change nothing", "leash=read-only", ["read_note"]],
    ["chosen ones", "leash=tools&tool=plain&tool=add_note", ["add_note", "plain"]],
    ["none at all", "leash=tools", []],
    ["ticked ones do not count where all are chosen", "leash=all&tool=plain", all],
  ])("%s", async (_name, choice, left) => {
    const world = await start();
    const connection = await connect(world, new URLSearchParams(choice));
    // Whichever comes first, list or call.
    expect(await outcomes(connection)).toEqual(left);
    expect(await connection.tools()).toEqual(left);
    for (const name of all.filter((each) => !left.includes(each))) {
      expect(await connection.call(name)).toBe(NARROWED);
      expect(world.notes.asked).not.toContain(name);
    }
  });

  test("a choice that is none is refused, and nothing is given out", async () => {
    const world = await start();
    for (const choice of ["leash=some", `leash=tools&tool=${"x".repeat(201)}`]) {
      await expect(connect(world, new URLSearchParams(choice))).rejects.toThrow("400");
    }
    expect(await world.server.deps.store.codes.list()).toEqual([]);
  });

  test("a client that comes again is shown as narrowed as it was", async () => {
    const world = await start();
    const { clientId } = await connect(world, { leash: "read-only" });
    const page = await (await world.browser.get(authorizationUrl(world.server, clientId))).text();
    expect(page.includes("Narrowed: tools that change nothing")).toBe(true);
    expect(/value="read-only"\s+checked/.test(page)).toBe(true);
    const other = (await registerClient(world.server)).client_id;
    const fresh = await (await world.browser.get(authorizationUrl(world.server, other))).text();
    expect(fresh.includes("Narrow what it may use")).toBe(true);
    expect(/value="all"\s+checked/.test(fresh)).toBe(true);
  });

  test("it lasts: over a refresh and a restart", async () => {
    const world = await start();
    const connection = await connect(world, { leash: "read-only" });
    const { refresh_token: token } = connection.tokens;
    const refreshed = await refreshWith(world.server, connection.clientId, token);
    connection.tokens = (await refreshed.json()) as Tokens;
    expect(await outcomes(connection)).toEqual(["read_note"]);
    const after = await world.server.restart();
    servers.push(after);
    const grant = await after.deps.store.refresh_tokens.get(connection.family);
    expect(grant?.leash).toEqual({ kind: "read-only" });
  });
});

describe("afterwards", () => {
  test("it is changed on the account page, at once and without a login", async () => {
    const world = await start();
    const { server, browser } = world;
    const connection = await connect(world, {});
    const path = "/account/connections/tools";
    const ask = async (): Promise<string> =>
      (await browser.get(`${path}?id=${connection.family}`)).text();
    const save = async (choice: string): Promise<Response> => {
      const fields = new URLSearchParams(hiddenFields(await ask()));
      for (const [name, value] of new URLSearchParams(choice)) fields.append(name, value);
      return browser.send(path, {
        method: "POST",
        headers: { origin: server.config.origin, "sec-fetch-site": "same-origin" },
        body: fields,
      });
    };
    expect(await outcomes(connection)).toEqual(all);
    const page = await ask();
    for (const words of ["Read a note", "changes nothing", "add_note", "Adds a note."])
      expect([words, page.includes(words)]).toEqual([words, true]);
    expect((await save("leash=tools&tool=add_note")).status).toBe(303);
    expect(await outcomes(connection)).toEqual(["add_note"]);
    expect(/value="add_note"\s+checked/.test(await ask())).toBe(true);
    expect(await textOf(await browser.get("/account"))).toContain("one chosen tool");
    await save("leash=read-only");
    expect(await connection.tools()).toEqual(["read_note"]);
    await save("leash=all");
    expect(await outcomes(connection)).toEqual(all);
    expect((await server.deps.store.refresh_tokens.get(connection.family))?.leash).toBeUndefined();
  });

  test("a server that does not tell its tools is said so, and read-only leaves none of them", async () => {
    const world = await start({ upstream: "http://127.0.0.1:1/mcp" });
    const connection = await connect(world, { leash: "read-only" });
    const page = await world.browser.get(`/account/connections/tools?id=${connection.family}`);
    expect(await textOf(page)).toContain("does not tell its tools");
    expect(await connection.call("read_note")).toBe(NARROWED);
  });

  test("the API and the command do the same", async () => {
    const folder = ownFolder();
    const postern = await startPostern({ settings: { data: folder } });
    const { client_id: id } = await registerClient(postern);
    const code = await obtainCode(postern, id, {}, postern.browser);
    const tokens = (await (await redeemCode(postern, id, code)).json()) as Tokens;
    const family = tokens.refresh_token.slice(4, 26);
    const callWhoami = async (): Promise<Wire> => {
      const answer = await postern.fetch("/mcp", {
        method: "POST",
        headers: {
          authorization: `Bearer ${tokens.access_token}`,
          "content-type": "application/json",
          accept: "application/json, text/event-stream",
        },
        body: JSON.stringify(request(1, "tools/call", { name: "whoami", arguments: {} })),
      });
      return (await messagesOf(answer)).at(-1) ?? {};
    };
    const set = (given: unknown): Promise<Response> =>
      postern.admin("PUT", `/grants/${family}/tools`, { tools: given });
    expect((await set(["other"])).status).toBe(200);
    expect((await callWhoami()).error?.message).toBe(NARROWED);
    const narrowed = await postern.run("grants", "tools", family, "read-only");
    expect([narrowed.exitCode, narrowed.stdout]).toEqual([
      0,
      expect.stringContaining("read-only tools"),
    ]);
    // The built-in server says of its tool that it only reads.
    expect((await callWhoami()).result).toBeDefined();
    expect((await postern.run("grants", "show", family)).stdout).toContain("change nothing");
    await postern.run("grants", "tools", family, "a,b");
    expect((await callWhoami()).error?.message).toBe(NARROWED);
    for (const bad of ["some", [""], [1], null, {}]) expect((await set(bad)).status).toBe(400);
    expect((await postern.admin("PUT", "/grants/none/tools", { tools: "all" })).status).toBe(404);
    await set("all");
    expect((await callWhoami()).result).toBeDefined();
  });
});

describe("a narrowed connection", () => {
  test("asks the server once, not at every call, for what its tools are", async () => {
    const world = await start();
    const connection = await connect(world, { leash: "read-only" });
    for (let count = 0; count < 3; count++)
      expect(await outcomes(connection)).toEqual(["read_note"]);
    expect(await connection.call("unknown")).toBe(NARROWED);
    expect(world.notes.listed()).toBe(1);
  });

  test("may use prompts and resources; of a batch, one call that is not its own refuses all", async () => {
    const world = await start();
    const connection = await connect(world, { leash: "tools", tool: "plain" });
    const read = await messageOf(await connection.ask(request(1, "resources/read", { uri: "x:" })));
    expect(read.result).toBeDefined();
    const calls = ["plain", "add_note"].map((name, id) => request(id, "tools/call", { name }));
    const answers = await messagesOf(await connection.ask(calls));
    expect(answers.map(({ id, error }) => [id, error?.message])).toEqual([
      [0, NARROWED],
      [1, NARROWED],
    ]);
    expect(world.notes.asked).not.toContain("plain");
  });

  test("is refused by an answer of its own, not by a challenge: no client logs in for it", async () => {
    const world = await start();
    const connection = await connect(world, { leash: "tools" });
    const answer = await connection.ask(request(7, "tools/call", { name: "plain" }));
    expect([answer.status, answer.headers.has("www-authenticate")]).toEqual([200, false]);
    expect(await messageOf(answer)).toEqual({
      jsonrpc: "2.0",
      id: 7,
      error: { code: -32_602, message: NARROWED },
    } as object);
  });

  test("of a command is narrowed in the same way", async () => {
    const command = JSON.parse(odd("told"));
    const world = await start({ upstream: undefined, command });
    const connection = await connect(world, { leash: "read-only" });
    const opened = await connection.ask(initialize("2025-11-25"));
    expect(opened.status).toBe(200);
    // "query" says nothing of itself.
    expect(await connection.call("query")).toBe(NARROWED);
  });
});
