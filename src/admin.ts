// What an owner can do, as JSON over HTTP: the same handlers behind data/admin.sock and, in process, behind the command
// line when no server runs. Whoever reaches this code has proved to be the owner.
import type { Deps } from "./deps.ts";
import { OAuthError, errorResponse } from "./errors.ts";
import { passwordProblem } from "./login/owner.ts";
import { removeSetupLink } from "./login/setup.ts";
import { readJsonObject } from "./form.ts";
import { deleteClient, endEverything, endGrant } from "./oauth/grants.ts";
import { ensureFolder, newClientId } from "./oauth/clients.ts";
import { grantTypes, responseTypes } from "./oauth/metadata.ts";
import { readRedirectUris } from "./oauth/register.ts";
import { serverOf } from "./oauth/rules.ts";
import { newClientSecret } from "./oauth/tokens.ts";
import { seconds, sha256 } from "./primitives.ts";
import type { Client, Grant } from "./store/records.ts";

export const ADMIN_PATH = "/admin/api";

export interface ClientRow extends Pick<
  Client,
  "client_name" | "redirect_uris" | "client_id_issued_at" | "source"
> {
  readonly client_id: string;
  readonly grants: number;
}

export interface GrantRow extends Pick<
  Grant,
  | "client_id"
  | "client_name"
  | "scope"
  | "resource"
  | "created_at"
  | "last_used_at"
  | "expires_at"
  | "generation"
> {
  readonly id: string;
  /** Network of the last refresh. */
  readonly network: string;
}

type Verb = (request: Request, id: string, deps: Deps) => Promise<unknown>;

// prettier-ignore
const verbs: readonly { method: string; path: string; verb: Verb }[] = [
  { method: "GET",    path: "/clients",    verb: listClients },
  { method: "POST",   path: "/clients",    verb: addClient },
  { method: "DELETE", path: "/clients/",   verb: removeClient },
  { method: "GET",    path: "/grants",     verb: listGrants },
  { method: "DELETE", path: "/grants/",    verb: revokeGrant },
  { method: "POST",   path: "/revoke-all", verb: revokeAll },
  { method: "PUT",    path: "/password",   verb: setPassword },
];

/** Answers one admin request; paths ending in a slash take an id behind it. */
export async function admin(request: Request, deps: Deps): Promise<Response> {
  const path = new URL(request.url).pathname;
  const rest = path.startsWith(`${ADMIN_PATH}/`) ? path.slice(ADMIN_PATH.length) : "";
  const found = verbs.find(
    (row) =>
      row.method === request.method &&
      (row.path.endsWith("/")
        ? rest.startsWith(row.path) && rest.length > row.path.length
        : rest === row.path),
  );
  try {
    if (!found) throw new OAuthError("invalid_request", "there is no such verb", { status: 404 });
    const id = decodeURIComponent(rest.slice(found.path.length));
    return Response.json(await found.verb(request, id, deps));
  } catch (error) {
    if (error instanceof OAuthError) return errorResponse(error);
    deps.audit.record("server_error", { path, error: String(error) });
    return errorResponse(new OAuthError("server_error", "something went wrong in the server"));
  }
}

async function listClients(_request: Request, _id: string, deps: Deps): Promise<ClientRow[]> {
  const count = new Map<string, number>();
  for (const [, grant] of await deps.store.refresh_tokens.list()) {
    count.set(grant.client_id, (count.get(grant.client_id) ?? 0) + 1);
  }
  return (await deps.store.clients.list()).map(([id, client]) => ({
    client_id: id,
    ...(client.client_name !== undefined && { client_name: client.client_name }),
    redirect_uris: client.redirect_uris,
    client_id_issued_at: client.client_id_issued_at,
    source: client.source,
    grants: count.get(id) ?? 0,
  }));
}

async function listGrants(_request: Request, _id: string, deps: Deps): Promise<GrantRow[]> {
  return (await deps.store.refresh_tokens.list()).map(([id, grant]) => ({
    id,
    client_id: grant.client_id,
    ...(grant.client_name !== undefined && { client_name: grant.client_name }),
    scope: grant.scope,
    resource: grant.resource,
    created_at: grant.created_at,
    last_used_at: grant.last_used_at,
    expires_at: grant.expires_at,
    generation: grant.generation,
    network: grant.rotated_from,
  }));
}

