// RFC 6749 §6, OAuth 2.1 §4.3: the refresh_token grant. Refresh tokens carry a generation; this file is the table that
// says what each generation gets: the next token, the same answer again, a step forward, or the end of the family. What time
// alone would refuse waits while the clock is in doubt.
import { sentBy } from "../audit.ts";
import type { Call, Deps } from "../deps.ts";
import { OAuthError } from "../errors.ts";
import { isSameNetwork, networkOf } from "../limits.ts";
import { seconds } from "../primitives.ts";
import type { Grant } from "../store/records.ts";
import type { Draft } from "../store/table.ts";
import type { FoundClient } from "./clients.ts";
import type { Parameters } from "../form.ts";
import {
  type TokenResponse,
  accessExpiry,
  endGrant,
  liveAccess,
  withAccessEntry,
} from "./grants.ts";
import { findServer, narrowScopes, scopeList, serverOf } from "./rules.ts";
import {
  type RefreshToken,
  accessToken,
  isGenuine,
  parseRefreshToken,
  refreshToken,
} from "./tokens.ts";

/** One refresh request, read once. */
interface Asked {
  readonly token: RefreshToken;
  readonly clientId: string;
  readonly scope: string | undefined;
  readonly resources: readonly string[];
  readonly network: string;
  readonly now: number;
}

type Outcome =
  | {
      readonly kind: "rotated" | "forward";
      readonly response: TokenResponse;
      readonly generation: number;
    }
  | { readonly kind: "replayed"; readonly response: TokenResponse; readonly odd: boolean }
  | { readonly kind: "refused"; readonly error: OAuthError }
  | { readonly kind: "reused" };

/** @throws {OAuthError} invalid_grant, invalid_scope, invalid_target, or temporarily_unavailable with nothing rotated */
export async function refresh(
  form: Parameters,
  client: FoundClient,
  deps: Deps,
  call: Call,
): Promise<TokenResponse> {
  const token = parseRefreshToken(form.require("refresh_token"));
  if (!token) throw dead("malformed refresh token");
  const asked: Asked = {
    token,
    clientId: client.id,
    scope: form.get("scope"),
    resources: form.all("resource"),
    network: networkOf(call.address),
    now: seconds(deps.now()),
  };
  const outcome = await deps.store.update((draft) => decide(asked, draft, deps));
  const about = { client: client.id, family: token.family, ...sentBy(call) };
  switch (outcome.kind) {
    case "refused":
      throw outcome.error;
    case "reused":
      // First: a disk that does not take the revocation must not keep the owner from hearing of it.
      deps.audit.record("refresh_reused", {
        ...about,
        name: client.client.client_name,
        generation: token.generation,
      });
      await endReused(asked, deps);
      throw dead("a superseded refresh token came back; the grant is revoked");
    case "replayed":
      if (outcome.odd) {
        deps.audit.record("refresh_replayed", { ...about, generation: token.generation });
        countReplay(asked, deps);
      }
      return outcome.response;
    case "forward":
      deps.audit.record("refresh_moved_forward", { ...about, generation: token.generation });
      return outcome.response;
    case "rotated":
      deps.audit.record("grant_refreshed", { ...about, generation: outcome.generation });
      return outcome.response;
  }
}

// RFC 6749 §5.2: whatever is wrong with the token, one answer; the reason goes to the audit trail.
const dead = (detail: string): OAuthError =>
  new OAuthError("invalid_grant", "the refresh token is not valid, log in again", { detail });

// RFC 6749 §5.2: clients throw the token away on invalid_grant, so a clock that may be wrong must not say it.
const undecided = (): OAuthError =>
  new OAuthError("temporarily_unavailable", "the server's clock may be wrong, try again later", {
    detail: "the clock does not fit the data folder, and by it this token comes too late",
    headers: { "retry-after": "60" },
  });

const refused = (error: OAuthError): Outcome => ({ kind: "refused", error });

function decide(asked: Asked, draft: Draft, deps: Deps): Outcome {
  const { token, now } = asked;
  const grant = draft.get("refresh_tokens", token.family);
  if (!grant) return refused(dead("unknown family"));
  if (!isGenuine(token, grant)) return refused(dead("wrong secret or tag"));
  // RFC 6749 §10.4: bound to the client. A public client's id is no secret, so the family of the other one stays.
  if (grant.client_id !== asked.clientId) return refused(dead("refresh token of another client"));

  const presented = token.generation;
  const current = grant.generation;
  const follows = grant.follows ?? current - 1;
  const isOver = grant.expires_at <= now;
  const isLate = presented < current && !mayReplay(asked, grant, deps);
  const isIdle = presented <= current && grant.last_used_at + deps.config.refreshIdleTtl <= now;
  const isDoubted = deps.store.clockMayBeAhead();
  if (isOver && !isDoubted) return refused(dead("the grant is past its absolute end"));
  if (presented < follows) return { kind: "reused" };
  if (isDoubted && (isOver || isLate || isIdle)) return refused(undecided());
  if (isLate) return { kind: "reused" };
  if (isIdle) return refused(dead("idle for too long"));
  if (presented >= current) return rotate(asked, grant, presented, draft, deps);
  // RFC 7009 §2.1: a revoked access token is not handed out again; the retry gets the next generation instead, and so
  // do those of its siblings.
  if ((grant.revoked_generation ?? 0) >= current)
    return rotate(asked, grant, current, draft, deps, follows);
  return replay(asked, grant, draft, deps);
}

