// What a person reads when a client cannot be let in as it comes: who it seems to be, and what to press in it. No client can
// be told by a server that its id is gone; only the person can make it register again.
import { OAuthError } from "../errors.ts";
import { isLoopbackRedirect } from "./rules.ts";

/** In each client, what makes it register anew; told by the redirect URIs that were seen of it. */
const steps: readonly { readonly redirect: (uri: string) => boolean; readonly step: string }[] = [
  {
    redirect: (uri) => /^https:\/\/claude\.(ai|com)\//.test(uri),
    step: "Claude: Settings, Connectors: remove it, then add it again.",
  },
  {
    redirect: (uri) => uri.startsWith("https://chatgpt.com/"),
    step: "ChatGPT: Settings, Apps (or Connectors): delete it, then create it again.",
  },
  {
    redirect: (uri) => uri.startsWith("cursor:") || isLoopbackRedirect(uri),
    step: "Cursor: Settings, Tools & MCP: log out of the server, or delete and add it.",
  },
  {
    redirect: (uri) =>
      /^https:\/\/(insiders\.)?vscode\.dev\/|^http:\/\/127\.0\.0\.1(:\d+)?\/?$/.test(uri),
    step: "VS Code: run “MCP: List Servers”, choose the server, then Disconnect Account.",
  },
  {
    redirect: isLoopbackRedirect,
    step: "Claude Code: `/mcp`, choose the server, then Clear authentication.",
  },
  {
    redirect: isLoopbackRedirect,
    step: "Codex: `codex mcp logout <name>`, then `codex mcp login <name>`.",
  },
  { redirect: isLoopbackRedirect, step: "Gemini CLI: `/mcp auth <name>`." },
  {
    redirect: (uri) => /^http:\/\/(localhost|127\.0\.0\.1):\d+\/oauth\/callback$/.test(uri),
    step: "mcp-remote: delete `~/.mcp-auth` and connect again.",
  },
  {
    redirect: isLoopbackRedirect,
    step: "Any other: log out of the server there, or delete and add it.",
  },
];

/** How to make a client register anew: the steps of those that use such redirect URIs, else of all. */
export function registerAnew(redirectUris: readonly string[]): string {
  const likely = steps.filter(({ redirect }) => redirectUris.some(redirect));
  return [
    "Remove this server in the client and add it again, so that the client registers anew.",
    ...(likely.length > 0 ? likely : steps).map(({ step }) => step),
  ].join("\n");
}

/** What a client sent that its maker alone can change. */
export const updateClient =
  "Update the client: only its maker can change what it sends.\nIf that does not help, tell the maker what stands above.";

/** RFC 6749 §4.1.2.1: an id that is not registered here is told to the person and never redirected. */
export function unknownClient(id: string, redirectUri: string | undefined): OAuthError {
  const asked = redirectUri === undefined ? [] : [redirectUri];
  return new OAuthError("invalid_client", "The client is not registered with this server.", {
    status: 400,
    title: "This server does not know the client",
    detail: `unknown client_id ${id}`,
    advice: registerAnew(asked),
    facts: {
      sent: [`client_id=${id}`, ...asked.map((uri) => `redirect_uri=${uri}`)],
      expected: ["the client_id of a client that is registered here"],
    },
  });
}