/** The one id that starts with what was typed: at least four characters of it. */
function resolveId(typed: string, ids: readonly string[], kind: string): string {
  const matches = ids.includes(typed)
    ? [typed]
    : ids.filter((id) => typed.length >= 4 && id.startsWith(typed));
  const [only, ...others] = matches;
  if (only !== undefined && others.length === 0) return only;
  throw new OAuthError(
    "invalid_request",
    others.length > 0 ? `several ${kind}s begin with ${typed}` : `there is no ${kind} ${typed}`,
    { status: 404 },
  );
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
async function addClient(request: Request, _id: string, deps: Deps): Promise<NewClient> {
  const { config } = deps;
  const client = readNewClient(await readJsonObject(request, "invalid_request"), deps);
  const secret = client.token_endpoint_auth_method === "none" ? undefined : newClientSecret();
  const record = { ...client, ...(secret !== undefined && { secret_hash: sha256(secret) }) };
  const id = await deps.store.update((draft) => {
    // A command line without the server's settings must not rename the folder.
    const folder = draft.get("folder", "self") ?? ensureFolder(draft, config.issuer);
    const made = newClientId(folder.client_id_key);
    draft.put("clients", made, record);
    return made;
  });
  deps.audit.record("client_registered", { client: id, name: client.client_name, by: "owner" });
  return {
    client_id: id,
    ...(secret !== undefined && { client_secret: secret }),
    issuer: config.issuer,
    resource: client.resource_server ?? config.servers[0].resource,
  };
}

/** @throws {OAuthError} invalid_request, invalid_target, invalid_redirect_uri */
function readNewClient(asked: Record<string, unknown>, deps: Deps): Client {
  const { client_name: name, redirect_uris: uris, confidential, resource_server: wanted } = asked;
  if (typeof name !== "string" || name.trim() === "") {
    throw new OAuthError("invalid_request", "client_name is missing");
  }
  const common = {
    client_name: name.trim().slice(0, 200),
    scope: deps.config.scopes.join(" "),
    client_id_issued_at: seconds(deps.now()),
    source: "static" as const,
  };
  if (wanted !== undefined) {
    const resource = wanted === true ? deps.config.servers[0].resource : wanted;
    if (typeof resource !== "string" || !serverOf(deps.config, resource)) {
      throw new OAuthError("invalid_target", `this server serves no resource ${String(wanted)}`);
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

async function removeClient(_request: Request, typed: string, deps: Deps): Promise<unknown> {
  const ids = (await deps.store.clients.list()).map(([id]) => id);
  const id = resolveId(typed, ids, "client");
  await deps.store.revoke((draft) => deleteClient(draft, id));
  deps.audit.record("client_deleted", { client: id });
  return { deleted: id };
}

async function revokeGrant(_request: Request, typed: string, deps: Deps): Promise<unknown> {
  const ids = (await deps.store.refresh_tokens.list()).map(([id]) => id);
  const id = resolveId(typed, ids, "grant");
  await deps.store.revoke((draft) => endGrant(draft, id, seconds(deps.now())));
  deps.audit.record("grant_revoked", { family: id, by: "owner" });
  return { revoked: id };
}

async function revokeAll(_request: Request, _id: string, deps: Deps): Promise<unknown> {
  const grants = await deps.store.revoke((draft) => endEverything(draft, seconds(deps.now())));
  deps.audit.record("grants_revoked", { grants });
  return { revoked: grants };
}

/** Sets the password, first or new. A new one ends everything that was let in with the old one. */
async function setPassword(request: Request, _id: string, deps: Deps): Promise<unknown> {
  const { password } = await readJsonObject(request, "invalid_request");
  if (typeof password !== "string")
    throw new OAuthError("invalid_request", "password must be a string");
  return changePassword(password, deps);
}

export async function changePassword(
  password: string,
  deps: Deps,
): Promise<{ owner: "created" | "changed"; revoked: number }> {
  const problem = passwordProblem(password);
  if (problem) throw new OAuthError("invalid_request", problem);
  const hash = await deps.passwords.hash(password);
  const now = seconds(deps.now());
  const result = await deps.store.revoke((draft) => {
    if (draft.get("owner", "owner"))
      return { owner: "changed" as const, revoked: endEverything(draft, now, hash) };
    draft.put("owner", "owner", {
      password_hash: hash,
      epoch: 1,
      created_at: now,
      password_changed_at: now,
    });
    return { owner: "created" as const, revoked: 0 };
  });
  removeSetupLink(deps);
  deps.audit.record(result.owner === "created" ? "setup" : "password_changed", {
    grants: result.revoked,
  });
  return result;
}
