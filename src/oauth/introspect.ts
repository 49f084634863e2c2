// RFC 7662 token introspection: an MCP server on another host asks what an access token is worth. Only resource servers
// that the owner added may ask, each about tokens for its own resource.
import type { Call, Deps } from "../deps.ts";
import { OAuthError } from "../errors.ts";
import { readForm } from "../form.ts";
import type { Server } from "../config.ts";
import { findAccess } from "./access.ts";
import { findKey, keyClientId, keyId } from "./keys.ts";
import { authenticateClient, basicChallenge } from "./client_auth.ts";
import { serverOf } from "./rules.ts";
import { throttled } from "./token.ts";

/** POST /introspect */
export async function introspect(request: Request, deps: Deps, call: Call): Promise<Response> {
  const form = await readForm(request);
  const answer = await throttled(deps, call, async () => {
    // RFC 7662 §2.1: authorization is required, or tokens could be scanned for.
    const { client } = await authenticateClient(request, form, deps).catch(challenge);
    // RFC 7662 §2.1 leaves it to the server who may ask: known, but not for this.
    if (client.resource_server === undefined) {
      throw new OAuthError("unauthorized_client", "this client is no resource server", {
        status: 403,
      });
    }
    const token = form.require("token");
    const server = serverOf(deps.config, client.resource_server);
    const known = server && (await (keyId(token) ? keyAnswer : tokenAnswer)(token, server, deps));
    return known ?? { active: false };
  });
  return Response.json(answer, { headers: { "cache-control": "no-store", pragma: "no-cache" } });
}

/** RFC 7662 §2.2, members of an answer. */
type Answer = Readonly<Record<string, string | number | boolean>>;

async function tokenAnswer(token: string, server: Server, deps: Deps): Promise<Answer | undefined> {
  const access = await findAccess(token, server, deps);
  // RFC 7662 §2.2: of a token that is not good, or not for this resource, nothing but that is said.
  // Not every resource server looks at the scopes: a token that has none left is worth nothing.
  if (!access || access.scopes.length === 0) return undefined;
  const { grant, entry, scopes } = access;
  return {
    active: true,
    scope: scopes.join(" "),
    client_id: grant.client_id,
    ...(grant.client_name !== undefined && { client_name: grant.client_name }),
    username: grant.subject,
    sub: grant.subject,
    aud: grant.resource,
    iss: deps.config.issuer,
    token_type: "Bearer",
    exp: entry.expires_at,
    ...(entry.generation === grant.generation && { iat: grant.rotated_at }),
  };
}

/** A key is worth as much to a server on another host as to one behind us. */
async function keyAnswer(token: string, server: Server, deps: Deps): Promise<Answer | undefined> {
  const access = await findKey(token, server, deps);
  if (!access || access.scopes.length === 0) return undefined;
  const { id, key, scopes } = access;
  return {
    active: true,
    scope: scopes.join(" "),
    client_id: keyClientId(id),
    client_name: key.name,
    username: "owner",
    sub: "owner",
    aud: server.resource,
    iss: deps.config.issuer,
    token_type: "Bearer",
    ...(key.expires_at !== undefined && { exp: key.expires_at }),
    iat: key.created_at,
  };
}

/** RFC 7662 §2.3, RFC 9110 §11.6.1: who is not known is told how to authenticate, whatever was tried. */
function challenge(error: unknown): never {
  if (!(error instanceof OAuthError) || error.status !== 401) throw error;
  throw new OAuthError(error.code, error.message, {
    ...(error.detail !== undefined && { detail: error.detail }),
    cause: error,
    headers: { ...error.headers, ...basicChallenge },
  });
}
