// The life of a grant (one login by one client): made, ended, ended all. Rotation is refresh.ts.
import type { Deps } from "../deps.ts";
import { randomToken, sha256 } from "../primitives.ts";
import type { AccessEntry, Client, Code, Grant } from "../store/records.ts";
import type { Draft } from "../store/table.ts";
import { redirectHost } from "../values.ts";
import { accessToken, newFamily, refreshToken } from "./tokens.ts";

/** RFC 6749 §5.1. `scope` is always there: clients take its absence for none. */
export interface TokenResponse {
  readonly access_token: string;
  readonly token_type: "Bearer";
  /** Seconds. */
  readonly expires_in: number;
  readonly refresh_token?: string;
  readonly scope: string;
}

/** Live access tokens that one grant may have at once. */
const LIVE_ACCESS_TOKENS = 8;

/**
 * The access tokens of a grant that are good now. Of one that was used in the future, none: a clock that was ahead made them,
 * and nobody knows how old they are. Their own ends do not tell, as the owner may have set a longer life when they were made.
 */
export function liveAccess(grant: Grant, deps: Deps, now: number): readonly AccessEntry[] {
  if (grant.last_used_at > now + deps.config.accessTokenTtl) return [];
  return grant.access.filter((entry) => entry.expires_at > now);
}

/** `live` with `added` last, in the place of what it renews. */
export function withAccessEntry(live: readonly AccessEntry[], added: AccessEntry): AccessEntry[] {
  const others = live.filter(
    (entry) => !(entry.generation === added.generation && entry.scope === added.scope),
  );
  return [...others, added].slice(-LIVE_ACCESS_TOKENS);
}

/** When an access token issued now ends: never after its grant. */
export const accessExpiry = (deps: Deps, grantExpiresAt: number, now: number): number =>
  Math.min(now + deps.config.accessTokenTtl, grantExpiresAt);

export interface NewGrant {
  readonly family: string;
  readonly record: Grant;
  readonly response: TokenResponse;
}

/** Makes the grant that a redeemed code becomes, generation 1. Nothing is stored yet. */
export function newGrant(
  code: Code,
  network: string,
  withRefreshToken: boolean,
  deps: Deps,
  now: number,
): NewGrant {
  const family = newFamily();
  const secret = randomToken();
  const expiresAt = now + deps.config.refreshAbsoluteTtl;
  const access = accessToken(family, secret, {
    generation: 1,
    scope: code.scope,
    expires_at: accessExpiry(deps, expiresAt, now),
  });
  const record: Grant = {
    client_id: code.client_id,
    ...(code.client_name !== undefined && { client_name: code.client_name }),
    ...(code.leash && { leash: code.leash }),
    redirect_host: redirectHost(code.redirect_uri),
    subject: code.subject,
    scope: code.scope,
    resource: code.resource,
    secret_hash: sha256(secret),
    tag_key: randomToken(),
    generation: 1,
    used_generation: 0,
    rotated_at: now,
    rotated_from: network,
    access: [access.entry],
    created_at: now,
    last_used_at: now,
    expires_at: withRefreshToken ? expiresAt : access.entry.expires_at,
  };
  return {
    family,
    record,
    response: {
      access_token: access.text,
      token_type: "Bearer",
      expires_in: access.entry.expires_at - now,
      ...(withRefreshToken && { refresh_token: refreshToken(record, family, 1, secret) }),
      scope: code.scope,
    },
  };
}

/** Deletes a grant, with every access token of it, and starts the client's 30 days. Returns whether there was one. */
export function endGrant(draft: Draft, family: string, now: number): boolean {
  const grant = draft.get("refresh_tokens", family);
  if (!grant) return false;
  draft.delete("refresh_tokens", family);
  const client = draft.get("clients", grant.client_id);
  if (client) draft.put("clients", grant.client_id, { ...client, last_grant_ended_at: now });
  return true;
}

/** Deletes a client and, in the same commit, its grants. Codes of it find no client any more. Returns what it was. */
export function deleteClient(draft: Draft, clientId: string): Client | undefined {
  const client = draft.get("clients", clientId);
  if (!client) return undefined;
  for (const [family, grant] of draft.list("refresh_tokens")) {
    if (grant.client_id === clientId) draft.delete("refresh_tokens", family);
  }
  draft.delete("clients", clientId);
  return client;
}

/** How many of each ended. */
export interface Ended {
  readonly grants: number;
  readonly keys: number;
}

/**
 * Ends everything that was ever let in: all grants and API keys, and with the owner's epoch all codes and sessions, in one
 * commit. `passwordHash` replaces the password in the same step.
 */
export function endEverything(draft: Draft, now: number, passwordHash?: string): Ended {
  const grants = [...draft.list("refresh_tokens")];
  for (const [family] of grants) endGrant(draft, family, now);
  const keys = [...draft.list("api_keys")];
  for (const [id] of keys) draft.delete("api_keys", id);
  const owner = draft.get("owner", "owner");
  if (owner) {
    draft.put("owner", "owner", {
      ...owner,
      epoch: owner.epoch + 1,
      ...(passwordHash !== undefined && { password_hash: passwordHash, password_changed_at: now }),
    });
  }
  return { grants: grants.length, keys: keys.length };
}
