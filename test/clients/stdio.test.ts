// The SDK clients through Postern to servers that speak stdio, each in a process of its own: one of ours with the official
// SDK, and the official reference servers.
import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client } from "mcp-sdk-1/client/index.js";
import { StdioClientTransport } from "mcp-sdk-1/client/stdio.js";
import { StreamableHTTPClientTransport } from "mcp-sdk-1/client/streamableHttp.js";
import { type Postern, startPostern, stopProcesses } from "../process.ts";
import { type Connection, type Sdk, connect } from "./connection.ts";
import { failure } from "./failure.ts";
import { type Program, createProgram } from "./program.ts";
import { sdk1 } from "./sdk1.ts";
import { sdk2, sdk2Stateless } from "./sdk2.ts";

const folder = mkdtempSync(join(tmpdir(), "postern-notes-"));
writeFileSync(join(folder, "note.txt"), "milk, eggs");
afterAll(async () => {
  await stopProcesses();
  rmSync(folder, { recursive: true });
});

const words = [process.execPath, join(import.meta.dir, "stdio_server.ts")];
const command = JSON.stringify(words);

interface Scene {
  readonly postern: Postern;
  readonly program: Program;
  readonly connection: Connection;
}

async function logIn(sdk: Sdk, settings: Record<string, string> = {}): Promise<Scene> {
  const postern = await startPostern({ settings: { command, ...settings } });
  const program = createProgram(postern.browser);
  const connection = await connect(sdk, postern.url, program);
  return { postern, program, connection };
}

const tokenRequests = ({ requests }: Program): string[] =>
  requests.filter((line) => line.includes("/token"));

describe.each([sdk1, sdk2, sdk2Stateless])("$name", (sdk) => {
  test("speaks its own revision to the server, which learns who asks, and nothing else of ours", async () => {
    const { program, connection } = await logIn(sdk, { env: "MODE=fast", workingFolder: folder });
    expect(connection.revision()).toBe(sdk.revision ?? "");
    expect(connection.sessionId() === undefined).toBe(sdk === sdk2Stateless);
    const facts = await connection.call("facts");
    const client = program.memory.client?.client_id ?? "";
    expect(facts["folder"]).toBe(folder);
    expect(facts["meta"]).toMatchObject({
      "postern/user": "owner",
      "postern/client": client,
      "postern/scope": "mcp",
    });
    // The tests start Postern with an empty environment.
    expect(facts["environment"]).toEqual({
      MODE: "fast",
      POSTERN_USER: "owner",
      POSTERN_CLIENT: client,
    });
  });

  test("what a tool tells on the way arrives before its end", async () => {
    const { connection } = await logIn(sdk);
    const seen: number[] = [];
    // It ends only because the first message came: a held-back one would wait for ever.
    const answer = await connection.call("wait", {}, ({ progress }) => {
      seen.push(progress);
      if (progress === 1) void connection.call("release");
    });
    expect(answer).toEqual({ steps: 2 });
    expect(seen).toEqual([1, 2]);
  });

  test("a killed process is an error that is no login, and the same connection goes on", async () => {
    const { program, connection } = await logIn(sdk);
    const { pid } = await connection.call("facts");
    const call = failure(connection.call("wait"));
    await connection.call("facts");
    process.kill(Number(pid), "SIGKILL");
    const error = await call;
    expect(String(error)).toContain("was ended by SIGKILL");
    expect(sdk.asksForLogin(error)).toBe(false);
    const facts = await connection.call("facts");
    expect(facts["pid"]).not.toBe(pid);
    expect(await connection.tools()).toContain("facts");
    expect(program.logins).toHaveLength(1);
    expect(tokenRequests(program)).toEqual(["POST /token authorization_code 200"]);
  });
});

describe.each([sdk1, sdk2])("$name", (sdk) => {
  test("what the server says by itself arrives", async () => {
    const { connection } = await logIn(sdk);
    await connection.call("announce");
    for (let tries = 0; tries < 500 && connection.messages.length === 0; tries++) {
      await Bun.sleep(10);
    }
    expect(connection.messages[0]).toBe("hear, hear");
  });

  test("a session ends with its process, and another one is untouched", async () => {
    const { postern, program, connection } = await logIn(sdk);
    const other = await connect(sdk, postern.url, program);
    const [own, theirs] = [await connection.call("facts"), await other.call("facts")];
    expect(own["pid"]).not.toBe(theirs["pid"]);
    await connection.call("grow");
    expect(await other.tools()).not.toContain("more");
    await connection.endSession();
    expect((await other.call("facts"))["pid"]).toBe(theirs["pid"]);
  });

  test("a restart of Postern ends sessions with 404, and costs no login", async () => {
    const { postern, program, connection } = await logIn(sdk);
    await postern.restart({ signal: "SIGKILL" });
    expect(sdk.statusOf(await failure(connection.tools()))).toBe(404);
    const again = await connect(sdk, postern.url, program);
    expect(await again.tools()).toContain("facts");
    expect(program.logins).toHaveLength(1);
  });
});

/** Everything that a client can list, as it came. */
async function listing(client: Client): Promise<unknown> {
  const { resources = [] } = await client.listResources().catch(() => ({}) as never);
  return {
    server: [client.getServerVersion(), client.getServerCapabilities(), client.getInstructions()],
    tools: (await client.listTools()).tools,
    resources,
    prompts: await client.listPrompts().catch(() => []),
  };
}

describe.each([
  ["everything", [] as string[]],
  ["filesystem", [folder]],
])("the official %s server", (name, parameters) => {
  test("looks the same on stdio and through Postern", async () => {
    const program = Bun.resolveSync(
      `@modelcontextprotocol/server-${name}/package.json`,
      import.meta.dir,
    );
    const index = program.replace("package.json", "dist/index.js");
    const official = [process.execPath, index, ...parameters];
    const direct = new Client({ name: "test", version: "1" });
    const [file = "", ...args] = official;
    await direct.connect(new StdioClientTransport({ command: file, args, stderr: "ignore" }));
    const { postern, program: own } = await logIn(sdk1, { command: JSON.stringify(official) });
    const through = new Client({ name: "test", version: "1" });
    const { provider } = own;
    await through.connect(
      new StreamableHTTPClientTransport(new URL(postern.url), { authProvider: provider }),
    );
    expect(await listing(through)).toEqual(await listing(direct));
    const call =
      name === "filesystem"
        ? { name: "read_text_file", arguments: { path: join(folder, "note.txt") } }
        : { name: "get-structured-content", arguments: { location: "New York" } };
    expect(await through.callTool(call)).toEqual(await direct.callTool(call));
    await Promise.all([direct.close(), through.close()]);
  });
});
