// postern connect: what to paste or click in each client, with the real address filled in.
import type { ServerRow } from "../admin/server.ts";
import { type Config, readConfig } from "../config.ts";
import { FatalError } from "../errors.ts";
import { nearest } from "../values.ts";
import { entryName } from "../web/connect_page.ts";
import { callRunning } from "./admin_client.ts";
import type { CommandLine } from "./command_line.ts";
import { show } from "./print.ts";

export interface ConnectableClient {
  readonly name: string;
  /** It runs at its maker's and reaches nothing on loopback. */
  readonly hosted?: true;
  /** One step a line; lines that begin with blanks are to be pasted. */
  readonly steps: (name: string, url: string) => readonly string[];
}

const paste = (text: string): string => `  ${text}`;
const word = (text: string): string => (/^[\w.:/~-]+$/.test(text) ? text : `"${text}"`);

/** By the word that stands for each on the command line. */
export const connectable: Readonly<Record<string, ConnectableClient>> = {
  claude: {
    name: "Claude: web, desktop, phone",
    hosted: true,
    steps: (_name, url) => [
      "Open https://claude.ai/customize/connectors, press +, then Add custom connector.",
      "Paste this URL, and leave the advanced settings empty:",
      paste(url),
      "Press Add, then Connect.",
    ],
  },
  "claude-code": {
    name: "Claude Code",
    steps: (name, url) => [
      paste(`claude mcp add --scope user --transport http ${name} ${word(url)}`),
      `Then, in Claude Code: /mcp, choose ${name}, Authenticate.`,
    ],
  },
  chatgpt: {
    name: "ChatGPT",
    hosted: true,
    steps: (_name, url) => [
      "Settings, Apps, Advanced settings: switch Developer mode on. Then Create app, with OAuth and this URL:",
      paste(url),
    ],
  },
  cursor: {
    name: "Cursor",
    steps: (name, url) => [
      "Put into ~/.cursor/mcp.json:",
      paste(JSON.stringify({ mcpServers: { [name]: { url } } })),
    ],
  },
  vscode: {
    name: "VS Code",
    steps: (name, url) => [
      "Run MCP: Add Server from the command palette and choose HTTP, or put into .vscode/mcp.json:",
      paste(JSON.stringify({ servers: { [name]: { type: "http", url } } })),
    ],
  },
  codex: {
    name: "Codex",
    steps: (name, url) => [
      paste(`codex mcp add ${name} --url ${word(url)}`),
      "It opens the browser. If it does not:",
      paste(`codex mcp login ${name}`),
    ],
  },
  gemini: {
    name: "Gemini CLI",
    steps: (name, url) => [
      paste(`gemini mcp add --scope user --transport http ${name} ${word(url)}`),
      `Then, in Gemini CLI: /mcp auth ${name}`,
    ],
  },
  copilot: {
    name: "Copilot CLI",
    steps: (_name, url) => ["In Copilot CLI: /mcp add, choose HTTP and paste:", paste(url)],
  },
  opencode: {
    name: "opencode",
    steps: (name, url) => [
      "Put into opencode.json:",
      paste(JSON.stringify({ mcp: { [name]: { type: "remote", url } } })),
      paste(`opencode mcp auth ${name}`),
    ],
  },
  inspector: {
    name: "MCP Inspector",
    steps: (_name, url) => [
      paste("npx @modelcontextprotocol/inspector"),
      "Choose Streamable HTTP and paste:",
      paste(url),
    ],
  },
  "mcp-remote": {
    name: "any client that can only start programs",
    steps: (name, url) => [
      "Put into its list of servers:",
      paste(
        JSON.stringify({
          mcpServers: { [name]: { command: "npx", args: ["-y", "mcp-remote", url] } },
        }),
      ),
    ],
  },
};

/** @throws {FatalError} exit 2, naming the nearest */
export function findConnectable(word: string): ConnectableClient {
  const words = Object.keys(connectable);
  const found = words.includes(word) ? connectable[word] : undefined;
  if (found) return found;
  throw new FatalError(`there is no client ${word}`, {
    exitCode: 2,
    hint: `did you mean ${nearest(word, words) ?? words.join(", ")}?`,
  });
}

type Named = Pick<Config["servers"][number], "name" | "resource">;

/** What to do in one client, for each server. */
export function connectText(client: ConnectableClient, servers: readonly Named[]): string {
  const url = new URL(servers[0]?.resource ?? "");
  const away = client.hosted && url.protocol !== "https:";
  const steps = servers.flatMap((server) => client.steps(entryName(server), server.resource));
  return [
    client.name,
    ...(away
      ? [
          `  It runs elsewhere and cannot reach ${url.host}: give this server a public https URL first.`,
        ]
      : steps.map((step) => `  ${step}`)),
  ].join("\n");
}

/** Resolves to the exit code. */
export async function connect(line: CommandLine, [asked]: readonly string[]): Promise<number> {
  const clients = asked === undefined ? Object.values(connectable) : [findConnectable(asked)];
  const config = readConfig(line.given, process.env);
  const running = await callRunning<ServerRow>(config, "GET", "/server");
  const { servers } = running ?? config;
  if (line.json) {
    const rows = servers.map(({ name, resource }) => ({ name, url: resource }));
    return show(JSON.stringify(rows, null, 2));
  }
  return show(clients.map((client) => connectText(client, servers)).join("\n\n"));
}
