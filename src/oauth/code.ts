// RFC 6749 §4.1.3, RFC 7636 §4.5: the authorization_code grant. A code works once, for 60 s, and only whole.
import { sentBy } from "../audit.ts";
import type { Call, Deps } from "../deps.ts";
import { OAuthError } from "../errors.ts";
import { networkOf } from "../limits.ts";
import { seconds, sha256 } from "../primitives.ts";
import type { Code } from "../store/records.ts";
import type { FoundClient } from "./clients.ts";
import type { Parameters } from "../form.ts";
import { type NewGrant, type TokenResponse, endGrant, newGrant } from "./grants.ts";
import { findServer, serverOf, verifyPkce } from "./rules.ts";
import { isCode } from "./tokens.ts";

/** How long a redeemed code is remembered, to notice that it comes back. */
const REMEMBERED = 600;

type Redemption =
  | { readonly kind: "redeemed"; readonly code: Code; readonly grant: NewGrant }
  | { readonly kind: "replayed"; readonly family: string; readonly code: Code }
  | { readonly kind: "refused"; readonly error: OAuthError };

/** @throws {OAuthError} invalid_grant, invalid_target, or temporarily_unavailable with the code still good */
export async function redeem(
  form: Parameters,
  client: FoundClient,
  deps: Deps,
  call: Call,
): Promise<TokenResponse> {
  const text = form.require("code");
  const asked = {
    clientId: client.id,
    redirectUri: form.get("redirect_uri"),
    verifier: form.get("code_verifier") ?? "",
    resources: form.all("resource"),
  };
  const id = sha256(isCode(text) ? text : "");
  const now = seconds(deps.now());
  let redemption: Redemption = { kind: "refused", error: dead("unknown or expired code") };
  await deps.store.codes.update(id, (code) => {
    if (!code) return undefined;
    const problem = mismatch(code, asked);
    // A replay without the verifier proves nothing and must not end the victim's grant (OAuth 2.1 §4.1.3).
    if (code.family !== undefined) {
      redemption = problem ? refused(problem) : { kind: "replayed", family: code.family, code };
      return code;
    }
    if (problem) {
      redemption = refused(problem);
      return undefined;
    }
    // RFC 8707 §2.2. Checked before the code is used up: some clients leave it out, none deserves to lose the code.
    const server = serverOf(deps.config, code.resource);
    const isOther =
      asked.resources.length > 0 && findServer(deps.config, asked.resources) !== server;
    // The owner may have taken the server away since the consent.
    if (!server || isOther) {
      redemption = refused(new OAuthError("invalid_target", "the code is for another resource"));
      return code;
    }
    const keepsLoggedIn = client.client.grant_types.includes("refresh_token");
    const grant = newGrant(code, networkOf(call.address), keepsLoggedIn, deps, now);
    redemption = { kind: "redeemed", code, grant };
    return { ...code, family: grant.family, expires_at: now + REMEMBERED };
  });
  return settle(redemption, id, deps, call);
}

const refused = (error: OAuthError): Redemption => ({ kind: "refused", error });

const dead = (detail: string): OAuthError =>
  new OAuthError("invalid_grant", "the authorization code is not valid, log in again", { detail });

interface Presented {
  readonly clientId: string;
  readonly redirectUri: string | undefined;
  readonly verifier: string;
}

function mismatch(code: Code, asked: Presented): OAuthError | undefined {
  // RFC 6749 §4.1.3: issued to the authenticated client.
  if (code.client_id !== asked.clientId) return dead("code of another client");
  // RFC 6749 §4.1.3 wants it identical; OAuth 2.1 §10.2 lets clients leave it out, since PKCE binds more.
  if (asked.redirectUri !== undefined && asked.redirectUri !== code.redirect_uri) {
    return dead("redirect_uri differs from the authorization request");
  }
  // RFC 7636 §4.6. RFC 9700 §2.1.1: every code has a challenge, so that one without a verifier is no way round it.
  return verifyPkce(asked.verifier, code.code_challenge) ? undefined : dead("wrong code_verifier");
}

async function settle(
  redemption: Redemption,
  id: string,
  deps: Deps,
  call: Call,
): Promise<TokenResponse> {
  if (redemption.kind === "refused") throw redemption.error;
  if (redemption.kind === "replayed") {
    // RFC 6749 §4.1.2: used more than once, the tokens that came of it are revoked.
    const { family } = redemption;
    deps.audit.record("code_replayed", {
      client: redemption.code.client_id,
      name: redemption.code.client_name,
      family,
      ...sentBy(call),
    });
    await deps.store.revoke((draft) => endGrant(draft, family, seconds(deps.now())));
    throw dead("the code was redeemed before; its grant is revoked");
  }
  const { code, grant } = redemption;
  try {
    await store(code, grant, deps);
  } catch (error) {
    // Not durable, so not redeemed: the code works again until its own end.
    await deps.store.codes.update(id, (current) => current && code);
    throw error;
  }
  deps.audit.record("grant_created", {
    client: code.client_id,
    name: code.client_name,
    redirect_uri: code.redirect_uri,
    family: grant.family,
    scope: code.scope,
    resource: code.resource,
    ...sentBy(call),
  });
  return grant.response;
}

function store(code: Code, grant: NewGrant, deps: Deps): Promise<void> {
  return deps.store.update((draft) => {
    const client = draft.get("clients", code.client_id);
    const owner = draft.get("owner", "owner");
    // Deleted, revoked or the password changed since the consent: the code ended in that same commit.
    if (!client || owner?.epoch !== code.epoch) throw dead("the consent was withdrawn");
    draft.put("refresh_tokens", grant.family, grant.record);
    if (client.first_grant_at === undefined) {
      draft.put("clients", code.client_id, { ...client, first_grant_at: grant.record.created_at });
    }
  });
}
