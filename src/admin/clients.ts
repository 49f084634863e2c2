// Registered clients as their owner sees and changes them. Registration by clients themselves is oauth/register.ts.
import type { Deps } from "../deps.ts";
import { OAuthError } from "../errors.ts";
import { ensureFolder, idKindOf, newClientId, verifiedHost } from "../oauth/clients.ts";
import { deleteClient } from "../oauth/grants.ts";
import { rememberRemoved } from "../oauth/lost_client.ts";
import { grantTypes, responseTypes } from "../oauth/metadata.ts";
import { readRedirectUris } from "../oauth/register.ts";
import { serverOf } from "../oauth/rules.ts";
import { newClientSecret } from "../oauth/tokens.ts";
import { seconds, sha256 } from "../primitives.ts";
import { type Client, clientExpiresAt } from "../store/records.ts";
import { type Asked, actorFields, readName, resolveId } from "./asked.ts";
import { type GrantRow, grantRows, isLive } from "./grants.ts";

export interface ClientRow extends Pick<
  Client,
  | "client_name"
  | "label"
  | "redirect_uris"
  | "client_id_issued_at"
  | "source"
  | "resource_server"
  | "first_grant_at"
  | "token_endpoint_auth_method"
> {
  /** What verbs take: the client_id, or a short stand-in for one that is a URL. */
  readonly id: string;
  readonly client_id: string;
  /** Host that vouches for the client: that of its document. */
  readonly verified_host?: string;
  /** How many of its connections live. */
  readonly grants: number;
  /** Latest use of any connection. */
  readonly last_used_at?: number;
  /** When it goes by itself; absent while it has a connection, and for clients that the owner added. */
  readonly expires_at?: number;
}

/** A URL would need slashes in a path, so its SHA-256 stands for it. */
const clientRowId = (clientId: string): string =>
  clientId.startsWith("https://") ? `u_${sha256(clientId).slice(0, 20)}` : clientId;

function rowOf(clientId: string, client: Client, grants: readonly GrantRow[]): ClientRow {
  const live = grants.filter(isLive);
  const host = verifiedHost(clientId, client);
  const expiresAt = clientExpiresAt(client, grants.length > 0);
  const { redirect_uris, client_id_issued_at, source, token_endpoint_auth_method } = client;
  return {
    id: clientRowId(clientId),
    client_id: clientId,
    ...(client.client_name !== undefined && { client_name: client.client_name }),
    ...(client.label !== undefined && { label: client.label }),
    source,
    ...(host !== undefined && { verified_host: host }),
    redirect_uris,
    ...(client.resource_server !== undefined && { resource_server: client.resource_server }),
    token_endpoint_auth_method,
    client_id_issued_at,
    ...(client.first_grant_at !== undefined && { first_grant_at: client.first_grant_at }),
    grants: live.length,
    ...(grants.length > 0 && { last_used_at: Math.max(...grants.map((row) => row.last_used_at)) }),
    ...(expiresAt !== undefined && { expires_at: expiresAt }),
  };
}

/** Those with connections first, then the newest. */
export async function clientRows(deps: Deps): Promise<ClientRow[]> {
  const grants = Map.groupBy(await grantRows(deps), (row) => row.client_id);
  return (await deps.store.clients.list())
    .map(([id, client]) => rowOf(id, client, grants.get(id) ?? []))
    .toSorted(
      (a, b) =>
        Number(b.grants > 0) - Number(a.grants > 0) ||
        b.client_id_issued_at - a.client_id_issued_at,
    );
}

async function findRow(typed: string, deps: Deps): Promise<ClientRow> {
  const rows = await clientRows(deps);
  const whole = rows.find((row) => row.client_id === typed);
  const id =
    whole?.id ??
    resolveId(
      typed,
      rows.map((row) => row.id),
      "client",
    );
  const row = rows.find((each) => each.id === id);
  if (!row) throw new OAuthError("invalid_request", `there is no client ${typed}`, { status: 404 });
  return row;
}

export const listClients = (_asked: Asked, deps: Deps): Promise<ClientRow[]> => clientRows(deps);

/** The client with its connections. */
export async function showClient({ id }: Asked, deps: Deps): Promise<unknown> {
  const row = await findRow(id, deps);
  const connections = (await grantRows(deps)).filter((each) => each.client_id === row.client_id);
  return { ...row, connections };
}

export interface NewClient {
  readonly client_id: string;
  readonly client_secret?: string;
  /** Of the server that the client was added to. */
  readonly issuer: string;
  /** The MCP server that it is for. */
  readonly resource: string;
}

