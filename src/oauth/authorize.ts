// RFC 6749 §4.1.1: the authorization endpoint, and the answers that lead back to a client (RFC 9207). A GET changes
// nothing: it shows the login, the consent page, or an error. What the owner decides arrives at consent.ts.
import { originOf } from "../attempts/sights.ts";
import type { Sight } from "../attempts/trail.ts";
import type { Call, Deps } from "../deps.ts";
import { OAuthError, type ErrorCode, type RedirectTarget, tooManyRequests } from "../errors.ts";
import { throttleKey } from "../limits.ts";
import { seal } from "../login/forms.ts";
import { showLogin, waitingClient } from "../login/login.ts";
import { requireOwner } from "../login/owner.ts";
import { browserBinding, findSession } from "../login/session.ts";
import { randomToken, seconds, sha256 } from "../primitives.ts";
import { formerLeash } from "./leash.ts";
import { consentPage } from "../web/consent_page.ts";
import { type ReturnPage, returnPage } from "../web/return_page.ts";
import { span } from "../web/text.ts";
import {
  type AuthorizationRequest,
  type Target,
  findTarget,
  readAuthorizationRequest,
  readClientId,
  readQuery,
  redirectTarget,
} from "./authorization_request.ts";
import { assertDocumentId, isDocumentId } from "./cimd.ts";
import { isLoopbackRedirect } from "./rules.ts";

/** GET /authorize */
export async function authorize(request: Request, deps: Deps, call: Call): Promise<Response> {
  const prefix = throttleKey(call.address);
  const wait = deps.limits.authorize.wait(prefix);
  const query = readQuery(new URL(request.url).search.slice(1));
  if (wait > 0) {
    throw tooManyRequests("too many login attempts from this network", wait, {
      facts: { clientName: await waitingClient(query.text, deps) },
      advice: `Wait ${span(wait)}, then try again.`,
      next: { path: `/authorize?${query.text}`, text: "Try again" },
    });
  }
  deps.limits.authorize.count(prefix);
  const clientId = readClientId(query);
  const session = await findSession(request, deps);
  // A stranger makes us fetch nothing: until the owner is known, the id alone is judged.
  if (isDocumentId(clientId)) assertDocumentId(clientId);
  const target = !session && isDocumentId(clientId) ? undefined : await findTarget(query, deps);
  await requireOwner(deps);
  const from = originOf(request, call, deps);
  deps.attempts.see({ step: "authorization", query: query.text, clientId, ...seen(target) }, from);
  // RFC 9700 §4.11: the owner is known before anything is redirected, errors included; a stranger's registration
  // makes no open redirector of us.
  if (!session || !target) {
    const { binding, cookie } = browserBinding(request, deps);
    const field = seal(deps, "login", binding, query.text);
    const login = await showLogin({ query: query.text, request: field, cookie }, deps);
    // mcp-remote asks here without a browser first, and takes a 4xx for "register again".
    return target?.known === "lost"
      ? new Response(login.body, { status: 400, headers: login.headers })
      : login;
  }
  deps.attempts.see({ step: "login", query: query.text }, from);
  const asked = readAuthorizationRequest(query, target, deps);
  if (asked.prompt === "none") {
    throw refusal(asked, "consent_required", "the owner has to agree on a page");
  }
  const form = seal(
    deps,
    "consent",
    session.id,
    JSON.stringify({ query: query.text, nonce: randomToken(16), seen: fingerprint(asked) }),
  );
  return showConsent(asked, form, deps);
}

const seen = (target: Target | undefined): Partial<Sight> => ({
  clientName: target?.client.client.client_name,
  redirectUri: target?.redirectUri,
});

/** What the owner was shown of a client: a document that changes in between is shown again. */
export function fingerprint(asked: AuthorizationRequest): string {
  const {
    client: { client },
    redirectUri,
    known,
    lost,
  } = asked;
  const { client_name, redirect_uris, token_endpoint_auth_method, jwks, jwks_uri } = client;
  return sha256(
    JSON.stringify([
      client_name,
      redirect_uris,
      token_endpoint_auth_method,
      jwks,
      jwks_uri,
      redirectUri,
      // Removed in between, it is asked about as removed.
      known,
      lost,
    ]),
  );
}

function refusal(asked: AuthorizationRequest, code: ErrorCode, message: string): OAuthError {
  return new OAuthError(code, message, { redirect: redirectTarget(asked) });
}

/** The redirect URI with our parameters behind its own; RFC 9207 §2: `iss` in every answer, errors included. */
export function redirectLocation(
  to: RedirectTarget,
  parameters: Record<string, string>,
  deps: Deps,
): string {
  const added = new URLSearchParams({ ...parameters, iss: deps.config.issuer }).toString();
  const state = to.state === undefined ? "" : `&state=${to.state}`;
  return `${to.uri}${to.uri.includes("?") ? "&" : "?"}${added}${state}`;
}

/** The answer to a request that is refused for what it asked. */
export function redirectError(
  error: OAuthError,
  to: RedirectTarget,
  requestId: string,
  deps: Deps,
): Response {
  const parameters = { error: error.code, error_description: error.message };
  const location = redirectLocation(to, parameters, deps);
  const outcome = { kind: "refused", problem: error.message, requestId } as const;
  return sendBack({ location, clientName: to.clientName, outcome }, deps);
}

/** RFC 9700 §4.12: 303, so that no form body follows. An app's own scheme gets a page: browsers leave the old one standing. */
export function sendBack(answer: Omit<ReturnPage, "base">, deps: Deps): Response {
  const { location } = answer;
  if (!/^https?:/i.test(location)) return returnPage({ base: deps.config.basePath, ...answer });
  return new Response(null, {
    status: 303,
    headers: { location, "cache-control": "no-store", "referrer-policy": "no-referrer" },
  });
}

async function showConsent(
  asked: AuthorizationRequest,
  request: string,
  deps: Deps,
): Promise<Response> {
  const { client } = asked.client;
  const { config } = deps;
  return consentPage({
    base: config.basePath,
    hidden: { request },
    clientId: asked.client.id,
    clientName: client.client_name,
    ...(asked.known === "stored" && { registeredAt: client.client_id_issued_at }),
    redirectUri: asked.redirectUri,
    server: asked.server,
    leash: await formerLeash(asked.client.id, asked.server.resource, deps),
    tools: deps.tools.known(asked.server),
    readmit: asked.lost,
    ...(asked.known === "document" && { verifiedHost: new URL(asked.client.id).host }),
    offerAddress: isLoopbackRedirect(asked.redirectUri),
    scopes: asked.scope.split(" "),
    idleTtl: config.refreshIdleTtl,
    absoluteTtl: config.refreshAbsoluteTtl,
    now: seconds(deps.now()),
  });
}
