// RFC 6749 §4.1.1, RFC 7636, RFC 8707, RFC 9207: the authorization endpoint. A GET changes nothing: it shows the login,
// the consent page, or an error. What the owner decides arrives at consent.ts.
import type { Server } from "../config.ts";
import type { Call, Deps } from "../deps.ts";
import { OAuthError, type ErrorCode, type RedirectTarget } from "../errors.ts";
import { throttleKey } from "../limits.ts";
import { browserBinding, findSession } from "../login/session.ts";
import { seal } from "../login/forms.ts";
import { showLogin } from "../login/login.ts";
import { randomToken, seconds } from "../primitives.ts";
import { consentPage, returnPage } from "../web/consent_page.ts";
import { setupNeededPage } from "../web/pages.ts";
import { type FoundClient, findClient } from "./clients.ts";
import { Parameters } from "../form.ts";
import { findServer, grantableScopes, isCodeChallenge, matchRedirectUri } from "./rules.ts";

/** An authorization request whose every part was found good. */
export interface AuthorizationRequest {
  readonly client: FoundClient;
  readonly redirectUri: string;
  readonly state: string | undefined;
  readonly codeChallenge: string;
  readonly scope: string;
  readonly server: Server;
}

const STATE_MAX = 4096;

/** GET /authorize */
export async function authorize(request: Request, deps: Deps, call: Call): Promise<Response> {
  const prefix = throttleKey(call.address);
  const wait = deps.limits.authorize.wait(prefix);
  if (wait > 0) {
    throw new OAuthError("temporarily_unavailable", "too many login attempts from this network", {
      status: 429,
      headers: { "retry-after": String(wait) },
      advice: `Wait ${wait} seconds, then connect again.`,
    });
  }
  deps.limits.authorize.count(prefix);
  const query = new URL(request.url).search.slice(1);
  const target = await findTarget(query, deps);
  if (!(await deps.store.owner.get("owner")))
    return setupNeededPage({ base: deps.config.basePath });
  // RFC 9700 §4.11: the owner is known before anything is redirected, errors included; a stranger's registration
  // makes no open redirector of us.
  const session = await findSession(request, deps);
  if (!session) {
    const { binding, cookie } = browserBinding(request, deps);
    return showLogin(
      {
        request: seal(deps, "login", binding, query),
        forClient: true,
        clientName: target.client.client.client_name,
        cookie,
      },
      deps,
    );
  }
  const asked = readAuthorizationRequest(query, target, deps);
  if (new Parameters(new URLSearchParams(query)).get("prompt") === "none") {
    throw refusal(asked, "consent_required", "the owner has to agree on a page");
  }
  const form = seal(deps, "consent", session.id, JSON.stringify({ query, nonce: randomToken(16) }));
  return showConsent(asked, form, deps);
}

/** The client and redirect URI of a request: good, or an error that is shown and never redirected (RFC 6749 §4.1.2.1). */
export interface Target {
  readonly client: FoundClient;
  readonly redirectUri: string;
}

// No client can be told by the server that its id is gone: only the person can make it register again.
const registerAnew = [
  "Remove the connection in the client and add it again, so that it registers anew.",
  "Claude and ChatGPT: Settings, Connectors: remove it, then add it again.",
  "Claude Code: /mcp, choose the server, Clear authentication.",
  "VS Code: run “MCP: List Servers”, choose the server, then Disconnect Account.",
  "Cursor and others: log out of the server in its settings, or delete and add it.",
].join("\n");

/** @throws {OAuthError} without redirect */
export async function findTarget(query: string, deps: Deps): Promise<Target> {
  const parameters = new Parameters(new URLSearchParams(query));
  const id = parameters.require("client_id");
  const client = await findClient(id, deps);
  if (!client) {
    throw new OAuthError("invalid_client", "The client is not registered with this server.", {
      status: 400,
      detail: `unknown client_id ${id}`,
      advice: registerAnew,
      facts: { sent: `client_id=${id}` },
    });
  }
  const asked = parameters.get("redirect_uri");
  const [only, ...others] = client.client.redirect_uris;
  // OAuth 2.1 §4.1.1: it may be left out when there is exactly one.
  const redirectUri = asked ?? (others.length === 0 ? only : undefined);
  if (redirectUri === undefined || !matchRedirectUri(client.client.redirect_uris, redirectUri)) {
    throw new OAuthError(
      "invalid_request",
      "The client asked to be answered at an address that it did not register.",
      {
        detail: `client ${id} asked for ${asked ?? "no redirect URI"}`,
        advice: registerAnew,
        facts: {
          ...(client.client.client_name !== undefined && { clientName: client.client.client_name }),
          sent: `redirect_uri=${asked ?? ""}`,
          expected: client.client.redirect_uris,
        },
      },
    );
  }
  return { client, redirectUri };
}

