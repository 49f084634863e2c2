// The request shapes of real clients, one entry each: what it sends, in which order, and when. Seen on the wire of twelve
// of them, or told in their public issue trackers. The tests play them, and so does postern doctor.
import type { ClientShape, Probe, PublishedDocument, Registration } from "./shape.ts";

const grants = {
  grant_types: ["authorization_code", "refresh_token"],
  response_types: ["code"],
};
const publicClient = { ...grants, token_endpoint_auth_method: "none" };
const registered = (client_name: string, metadata: Registration["metadata"]): Registration => ({
  by: "registration",
  metadata: { ...publicClient, client_name, ...metadata },
});
const published = (
  host: string,
  path: string,
  document: PublishedDocument["document"],
): PublishedDocument => ({
  by: "document",
  host,
  path,
  document: { ...publicClient, ...document },
});

const RESOURCE = "/.well-known/oauth-protected-resource";
const SERVER = "/.well-known/oauth-authorization-server";
const OPENID = "/.well-known/openid-configuration";
const usualDiscovery = [`${RESOURCE}/mcp`, SERVER];
const usualFallbacks = [RESOURCE, OPENID];

const initialize: Probe = { method: "POST", message: "initialize" };
const discover: Probe = { method: "POST", message: "server/discover" };

/** A program on the owner's machine, as most are. */
const local = {
  hosted: false,
  typed: "/mcp",
  probes: [initialize],
  revision: "2025-11-25",
  discovery: usualDiscovery,
  fallbacks: usualFallbacks,
  scope: "challenge",
  resourceForTokens: true,
  refresh: { when401: true },
  whenUnknown: "waits",
} as const satisfies Partial<ClientShape>;

const hosted = {
  ...local,
  hosted: true,
  whenUnknown: "registers",
} as const satisfies Partial<ClientShape>;

const claudeCode = {
  ...local,
  probes: [discover],
  revision: "2026-07-28",
  redirectUri: "http://localhost:PORT/callback",
  prompt: "consent",
  // More than four seconds; how many was not found out.
  refresh: { ahead: 5, when401: true },
  agents: ["claude-code/2.1.329", "claude-code/2.1.329"],
} as const satisfies Partial<ClientShape>;

const chatGpt = {
  ...hosted,
  scope: "supported",
  agents: ["Python/3.12 aiohttp/3.11", "openai-mcp/1.0.0"],
} as const satisfies Partial<ClientShape>;

const codex = {
  ...local,
  // At every start, with a good token too.
  probes: [
    {
      method: "GET",
      headers: { accept: "text/event-stream", "mcp-protocol-version": "2024-11-05" },
    },
  ],
  fallbacks: [
    ...usualFallbacks,
    "/mcp/.well-known/oauth-protected-resource",
    `${OPENID}/mcp`,
    "/mcp/.well-known/openid-configuration",
  ],
  redirectUri: "http://127.0.0.1:PORT/callback",
  refresh: { ahead: 30, when401: true, scope: true },
} as const satisfies Partial<ClientShape>;

const copilot = {
  ...local,
  probes: [{ ...discover, headers: { accept: "text/event-stream, application/json" } }],
  revision: "2026-07-28",
  prompt: "consent",
  refresh: { ahead: 0, when401: false, scope: true },
} as const satisfies Partial<ClientShape>;

