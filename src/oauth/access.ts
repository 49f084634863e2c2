// What an access token stands for: the one look-up behind the guard and introspection. Finding a token is using it.
import type { Server } from "../config.ts";
import type { Deps } from "../deps.ts";
import { seconds } from "../primitives.ts";
import type { AccessEntry, Grant } from "../store/records.ts";
import type { Draft } from "../store/table.ts";
import { liveAccess } from "./grants.ts";
import { scopeList } from "./rules.ts";
import { findAccessEntry, parseAccessToken } from "./tokens.ts";

export interface Access {
  readonly family: string;
  readonly grant: Grant;
  readonly entry: AccessEntry;
  /** Those of the token that its grant has and its server offers still; none when the owner renamed or removed them all. */
  readonly scopes: readonly string[];
}

/** The live access that a token proves at one server; undefined for anything else. */
export async function findAccess(
  text: string,
  server: Server,
  deps: Deps,
): Promise<Access | undefined> {
  const token = parseAccessToken(text);
  const grant = token && (await deps.store.refresh_tokens.get(token.family));
  // RFC 8707, MCP: a token is good at the one resource it was issued for.
  if (!token || !grant || grant.resource !== server.resource) return undefined;
  const now = seconds(deps.now());
  const entry = findAccessEntry(liveAccess(grant, deps, now), token.generation, token.proof);
  if (!entry || grant.expires_at <= now) return undefined;
  const granted = scopeList(grant.scope);
  const scopes = scopeList(entry.scope).filter(
    (scope) => granted.includes(scope) && server.scopes.includes(scope),
  );
  const { family } = token;
  const isFirst = entry.generation > grant.used_generation;
  if (isFirst && markFirstUse(family, entry.generation, deps)) {
    deps.attempts.see({ step: "call", family });
  }
  return { family, grant, entry, scopes };
}

/**
 * A generation's predecessor is superseded for good, so that holds at once: also while the disk takes nothing. Returns
 * whether it was new.
 */
function markFirstUse(family: string, generation: number, { uses, now, store }: Deps): boolean {
  const at = seconds(now());
  const change = (draft: Draft): void => {
    const grant = draft.get("refresh_tokens", family);
    if (!grant || grant.used_generation >= generation) return;
    draft.put("refresh_tokens", family, {
      ...grant,
      used_generation: Math.min(generation, grant.generation),
      last_used_at: Math.max(grant.last_used_at, at),
    });
  };
  return uses.mark(`${family}.${generation}`, () => store.revoke(change));
}
