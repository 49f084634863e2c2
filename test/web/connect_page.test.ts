// "Connect a client": the lines and clicks that people copy have to be right.
import { expect, test } from "bun:test";
import { connectPage, entryName } from "../../src/web/connect_page.ts";
import { boxesOf, decode, elements, textOf } from "./read.ts";

const frame = {
  base: "",
  now: 1_790_000_000,
  hidden: { proof: "proof" },
  signOut: { request: "sealed" },
};
const notes = { name: "My Notes", resource: "https://mcp.example.com/mcp" };
const show = (...servers: { name: string; resource: string }[]): Response =>
  connectPage({ ...frame, servers });

test.each([
  ["mcp.example.com/mcp", "https://mcp.example.com/mcp", "postern"],
  ["localhost:7676/mcp", "http://localhost:7676/mcp", "postern"],
  ["mcp.example.com/files", "https://mcp.example.com/files", "files"],
  ["My Notes!", "https://mcp.example.com/mcp", "my-notes"],
  ["Café", "https://mcp.example.com/mcp", "cafe"],
  ["日本", "https://mcp.example.com/mcp", "postern"],
  ["--; rm -rf ~ #", "https://mcp.example.com/mcp", "rm-rf"],
  ["x".repeat(80), "https://mcp.example.com/mcp", "x".repeat(32)],
])("%s at %s is called %s in clients", (name, resource, expected) => {
  expect(entryName({ name, resource })).toBe(expected);
});

test("each box holds a whole line or file with the real address", async () => {
  const boxes = await boxesOf(show(notes));
  const url = "https://mcp.example.com/mcp";
  for (const line of [
    url,
    `claude mcp add --scope user --transport http my-notes ${url}`,
    `codex mcp add my-notes --url ${url}`,
    "codex mcp login my-notes",
    `gemini mcp add --scope user --transport http my-notes ${url}`,
    "/mcp auth my-notes",
  ])
    expect(boxes).toContain(line);
  const parsed = boxes.filter((box) => box.startsWith("{")).map((box) => JSON.parse(box));
  expect(parsed).toEqual([
    { mcpServers: { "my-notes": { url } } },
    { servers: { "my-notes": { type: "http", url } } },
    { mcp: { "my-notes": { type: "remote", url } } },
    { mcpServers: { "my-notes": { command: "npx", args: ["-y", "mcp-remote", url] } } },
  ]);
});

test("the one-click links carry the same configuration", async () => {
  const found = (await elements(show(notes))).filter(({ tag }) => tag === "a");
  const links = found.map(({ attributes }) => decode(attributes.get("href") ?? ""));
  const cursor = new URL(links.find((link) => link.startsWith("cursor:")) ?? "");
  expect(cursor.host + cursor.pathname).toBe("anysphere.cursor-deeplink/mcp/install");
  expect(cursor.searchParams.get("name")).toBe("my-notes");
  const config = Buffer.from(cursor.searchParams.get("config") ?? "", "base64").toString();
  expect(JSON.parse(config)).toEqual({ url: notes.resource });
  const [, query = ""] =
    links.find((link) => link.startsWith("vscode:mcp/install?"))?.split("?") ?? [];
  expect(JSON.parse(decodeURIComponent(query))).toEqual({
    name: "my-notes",
    type: "http",
    url: notes.resource,
  });
});

test("says what hosted clients need when the address is on loopback, and only then", async () => {
  const local = await textOf(show({ name: "n", resource: "http://localhost:7676/mcp" }));
  expect(local.match(/cannot reach localhost:7676/g)).toHaveLength(2);
  expect(await textOf(show(notes))).not.toContain("cannot reach");
});

test("an address with brackets is quoted for the shell", async () => {
  const boxes = await boxesOf(show({ name: "n", resource: "http://[::1]:7676/mcp" }));
  expect(boxes).toContain(`codex mcp add n --url "http://[::1]:7676/mcp"`);
});

test("several servers each have their own lines", async () => {
  const files = { name: "Files", resource: "https://mcp.example.com/files" };
  const boxes = await boxesOf(show(notes, files));
  expect(boxes).toContain("codex mcp add files --url https://mcp.example.com/files");
  expect(boxes).toContain("codex mcp add my-notes --url https://mcp.example.com/mcp");
  expect(await textOf(show(notes, files))).toContain("My Notes");
});

test("signing out is a POST with the hidden fields", async () => {
  const found = await elements(show(notes));
  const form = found.find(({ tag }) => tag === "form")?.attributes;
  expect([form?.get("method"), form?.get("action")]).toEqual(["post", "/logout"]);
  const input = found.find(({ tag }) => tag === "input")?.attributes;
  expect([input?.get("name"), input?.get("value")]).toEqual(["request", "sealed"]);
});
