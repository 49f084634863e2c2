// RFC 7009 token revocation: a refresh token ends its grant, an access token ends itself and those before it.
import { sentBy } from "../audit.ts";
import type { Call, Deps } from "../deps.ts";
import { OAuthError } from "../errors.ts";
import { seconds } from "../primitives.ts";
import type { Draft } from "../store/table.ts";
import { authenticateClient } from "./client_auth.ts";
import { readForm } from "../form.ts";
import { endGrant, liveAccess } from "./grants.ts";
import { throttled } from "./token.ts";
import { findAccessEntry, isGenuine, parseAccessToken, parseRefreshToken } from "./tokens.ts";

/** What became of a token: RFC 7009 §2.2 answers 200 to all but "foreign". */
type Outcome = Revoked | { readonly kind: "unknown" } | { readonly kind: "foreign" };

/** The whole login, or its access tokens up to a generation. */
interface Revoked {
  readonly kind: "grant" | "access";
  readonly family: string;
  readonly generation: number;
}

/** POST /revoke */
export async function revoke(request: Request, deps: Deps, call: Call): Promise<Response> {
  const form = await readForm(request);
  await throttled(deps, call, async () => {
    const client = await authenticateClient(request, form, deps);
    const text = form.require("token");
    // RFC 7009 §2.1: the hint may be wrong; our prefixes say what a token is.
    const outcome = await deps.store.revoke((draft) =>
      text.startsWith("prt_")
        ? revokeRefreshToken(text, client.id, draft, deps)
        : revokeAccessToken(text, client.id, draft, deps),
    );
    // RFC 7009 §2.1: a token of another client is refused and left alone.
    if (outcome.kind === "foreign") {
      throw new OAuthError("invalid_grant", "the token was issued to another client", {
        detail: `client ${client.id} would revoke a token of another client`,
      });
    }
    if (outcome.kind !== "unknown") tellRevoked(outcome, client.id, deps, call);
  });
  return new Response(null, { headers: { "cache-control": "no-store" } });
}

function tellRevoked(
  { kind, family, generation }: Revoked,
  clientId: string,
  deps: Deps,
  call: Call,
): void {
  const about = { client: clientId, family, ...sentBy(call), by: "client" };
  if (kind === "grant") deps.audit.record("grant_revoked", about);
  else deps.audit.record("access_revoked", { ...about, generation });
}

/** Of any generation, even past its end: the client wants to be logged out. */
function revokeRefreshToken(text: string, clientId: string, draft: Draft, deps: Deps): Outcome {
  const token = parseRefreshToken(text);
  const grant = token && draft.get("refresh_tokens", token.family);
  if (!token || !grant || !isGenuine(token, grant)) return { kind: "unknown" };
  if (grant.client_id !== clientId) return { kind: "foreign" };
  endGrant(draft, token.family, seconds(deps.now()));
  return { kind: "grant", ...token };
}

function revokeAccessToken(text: string, clientId: string, draft: Draft, deps: Deps): Outcome {
  const token = parseAccessToken(text);
  const grant = token && draft.get("refresh_tokens", token.family);
  if (!token || !grant) return { kind: "unknown" };
  const live = liveAccess(grant, deps, seconds(deps.now()));
  if (!findAccessEntry(live, token.generation, token.proof)) return { kind: "unknown" };
  if (grant.client_id !== clientId) return { kind: "foreign" };
  draft.put("refresh_tokens", token.family, {
    ...grant,
    access: grant.access.filter(({ generation }) => generation > token.generation),
    revoked_generation: Math.max(grant.revoked_generation ?? 0, token.generation),
  });
  return { kind: "access", ...token };
}
