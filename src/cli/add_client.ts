// postern clients add: registers a client by hand and says what to paste where. For clients that cannot register
// themselves, for closed registration, and for MCP servers on other hosts.
import type { NewClient } from "../admin/clients.ts";
import type { Config } from "../config.ts";
import { FatalError } from "../errors.ts";
import { nearest } from "../values.ts";
import type { CommandLine } from "./command_line.ts";
import { callAdmin } from "./admin_client.ts";

interface Preset {
  readonly name: string;
  readonly redirectUris: readonly string[];
  /** What to do with the id: one step a line. */
  readonly steps: (made: NewClient) => readonly string[];
}

const secretOf = ({ client_secret: secret = "" }: NewClient): string => secret;

/** Redirect URIs as these clients were seen to send them; loopback ones match any port. */
const presets: Readonly<Record<string, Preset>> = {
  claude: {
    name: "Claude",
    redirectUris: [
      "https://claude.ai/api/mcp/auth_callback",
      "https://claude.com/api/mcp/auth_callback",
    ],
    steps: ({ resource: url }) => [
      `Add a custom connector with the URL ${url}`,
      "Open its advanced settings and paste id and secret there",
    ],
  },
  chatgpt: {
    name: "ChatGPT",
    redirectUris: ["https://chatgpt.com/connector_platform_oauth_redirect"],
    steps: ({ resource: url }) => [
      `Create a connector with the URL ${url} and choose your own OAuth client`,
      "Paste id and secret there. Shows it another redirect URL? Add the client again with --redirect and that URL",
    ],
  },
  vscode: {
    name: "Visual Studio Code",
    redirectUris: [
      "http://127.0.0.1/",
      "https://vscode.dev/redirect",
      "https://insiders.vscode.dev/redirect",
    ],
    steps: ({ resource: url }) => [
      `Add an HTTP server with the URL ${url}`,
      "Paste the id, and the secret when it asks for one",
    ],
  },
  cursor: {
    name: "Cursor",
    redirectUris: ["cursor://anysphere.cursor-mcp/oauth/callback", "http://localhost/callback"],
    steps: (made) => [
      "Put into mcp.json, under mcpServers:",
      JSON.stringify({
        postern: {
          url: made.resource,
          auth: { CLIENT_ID: made.client_id, CLIENT_SECRET: secretOf(made) },
        },
      }),
    ],
  },
  codex: {
    name: "Codex",
    redirectUris: ["http://127.0.0.1/callback", "http://localhost/callback"],
    steps: (made) => [
      "Put into config.toml:",
      `[mcp_servers.postern]\nurl = "${made.resource}"\noauth_client_id = "${made.client_id}"`,
      "Then: codex mcp login postern",
    ],
  },
  gemini: {
    name: "Gemini CLI",
    redirectUris: ["http://localhost/oauth/callback"],
    steps: (made) => [
      "Put into settings.json, under mcpServers:",
      JSON.stringify({
        postern: {
          httpUrl: made.resource,
          oauth: { enabled: true, clientId: made.client_id, clientSecret: secretOf(made) },
        },
      }),
    ],
  },
  inspector: {
    name: "MCP Inspector",
    redirectUris: ["http://localhost/oauth/callback", "http://127.0.0.1/oauth/callback"],
    steps: ({ resource: url }) => [`Connect to ${url}`, "Paste the id under Authentication"],
  },
};

/** `clients add --for <client>`, `--redirect <uri>` or `--resource-server <name>`. Resolves to the exit code. */
export async function addClient(config: Config, { flags, json }: CommandLine): Promise<number> {
  const resourceServer = flags["resource-server"];
  const made =
    resourceServer === undefined
      ? await addUserClient(config, flags.for, flags.redirect)
      : await addResourceServer(config, resourceServer);
  const { steps, ...ids } = made;
  const text = json
    ? JSON.stringify(ids, null, 2)
    : [
        `client id      ${ids.client_id}`,
        ...(ids.client_secret === undefined
          ? []
          : [`client secret  ${ids.client_secret}   (shown this once)`]),
        "",
        ...steps,
      ].join("\n");
  process.stdout.write(`${text}\n`);
  return 0;
}

type Made = NewClient & { readonly steps: readonly string[] };

async function addUserClient(
  config: Config,
  preset: string | undefined,
  redirect: string | undefined,
): Promise<Made> {
  const names = Object.keys(presets);
  const found = preset === undefined ? undefined : presets[preset];
  if (preset !== undefined && !found) {
    throw new FatalError(`there is no preset for ${preset}`, {
      exitCode: 2,
      hint: `did you mean ${nearest(preset, names) ?? names.join(", ")}? Any other client: --redirect <its redirect URI>`,
    });
  }
  const uris = [...(redirect === undefined ? [] : [redirect]), ...(found?.redirectUris ?? [])];
  if (uris.length === 0) {
    throw new FatalError("which client?", {
      exitCode: 2,
      hint: `--for ${names.join("|")}, --redirect <uri> or --resource-server <name>`,
    });
  }
  const made = await callAdmin<NewClient>(config, "POST", "/clients", {
    client_name: found?.name ?? (URL.parse(redirect ?? "")?.host || "Client"),
    redirect_uris: uris,
    confidential: true,
  });
  const usual = [`URL: ${made.resource}`, "Paste the id, and the secret when it asks for one"];
  return { ...made, steps: found?.steps(made) ?? usual };
}

async function addResourceServer(config: Config, name: string): Promise<Made> {
  const made = await callAdmin<NewClient>(config, "POST", "/clients", {
    client_name: name,
    resource_server: true,
  });
  return {
    ...made,
    steps: [
      `The MCP server asks POST ${made.issuer}/introspect (RFC 7662), with id and secret as Basic credentials and`,
      `token=<access token>, and takes requests only when the answer says "active": true.`,
      `Its resource is ${made.resource}`,
    ],
  };
}
