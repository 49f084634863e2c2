// Connections (grants: one login by one client) as their owner sees, names and ends them.
import type { Config } from "../config.ts";
import type { Deps } from "../deps.ts";
import { OAuthError } from "../errors.ts";
import { verifiedHost } from "../oauth/clients.ts";
import { endGrant, liveAccess } from "../oauth/grants.ts";
import { readLeash } from "../oauth/leash.ts";
import { serverOf } from "../oauth/rules.ts";
import { seconds } from "../primitives.ts";
import type { Client, Grant } from "../store/records.ts";
import type { Draft } from "../store/table.ts";
import { type Asked, actorFields, readName, readTexts, resolveId } from "./asked.ts";

export interface GrantRow extends Pick<
  Grant,
  | "client_id"
  | "client_name"
  | "label"
  | "redirect_host"
  | "leash"
  | "scope"
  | "resource"
  | "created_at"
  | "last_used_at"
  | "generation"
  | "replays"
> {
  readonly id: string;
  /** Host that vouches for the client. */
  readonly verified_host?: string;
  /** The owner added the client by hand. */
  readonly added?: boolean;
  /** Network of the last refresh. */
  readonly network: string;
  /** When it ends at the latest, and when it ends if nobody uses it. */
  readonly expires_at: number;
  readonly idle_at: number;
  /** asleep: made under another public URL, or for a server that is not there now. */
  readonly state: "live" | "asleep" | "ended";
}

/** When a grant that nobody uses any more ends: never after its absolute end. */
const idleEnd = (grant: Grant, config: Config): number =>
  Math.min(grant.expires_at, grant.last_used_at + config.refreshIdleTtl);

interface Facts {
  readonly config: Config;
  readonly now: number;
  /** Whether the settings are those of the server: a command line without it may have others. */
  readonly areOurs: boolean;
}

function rowOf(
  id: string,
  grant: Grant,
  client: Client | undefined,
  { config, now, areOurs }: Facts,
): GrantRow {
  const host = verifiedHost(grant.client_id, client);
  const idleAt = idleEnd(grant, config);
  const isServed = !areOurs || serverOf(config, grant.resource) !== undefined;
  return {
    id,
    client_id: grant.client_id,
    ...(grant.client_name !== undefined && { client_name: grant.client_name }),
    ...(grant.label !== undefined && { label: grant.label }),
    ...(grant.leash && { leash: grant.leash }),
    ...(host !== undefined && { verified_host: host }),
    ...(client?.source === "static" && { added: true }),
    ...(grant.redirect_host !== undefined && { redirect_host: grant.redirect_host }),
    scope: grant.scope,
    resource: grant.resource,
    created_at: grant.created_at,
    last_used_at: grant.last_used_at,
    network: grant.rotated_from,
    expires_at: grant.expires_at,
    idle_at: idleAt,
    generation: grant.generation,
    ...(grant.replays && { replays: grant.replays }),
    state: idleAt <= now ? "ended" : isServed ? "live" : "asleep",
  };
}

export const isLive = ({ state }: Pick<GrantRow, "state">): boolean => state !== "ended";

/** All of them, the one used last first. */
export async function grantRows(deps: Deps): Promise<GrantRow[]> {
  const { store, config } = deps;
  const clients = new Map(await store.clients.list());
  const areOurs = (await store.folder.get("self"))?.issuer === config.issuer;
  const facts = { config, now: seconds(deps.now()), areOurs };
  return (await store.refresh_tokens.list())
    .map(([id, grant]) => rowOf(id, grant, clients.get(grant.client_id), facts))
    .toSorted((a, b) => b.last_used_at - a.last_used_at || b.created_at - a.created_at);
}

const findId = async (typed: string, deps: Deps): Promise<string> => {
  const ids = (await deps.store.refresh_tokens.list()).map(([id]) => id);
  return resolveId(typed, ids, "grant");
};

const gone = (id: string): OAuthError =>
  new OAuthError("invalid_request", `there is no grant ${id}`, { status: 404 });

export const listGrants = (_asked: Asked, deps: Deps): Promise<GrantRow[]> => grantRows(deps);

/** The connection with its live access tokens, as far as anybody may know them. */
export async function showGrant({ id: typed }: Asked, deps: Deps): Promise<unknown> {
  const id = await findId(typed, deps);
  const grant = await deps.store.refresh_tokens.get(id);
  const row = (await grantRows(deps)).find((each) => each.id === id);
  if (!grant || !row) throw gone(typed);
  const now = seconds(deps.now());
  const access = liveAccess(grant, deps, now).map(({ generation, scope, expires_at }) => ({
    generation,
    scope,
    expires_at,
  }));
  return { ...row, rotated_at: grant.rotated_at, access_tokens: access };
}

export async function renameGrant({ id: typed, body, actor }: Asked, deps: Deps): Promise<unknown> {
  const name = readName(body["name"]);
  const id = await findId(typed, deps);
  const renamed = await deps.store.refresh_tokens.update(
    id,
    (current) => current && { ...current, label: name },
  );
  if (!renamed) throw gone(typed);
  deps.audit.record("grant_renamed", { family: id, name, ...actorFields(actor) });
  return { id, name };
}

/** `{tools}`: "all", "read-only" or names. Counts from the next call on. */
export async function narrowGrant({ id: typed, body, actor }: Asked, deps: Deps): Promise<unknown> {
  if (body["tools"] === undefined) throw new OAuthError("invalid_request", "tools is missing");
  const leash = readLeash(body["tools"]);
  const id = await findId(typed, deps);
  const narrowed = await deps.store.refresh_tokens.update(id, (current) => {
    if (!current) return undefined;
    const { leash: _before, ...rest } = current;
    return { ...rest, ...(leash && { leash }) };
  });
  if (!narrowed) throw gone(typed);
  const tools = leash?.kind === "tools" ? leash.tools.join(" ") : (leash?.kind ?? "all");
  deps.audit.record("grant_narrowed", { family: id, tools, ...actorFields(actor) });
  return { id, ...(leash && { leash }) };
}

export async function revokeGrant(asked: Asked, deps: Deps): Promise<{ revoked: string }> {
  const id = await findId(asked.id, deps);
  await endGrants(() => [id], asked, deps);
  return { revoked: id };
}

/** `{ids}`: all of them in one commit; what has ended meanwhile is passed over. */
export async function revokeGrants(asked: Asked, deps: Deps): Promise<{ revoked: number }> {
  const ids = readTexts(asked.body["ids"], "ids");
  return { revoked: await endGrants(() => ids, asked, deps) };
}

/** Takes away what can never be used again. */
export async function purgeGrants(asked: Asked, deps: Deps): Promise<{ deleted: number }> {
  const now = seconds(deps.now());
  const over = (draft: Draft): string[] =>
    Array.from(draft.list("refresh_tokens"))
      .filter(([, grant]) => idleEnd(grant, deps.config) <= now)
      .map(([id]) => id);
  return { deleted: await endGrants(over, asked, deps) };
}

/** @param choose the ids, of the newest state */
async function endGrants(
  choose: (draft: Draft) => readonly string[],
  { actor }: Asked,
  deps: Deps,
): Promise<number> {
  const now = seconds(deps.now());
  const ended = await deps.store.revoke((draft) =>
    choose(draft).filter((id) => endGrant(draft, id, now)),
  );
  for (const family of ended) deps.audit.record("grant_revoked", { family, ...actorFields(actor) });
  return ended.length;
}