/** Seconds. A rotation in the future is as far away as one in the past: what a clock that was ahead wrote opens no window. */
const awayFrom = ({ rotated_at: at }: Grant, { now }: Asked): number => Math.abs(now - at);

/** A parallel refresh, a retry, a lost answer, or a sibling process of the same machine. */
function mayReplay(asked: Asked, grant: Grant, deps: Deps): boolean {
  const age = awayFrom(grant, asked);
  if (age <= deps.config.refreshGrace) return true;
  if (grant.used_generation < grant.generation) return true;
  return age <= deps.config.siblingGrace && isSameNetwork(asked.network, grant.rotated_from);
}

/** The scope of the answer, or why the request cannot have one. Checked before anything changes. */
function answerScope(asked: Asked, grant: Grant, deps: Deps): string | OAuthError {
  const server = serverOf(deps.config, grant.resource);
  if (!server) {
    return new OAuthError("invalid_target", "the resource of this grant is not served at present", {
      detail: `grant for ${grant.resource}`,
    });
  }
  // RFC 8707 §2.2: one family, one resource.
  if (asked.resources.length > 0 && findServer(deps.config, asked.resources) !== server) {
    return new OAuthError("invalid_target", "the refresh token is for another resource");
  }
  const wanted = narrowScopes(asked.scope, scopeList(grant.scope));
  // RFC 6749 §6: the scope must not include any scope not originally granted.
  if (!wanted) return new OAuthError("invalid_scope", "the scope is wider than what was granted");
  const isOffered = (scope: string): boolean => server.scopes.includes(scope);
  // The owner renamed or removed them all: clients log in again on invalid_grant, and on invalid_scope keep what they have.
  if (!scopeList(grant.scope).some(isOffered)) return dead("no scope of the grant is offered now");
  const scopes = wanted.filter(isOffered);
  if (scopes.length === 0) return new OAuthError("invalid_scope", "the scope is not offered now");
  return scopes.join(" ");
}

/** From generation `from` to the next, which tokens down to generation `follows` get again while they may. */
function rotate(
  asked: Asked,
  { follows: _before, ...grant }: Grant,
  from: number,
  draft: Draft,
  deps: Deps,
  follows = from,
): Outcome {
  const scope = answerScope(asked, grant, deps);
  if (scope instanceof OAuthError) return refused(scope);
  const { token, now } = asked;
  const generation = from + 1;
  const access = accessToken(token.family, token.secret, {
    generation,
    scope,
    expires_at: accessExpiry(deps, grant.expires_at, now),
  });
  draft.put("refresh_tokens", token.family, {
    ...grant,
    generation,
    used_generation: from,
    ...(follows < from && { follows }),
    rotated_at: now,
    rotated_from: asked.network,
    last_used_at: now,
    access: withAccessEntry(liveAccess(grant, deps, now), access.entry),
  });
  const kind = from > grant.generation ? "forward" : "rotated";
  return { kind, generation, response: answer(asked, grant, generation, access, now) };
}

/** Token g again, the same bytes, and the access token of g; nothing rotates and no window moves. */
function replay(asked: Asked, grant: Grant, draft: Draft, deps: Deps): Outcome {
  const scope = answerScope(asked, grant, deps);
  if (scope instanceof OAuthError) return refused(scope);
  const { token, now } = asked;
  const { generation } = grant;
  const live = liveAccess(grant, deps, now);
  const known = live.find((entry) => entry.generation === generation && entry.scope === scope);
  const access = accessToken(token.family, token.secret, {
    generation,
    scope,
    expires_at: known?.expires_at ?? accessExpiry(deps, grant.expires_at, now),
  });
  if (!known) {
    draft.put("refresh_tokens", token.family, {
      ...grant,
      // The windows of the table stay where they are; a login that is still asked for is not idle.
      last_used_at: now,
      access: withAccessEntry(live, access.entry),
    });
  }
  return {
    kind: "replayed",
    odd:
      awayFrom(grant, asked) > deps.config.refreshGrace ||
      !isSameNetwork(asked.network, grant.rotated_from),
    response: answer(asked, grant, generation, access, now),
  };
}

function answer(
  asked: Asked,
  grant: Grant,
  generation: number,
  access: ReturnType<typeof accessToken>,
  now: number,
): TokenResponse {
  return {
    access_token: access.text,
    token_type: "Bearer",
    expires_in: access.entry.expires_at - now,
    refresh_token: refreshToken(grant, asked.token.family, generation, asked.token.secret),
    scope: access.entry.scope,
  };
}

// OAuth 2.1 §4.3.1, RFC 9700 §4.14.2: a superseded token that comes back ends the family with its access tokens.
async function endReused(asked: Asked, deps: Deps): Promise<void> {
  await deps.store.revoke((draft) => endGrant(draft, asked.token.family, asked.now));
}

/** Networks that are kept of such retries. */
const REPLAY_NETWORKS = 4;

/** For the account page: a thief who keeps within the windows shows by where they come from. Nobody waits for it. */
function countReplay({ token, network, now }: Asked, deps: Deps): void {
  const counted = deps.store.update((draft) => {
    const grant = draft.get("refresh_tokens", token.family);
    if (!grant) return;
    const { count = 0, networks = [] } = grant.replays ?? {};
    const others = networks.filter((each) => each !== network);
    const kept = [...others, network].slice(-REPLAY_NETWORKS);
    const replays = { count: count + 1, last_at: now, networks: kept };
    draft.put("refresh_tokens", token.family, { ...grant, replays });
  });
  // A count that a full disk loses is no loss.
  counted.catch(() => undefined);
}
