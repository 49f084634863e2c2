// postern clients add: registers a client by hand and says what to paste where. For clients that cannot register
// themselves, for closed registration, and for MCP servers on other hosts.
import type { NewClient } from "../admin/clients.ts";
import type { Config } from "../config.ts";
import { FatalError } from "../errors.ts";
import { didYouMean } from "../values.ts";
import { recipes } from "../clients/recipes.ts";
import { callAdmin } from "./admin_client.ts";
import type { CommandLine } from "./command_line.ts";
import { stepLines } from "./connect.ts";

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
  const presets = new Map(
    Object.entries(recipes).flatMap(([word, { byHand }]) => (byHand ? [[word, byHand]] : [])),
  );
  const names = [...presets.keys()];
  const found = preset === undefined ? undefined : presets.get(preset);
  if (preset !== undefined && !found) {
    throw new FatalError(`there is no preset for ${preset}`, {
      exitCode: 2,
      hint: `${didYouMean(preset, names)}; any other client: --redirect <its redirect URI>`,
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
  const { resource: url, client_id: id, client_secret: secret = "" } = made;
  const steps = found?.steps({ url, id, secret }).flatMap(stepLines);
  return {
    ...made,
    steps: steps ?? [`URL: ${url}`, "Paste the id, and the secret when it asks for one."],
  };
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
