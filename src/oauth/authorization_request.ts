// RFC 6749 §4.1.1, RFC 7636 §4.3, RFC 8707 §2: reading an authorization request. Which errors go back to the client and
// which are only shown is decided here; what the owner sees and answers is authorize.ts and consent.ts.
import { registerAnew } from "../clients/forgetting.ts";
import type { Server } from "../config.ts";
import type { Deps } from "../deps.ts";
import { OAuthError, type ErrorCode, type RedirectTarget } from "../errors.ts";
import { Parameters } from "../form.ts";
import { fetchClient, isDocumentId } from "./cimd.ts";
import { type FoundClient, findClient } from "./clients.ts";
import { findServer, grantableScopes, isCodeChallenge, matchRedirectUri } from "./rules.ts";
import { type Lost, findLostClient, findRemoved } from "./lost_client.ts";
import { unknownClient, updateClient } from "./unknown_client.ts";

/** The query of an authorization request, read once. */
export interface Query {
  /** As it came: what is sealed into forms, and what state goes back byte for byte from. */
  readonly text: string;
  readonly parameters: Parameters;
}

export const readQuery = (text: string): Query => ({
  text,
  parameters: new Parameters(new URLSearchParams(text)),
});

/** An authorization request whose every part was found good. */
export interface AuthorizationRequest {
  readonly client: FoundClient;
  readonly redirectUri: string;
  readonly known: Target["known"];
  readonly lost: Target["lost"];
  readonly state: string | undefined;
  readonly codeChallenge: string;
  readonly scope: string;
  readonly server: Server;
  /** OpenID Connect Core §3.1.2.1. */
  readonly prompt: string | undefined;
}

const STATE_MAX = 4096;

/** The client and redirect URI of a request: good, or an error that is shown and never redirected (RFC 6749 §4.1.2.1). */
export interface Target {
  readonly client: FoundClient;
  readonly redirectUri: string;
  /**
   * stored: as it is registered here. lost: this folder issued the id and does not know it any more, the owner may let it
   * in again. document: as its document says now. The last two are stored when allowed.
   */
  readonly known: "stored" | "lost" | "document";
  /** Why the owner is asked whether to let it in again. */
  readonly lost: Lost | undefined;
}

/** A parameter that decides where errors go: RFC 6749 §3.1: when it is repeated nobody is redirected. */
function readOnce(parameters: Parameters, name: "client_id" | "redirect_uri"): string | undefined {
  if (!parameters.repeats(name)) return parameters.get(name);
  throw new OAuthError("invalid_request", `The client sent ${name} more than once.`, {
    facts: {
      sent: parameters
        .all(name)
        .slice(0, 5)
        .map((value) => `${name}=${value}`),
      expected: [`${name}, once`],
    },
    advice: updateClient,
  });
}

/** @throws {OAuthError} without redirect, when the request names no client or several */
export function readClientId({ text, parameters }: Query): string {
  const id = readOnce(parameters, "client_id");
  if (id !== undefined) return id;
  throw new OAuthError("invalid_request", "The address names no client that wants to get in.", {
    title: "This page is opened by clients",
    facts: {
      sent: [text === "" ? "an address without parameters" : text],
      expected: ["client_id=…"],
    },
    advice:
      "Start in your client: it opens this page by itself.\nThe home page has the address to paste into a client.",
    next: { path: "/", text: "Home page" },
  });
}

/**
 * Fetches the document of a client that has one: to be called for the signed-in owner only.
 * @throws {OAuthError} without redirect
 */
export async function findTarget(query: Query, deps: Deps): Promise<Target> {
  const id = readClientId(query);
  const asked = readOnce(query.parameters, "redirect_uri");
  const known = isDocumentId(id) ? await fetchClient(id, deps) : await findClient(id, deps);
  const lost =
    known && !known.client.readmitted
      ? undefined
      : await findLostClient(id, asked, known?.client, deps);
  const client = lost ?? known;
  if (!client) throw unknownClient(id, asked);
  const [only, ...others] = client.client.redirect_uris;
  // OAuth 2.1 §4.1.1: it may be left out when there is exactly one.
  const redirectUri = asked ?? (others.length === 0 ? only : undefined);
  if (redirectUri === undefined || !matchRedirectUri(client.client.redirect_uris, redirectUri)) {
    throw new OAuthError(
      "invalid_request",
      "The client asked to be answered at an address that it did not register.",
      {
        title: "The client wants its answer somewhere else",
        detail: `client ${id} asked for ${asked ?? "no redirect URI"}`,
        advice: registerAnew(client.client.redirect_uris),
        facts: {
          clientName: client.client.client_name,
          sent: [asked === undefined ? "no redirect_uri" : `redirect_uri=${asked}`],
          expected: client.client.redirect_uris,
        },
      },
    );
  }
  if (lost) return { client, redirectUri, known: "lost", lost: lost.lost };
  if (!isDocumentId(id)) return { client, redirectUri, known: "stored", lost: undefined };
  const removed = await findRemoved(id, deps);
  const again: Lost | undefined = removed && { kind: "removed", at: removed.removed_at };
  return { client, redirectUri, known: "document", lost: again };
}

/** Where the answer to a request goes. */
export const redirectTarget = ({
  client,
  redirectUri,
  state,
}: Pick<AuthorizationRequest, "client" | "redirectUri" | "state">): RedirectTarget => ({
  uri: redirectUri,
  clientName: client.client.client_name,
  state,
});

/** @throws {OAuthError} with the redirect: the client learns what was wrong with its request */
export function readAuthorizationRequest(
  { text, parameters }: Query,
  target: Target,
  deps: Deps,
): AuthorizationRequest {
  const state = rawState(text);
  const to = redirectTarget({ ...target, state });
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
  // RFC 9700 §2.1.1: a challenge that shows the verifier protects nothing.
  if (read("code_challenge_method") !== "S256")
    refuse("invalid_request", "code_challenge_method must be S256");
  if (!isCodeChallenge(codeChallenge))
    refuse("invalid_request", "code_challenge is not an S256 challenge");
  const server = findServer(deps.config, parameters.all("resource"));
  // RFC 8707 §2: what is unknown or several at once gets invalid_target.
  if (!server) return refuse("invalid_target", "resource is not served here");
  const scopes = grantableScopes(read("scope"), server.scopes);
  if (!scopes) return refuse("invalid_scope", "none of the scopes is offered here");
  const prompt = read("prompt");
  return { ...target, state, codeChallenge, scope: scopes.join(" "), server, prompt };
}

/** The state as the client wrote it, percent-encoding included, so that it goes back byte for byte; undefined when absent or too long. */
function rawState(query: string): string | undefined {
  const raw = /(?:^|&)state=([^&]*)/.exec(query)?.[1];
  return raw && raw.length <= STATE_MAX && /^[\x21-\x7e]+$/.test(raw) ? raw : undefined;
}
