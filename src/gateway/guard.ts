// RFC 6750, RFC 9728 §5: who may pass to an MCP server. Turns a bearer into an AuthContext or refuses with a challenge;
// nothing of a refused request reaches a server. Authorization never depends on the request body.
import type { Server } from "../config.ts";
import type { AuthContext, Call, Deps } from "../deps.ts";
import { OAuthError, type ErrorCode } from "../errors.ts";
import { throttleKey } from "../limits.ts";
import { resourceMetadataUrl } from "../oauth/metadata.ts";
import { scopeList } from "../oauth/rules.ts";
import { findAccessEntry, parseAccessToken } from "../oauth/tokens.ts";
import { seconds } from "../primitives.ts";
import type { AccessEntry, Grant } from "../store/records.ts";

/** @throws {OAuthError} invalid_token 401 with a challenge; temporarily_unavailable 429 */
export async function guard(
  request: Request,
  server: Server,
  deps: Deps,
  call: Call,
): Promise<AuthContext> {
  const token = readBearer(request, server, deps);
  const found = token && (await findGrant(token, server, deps));
  if (!found) throw refuseToken(server, deps, call);
  if (found.entry.generation > found.grant.used_generation) markUsed(found, deps);
  const { family, grant, entry, scopes } = found;
  return {
    subject: grant.subject,
    clientId: grant.client_id,
    clientName: grant.client_name,
    scopes,
    family,
    server,
    issuedAt: grant.created_at,
    stillGood: async () => {
      const current = await deps.store.refresh_tokens.get(family);
      return (
        entry.expires_at > seconds(deps.now()) &&
        current !== undefined &&
        current.access.some((live) => live.hash === entry.hash)
      );
    },
  };
}

/**
 * The token of the Authorization header; RFC 6750 §2.1. Tokens in the query or the body are not read (MCP: MUST NOT).
 * @throws {OAuthError} a bare challenge when there is none
 */
function readBearer(
  request: Request,
  server: Server,
  deps: Deps,
): ReturnType<typeof parseAccessToken> {
  const header = request.headers.get("authorization");
  // RFC 6750 §3.1: without credentials the challenge has no error code.
  if (header === null) {
    throw new OAuthError("invalid_token", "authorization is needed", {
      headers: { "www-authenticate": challenge(server, deps) },
    });
  }
  const text = /^bearer +([^\s,]+) *$/i.exec(header)?.[1];
  return parseAccessToken(text ?? "");
}

interface Found {
  readonly family: string;
  readonly grant: Grant;
  readonly entry: AccessEntry;
  readonly scopes: readonly string[];
}

async function findGrant(
  token: NonNullable<ReturnType<typeof parseAccessToken>>,
  server: Server,
  deps: Deps,
): Promise<Found | undefined> {
  const grant = await deps.store.refresh_tokens.get(token.family);
  // RFC 8707, MCP: a token is good at the one resource it was issued for.
  if (!grant || grant.resource !== server.resource) return undefined;
  const now = seconds(deps.now());
  const entry = findAccessEntry(grant, token.generation, token.proof, now);
  if (!entry || grant.expires_at <= now) return undefined;
  const granted = scopeList(grant.scope);
  const scopes = scopeList(entry.scope).filter(
    (scope) => granted.includes(scope) && server.scopes.includes(scope),
  );
  return scopes.length > 0 ? { family: token.family, grant, entry, scopes } : undefined;
}

/** RFC 6750 §3.1 invalid_token. Wrong tokens are counted, and above the limit answered without a look. */
function refuseToken(server: Server, deps: Deps, call: Call): OAuthError {
  const prefix = throttleKey(call.address);
  const wait = deps.limits.guard.wait(prefix);
  if (wait > 0) {
    return new OAuthError("temporarily_unavailable", "too many wrong tokens, try again later", {
      status: 429,
      headers: { "retry-after": String(wait) },
    });
  }
  deps.limits.guard.count(prefix);
  const description = "the access token is expired, revoked or unknown";
  return new OAuthError("invalid_token", description, {
    headers: { "www-authenticate": challenge(server, deps, "invalid_token", description) },
  });
}

/** RFC 6750 §3, RFC 9728 §5.1, MCP 2026-07-28 "Scope Selection". */
function challenge(server: Server, deps: Deps, error?: ErrorCode, description?: string): string {
  const parameters = [
    ...(error === undefined ? [] : [`error="${error}"`, `error_description="${description}"`]),
    `scope="${server.scopes.join(" ")}"`,
    `resource_metadata="${resourceMetadataUrl(deps.config, server)}"`,
  ];
  return `Bearer ${parameters.join(", ")}`;
}

/** The successor was used, so its predecessor is superseded for good. Joins the next commit; nobody waits for it. */
function markUsed({ family, entry }: Found, deps: Deps): void {
  const mark = `${family}.${entry.generation}`;
  if (deps.usePending.has(mark)) return;
  deps.usePending.add(mark);
  deps.store
    .update((draft) => {
      const grant = draft.get("refresh_tokens", family);
      if (!grant || grant.used_generation >= entry.generation) return;
      draft.put("refresh_tokens", family, {
        ...grant,
        used_generation: Math.min(entry.generation, grant.generation),
        last_used_at: Math.max(grant.last_used_at, seconds(deps.now())),
      });
    })
    .then(
      () => deps.usePending.delete(mark),
      // A disk that fails is not asked again at every request.
      () => setTimeout(() => deps.usePending.delete(mark), 5000).unref(),
    );
}
