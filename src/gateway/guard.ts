// RFC 6750, RFC 9728 §5: who may pass to an MCP server. Turns a bearer into an AuthContext or refuses with a challenge;
// nothing of a refused request reaches a server. Authorization never depends on the request body.
import type { Server } from "../config.ts";
import type { AuthContext, Call, Deps } from "../deps.ts";
import { OAuthError, type ErrorCode, tooManyRequests } from "../errors.ts";
import { networkOf, throttleKey } from "../limits.ts";
import { findAccess } from "../oauth/access.ts";
import { liveAccess } from "../oauth/grants.ts";
import { findKey, keyClientId, keyId, opens } from "../oauth/keys.ts";
import { resourceMetadataUrl } from "../oauth/metadata.ts";
import { parseAccessToken, readBearer } from "../oauth/tokens.ts";
import { seconds } from "../primitives.ts";

/** @throws {OAuthError} invalid_token 401 or insufficient_scope 403, with a challenge; temporarily_unavailable 429 */
export async function guard(
  request: Request,
  server: Server,
  deps: Deps,
  call: Call,
): Promise<AuthContext> {
  // Tokens in the query or the body are not read (MCP: MUST NOT).
  const token = readBearer(request.headers);
  if (token === undefined) {
    // RFC 6750 §3.1: without credentials the challenge has no error code.
    throw new OAuthError("invalid_token", "authorization is needed", {
      headers: { "www-authenticate": challenge(server, deps, call) },
      title: "This address is for MCP clients",
      advice:
        "Paste it into a client: the client asks for access, and its owner decides on a page.",
      next: { path: "/", text: "Home page" },
    });
  }
  const look = keyId(token) === undefined ? loginContext : keyContext;
  const context = await look(token, server, deps, call);
  if (!context) throw await refuseToken(token, server, deps, call);
  if (context.scopes.length === 0) throw refuseScope(server, deps, call);
  return context;
}

async function loginContext(
  token: string,
  server: Server,
  deps: Deps,
): Promise<AuthContext | undefined> {
  const found = await findAccess(token, server, deps);
  if (!found) return undefined;
  const { family, grant, entry, scopes } = found;
  return {
    subject: grant.subject,
    clientId: grant.client_id,
    clientName: grant.client_name,
    scopes,
    ...(grant.leash && { leash: grant.leash }),
    family,
    server,
    issuedAt: grant.created_at,
    stillGood: async () => {
      const current = await deps.store.refresh_tokens.get(family);
      return (
        deps.served.has(server) &&
        current !== undefined &&
        liveAccess(current, deps, seconds(deps.now())).some(({ hash }) => hash === entry.hash)
      );
    },
  };
}

/** An API key stands for the owner, and is its own client. */
async function keyContext(
  token: string,
  server: Server,
  deps: Deps,
  call: Call,
): Promise<AuthContext | undefined> {
  const found = await findKey(token, server, deps, networkOf(call.address));
  if (!found) return undefined;
  const { id, key, scopes } = found;
  return {
    subject: "owner",
    clientId: keyClientId(id),
    clientName: key.name,
    scopes,
    family: id,
    server,
    issuedAt: key.created_at,
    stillGood: async () => {
      const current = await deps.store.api_keys.get(id);
      return deps.served.has(server) && current !== undefined && opens(current, server, deps);
    },
  };
}

/**
 * RFC 6750 §3.1 invalid_token. Wrong tokens are counted; that of a login that lives is not: it has expired, and its client
 * refreshes on 401 alone, whoever else is guessing from its network. Nor is that of a key which has expired.
 */
async function refuseToken(
  token: string,
  server: Server,
  deps: Deps,
  call: Call,
): Promise<OAuthError> {
  const family = parseAccessToken(token)?.family;
  const key = keyId(token);
  const isExpired =
    (family !== undefined && (await deps.store.refresh_tokens.get(family))) ||
    (key !== undefined && (await deps.store.api_keys.get(key)));
  const prefix = throttleKey(call.address);
  const wait = isExpired ? 0 : deps.limits.guard.wait(prefix);
  if (wait > 0) return tooManyRequests("too many wrong tokens, try again later", wait);
  if (!isExpired) deps.limits.guard.count(prefix);
  const description = "the access token is unknown or no longer valid";
  return new OAuthError("invalid_token", description, {
    headers: { "www-authenticate": challenge(server, deps, call, "invalid_token", description) },
  });
}

/**
 * RFC 6750 §3.1, MCP 2026-07-28 "Runtime Insufficient Scope Errors": the owner renamed or removed the scopes of a token that
 * is good otherwise. A 401 would make its client refresh, get the same again, and so on; on this it asks anew.
 */
function refuseScope(server: Server, deps: Deps, call: Call): OAuthError {
  const description = "nothing that the access token was granted is offered here any more";
  return scopeError(description, server, deps, call);
}

/** MCP 2026-07-28 "Runtime Insufficient Scope Errors": one challenge for all scopes, those that the client has included. */
export function insufficientScope(
  server: Server,
  deps: Deps,
  call: Call,
  scopes: readonly string[],
): OAuthError {
  const all = [...new Set(scopes)];
  return scopeError("this call needs a scope that was not granted", server, deps, call, all);
}

function scopeError(
  description: string,
  server: Server,
  deps: Deps,
  call: Call,
  scopes?: readonly string[],
): OAuthError {
  const code = "insufficient_scope";
  return new OAuthError(code, description, {
    headers: {
      "www-authenticate": challenge(server, deps, call, code, description, scopes),
    },
  });
}

/**
 * RFC 6750 §3, RFC 9728 §5.1, MCP 2026-07-28 "Scope Selection Strategy". Clients read it with regular expressions: no comma,
 * equals sign or quote stands in a value.
 */
function challenge(
  server: Server,
  deps: Deps,
  call: Call,
  error?: ErrorCode,
  description?: string,
  scopes = server.scopes,
): string {
  const parameters = [
    ...(error === undefined ? [] : [`error="${error}"`, `error_description="${description}"`]),
    `scope="${scopes.join(" ")}"`,
    `resource_metadata="${resourceMetadataUrl(deps.config, server, call.path)}"`,
  ];
  return `Bearer ${parameters.join(", ")}`;
}
