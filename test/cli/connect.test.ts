// postern connect: the real address, in the words of each client.
import { afterAll, describe, expect, test } from "bun:test";
import { connectText } from "../../src/cli/connect.ts";
import { recipes } from "../../src/clients/recipes.ts";
import { startPostern, stopProcesses } from "../process.ts";

afterAll(stopProcesses);

const publicServer = [{ name: "Notes", resource: "https://mcp.example.com/mcp" }];

describe.each(Object.entries(recipes))("%s", (_word, client) => {
  test("is told the address", () => {
    expect(connectText(client, publicServer)).toContain("https://mcp.example.com/mcp");
  });

  test("on this machine, or why not", () => {
    for (const scheme of ["http", "https"]) {
      const resource = `${scheme}://localhost:7676/mcp`;
      const text = connectText(client, [{ name: "localhost:7676/mcp", resource }]);
      if (client.hosted) expect(text).toMatch(/cannot reach localhost:7676/);
      else expect(text).toContain(resource);
    }
  });

  test("what is to be pasted as JSON is JSON", () => {
    for (const [json] of connectText(client, publicServer).matchAll(/^ +\{.*$/gm)) {
      expect(JSON.stringify(JSON.parse(json))).toContain('"notes"');
    }
  });
});

test("several servers are one piece of JSON, for one file", () => {
  const two = [...publicServer, { name: "Home", resource: "https://mcp.example.com/home" }];
  for (const recipe of Object.values(recipes)) {
    const pieces = [...connectText(recipe, publicServer).matchAll(/^ +\{.*$/gm)];
    const both = [...connectText(recipe, two).matchAll(/^ +\{.*$/gm)];
    expect(both).toHaveLength(pieces.length);
    for (const [json] of both) {
      const [list] = Object.values(JSON.parse(json) as Record<string, object>);
      expect(Object.keys(list ?? {})).toEqual(["notes", "home"]);
    }
  }
  expect(connectText(recipes["claude-code"] ?? expect.unreachable(), two)).toMatch(
    /add .* notes [\s\S]*add .* home /,
  );
});

test("ten clients and more", () => {
  expect(Object.keys(recipes).length).toBeGreaterThanOrEqual(10);
});

test("asks the running server, whatever settings it was started with", async () => {
  const postern = await startPostern({ base: "/base" });
  const one = await postern.run("connect", "claude-code");
  expect(one).toEqual({
    exitCode: 0,
    stdout: `Claude Code\n  In a terminal:\n    claude mcp add --scope user --transport http postern ${postern.url}\n  Then, in Claude Code, type /mcp, choose postern and Authenticate.\n`,
    stderr: "",
  });
  const all = await postern.run("connect");
  expect(all.stdout.split("\n\n")).toHaveLength(Object.keys(recipes).length);
  expect(JSON.parse((await postern.run("connect", "--json")).stdout)).toMatchObject([
    { url: postern.url },
  ]);
  const odd = await postern.run("connect", "claude-cod");
  expect([odd.exitCode, odd.stderr]).toEqual([
    2,
    expect.stringContaining("did you mean claude-code?"),
  ]);
});
