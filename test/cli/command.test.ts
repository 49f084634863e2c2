// `postern -- program`: the words behind it are the MCP server, which lives and ends with Postern.
import { afterAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { readConfig } from "../../src/config.ts";
import {
  initialize,
  messageOf,
  odd,
  request,
  runs,
  closeStdioStages,
} from "../gateway/stdio_stage.ts";
import { needs } from "../needs.ts";
import {
  type Child,
  freePort,
  launch,
  launchIn,
  ownFolder,
  printed,
  stopProcesses,
} from "../process.ts";
import { Browser, type Tokens, obtainCode, redeemCode, registerClient } from "../server.ts";
import { until } from "../gateway/stage.ts";

afterAll(closeStdioStages);

afterAll(stopProcesses);

type Post = (message: object, headers?: Record<string, string>) => Promise<Response>;

/** Sets the owner up and logs a client in. */
async function logIn(child: Child, port: string): Promise<Post> {
  const config = readConfig({ port });
  const server = {
    config,
    fetch: (path: string, init: RequestInit = {}) =>
      fetch(new URL(path, config.origin), { redirect: "manual", ...init }),
  };
  const browser = new Browser(server);
  await browser.setUp(await printed(child, /\S+\/setup\?token=\S+/));
  const { client_id: id } = await registerClient(server);
  const code = await obtainCode(server, id, {}, browser);
  const { access_token: token } = (await (await redeemCode(server, id, code)).json()) as Tokens;
  return (message, headers = {}) =>
    server.fetch("/mcp", {
      method: "POST",
      headers: {
        authorization: `Bearer ${token}`,
        "content-type": "application/json",
        accept: "application/json, text/event-stream",
        ...headers,
      },
      body: JSON.stringify(message),
    });
}

async function openSession(post: Post): Promise<Record<string, string>> {
  const answer = await post(initialize("2025-11-25"));
  const session = answer.headers.get("mcp-session-id");
  if (session === null) throw new Error(`no session: ${await answer.text()}`);
  return { "mcp-session-id": session };
}

const words = (manner: string): string[] => JSON.parse(odd(manner)) as string[];

describe("postern -- program", () => {
  needs("linux")("ends with Postern, and so does what it started", async () => {
    const port = String(await freePort());
    const child = launch({}, "--data", ownFolder(), "--port", port, "--", ...words("stubborn"));
    const post = await logIn(child, port);
    const headers = await openSession(post);
    const { result } = await messageOf(await post(request(1, "x"), headers));
    const pids = [Number(result?.["pid"]), Number(result?.["child"])];
    expect(pids.map(runs)).toEqual([true, true]);
    expect(await child.end("SIGTERM")).toBe(0);
    await until(() => !pids.some(runs));
    expect(child.stdout()).toMatch(/^[\d:]{8} localhost:\d+\/mcp: SIGTERM\? No\.$/m);
  });

  test("ends by itself when Postern is killed", async () => {
    const port = String(await freePort());
    const child = launch({}, "--data", ownFolder(), "--port", port, "--", ...words("plain"));
    const post = await logIn(child, port);
    const headers = await openSession(post);
    const { result } = await messageOf(await post(request(1, "x"), headers));
    await child.end("SIGKILL");
    await until(() => !runs(Number(result?.["pid"])));
  });

  test("a secret of ours does not reach it; one that it is given is never shown", async () => {
    const port = String(await freePort());
    const folder = ownFolder();
    writeFileSync(join(folder, "key"), "k3y-in-a-file\n");
    const environment = { POSTERN_DATA: folder, POSTERN_PORT: port, TOKEN: "t0ken-in-a-variable" };
    const env = `TOKEN,KEY=file:${join(folder, "key")}`;
    const child = launchIn(environment, {}, "--env", env, "--", ...words("plain"));
    const post = await logIn(child, port);
    const headers = await openSession(post);
    const { result } = await messageOf(await post(request(1, "x"), headers));
    expect(result?.["environment"]).toEqual({
      TOKEN: "t0ken-in-a-variable",
      KEY: "k3y-in-a-file",
      POSTERN_USER: "owner",
      POSTERN_CLIENT: expect.any(String),
    } as object);
    await post({ jsonrpc: "2.0", method: "t0ken-in-a-variable k3y-in-a-file" }, headers);
    await until(() => child.stdout().includes("notified"));
    await child.end("SIGTERM");
    expect(child.stdout() + child.stderr()).not.toMatch(/t0ken-in|k3y-in/);
  });

  test.each<[string[], string]>([
    [["--upstream", "http://127.0.0.1:1/mcp", "--", "x"], "has a command and an upstream"],
    [["--headers", "a: b", "--", "x"], "headers and no upstream"],
    [["--env", "A=b"], "no command"],
    [["--env", "POSTERN_X", "--", "x"], "Postern's own"],
    [["--env", "A=env:NOWHERE", "--", "x"], "the variable NOWHERE is not set"],
    [["--env", "A=file:/nonexistent", "--", "x"], "ENOENT"],
    [["--headers", "a", "--upstream", "http://127.0.0.1:1/mcp"], "Name: value"],
    [["--headers", "Host: b", "--upstream", "http://127.0.0.1:1/mcp"], "not yours to set"],
    [["--processes", "many", "--", "x"], "per-session or shared"],
    [["--command", "'x"], "left open"],
    [["--", ""], "a program"],
  ])("%p is refused in one line", async (given, message) => {
    const child = launch({}, "--data", ownFolder(), ...given);
    expect(await child.exited).toBe(2);
    expect(child.stderr()).toContain(message);
    expect(child.stderr()).toMatch(/^postern: error: .*\n(postern: hint: .*\n)?$/);
  });

  test("a refused value that may be a secret is not repeated", async () => {
    const upstream = "http://127.0.0.1:1/mcp";
    const child = launch({}, "--upstream", upstream, "--headers", "Authorization Bearer s3cret");
    expect(await child.exited).toBe(2);
    expect(child.stderr()).not.toContain("s3cret");
  });
});
