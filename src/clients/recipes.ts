// How to connect each client: one table for the page "Connect a client", `postern connect` and `clients add --for`. What a
// step looks like on a page is web/connect_page.ts, on a terminal cli/connect.ts. How each forgets an id is forgetting.ts.

/** One thing to do. In sentences `code` and **names of buttons** are marked, and [links](https://...). */
export type Step =
  | { readonly say: string }
  /** To be pasted whole: a text, the words of a command, or a piece of JSON. */
  | { readonly paste: string | readonly string[] | { readonly json: unknown } }
  /** A button that does it all, where a browser can press it. */
  | { readonly press: string; readonly url: string; readonly scheme: string };

/** An id that was made by hand, and where it is for. */
export interface GivenId {
  readonly url: string;
  readonly id: string;
  /** "" for a client without one. */
  readonly secret: string;
}

export interface Recipe {
  readonly title: string;
  /** It runs at its maker's and reaches nothing on loopback. */
  readonly hosted?: true;
  /** @param name what the client calls the server in its own list */
  readonly steps: (name: string, url: string) => readonly Step[];
  /** For a client that takes an id made by hand. */
  readonly byHand?: {
    readonly name: string;
    /** As these clients were seen to send them; loopback ones match any port. */
    readonly redirectUris: readonly string[];
    readonly steps: (given: GivenId) => readonly Step[];
  };
}

const say = (text: string): Step => ({ say: text });
const paste = (text: string): Step => ({ paste: text });
const run = (...words: readonly string[]): Step => ({ paste: words });
const json = (value: unknown): Step => ({ paste: { json: value } });

/** One shell word; a URL of ours has no quotes, but brackets of an IPv6 host are patterns to zsh. */
const word = (text: string): string => (/^[\w.:/~-]+$/.test(text) ? text : `"${text}"`);

const claude: Recipe = {
  title: "Claude: web, desktop, phone",
  hosted: true,
  steps: (name, url) => [
    say(
      "Open [Customize → Connectors](https://claude.ai/customize/connectors), press +, then **Add custom connector**.",
    ),
    say(`Name: \`${name}\`. Leave the advanced settings empty. URL:`),
    paste(url),
    say("Press **Add**, then **Connect**. It is then there on desktop and phone, too."),
  ],
  byHand: {
    name: "Claude",
    redirectUris: [
      "https://claude.ai/api/mcp/auth_callback",
      "https://claude.com/api/mcp/auth_callback",
    ],
    steps: ({ url }) => [
      say("Add a custom connector with this URL:"),
      paste(url),
      say("Open its advanced settings and paste id and secret there."),
    ],
  },
};

const claudeCode: Recipe = {
  title: "Claude Code",
  steps: (name, url) => [
    say("In a terminal:"),
    run("claude mcp add", "--scope", "user", "--transport", "http", name, word(url)),
    say(`Then, in Claude Code, type \`/mcp\`, choose \`${name}\` and **Authenticate**.`),
  ],
};

const chatgpt: Recipe = {
  title: "ChatGPT",
  hosted: true,
  steps: (name, url) => [
    say(
      "In Settings → Apps → Advanced settings switch on **Developer mode**. In older versions “Apps” is called “Connectors”.",
    ),
    say(`Press **Create app**. Name: \`${name}\`, authentication: **OAuth**, MCP server URL:`),
    paste(url),
    say("Press **Create** and allow it."),
  ],
  byHand: {
    name: "ChatGPT",
    redirectUris: ["https://chatgpt.com/connector_platform_oauth_redirect"],
    steps: ({ url }) => [
      say("Create a connector with your own OAuth client and this URL:"),
      paste(url),
      say(
        "Paste id and secret there. Shows it another redirect URL? Add the client again with --redirect and that URL.",
      ),
    ],
  },
};

const cursor: Recipe = {
  title: "Cursor",
  steps: (name, url) => {
    const config = encodeURIComponent(Buffer.from(JSON.stringify({ url })).toString("base64"));
    const link = `cursor://anysphere.cursor-deeplink/mcp/install?name=${name}&config=${config}`;
    return [
      { press: "Add to Cursor", url: link, scheme: "cursor" },
      say("Put this into `~/.cursor/mcp.json`:"),
      json({ mcpServers: { [name]: { url } } }),
    ];
  },
  byHand: {
    name: "Cursor",
    redirectUris: ["cursor://anysphere.cursor-mcp/oauth/callback", "http://localhost/callback"],
    steps: ({ url, id, secret }) => [
      say("Put this into `~/.cursor/mcp.json`:"),
      json({ mcpServers: { postern: { url, auth: { CLIENT_ID: id, CLIENT_SECRET: secret } } } }),
    ],
  },
};

