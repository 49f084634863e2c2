// RFC 6749 §2.3 client authentication: who is asking at /token and /revoke.
import type { Deps } from "../deps.ts";
import { OAuthError } from "../errors.ts";
import { equal, sha256 } from "../primitives.ts";
import { type FoundClient, findClient } from "./clients.ts";
import type { Parameters } from "../form.ts";

interface Credentials {
  readonly id: string;
  readonly secrets: readonly string[];
  readonly basic: boolean;
}

/**
 * The client of a request, authenticated as it was registered.
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
      headers: given?.basic ? { "www-authenticate": 'Basic realm="postern"' } : {},
    });
  };
  if (!given) return refuse("no client_id");
  const found = await findClient(given.id, deps);
  if (!found) return refuse("unknown client_id");
  const { secret_hash: hash, secret_optional: optional } = found.client;
  if (hash === undefined) {
    return given.secrets.some(Boolean) || given.basic
      ? refuse("a public client sent a secret")
      : found;
  }
  if (given.secrets.length === 0 && optional) return found;
  return given.secrets.some((secret) => equal(sha256(secret), hash))
    ? found
    : refuse("wrong secret");
}

function readCredentials(request: Request, form: Parameters): Credentials | undefined {
  const header = request.headers.get("authorization");
  const id = form.get("client_id");
  const secret = form.get("client_secret");
  if (header === null) {
    return id === undefined
      ? undefined
      : { id, secrets: secret === undefined ? [] : [secret], basic: false };
  }
  // RFC 6749 §2.3: never more than one method in a request.
  if (secret !== undefined) {
    throw new OAuthError(
      "invalid_request",
      "the client authenticates in the header and in the body",
    );
  }
  const basic = readBasic(header);
  if (!basic || (id !== undefined && id !== basic.id)) return { id: "", secrets: [], basic: true };
  return { ...basic, basic: true };
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
