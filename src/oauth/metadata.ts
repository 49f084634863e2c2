// RFC 8414 authorization server metadata and RFC 9728 protected resource metadata: what is advertised, and the one list
// of capabilities that registration and the token endpoint enforce. Every document is encoded once.
import type { Config, Server } from "../config.ts";

/** Of client assertions (RFC 7523): asymmetric ones only. Ed25519 is EdDSA by its newer, exact name (RFC 9864). */
export const assertionAlgorithms = [
  "RS256",
  "PS256",
  "ES256",
  "ES384",
  "EdDSA",
  "Ed25519",
] as const;
export const grantTypes = ["authorization_code", "refresh_token"] as const;
export type GrantType = (typeof grantTypes)[number];
export const responseTypes = ["code"] as const;
/** What a client may register; documents may bring keys for private_key_jwt besides. */
export const registrableAuthMethods = [
  "none",
  "client_secret_basic",
  "client_secret_post",
] as const;
export type RegistrableAuthMethod = (typeof registrableAuthMethods)[number];
const clientAuthMethods = [...registrableAuthMethods, "private_key_jwt"] as const;

const WELL_KNOWN_SERVER = "/.well-known/oauth-authorization-server";
const WELL_KNOWN_RESOURCE = "/.well-known/oauth-protected-resource";

function serverMetadata(config: Config): Record<string, unknown> {
  const { issuer } = config;
  return {
    issuer,
    authorization_endpoint: `${issuer}/authorize`,
    token_endpoint: `${issuer}/token`,
    ...(config.registration && { registration_endpoint: `${issuer}/register` }),
    revocation_endpoint: `${issuer}/revoke`,
    introspection_endpoint: `${issuer}/introspect`,
    response_types_supported: responseTypes,
    response_modes_supported: ["query"],
    grant_types_supported: grantTypes,
    token_endpoint_auth_methods_supported: clientAuthMethods,
    token_endpoint_auth_signing_alg_values_supported: assertionAlgorithms,
    revocation_endpoint_auth_methods_supported: clientAuthMethods,
    revocation_endpoint_auth_signing_alg_values_supported: assertionAlgorithms,
    introspection_endpoint_auth_methods_supported: ["client_secret_basic", "client_secret_post"],
    client_id_metadata_document_supported: true,
    // RFC 7636, MCP 2025-11-25: clients refuse a server that does not list it.
    code_challenge_methods_supported: ["S256"],
    // RFC 9207 §3
    authorization_response_iss_parameter_supported: true,
    scopes_supported: config.scopes,
    protected_resources: config.servers.map((server) => server.resource),
  };
}

function resourceMetadata(
  config: Config,
  server: Server,
  resource: string,
): Record<string, unknown> {
  return {
    resource,
    authorization_servers: [config.issuer],
    scopes_supported: server.scopes,
    bearer_methods_supported: ["header"],
    resource_name: server.name,
  };
}

/** How the URL of a server may be typed: without and with a slash at the end; each spelling has metadata of its own. */
const spellings = ["", "/"] as const;

/**
 * The URL of a server's metadata, for the `resource_metadata` of a challenge (RFC 9728 §5.1). RFC 9728 §3.3: `resource` there
 * must be the URL that the client used, so a call on `path` (canonical) is sent to the metadata of that spelling.
 */
export function resourceMetadataUrl(config: Config, server: Server, path: string): string {
  const spelling = spellings.find((each) => path === server.path + each) ?? "";
  return config.origin + WELL_KNOWN_RESOURCE + server.path + spelling;
}

/**
 * All documents by path, encoded: the issuer's metadata at its path-inserted form (RFC 8414 §3.1) and at the root; each
 * server's at its path form (RFC 9728 §3.1), which echoes the probed spelling (clients compare it with the URL that was
 * typed), and the first one's at the root.
 */
export function metadataDocuments(config: Config): Map<string, Uint8Array<ArrayBuffer>> {
  const encode = (content: Record<string, unknown>): Uint8Array<ArrayBuffer> =>
    new TextEncoder().encode(JSON.stringify(content));
  const documents = new Map<string, Uint8Array<ArrayBuffer>>();
  const asServer = encode(serverMetadata(config));
  documents.set(WELL_KNOWN_SERVER + config.basePath, asServer);
  documents.set(WELL_KNOWN_SERVER, asServer);
  for (const server of config.servers) {
    for (const spelling of spellings) {
      documents.set(
        WELL_KNOWN_RESOURCE + server.path + spelling,
        encode(resourceMetadata(config, server, server.resource + spelling)),
      );
    }
  }
  const [first] = config.servers;
  documents.set(WELL_KNOWN_RESOURCE, encode(resourceMetadata(config, first, first.resource)));
  return documents;
}

export function metadataResponse(document: Uint8Array<ArrayBuffer>): Response {
  return new Response(document, {
    headers: { "content-type": "application/json", "cache-control": "public, max-age=300" },
  });
}