export const clientShapes: readonly ClientShape[] = [
  {
    ...hosted,
    name: "Claude.ai",
    word: "claude",
    identity: registered("Claude", {
      client_uri: "https://claude.ai",
      logo_uri: "",
      scope: "mcp",
      redirect_uris: ["https://claude.ai/api/mcp/auth_callback"],
    }),
    redirectUri: "https://claude.ai/api/mcp/auth_callback",
    scope: "supported",
    agents: ["python-httpx/0.28.1", "Claude-User"],
  },
  {
    ...claudeCode,
    name: "Claude Code, by document",
    word: "claude-code",
    identity: published("claude.ai", "/oauth/claude-code-client-metadata", {
      client_name: "Claude Code",
      client_uri: "https://claude.ai",
      redirect_uris: ["http://localhost/callback", "http://127.0.0.1/callback"],
    }),
  },
  {
    ...claudeCode,
    name: "Claude Code, registered",
    word: "claude-code",
    identity: registered("Claude Code", {
      redirect_uris: ["http://localhost:PORT/callback"],
    }),
  },
  {
    ...chatGpt,
    name: "ChatGPT, by document",
    word: "chatgpt",
    identity: {
      ...published("chatgpt.com", "/oauth/f00d/client.json", {
        client_name: "ChatGPT",
        redirect_uris: ["https://chatgpt.com/connector/oauth/f00d"],
        token_endpoint_auth_method: "private_key_jwt",
        token_endpoint_auth_methods_supported: ["private_key_jwt", "none"],
        token_endpoint_auth_signing_alg: "RS256",
      }),
      keys: "/oauth/jwks.json",
    },
    redirectUri: "https://chatgpt.com/connector/oauth/f00d",
    resourceForTokens: true,
  },
  {
    ...chatGpt,
    name: "ChatGPT, registered",
    word: "chatgpt",
    identity: registered("ChatGPT", {
      redirect_uris: ["https://chatgpt.com/connector_platform_oauth_redirect"],
    }),
    redirectUri: "https://chatgpt.com/connector_platform_oauth_redirect",
    resourceForTokens: false,
  },
  {
    ...local,
    name: "Cursor",
    word: "cursor",
    identity: registered("Cursor", {
      application_type: "web",
      redirect_uris: [
        "cursor://anysphere.cursor-mcp/oauth/callback",
        "http://localhost:8787/callback",
        "https://www.cursor.com/agents/mcp/oauth/callback",
      ],
    }),
    redirectUri: "cursor://anysphere.cursor-mcp/oauth/callback",
  },
  {
    ...local,
    name: "VS Code",
    word: "vscode",
    typed: "/mcp/",
    discovery: [`${RESOURCE}/mcp/`, SERVER],
    comparesResource: true,
    identity: registered("Visual Studio Code", {
      client_uri: "https://code.visualstudio.com",
      redirect_uris: [
        "https://insiders.vscode.dev/redirect",
        "https://vscode.dev/redirect",
        "http://127.0.0.1/",
        "http://127.0.0.1:33418/",
      ],
    }),
    redirectUri: "http://127.0.0.1:PORT/",
    scope: "supported",
    whenUnknown: "keeps",
  },
  {
    ...copilot,
    name: "Copilot CLI, by document",
    word: "copilot",
    identity: published("github.com", "/copilot/cli/client-metadata.json", {
      client_name: "GitHub Copilot CLI",
      redirect_uris: ["http://127.0.0.1/callback"],
    }),
    redirectUri: "http://127.0.0.1:PORT/callback",
  },
  {
    ...copilot,
    name: "Copilot CLI, registered",
    word: "copilot",
    identity: registered("GitHub Copilot CLI", {
      redirect_uris: ["http://127.0.0.1:PORT/"],
    }),
    redirectUri: "http://127.0.0.1:PORT/",
    scope: "none",
  },
  {
    ...codex,
    name: "Codex, by document",
    word: "codex",
    identity: published("chatgpt.com", "/oauth/codex/client.json", {
      client_name: "Codex",
      redirect_uris: ["http://127.0.0.1/callback", "http://localhost/callback"],
    }),
  },
  {
    ...codex,
    name: "Codex, registered",
    word: "codex",
    identity: registered("Codex", {
      redirect_uris: ["http://127.0.0.1:PORT/callback"],
    }),
    scope: "words",
    words: "openid profile email offline_access",
  },
  {
    ...local,
    name: "Gemini CLI",
    word: "gemini",
    probes: [initialize, { method: "HEAD" }],
    revision: "2025-06-18",
    comparesResource: true,
    identity: registered("Gemini CLI MCP Client", {
      code_challenge_method: ["S256"],
      redirect_uris: ["http://localhost:PORT/oauth/callback"],
    }),
    redirectUri: "http://localhost:PORT/oauth/callback",
    refresh: { ahead: 300, when401: false, twice: true },
  },
  {
    ...local,
    name: "mcp-remote",
    word: "mcp-remote",
    probes: [{ method: "GET", headers: { accept: "*/*", "accept-encoding": "identity" } }],
    fallbacks: [...usualFallbacks, `${SERVER}/mcp`],
    identity: registered("MCP CLI Proxy", {
      client_uri: "https://github.com/geelen/mcp-remote",
      software_id: "2e6dc280-f3c3-4e01-99a7-8181dbd1d23d",
      software_version: "0.15.1",
      scope: "mcp offline_access",
      redirect_uris: ["http://localhost:3334/oauth/callback"],
    }),
    redirectUri: "http://localhost:3334/oauth/callback",
    prompt: "consent",
    asksBeforeBrowser: true,
    refresh: { ahead: 5, when401: true, scope: true },
    whenUnknown: "registers",
  },
  {
    ...local,
    name: "Inspector",
    word: "inspector",
    fallbacks: [...usualFallbacks, `${SERVER}/mcp`],
    identity: registered("MCP Inspector", {
      client_uri: "https://github.com/modelcontextprotocol/inspector",
      redirect_uris: ["http://localhost:6274/oauth/callback"],
    }),
    redirectUri: "http://localhost:6274/oauth/callback",
    prompt: "consent",
    whenUnknown: "registers",
    origin: "http://localhost:6274",
  },
  {
    ...local,
    name: "opencode",
    word: "opencode",
    comparesResource: true,
    identity: {
      ...registered("OpenCode", {
        client_uri: "https://opencode.ai",
        redirect_uris: ["http://127.0.0.1:19876/mcp/oauth/callback"],
      }),
      times: 2,
    },
    redirectUri: "http://127.0.0.1:19876/mcp/oauth/callback",
    prompt: "consent",
  },
  {
    ...local,
    name: "mcporter",
    word: "mcporter",
    identity: registered("mcporter (postern)", {
      redirect_uris: ["http://127.0.0.1:PORT/callback"],
    }),
    redirectUri: "http://127.0.0.1:PORT/callback",
    whenUnknown: "registers",
  },
];
