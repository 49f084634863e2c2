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

const usualAdvice =
  "Cursor and others: log out of the server in its settings, or delete and add it.";
const hostedAdvice = "Claude and ChatGPT: Settings, Connectors: remove it, then add it again.";
const advice: Readonly<Record<string, string>> = {
  "claude-code": "Claude Code: /mcp, choose the server, Clear authentication.",
  vscode: "VS Code: run “MCP: List Servers”, choose the server, then Disconnect Account.",
};
const addresses: Readonly<Record<string, readonly string[]>> = {
  claude: ["160.79.104.10", "34.162.46.92"],
  chatgpt: ["20.171.207.1", "20.171.207.2"],
};

export const zoo: readonly Creature[] = clientShapes.map((shape) => ({
  ...shape,
  issuer: shape.hosted ? "https://mcp.example.com" : "http://localhost:7676",
  advice: advice[shape.word] ?? (shape.hosted ? hostedAdvice : usualAdvice),
  addresses: addresses[shape.word] ?? ["127.0.0.1"],
}));
