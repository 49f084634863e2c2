// What to press in each client so that it forgets its id. No client can be told by a server that its id is gone; only its
// person can make it register again. Words for people, `commands` in backticks; who reads them when is the callers'.
import { isLoopbackHost } from "../values.ts";

interface Recipe {
  /** What it calls itself, as a client or as a program. */
  readonly named?: RegExp;
  readonly redirect: (uri: string) => boolean;
  readonly step: string;
}

const onLoopback = (uri: string): boolean => isLoopbackHost(URL.parse(uri)?.hostname ?? "");

const recipes: readonly Recipe[] = [
  {
    named: /^claude(?!.?code)/i,
    redirect: (uri) => /^https:\/\/claude\.(ai|com)\//.test(uri),
    step: "Claude: Settings, Connectors: remove it, then add it again.",
  },
  {
    named: /^chatgpt|^openai-mcp/i,
    redirect: (uri) => uri.startsWith("https://chatgpt.com/"),
    step: "ChatGPT: Settings, Apps (or Connectors): delete it, then create it again.",
  },
  {
    named: /^cursor/i,
    redirect: (uri) => uri.startsWith("cursor:") || onLoopback(uri),
    step: "Cursor: Settings, Tools & MCP: log out of the server, or delete and add it.",
  },
  {
    named: /^visual studio code/i,
    redirect: (uri) =>
      /^https:\/\/(insiders\.)?vscode\.dev\/|^http:\/\/127\.0\.0\.1(:\d+)?\/?$/.test(uri),
    step: "VS Code: run “MCP: List Servers”, choose the server, then Disconnect Account.",
  },
  {
    named: /^claude.?code/i,
    redirect: onLoopback,
    step: "Claude Code: `/mcp`, choose the server, then Clear authentication.",
  },
  {
    named: /^codex/i,
    redirect: onLoopback,
    step: "Codex: `codex mcp logout <name>`, then `codex mcp login <name>`.",
  },
  { named: /^gemini/i, redirect: onLoopback, step: "Gemini CLI: `/mcp auth <name>`." },
  {
    named: /mcp-remote|^mcp cli proxy/i,
    redirect: (uri) => /^http:\/\/(localhost|127\.0\.0\.1):\d+\/oauth\/callback$/.test(uri),
    step: "mcp-remote: delete `~/.mcp-auth` and connect again.",
  },
  {
    redirect: onLoopback,
    step: "Any other: log out of the server there, or delete and add it.",
  },
];

/** The same for all of them. */
export const removeAndAdd =
  "Remove this server in the client and add it again, so that the client registers anew.";

/**
 * What to press, a sentence each: in the client that has one of these names, else in those that use such redirect URIs; none
 * when nothing tells which it is.
 */
export function forgettingSteps(
  redirectUris: readonly string[],
  names: readonly string[] = [],
): string[] {
  const isNamed = ({ named }: Recipe): boolean =>
    named !== undefined && names.some((name) => named.test(name));
  const known = recipes.filter(isNamed);
  const likely = recipes.filter(({ redirect }) => redirectUris.some(redirect));
  return (known.length > 0 ? known : likely).map(({ step }) => step);
}

/** For a page: how to make a client register anew, a line each; of one that nothing is known of, the steps of all. */
export function registerAnew(redirectUris: readonly string[]): string {
  const likely = forgettingSteps(redirectUris);
  const steps = likely.length > 0 ? likely : recipes.map(({ step }) => step);
  return [removeAndAdd, ...steps].join("\n");
}

// Measured: Codex, Claude Code and Copilot do not fall back to registration by themselves.
/** For clients whose own document could not be used: how to let them in by another way. */
export const withoutDocument: readonly string[] = [
  "Codex: log in with `codex mcp login <name> --oauth-client-registration dcr`.",
  "Claude Code and Copilot: give the server a fixed client id in their settings, or try again later.",
];
