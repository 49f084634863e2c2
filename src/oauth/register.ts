// RFC 7591 dynamic client registration: tolerant of what clients send, strict about where codes may go.
import { sentBy } from "../audit.ts";
import { originOf } from "../attempts/sights.ts";
import type { Call, Deps } from "../deps.ts";
import { OAuthError } from "../errors.ts";
import { networkOf, throttleKey } from "../limits.ts";
import { equal, seconds, sha256 } from "../primitives.ts";
import type { Client } from "../store/records.ts";
import { ensureFolder, idKindOf, makeRoomForClient, newClientId } from "./clients.ts";
import { readJsonObject } from "../form.ts";
import {
  type RegistrableAuthMethod,
  registrableAuthMethods,
  grantTypes,
  responseTypes,
} from "./metadata.ts";
import { checkRedirectUri } from "./rules.ts";
import { newClientSecret, readBearer } from "./tokens.ts";

const REDIRECT_URIS = 20;

/** POST /register */
export const register = (request: Request, deps: Deps, call: Call): Promise<Response> =>
  deps.limits.register.attempt(
    throttleKey(call.address),
    "registrations",
    () => registerClient(request, deps, call),
    // A wrong initial access token may be a guess; metadata that are refused cost nothing and are put right by trying again.
    (error) =>
      error === undefined ||
      (error instanceof OAuthError &&
        error.code === "invalid_token" &&
        readBearer(request.headers) !== undefined),
  );

async function registerClient(request: Request, deps: Deps, call: Call): Promise<Response> {
  requireInitialAccessToken(request, deps);
  const asked = await readJsonObject(request, "invalid_client_metadata");
  const client = readMetadata(asked, deps);
  const network = networkOf(call.address);
  const secret = client.token_endpoint_auth_method === "none" ? undefined : newClientSecret();
  const record: Client = {
    ...client,
    registered_from: network,
    ...(secret !== undefined && { secret_hash: sha256(secret) }),
  };
  // RFC 7591 §3.2.1; on disk before the 201, since an id that is lost cannot be told to the client later.
  const id = await deps.store.update((draft) => {
    const folder = ensureFolder(draft, deps.config.issuer);
    const clientId = newClientId(folder.client_id_key, idKindOf(record));
    makeRoomForClient(draft, network);
    draft.put("clients", clientId, record);
    return clientId;
  });
  deps.audit.record("client_registered", {
    client: id,
    name: record.client_name,
    redirect_uri: record.redirect_uris[0],
    ...sentBy(call),
  });
  deps.attempts.see(
    {
      step: "registration",
      clientId: id,
      clientName: record.client_name,
      redirectUri: record.redirect_uris[0],
    },
    originOf(request, call, deps),
  );
  return Response.json(registered(id, record, secret), {
    status: 201,
    headers: { "cache-control": "no-store", pragma: "no-cache" },
  });
}

/** RFC 7591 §3: where the owner gave out a token for registration, it is asked for. @throws {OAuthError} invalid_token */
function requireInitialAccessToken(request: Request, deps: Deps): void {
  if (deps.initialAccessTokenHash === undefined) return;
  const token = readBearer(request.headers);
  if (token !== undefined && equal(sha256(token), deps.initialAccessTokenHash)) return;
  // RFC 6750 §3 wants a parameter, §3.1 no error when nothing was sent.
  const error = token === undefined ? "" : ', error="invalid_token"';
  throw new OAuthError(
    "invalid_token",
    "registration needs the initial access token of this server",
    { headers: { "www-authenticate": `Bearer realm="postern"${error}` } },
  );
}

/**
 * RFC 7591 §3.2.1: all metadata as registered, with what was narrowed; a secret never expires. Without the
 * registration_client_uri of RFC 7592: a client that wants to change something registers again, and removing is the owner's.
 */
function registered(
  id: string,
  client: Client,
  secret: string | undefined,
): Record<string, unknown> {
  const { client_name, client_uri, client_id_issued_at, redirect_uris, scope } = client;
  const { grant_types, response_types, token_endpoint_auth_method } = client;
  return {
    client_id: id,
    ...(secret !== undefined && { client_secret: secret, client_secret_expires_at: 0 }),
    client_id_issued_at,
    ...(client_name !== undefined && { client_name }),
    ...(client_uri !== undefined && { client_uri }),
    redirect_uris,
    grant_types,
    response_types,
    token_endpoint_auth_method,
    scope,
  };
}

