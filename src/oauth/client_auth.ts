// RFC 6749 §2.3, RFC 7523 §2.2 client authentication: who is asking at /token and /revoke.
import type { Deps } from "../deps.ts";
import { OAuthError } from "../errors.ts";
import { equal, sha256 } from "../primitives.ts";
import { type FoundClient, findClient } from "./clients.ts";
import type { Parameters } from "../form.ts";
import { ASSERTION_TYPE, claimedClient, verifyAssertion } from "./jwt.ts";

export const basicChallenge = { "www-authenticate": 'Basic realm="postern"' } as const;

interface Credentials {
  readonly id: string;
  readonly secrets: readonly string[];
  readonly basic: boolean;
  /** RFC 7523 §2.2 */
  readonly assertion?: string;
}

/**
 * The client of a request, authenticated with what it was registered for: nothing, its secret, or its keys. A secret may come
 * in either place, whichever of the two was registered: for every client with a secret, RFC 6749 §2.3.1 demands that the
 * header works and OAuth 2.1 §2.4.1 that the body does, and the official MCP client long sent it in the body whatever it had
 * registered. Neither place is the safer one.
 * @throws {OAuthError} invalid_client 401 (clients register again on it); invalid_request for two methods at once
 */
export async function authenticateClient(
  request: Request,
  form: Parameters,
  deps: Deps,
): Promise<FoundClient> {
  const given = readCredentials(request, form);
  const refuse = (detail: string): never => {
    throw new OAuthError("invalid_client", "the client is unknown or its credentials are wrong", {
      detail,
      // RFC 6749 §5.2: the challenge answers the scheme that was tried.
      headers: given?.basic ? basicChallenge : {},
    });
  };
  if (!given) return refuse("no client_id");
  const found = await findClient(given.id, deps);
  if (!found) return refuse("unknown client_id");
  const { client } = found;
  const tried = given.assertion !== undefined || given.secrets.length > 0 || given.basic;
  if (!tried && (client.token_endpoint_auth_method === "none" || client.auth_optional))
    return found;
  if (!tried) return refuse("the client did not authenticate");
  if (given.assertion !== undefined) {
    if (!client.jwks) return refuse("the client has no keys");
    await verifyAssertion(given.assertion, found, deps);
    return found;
  }
  const { secret_hash: hash } = client;
  // Let in again as a public client: what its secret was is not known any more, and nothing hangs on it.
  if (hash === undefined && client.readmitted) return found;
  if (hash === undefined) return refuse("a client without a secret sent one");
  return given.secrets.some((secret) => equal(sha256(secret), hash))
    ? found
    : refuse("wrong secret");
}

function readCredentials(request: Request, form: Parameters): Credentials | undefined {
  const header = request.headers.get("authorization");
  const id = form.get("client_id");
  const secret = form.get("client_secret");
  const assertion = readAssertion(form);
  // RFC 6749 §2.3: never more than one method in a request.
  if ([header ?? undefined, secret, assertion].filter((each) => each !== undefined).length > 1) {
    throw new OAuthError("invalid_request", "the client authenticates in more than one way");
  }
  if (assertion !== undefined) {
    // RFC 7521 §4.2: client_id is optional beside an assertion, and must be the same client when it is there.
    const claimed = claimedClient(assertion) ?? "";
    return {
      id: id === undefined || id === claimed ? claimed : "",
      secrets: [],
      basic: false,
      assertion,
    };
  }
  if (header === null) {
    return id === undefined
      ? undefined
      : { id, secrets: secret === undefined ? [] : [secret], basic: false };
  }
  const basic = readBasic(header);
  if (!basic || (id !== undefined && id !== basic.id)) return { id: "", secrets: [], basic: true };
  return { ...basic, basic: true };
}

function readAssertion(form: Parameters): string | undefined {
  const type = form.get("client_assertion_type");
  const assertion = form.get("client_assertion");
  if (type === undefined && assertion === undefined) return undefined;
  if (type !== ASSERTION_TYPE || assertion === undefined || assertion.length > 8192) {
    throw new OAuthError("invalid_request", "client_assertion needs the type jwt-bearer");
  }
  return assertion;
}

/** RFC 6749 §2.3.1 form-encodes both parts before Basic; the official MCP client does not. A secret may be meant either way. */
function readBasic(header: string): { id: string; secrets: string[] } | undefined {
  const encoded = /^basic +([A-Za-z0-9+/_-]+=*)$/i.exec(header)?.[1];
  const text = encoded === undefined ? "" : Buffer.from(encoded, "base64").toString("utf8");
  const colon = text.indexOf(":");
  if (colon < 1) return undefined;
  const secret = text.slice(colon + 1);
  return { id: formDecoded(text.slice(0, colon)), secrets: [secret, formDecoded(secret)] };
}

/** What is no form encoding stays as it is. */
function formDecoded(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll("+", " "));
  } catch {
    return text;
  }
}