/** @throws {OAuthError} with the redirect: the client learns what was wrong with its request */
export function readAuthorizationRequest(
  query: string,
  target: Target,
  deps: Deps,
): AuthorizationRequest {
  const parameters = new Parameters(new URLSearchParams(query));
  const state = rawState(query);
  const to: RedirectTarget = { uri: target.redirectUri, state };
  const refuse = (code: ErrorCode, message: string): never => {
    throw new OAuthError(code, message, { redirect: to });
  };
  const read = (name: string): string | undefined => {
    // OAuth 2.1 §3.1: parameters must not be included more than once.
    if (parameters.repeats(name))
      return refuse("invalid_request", `the parameter ${name} is repeated`);
    return parameters.get(name);
  };
  read("state");
  if (state === undefined && (parameters.get("state")?.length ?? 0) > 0)
    refuse("invalid_request", "state is too long");
  // OpenID Connect Core §6: not supported, and nothing is fetched.
  if (read("request") !== undefined)
    refuse("request_not_supported", "request objects are not supported");
  if (read("request_uri") !== undefined)
    refuse("request_uri_not_supported", "request_uri is not supported");
  const responseType = read("response_type");
  if (responseType === undefined) refuse("invalid_request", "response_type is missing");
  if (responseType !== "code") refuse("unsupported_response_type", "response_type must be code");
  if ((read("response_mode") ?? "query") !== "query")
    refuse("invalid_request", "response_mode must be query");
  const codeChallenge = read("code_challenge");
  // OAuth 2.1 §4.1.1, RFC 9700 §2.1.1: PKCE for every client; RFC 7636 §4.3: an absent method means plain.
  if (codeChallenge === undefined)
    return refuse("invalid_request", "code_challenge is missing (PKCE is required)");
  if (read("code_challenge_method") !== "S256")
    refuse("invalid_request", "code_challenge_method must be S256");
  if (!isCodeChallenge(codeChallenge))
    refuse("invalid_request", "code_challenge is not an S256 challenge");
  const server = findServer(deps.config, parameters.all("resource"));
  // RFC 8707 §2
  if (!server) return refuse("invalid_target", "resource is not served here");
  const scopes = grantableScopes(read("scope"), server.scopes);
  if (!scopes) return refuse("invalid_scope", "none of the scopes is offered here");
  return { ...target, state, codeChallenge, scope: scopes.join(" "), server };
}

/** The state as the client wrote it, percent-encoding included, so that it goes back byte for byte; undefined when absent or too long. */
function rawState(query: string): string | undefined {
  const raw = /(?:^|&)state=([^&]*)/.exec(query)?.[1];
  return raw && raw.length <= STATE_MAX && /^[\x21-\x7e]+$/.test(raw) ? raw : undefined;
}

export function refusal(asked: AuthorizationRequest, code: ErrorCode, message: string): OAuthError {
  return new OAuthError(code, message, {
    redirect: { uri: asked.redirectUri, state: asked.state },
  });
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

export function redirectError(error: OAuthError, to: RedirectTarget, deps: Deps): Response {
  const location = redirectLocation(
    to,
    { error: error.code, error_description: error.message },
    deps,
  );
  return sendBack({ location, clientName: undefined }, deps);
}

/** OAuth 2.1 §7.5.2: 303, so that no form body follows. An app's own scheme gets a page: browsers leave the old one standing. */
export function sendBack(
  answer: { location: string; clientName: string | undefined },
  deps: Deps,
): Response {
  const { location, clientName } = answer;
  if (/^https?:/i.test(location)) {
    return new Response(null, {
      status: 303,
      headers: { location, "cache-control": "no-store", "referrer-policy": "no-referrer" },
    });
  }
  return returnPage({ base: deps.config.basePath, location, clientName });
}

function showConsent(asked: AuthorizationRequest, request: string, deps: Deps): Response {
  const { client } = asked.client;
  const { config } = deps;
  return consentPage({
    base: config.basePath,
    hidden: { request },
    clientId: asked.client.id,
    clientName: client.client_name,
    registeredAt: client.client_id_issued_at,
    redirectUri: asked.redirectUri,
    server: asked.server,
    scopes: asked.scope.split(" "),
    idleTtl: config.refreshIdleTtl,
    absoluteTtl: config.refreshAbsoluteTtl,
    now: seconds(deps.now()),
  });
}
