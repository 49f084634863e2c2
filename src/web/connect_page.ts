// "Connect a client": the address to paste, and the exact line or click for each big client.
import type { Server } from "../config.ts";
import { isLoopbackHost } from "../values.ts";
import { type Html, type PageFrame, href, html, local, page } from "./html.ts";
import { type HiddenFields, hiddenInputs } from "./pages.ts";

export interface ConnectPage extends PageFrame {
  readonly servers: readonly Pick<Server, "name" | "resource">[];
  /** Of the sign-out form. */
  readonly hidden: HiddenFields;
}

/** For the signed-in owner. Its one form POSTs to /logout. */
export function connectPage({ base, servers, hidden }: ConnectPage): Response {
  const several = servers.length > 1;
  return page(
    { base, title: "Connect a client", forms: "own" },
    html`<h1>Connect a client</h1>
      <p>
        Give your client this address. It opens a page of this server, where you allow it once. One
        click selects a whole box.
      </p>
      ${servers.map(
        (server) =>
          html`${several && html`<h2>${server.name}</h2>`}
            <pre>${server.resource}</pre>
            ${clientsFor(server)}`,
      )}
      <form method="post" action="${local(base, "/logout")}">
        ${hiddenInputs(hidden)}
        <button>Sign out</button>
      </form>`,
  );
}

/** What a client calls the server in its own list: letters, digits and dashes, as all of them take it. */
export function entryName({ name, resource }: Pick<Server, "name" | "resource">): string {
  // The name that nobody chose is host and path, which makes a poor entry.
  const last = new URL(resource).pathname.split("/").at(-1) ?? "";
  const chosen = resource.endsWith(`//${name}`) ? (last === "mcp" ? "" : last) : name;
  const entry = chosen
    .normalize("NFKD")
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .slice(0, 32)
    .replace(/^-+|-+$/g, "");
  return entry || "postern";
}

/** One shell word; a URL of ours has no quotes, but brackets of an IPv6 host are patterns to zsh. */
const word = (text: string): string => (/^[\w.:/~-]+$/.test(text) ? text : `"${text}"`);

const json = (value: unknown): Html => html`<pre>${JSON.stringify(value, null, 2)}</pre>`;

/** A command line whose options do not break at their dashes on a narrow screen. */
const command = (...words: readonly string[]): Html =>
  html`<pre>
${words.map((text, index) => html`${index > 0 && " "}${text.startsWith("-") ? html`<span class="whole">${text}</span>` : text}`)}</pre>`;

function clientsFor(server: Pick<Server, "name" | "resource">): Html[] {
  const url = server.resource;
  const name = entryName(server);
  const onLoopback = isLoopbackHost(new URL(url).hostname);
  const away = onLoopback
    ? html`<p class="note" role="note">
        It connects from its maker’s data center and cannot reach <code>${new URL(url).host}</code>.
        Give this server a public https address first: start it with
        <code>--url https://…</code> behind a tunnel or reverse proxy.
      </p>`
    : undefined;
  const client = (title: string, body: Html, open = false): Html =>
    html`<details${open && html` open`}><summary>${title}</summary>
${body}</details>
`;
  return [
    client("Claude: web, desktop, phone", claude(name, url, away), !onLoopback),
    client("Claude Code", claudeCode(name, url), onLoopback),
    client("ChatGPT", chatgpt(name, url, away)),
    client("Cursor", cursor(name, url)),
    client("VS Code", vscode(name, url)),
    client("Codex", codex(name, url)),
    client("Gemini CLI", gemini(name, url)),
    client("Any other client", other(name, url)),
  ];
}

const claude = (name: string, url: string, away: Html | undefined): Html =>
  html`${away}
    <ol>
      <li>
        Open ${link("https://claude.ai/customize/connectors", "Customize → Connectors")}, press +,
        then <strong>Add custom connector</strong>.
      </li>
      <li>
        Name: <code>${name}</code>, URL: the address below. Leave the advanced settings empty.
      </li>
      <li>
        Press <strong>Add</strong>, then <strong>Connect</strong>. It is then there on desktop and
        phone, too.
      </li>
    </ol>
    <pre>${url}</pre>`;

const claudeCode = (name: string, url: string): Html =>
  html`<p>In a terminal:</p>
    ${command("claude mcp add", "--scope", "user", "--transport", "http", name, word(url))}
    <p>
      Then, in Claude Code, type <code>/mcp</code>, choose <code>${name}</code> and
      <strong>Authenticate</strong>.
    </p>`;

const chatgpt = (name: string, url: string, away: Html | undefined): Html =>
  html`${away}
    <ol>
      <li>
        In Settings → Apps → Advanced settings switch on <strong>Developer mode</strong>. In older
        versions “Apps” is called “Connectors”.
      </li>
      <li>
        Press <strong>Create app</strong>. Name: <code>${name}</code>, MCP server URL: the address
        below, authentication: <strong>OAuth</strong>.
      </li>
      <li>Press <strong>Create</strong> and allow it.</li>
    </ol>
    <pre>${url}</pre>`;

function cursor(name: string, url: string): Html {
  const config = encodeURIComponent(Buffer.from(JSON.stringify({ url })).toString("base64"));
  return html`<p>
      ${link(`cursor://anysphere.cursor-deeplink/mcp/install?name=${name}&config=${config}`, "Add to Cursor", "cursor")}
    </p>
    <p>Or put this into <code>~/.cursor/mcp.json</code>:</p>
    ${json({ mcpServers: { [name]: { url } } })}`;
}

function vscode(name: string, url: string): Html {
  const entry = JSON.stringify({ name, type: "http", url });
  return html`<p>
      ${link(`vscode:mcp/install?${encodeURIComponent(entry)}`, "Add to VS Code", "vscode")}
    </p>
    <p>
      Or run <strong>MCP: Add Server</strong> from the command palette, choose
      <strong>HTTP</strong> and paste the address. Or put this into <code>.vscode/mcp.json</code>:
    </p>
    ${json({ servers: { [name]: { type: "http", url } } })}`;
}

const codex = (name: string, url: string): Html =>
  html`<p>In a terminal:</p>
    ${command("codex mcp add", name, "--url", word(url))}
    <p>It opens the browser. If it does not:</p>
    ${command("codex mcp login", name)}`;

const gemini = (name: string, url: string): Html =>
  html`<p>In a terminal:</p>
    ${command("gemini mcp add", "--scope", "user", "--transport", "http", name, word(url))}
    <p>Then, in Gemini CLI:</p>
    ${command("/mcp auth", name)}`;

const other = (name: string, url: string): Html =>
  html`<p>
      Choose “HTTP” or “Streamable HTTP” with OAuth, and paste the address. No client id, no secret,
      no header is needed.
    </p>
    <p>A client that can only start programs goes through <code>mcp-remote</code> (needs Node):</p>
    ${json({ mcpServers: { [name]: { command: "npx", args: ["-y", "mcp-remote", url] } } })}`;

function link(url: string, text: string, scheme?: string): Html {
  const target = href(url, scheme === undefined ? [] : [scheme]);
  return scheme === undefined
    ? html`<a href="${target}" rel="noreferrer">${text}</a>`
    : html`<a class="button" href="${target}">${text}</a>`;
}