/** RFC 7591 §2: known members are checked, unknown ones ignored. */
function readMetadata(asked: Record<string, unknown>, deps: Deps): Client {
  const method = readAuthMethod(asked["token_endpoint_auth_method"]);
  const name = optionalText(asked, "client_name")?.trim();
  const uri = optionalText(asked, "client_uri");
  const webUri = uri !== undefined && /^https?:$/.test(URL.parse(uri)?.protocol ?? "");
  // Judged as the others are; see below what it decides.
  optionalText(asked, "scope");
  return {
    ...(name && { client_name: name.slice(0, 200) }),
    redirect_uris: readRedirectUris(asked["redirect_uris"]),
    grant_types: readGrantTypes(asked),
    response_types: [...responseTypes],
    token_endpoint_auth_method: method ?? "client_secret_basic",
    // RFC 7591 §2 makes client_secret_basic the default; a client that never asked and keeps no secret still gets in.
    ...(method === undefined && { auth_optional: true }),
    // RFC 7591 §2: what the client can use, which is everything, whatever it names here: the owner decides at each login.
    // Held to its first choice, a client could never step up (MCP 2026-07-28 "Step-Up Authorization Flow").
    scope: deps.config.scopes.join(" "),
    ...(webUri && { client_uri: uri }),
    client_id_issued_at: seconds(deps.now()),
    source: "dcr",
  };
}

/** @throws {OAuthError} invalid_redirect_uri */
export function readRedirectUris(value: unknown): string[] {
  const refuse = (message: string): never => {
    throw new OAuthError("invalid_redirect_uri", message);
  };
  if (!Array.isArray(value) || value.length === 0) {
    return refuse("redirect_uris must be an array with at least one URI");
  }
  if (value.length > REDIRECT_URIS)
    return refuse(`redirect_uris has more than ${REDIRECT_URIS} URIs`);
  return value.map((uri: unknown, index) => {
    if (typeof uri !== "string") return refuse(`redirect_uris[${index}] is not a string`);
    const checked = checkRedirectUri(uri);
    return checked.ok ? uri : refuse(`redirect_uris[${index}] ${checked.problem}`);
  });
}

/** RFC 7591 §2: what we do not support is left out; a client without a usable grant is refused. */
function readGrantTypes(asked: Record<string, unknown>): string[] {
  const responses = optionalTexts(asked, "response_types");
  if (responses && !responses.includes("code")) {
    throw new OAuthError("invalid_client_metadata", "response_types must include code");
  }
  // A client that says nothing gets refresh tokens too; one that lists its grants gets those.
  const wanted = optionalTexts(asked, "grant_types") ?? grantTypes;
  const usable = grantTypes.filter((type) => wanted.includes(type));
  if (!usable.includes("authorization_code")) {
    throw new OAuthError("invalid_client_metadata", "grant_types must include authorization_code");
  }
  return usable;
}

function readAuthMethod(value: unknown): RegistrableAuthMethod | undefined {
  if (value === undefined || value === null || value === "") return undefined;
  const method = registrableAuthMethods.find((known) => known === value);
  if (method) return method;
  throw new OAuthError(
    "invalid_client_metadata",
    `token_endpoint_auth_method must be one of ${registrableAuthMethods.join(", ")}`,
  );
}

function optionalText(asked: Record<string, unknown>, name: string): string | undefined {
  const value = asked[name];
  if (value === undefined || value === null || value === "") return undefined;
  if (typeof value === "string" && value.length <= 2048) return value;
  throw new OAuthError(
    "invalid_client_metadata",
    `${name} must be a string of at most 2048 characters`,
  );
}

function optionalTexts(asked: Record<string, unknown>, name: string): string[] | undefined {
  const value = asked[name];
  if (value === undefined || value === null || (Array.isArray(value) && value.length === 0))
    return undefined;
  if (Array.isArray(value) && value.every((item): item is string => typeof item === "string"))
    return value;
  throw new OAuthError("invalid_client_metadata", `${name} must be an array of strings`);
}
