// RFC 7662 token introspection: an MCP server on another host asks what an access token is worth. Only resource servers
// that the owner added may ask, each about tokens for its own resource.
import type { Call, Deps } from "../deps.ts";
import { OAuthError } from "../errors.ts";
import { readForm } from "../form.ts";
import { findAccess } from "./access.ts";
import { authenticateClient } from "./client_auth.ts";
import { serverOf } from "./rules.ts";
import { throttled } from "./token.ts";

/** POST /introspect */
export async function introspect(request: Request, deps: Deps, call: Call): Promise<Response> {
  const form = await readForm(request);
  const answer = await throttled(deps, call, async () => {
    // RFC 7662 §2.1: authorization is required, or tokens could be scanned for.
    const { client } = await authenticateClient(request, form, deps);
    if (client.resource_server === undefined) {
      throw new OAuthError("invalid_client", "this client is no resource server");
    }
    const token = form.require("token");
    const server = serverOf(deps.config, client.resource_server);
    const access = server && (await findAccess(token, server, deps));
    // RFC 7662 §2.2: of a token that is not good, or not for this resource, nothing but that is said.
    // Not every resource server looks at the scopes: a token that has none left is worth nothing.
    if (!access || access.scopes.length === 0) return { active: false };
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
  });
  return Response.json(answer, { headers: { "cache-control": "no-store", pragma: "no-cache" } });
}
