// A start as whoever starts it sees it: what it says, where it listens, how it can be stopped before it is done.
import { afterAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
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
import {
  type Postern,
  freePort,
  launch,
  printed,
  startPostern,
  stopProcesses,
} from "../process.ts";

afterAll(stopProcesses);

describe("stopped while it waits for the folder", () => {
  test.each(["SIGTERM", "SIGINT"] as const)("%s: exit 0, the other stays", async (signal) => {
    const holder = await startPostern({ owner: false });
    const second = launch({ data: holder.folder, port: String(await freePort()) });
    await printed(second, /waiting for pid \d+/);
    expect(await second.end(signal)).toBe(0);
    expect(second.stdout()).toBe("stopping\n");
    expect(second.stderr()).not.toContain("error");
    expect((await holder.fetch("/healthz")).status).toBe(200);
    expect((await holder.run("grants")).stdout).toStartWith("nobody is logged in");
    expect(await holder.kill()).toBe(0);
  });
});

describe("postern dev", () => {
  test("answers on both loopbacks, from a folder that was opened once", async () => {
    const port = String(await freePort());
    const dev = launch({ port }, "dev");
    await printed(dev, /Data folder .* \(new\)\n/);
    for (const host of ["127.0.0.1", "[::1]"]) {
      const answer = await fetch(`http://${host}:${port}/mcp`, { method: "POST" });
      expect(answer.status).toBe(401);
    }
    expect(dev.stdout()).toMatch(/^password for this try: \S{12}\n/);
    expect(await dev.end("SIGTERM")).toBe(0);
    expect(dev.stderr()).toBe("");
  });

  test.each([
    [{ host: "0.0.0.0" }, "for this machine alone", "postern serve --host"],
    [{ data: "x" }, "a temporary folder", "postern serve --data"],
    [{ passwordFile: "x" }, "makes up a password", "postern serve --password-file"],
  ])("refuses %p and says why", async (given, message, hint) => {
    const dev = launch(given, "dev");
    expect(await dev.exited).toBe(2);
    expect(dev.stderr()).toContain(message);
    expect(dev.stderr()).toContain(hint);
  });
});

test("the terminal tells of logins, connections and refusals; refreshes are in the audit trail alone", async () => {
  const postern = await startPostern();
  const { client_id: id } = await registerClient(postern);
  for (const password of [`not ${PASSWORD}`, PASSWORD])
    await new Browser(postern).signIn(undefined, password);
  const answer = await redeemCode(postern, id, await obtainCode(postern, id, {}, postern.browser));
  const tokens = (await answer.json()) as Tokens;
  expect((await refreshWith(postern, id, tokens.refresh_token)).status).toBe(200);
  expect((await refreshWith(postern, id, `${tokens.refresh_token}x`)).status).toBe(400);
  expect(await postern.kill()).toBe(0);
  const line = /^\d\d:\d\d:\d\d ([a-z ]+)(?= [a-z_]+=)/gm;
  expect([...postern.stdout().matchAll(line)].map(([, event]) => event)).toEqual([
    "setup",
    "client registered",
    "login failed",
    "login",
    "grant created",
    "request refused",
  ]);
  const trail = readFileSync(join(postern.folder, "audit.jsonl"), "utf8");
  expect(trail).toContain('"event":"grant_refreshed"');
});

describe("a public URL that is another one than before", () => {
  const connect = async (postern: Postern, name: string): Promise<string> => {
    const { client_id: id } = await registerClient(postern, { client_name: name });
    const code = await obtainCode(postern, id, {}, postern.browser);
    const tokens = (await (await redeemCode(postern, id, code)).json()) as Tokens;
    return tokens.access_token;
  };

  test("is told with the clients that must connect again; they are back when the URL is", async () => {
    const postern = await startPostern();
    const token = await connect(postern, "Cl\u001b[2Jaude");
    await connect(postern, "Cursor");
    const before = postern.config.issuer;
    await postern.restart({ settings: { url: "https://mcp.example.com" } });
    await postern.kill();
    expect(postern.stderr()).toBe(
      `postern: warning: the public URL was ${before} and is now https://mcp.example.com; ` +
        "must connect again, or get back in when the URL returns: Cl\ufffd[2Jaude, Cursor\n",
    );
    await postern.restart({ settings: { url: before } });
    expect((await callMcp(postern, token)).status).toBe(200);
    await postern.kill();
    expect(postern.stderr()).toContain(`is now ${before}\n`);
  });

  test.each([
    ["https://quiet-tree-1.trycloudflare.com", true],
    ["https://a1b2.ngrok-free.app", true],
    ["https://trycloudflare.com.example.com", false],
  ])("%s: warned of as one that never stays: %p", async (url, isWarned) => {
    const postern = await startPostern({ owner: false, settings: { url } });
    await postern.kill();
    expect(postern.stderr().includes("changes with every start of the tunnel")).toBe(isWarned);
  });
});