const vscode: Recipe = {
  title: "VS Code",
  steps: (name, url) => [
    {
      press: "Add to VS Code",
      url: `vscode:mcp/install?${encodeURIComponent(JSON.stringify({ name, type: "http", url }))}`,
      scheme: "vscode",
    },
    say("Run **MCP: Add Server** from the command palette, choose **HTTP** and paste the address."),
    say("Or put this into `.vscode/mcp.json`:"),
    json({ servers: { [name]: { type: "http", url } } }),
  ],
  byHand: {
    name: "Visual Studio Code",
    redirectUris: [
      "http://127.0.0.1/",
      "https://vscode.dev/redirect",
      "https://insiders.vscode.dev/redirect",
    ],
    steps: ({ url }) => [
      say("Add an HTTP server with this URL:"),
      paste(url),
      say("Paste the id, and the secret when it asks for one."),
    ],
  },
};

const codex: Recipe = {
  title: "Codex",
  steps: (name, url) => [
    say("In a terminal:"),
    run("codex mcp add", name, "--url", word(url)),
    say("It opens the browser. If it does not:"),
    run("codex mcp login", name),
  ],
  byHand: {
    name: "Codex",
    redirectUris: ["http://127.0.0.1/callback", "http://localhost/callback"],
    steps: ({ url, id }) => [
      say("Put this into `~/.codex/config.toml`:"),
      paste(`[mcp_servers.postern]\nurl = "${url}"\noauth_client_id = "${id}"`),
      run("codex mcp login", "postern"),
    ],
  },
};

const gemini: Recipe = {
  title: "Gemini CLI",
  steps: (name, url) => [
    say("In a terminal:"),
    run("gemini mcp add", "--scope", "user", "--transport", "http", name, word(url)),
    say("Then, in Gemini CLI:"),
    run("/mcp auth", name),
  ],
  byHand: {
    name: "Gemini CLI",
    redirectUris: ["http://localhost/oauth/callback"],
    steps: ({ url, id, secret }) => [
      say("Put this into `~/.gemini/settings.json`, under mcpServers:"),
      json({
        postern: { httpUrl: url, oauth: { enabled: true, clientId: id, clientSecret: secret } },
      }),
    ],
  },
};

const copilot: Recipe = {
  title: "Copilot CLI",
  steps: (_name, url) => [
    say("In Copilot CLI, type `/mcp add`, choose **HTTP** and paste:"),
    paste(url),
  ],
};

const opencode: Recipe = {
  title: "opencode",
  steps: (name, url) => [
    say("Put this into `opencode.json`:"),
    json({ mcp: { [name]: { type: "remote", url } } }),
    say("Then, in a terminal:"),
    run("opencode mcp auth", name),
  ],
};

const inspector: Recipe = {
  title: "MCP Inspector",
  steps: (_name, url) => [
    run("npx", "@modelcontextprotocol/inspector"),
    say("Choose **Streamable HTTP** and paste:"),
    paste(url),
  ],
  byHand: {
    name: "MCP Inspector",
    redirectUris: ["http://localhost/oauth/callback", "http://127.0.0.1/oauth/callback"],
    steps: ({ url }) => [
      say("Connect to this URL:"),
      paste(url),
      say("Paste the id under Authentication."),
    ],
  },
};

const other: Recipe = {
  title: "Any other client",
  steps: (name, url) => [
    say(
      "Choose “HTTP” or “Streamable HTTP” with OAuth, and paste the address. No client id, no secret, no header is needed.",
    ),
    say("A client that can only start programs goes through `mcp-remote` (needs Node):"),
    json({ mcpServers: { [name]: { command: "npx", args: ["-y", "mcp-remote", url] } } }),
  ],
};

/** By the word that stands for each on the command line, in the order of the page. */
export const recipes: Readonly<Record<string, Recipe>> = {
  claude,
  "claude-code": claudeCode,
  chatgpt,
  cursor,
  vscode,
  codex,
  gemini,
  copilot,
  opencode,
  inspector,
  other,
};
