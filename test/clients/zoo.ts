// The clients whose stories are told: their shapes, and what only a story needs of them. replica.ts plays them.
import type { ClientShape } from "../../src/clients/shape.ts";
import { clientShapes } from "../../src/clients/shapes.ts";

export interface Creature extends ClientShape {
  /** Public URL under which its story is told. */
  readonly issuer: string;
  /** What an error page has to say for its person. */
  readonly advice: string;
  /** Where requests come from, in turn. */
  readonly addresses: readonly string[];
}

const usualAdvice = "Any other: log out of the server there, or delete and add it.";
const advice: Readonly<Record<string, string>> = {
  claude: "Claude: Settings, Connectors: remove it, then add it again.",
  "claude-code": "Claude Code: <code>/mcp</code>, choose the server, then Clear authentication.",
  chatgpt: "ChatGPT: Settings, Apps (or Connectors): delete it, then create it again.",
  cursor: "Cursor: Settings, Tools &amp; MCP: log out of the server, or delete and add it.",
  vscode: "VS Code: run “MCP: List Servers”, choose the server, then Disconnect Account.",
  codex: "Codex: <code>codex mcp logout &lt;name&gt;</code>",
  gemini: "Gemini CLI: <code>/mcp auth &lt;name&gt;</code>",
  "mcp-remote": "mcp-remote: delete <code>~/.mcp-auth</code> and connect again.",
};
const addresses: Readonly<Record<string, readonly string[]>> = {
  claude: ["160.79.104.10", "34.162.46.92"],
  chatgpt: ["20.171.207.1", "20.171.207.2"],
};

export const zoo: readonly Creature[] = clientShapes.map((shape) => ({
  ...shape,
  issuer: shape.hosted ? "https://mcp.example.com" : "http://localhost:7676",
  advice: advice[shape.word] ?? usualAdvice,
  addresses: addresses[shape.word] ?? ["127.0.0.1"],
}));