/**
 * Registers a client by hand: `{client_name, redirect_uris, confidential}`, or with `{client_name, resource_server}` an
 * MCP server on another host that may introspect tokens for that resource (true: the first one). The secret is shown this
 * once.
 */
export async function addClient({ body, actor }: Asked, deps: Deps): Promise<NewClient> {
  const { config } = deps;
  const client = readNewClient(body, deps);
  const secret = client.token_endpoint_auth_method === "none" ? undefined : newClientSecret();
  const record = { ...client, ...(secret !== undefined && { secret_hash: sha256(secret) }) };
  const id = await deps.store.update((draft) => {
    // A command line without the server's settings must not rename the folder.
    const folder = draft.get("folder", "self") ?? ensureFolder(draft, config.issuer);
    const made = newClientId(folder.client_id_key, idKindOf(record));
    draft.put("clients", made, record);
    return made;
  });
  deps.audit.record("client_registered", {
    client: id,
    name: client.client_name,
    ...actorFields(actor),
  });
  return {
    client_id: id,
    ...(secret !== undefined && { client_secret: secret }),
    issuer: config.issuer,
    resource: client.resource_server ?? config.servers[0].resource,
  };
}

/** @throws {OAuthError} invalid_request, invalid_target, invalid_redirect_uri */
function readNewClient(asked: Asked["body"], deps: Deps): Client {
  const { client_name: name, redirect_uris: uris, confidential, resource_server: wanted } = asked;
  const common = {
    client_name: readName(name),
    scope: deps.config.scopes.join(" "),
    client_id_issued_at: seconds(deps.now()),
    source: "static" as const,
  };
  if (wanted !== undefined) {
    const resource = wanted === true ? deps.config.servers[0].resource : wanted;
    if (typeof resource !== "string" || !serverOf(deps.config, resource)) {
      throw new OAuthError(
        "invalid_target",
        `this server serves no resource ${JSON.stringify(wanted)}`,
      );
    }
    const none = { redirect_uris: [], grant_types: [], response_types: [] };
    return {
      ...common,
      ...none,
      token_endpoint_auth_method: "client_secret_basic",
      resource_server: resource,
    };
  }
  return {
    ...common,
    redirect_uris: readRedirectUris(uris),
    grant_types: [...grantTypes],
    response_types: [...responseTypes],
    token_endpoint_auth_method: confidential === true ? "client_secret_basic" : "none",
    // Not every client that takes an id has a field for the secret; PKCE binds the code either way.
    ...(confidential === true && { auth_optional: true }),
  };
}

/** Gives the client a name of the owner's own; consent pages go on showing the client's. */
export async function renameClient({ id, body, actor }: Asked, deps: Deps): Promise<unknown> {
  const name = readName(body["name"]);
  const row = await findRow(id, deps);
  const renamed = await deps.store.clients.update(
    row.client_id,
    (current) => current && { ...current, label: name },
  );
  if (!renamed)
    throw new OAuthError("invalid_request", `there is no client ${id}`, { status: 404 });
  deps.audit.record("client_renamed", { client: row.client_id, name, ...actorFields(actor) });
  return { id: row.id, name };
}

export async function removeClient({ id, actor }: Asked, deps: Deps): Promise<{ deleted: string }> {
  const { client_id: clientId } = await findRow(id, deps);
  await deps.store.revoke((draft) => {
    const client = deleteClient(draft, clientId);
    if (client) rememberRemoved(draft, [[clientId, client]], deps);
  });
  deps.audit.record("client_deleted", { client: clientId, ...actorFields(actor) });
  return { deleted: clientId };
}

/** Removes every client that registered itself and has no connection now. */
export async function purgeClients({ actor }: Asked, deps: Deps): Promise<{ deleted: number }> {
  const deleted = await deps.store.revoke((draft) => {
    const connected = new Set(
      Array.from(draft.list("refresh_tokens"), ([, grant]) => grant.client_id),
    );
    const idle = Array.from(draft.list("clients")).filter(
      ([id, client]) => client.source !== "static" && !connected.has(id),
    );
    for (const [id] of idle) deleteClient(draft, id);
    // Those that nobody let in would push out the others.
    const used = idle.filter(([, client]) => client.first_grant_at !== undefined);
    rememberRemoved(draft, used, deps);
    return idle.length;
  });
  deps.audit.record("clients_purged", { clients: deleted, ...actorFields(actor) });
  return { deleted };
}
