// RFC 6749 §3.2: the token endpoint. Reads the form once, authenticates the client, hands over to the grant.
import { originOf, seeRedemption } from "../attempts/sights.ts";
import type { Call, Deps } from "../deps.ts";
import { OAuthError } from "../errors.ts";
import { throttleKey } from "../limits.ts";
import { authenticateClient } from "./client_auth.ts";
import type { FoundClient } from "./clients.ts";
import { redeem } from "./code.ts";
import { type Parameters, readForm } from "../form.ts";
import type { TokenResponse } from "./grants.ts";
import { type GrantType, grantTypes } from "./metadata.ts";
import { sha256 } from "../primitives.ts";
import { refresh } from "./refresh.ts";
import { parseAccessToken } from "./tokens.ts";

/** What a grant type (RFC 6749 §1.3) gives for its form. */
type Issue = (
  form: Parameters,
  client: FoundClient,
  deps: Deps,
  call: Call,
) => Promise<TokenResponse>;

const issuers: Record<GrantType, Issue> = { authorization_code: redeem, refresh_token: refresh };

/** POST /token */
export async function token(request: Request, deps: Deps, call: Call): Promise<Response> {
  const form = await readForm(request);
  const issue = (): Promise<TokenResponse> => issued(request, form, deps, call);
  // Refreshes go unseen: only what is on its way in is followed.
  const isLogin = form.all("grant_type").includes("authorization_code");
  const answer = isLogin ? await watched(request, form, deps, call, issue) : await issue();
  // RFC 6749 §5.1: responses with tokens are never cached.
  return Response.json(answer, { headers: { "cache-control": "no-store", pragma: "no-cache" } });
}

function issued(
  request: Request,
  form: Parameters,
  deps: Deps,
  call: Call,
): Promise<TokenResponse> {
  return throttled(deps, call, async () => {
    const grantType = grantTypes.find((known) => known === form.require("grant_type"));
    if (!grantType) {
      throw new OAuthError("unsupported_grant_type", "the grant_type is not supported");
    }
    const client = await authenticateClient(request, form, deps);
    if (!client.client.grant_types.includes(grantType)) {
      throw new OAuthError(
        "unauthorized_client",
        "the client is not registered for this grant_type",
      );
    }
    return issuers[grantType](form, client, deps, call);
  });
}

const watched = (
  request: Request,
  form: Parameters,
  deps: Deps,
  call: Call,
  redeem: () => Promise<TokenResponse>,
): Promise<TokenResponse> => {
  const [clientId] = form.all("client_id");
  const sight = { clientId, code: sha256(form.all("code")[0] ?? "") };
  const family = (made: TokenResponse): string | undefined =>
    parseAccessToken(made.access_token)?.family;
  return seeRedemption(sight, originOf(request, call, deps), deps, { redeem, family });
};

/**
 * Runs `answer` unless this prefix had too many refusals lately. Successes are never counted: hosted clients share
 * addresses; our own failures (5xx) are not the client's.
 * @throws {OAuthError} temporarily_unavailable 429
 */
export const throttled = <T>(deps: Deps, call: Call, answer: () => Promise<T>): Promise<T> =>
  deps.limits.token.attempt(
    throttleKey(call.address),
    "refused requests",
    answer,
    (error) => error instanceof OAuthError && error.status < 500,
  );
