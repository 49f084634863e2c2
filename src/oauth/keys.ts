// API keys: bearer credentials that the owner makes by hand for clients that can only send a header. Their text, their one
// look-up (guard and introspection; no other endpoint takes one), and when they were last used. Making them is admin/keys.ts.
//
//   pak_<id>.<secret>     secret: 256 random bits, on disk as its SHA-256
import type { Config, Server } from "../config.ts";
import type { Deps } from "../deps.ts";
import { equal, randomId, randomToken, seconds, sha256 } from "../primitives.ts";
import type { ApiKey } from "../store/records.ts";
import type { Draft } from "../store/table.ts";
import { scopeList } from "./rules.ts";

const grammar = /^pak_([A-Za-z0-9_-]{22})\.([A-Za-z0-9_-]{43})$/;

export interface NewKey {
  readonly id: string;
  readonly text: string;
  readonly secretHash: string;
}

export function newKey(): NewKey {
  const id = randomId();
  const secret = randomToken();
  return { id, text: `pak_${id}.${secret}`, secretHash: sha256(secret) };
}

/** The id in what claims to be a key. */
export const keyId = (text: string): string | undefined => grammar.exec(text)?.[1];

/** What stands for the client where a key was used. */
export const keyClientId = (id: string): string => `key:${id}`;

/** A server's path under the public URL: what keys name it by. */
export const pathUnderUrl = ({ resource }: Pick<Server, "resource">, { issuer }: Config): string =>
  resource.slice(issuer.length);

export interface KeyAccess {
  readonly id: string;
  readonly key: ApiKey;
  /** Those of the key that the server offers still; none when the owner renamed or removed them all. */
  readonly scopes: readonly string[];
}

/** What a key opens at one server; undefined for anything else, as if it did not exist. */
export async function findKey(
  text: string,
  server: Server,
  deps: Deps,
  network?: string,
): Promise<KeyAccess | undefined> {
  const [, id, secret] = grammar.exec(text) ?? [];
  const key = id === undefined ? undefined : await deps.store.api_keys.get(id);
  if (id === undefined || secret === undefined || !key) return undefined;
  if (!equal(sha256(secret), key.secret_hash) || !opens(key, server, deps)) return undefined;
  markUse(id, key, network, deps);
  const scopes = scopeList(key.scope).filter((scope) => server.scopes.includes(scope));
  return { id, key, scopes };
}

/** Whether a key is for this server and has not expired. */
export const opens = (key: ApiKey, server: Server, deps: Deps): boolean =>
  key.servers.includes(pathUnderUrl(server, deps.config)) &&
  (key.expires_at === undefined || key.expires_at > seconds(deps.now()));

/** Seconds between two marks of a key: a use costs no write of its own. */
const STEP = 600;

/** When and from where it was used. */
function markUse(
  id: string,
  { last_used_at: before = 0 }: ApiKey,
  network: string | undefined,
  { uses, now, store }: Deps,
): void {
  const at = seconds(now());
  if (Math.abs(at - before) < STEP) return;
  const change = (draft: Draft): void => {
    const key = draft.get("api_keys", id);
    if (!key) return;
    const from = network === undefined ? {} : { last_used_from: network };
    draft.put("api_keys", id, { ...key, last_used_at: at, ...from });
  };
  uses.mark(id, () => store.update(change));
}
