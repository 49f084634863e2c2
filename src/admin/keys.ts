// API keys as their owner makes, sees, names and ends them. What they open is decided in oauth/keys.ts.
import type { Config } from "../config.ts";
import type { Deps } from "../deps.ts";
import { OAuthError } from "../errors.ts";
import { newKey, pathUnderUrl } from "../oauth/keys.ts";
import { scopeList } from "../oauth/rules.ts";
import { seconds } from "../primitives.ts";
import type { ApiKey } from "../store/records.ts";
import type { Draft } from "../store/table.ts";
import { type Asked, actorFields, readName, readTexts, resolveId } from "./asked.ts";

export interface KeyRow extends Omit<ApiKey, "secret_hash"> {
  readonly id: string;
  readonly state: "live" | "ended";
}

const rowOf = (id: string, { secret_hash: _secret, ...key }: ApiKey, now: number): KeyRow => ({
  id,
  ...key,
  state: key.expires_at !== undefined && key.expires_at <= now ? "ended" : "live",
});

/** The newest first. */
export async function keyRows(deps: Deps): Promise<KeyRow[]> {
  const now = seconds(deps.now());
  return (await deps.store.api_keys.list())
    .map(([id, key]) => rowOf(id, key, now))
    .toSorted((a, b) => b.created_at - a.created_at);
}

export const listKeys = (_asked: Asked, deps: Deps): Promise<KeyRow[]> => keyRows(deps);

const findId = async (typed: string, deps: Deps): Promise<string> => {
  const ids = (await deps.store.api_keys.list()).map(([id]) => id);
  return resolveId(typed, ids, "key");
};

const gone = (id: string): OAuthError =>
  new OAuthError("invalid_request", `there is no key ${id}`, { status: 404 });

export async function showKey({ id: typed }: Asked, deps: Deps): Promise<KeyRow> {
  const id = await findId(typed, deps);
  const key = await deps.store.api_keys.get(id);
  if (!key) throw gone(typed);
  return rowOf(id, key, seconds(deps.now()));
}

export interface MadeKey extends KeyRow {
  /** The only time that it is shown. */
  readonly key: string;
  /** The URLs that it opens. */
  readonly urls: readonly string[];
}

const KEYS = 200;
const DAY = 86_400;
/** Seconds that a key lives when nothing is said; 0 is for ever. */
const USUAL_TTL = 365 * DAY;
const LONGEST_TTL = 3650 * DAY;

/** `{name, servers, scope, expires_in}`: paths or URLs of servers (all), scopes (all of theirs), seconds (a year, 0: for ever). */
export async function addKey({ body, actor }: Asked, deps: Deps): Promise<MadeKey> {
  const { config } = deps;
  const name = readName(body["name"]);
  const servers = readServers(body["servers"], config);
  const now = seconds(deps.now());
  const ttl = readTtl(body["expires_in"]);
  const made = newKey();
  const record: ApiKey = {
    name,
    secret_hash: made.secretHash,
    servers: servers.map((server) => pathUnderUrl(server, config)),
    scope: readScope(body["scope"], servers),
    created_at: now,
    ...(ttl > 0 && { expires_at: now + ttl }),
  };
  await deps.store.update((draft) => {
    assertFree(draft, name);
    if ([...draft.list("api_keys")].length >= KEYS)
      throw new OAuthError("invalid_request", `there are ${KEYS} keys; end some first`);
    draft.put("api_keys", made.id, record);
  });
  deps.audit.record("key_created", { key: made.id, name, ...actorFields(actor) });
  const urls = servers.map(({ resource }) => resource);
  return { ...rowOf(made.id, record, now), key: made.text, urls };
}

type Server = Config["servers"][number];

function readServers(wanted: unknown, config: Config): readonly Server[] {
  if (wanted === undefined) return config.servers;
  const names = readTexts(wanted, "servers");
  const found = names.map((name) => {
    const server = config.servers.find(
      (each) => each.resource === name || pathUnderUrl(each, config) === name,
    );
    if (!server) throw new OAuthError("invalid_target", `there is no server ${name}`);
    return server;
  });
  if (found.length === 0) throw new OAuthError("invalid_target", "a key opens at least one server");
  return [...new Set(found)];
}

function readScope(wanted: unknown, servers: readonly Server[]): string {
  const offered = [...new Set(servers.flatMap(({ scopes }) => scopes))];
  if (wanted === undefined) return offered.join(" ");
  const scopes = typeof wanted === "string" ? [...new Set(scopeList(wanted))] : [];
  const unknown = scopes.find((scope) => !offered.includes(scope));
  if (unknown !== undefined)
    throw new OAuthError("invalid_scope", `no server of this key offers the scope ${unknown}`);
  const shut = servers.find((server) => !server.scopes.some((scope) => scopes.includes(scope)));
  if (shut)
    throw new OAuthError("invalid_scope", `without a scope of ${shut.name} it opens nothing there`);
  return scopes.join(" ");
}

function readTtl(wanted: unknown): number {
  if (wanted === undefined) return USUAL_TTL;
  if (typeof wanted === "number" && Number.isInteger(wanted) && wanted >= 0) {
    if (wanted === 0 || wanted <= LONGEST_TTL) return wanted;
  }
  throw new OAuthError(
    "invalid_request",
    "expires_in must be seconds, ten years at most, or 0 for a key that lasts",
  );
}

/** Two tabs, or a page sent again, must not make two keys of one name. */
function assertFree(draft: Draft, name: string, own?: string): void {
  for (const [id, key] of draft.list("api_keys")) {
    if (id !== own && key.name === name)
      throw new OAuthError("invalid_request", `there is a key of that name already: ${name}`);
  }
}

export async function renameKey({ id: typed, body, actor }: Asked, deps: Deps): Promise<unknown> {
  const name = readName(body["name"]);
  const id = await findId(typed, deps);
  await deps.store.update((draft) => {
    const key = draft.get("api_keys", id);
    if (!key) throw gone(typed);
    assertFree(draft, name, id);
    draft.put("api_keys", id, { ...key, name });
  });
  deps.audit.record("key_renamed", { key: id, name, ...actorFields(actor) });
  return { id, name };
}

export async function revokeKey(asked: Asked, deps: Deps): Promise<{ revoked: string }> {
  const id = await findId(asked.id, deps);
  await endKeys(() => [id], asked, deps);
  return { revoked: id };
}

/** Takes away what has expired. */
export async function purgeKeys(asked: Asked, deps: Deps): Promise<{ deleted: number }> {
  const now = seconds(deps.now());
  const isOver = ([, { expires_at: at }]: [string, ApiKey]): boolean =>
    at !== undefined && at <= now;
  const over = (draft: Draft): string[] =>
    Array.from(draft.list("api_keys"))
      .filter(isOver)
      .map(([id]) => id);
  return { deleted: await endKeys(over, asked, deps) };
}

/** @param choose the ids, of the newest state */
async function endKeys(
  choose: (draft: Draft) => readonly string[],
  { actor }: Asked,
  deps: Deps,
): Promise<number> {
  const ended = await deps.store.revoke((draft) => {
    const ids = choose(draft).filter((id) => draft.get("api_keys", id));
    for (const id of ids) draft.delete("api_keys", id);
    return ids;
  });
  for (const key of ended) deps.audit.record("key_revoked", { key, ...actorFields(actor) });
  return ended.length;
}
