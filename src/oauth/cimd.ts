// Client ID Metadata Documents (draft-ietf-oauth-client-id-metadata-document): a client whose id is the https URL of the
// document that describes it. Documents are fetched only while the owner is signed in; what the owner agreed to is stored
// like any client, and that record alone counts at the token endpoint.
import { withoutDocument } from "../clients/forgetting.ts";
import type { Deps } from "../deps.ts";
import { OAuthError } from "../errors.ts";
import { seconds } from "../primitives.ts";
import type { Client } from "../store/records.ts";
import type { FoundClient } from "./clients.ts";
import { readJwks } from "./jwt.ts";
import { grantTypes, responseTypes } from "./metadata.ts";
import { type Fetched, documentUrlProblem, fetchDocument } from "./outbound.ts";
import { checkRedirectUri } from "./rules.ts";

export const isDocumentId = (id: string): boolean => id.startsWith("https://");

const KEPT = 200;
const LONGEST = 86_400;

/** A good document, as it was fetched. */
interface CachedDocument {
  readonly client: Client;
  readonly etag: string | undefined;
  /** Monotonic milliseconds. */
  readonly freshUntil: number;
}

/** Good documents by URL, for as long as HTTP and our own bounds allow (RFC 9111). Errors are never kept. */
export interface DocumentCache {
  find(id: string): CachedDocument | undefined;
  /** Of 200, the one that was fetched longest ago makes room. */
  keep(id: string, document: CachedDocument): void;
}

export function createDocumentCache(): DocumentCache {
  const documents = new Map<string, CachedDocument>();
  return {
    find: (id) => documents.get(id),
    keep: (id, document) => {
      documents.delete(id);
      documents.set(id, document);
      const [oldest] = documents.keys();
      if (documents.size > KEPT && oldest !== undefined) documents.delete(oldest);
    },
  };
}

/** @throws {OAuthError} when the id cannot be a document's, before anything is asked of the network */
export function assertDocumentId(id: string): void {
  const problem = documentUrlProblem(id);
  if (problem === undefined) return;
  throw new OAuthError("invalid_client", "The id of the client is a URL that is not fetched.", {
    status: 400,
    title: "This client could not be checked",
    detail: `client_id ${id}: ${problem}`,
    facts: {
      cause: problem,
      sent: [`client_id=${id}`],
      expected: ["client_id=https://<a host on the internet>/<path>"],
    },
    advice:
      "Only the maker of the client can change its id.\nMany clients can register instead: look for “dynamic client registration” in their settings.",
  });
}

/** The client that a document describes. @throws {OAuthError} with what to do, for the page */
export async function fetchClient(id: string, deps: Deps): Promise<FoundClient> {
  assertDocumentId(id);
  const cached = deps.documents.find(id);
  if (cached && cached.freshUntil > deps.monotonic()) return { id, client: cached.client };
  try {
    const fetched = await fetchDocument(id, deps, cached?.etag);
    const client =
      fetched.content === undefined && cached
        ? cached.client
        : await readDocument(id, fetched, deps);
    const freshUntil = deps.monotonic() + Math.min(fetched.maxAge, LONGEST) * 1000;
    deps.documents.keep(id, { client, etag: fetched.etag, freshUntil });
    return { id, client };
  } catch (error) {
    throw withAdvice(id, error);
  }
}

function withAdvice(id: string, error: unknown): unknown {
  if (!(error instanceof OAuthError)) return error;
  return new OAuthError(error.code, error.message, {
    status: error.status,
    headers: error.headers,
    cause: error,
    title: "This client could not be checked",
    facts: { ...error.facts, sent: [`client_id=${id}`] },
    ...(error.detail !== undefined && { detail: `${id}: ${error.detail}` }),
    advice: [
      error.advice ?? `Check that the machine of this server can open ${id}, then connect again.`,
      ...withoutDocument,
    ].join("\n"),
  });
}

const invalid = (detail: string): OAuthError =>
  new OAuthError("invalid_client", "The document that describes this client could not be used.", {
    status: 400,
    detail,
    facts: { cause: detail },
    advice: "Only the publisher of the document can mend it: tell them what stands above.",
  });

async function readDocument(id: string, { content }: Fetched, deps: Deps): Promise<Client> {
  if (!content) throw invalid("no content");
  // CIMD §Client Metadata: the very same string (RFC 3986 §6.2.1).
  if (content["client_id"] !== id) throw invalid("its client_id is another one");
  const secretMember = Object.keys(content).find((name) => name.startsWith("client_secret"));
  if (secretMember !== undefined) throw invalid(`it has ${secretMember}`);
  const name = content["client_name"];
  if (typeof name !== "string" || name.trim() === "") throw invalid("it has no client_name");
  return {
    client_name: name.trim().slice(0, 200),
    redirect_uris: readRedirectUris(content["redirect_uris"]),
    grant_types: readGrantTypes(content),
    response_types: [...responseTypes],
    scope: deps.config.scopes.join(" "),
    client_id_issued_at: seconds(deps.now()),
    source: "cimd",
    ...(await readAuthentication(content, deps)),
  };
}

/** RFC 7591 §2: what is absent has its default, here with refresh tokens; what we do not support is left out. */
function readGrantTypes(content: Record<string, unknown>): string[] {
  const responses = readTexts(content["response_types"]);
  if (responses && !responses.includes("code")) throw invalid("its response_types lack code");
  const wanted = readTexts(content["grant_types"]) ?? grantTypes;
  if (!wanted.includes("authorization_code"))
    throw invalid("its grant_types lack authorization_code, the only way to log in here");
  return grantTypes.filter((type) => wanted.includes(type));
}

/** The texts of a list; undefined when there is none, or an empty one. */
function readTexts(value: unknown): string[] | undefined {
  if (!Array.isArray(value) || value.length === 0) return undefined;
  return value.filter((item): item is string => typeof item === "string");
}

function readRedirectUris(value: unknown): string[] {
  const uris = readTexts(value) ?? [];
  if (uris.length === 0 || uris.length > 50) throw invalid("it has no redirect_uris");
  const bad = uris.find((uri) => !checkRedirectUri(uri).ok);
  if (bad !== undefined) throw invalid(`its redirect URI ${bad} may not be registered`);
  return uris;
}

type Authentication = Pick<
  Client,
  "token_endpoint_auth_method" | "auth_optional" | "jwks" | "jwks_uri"
>;

/** OpenID Connect RP Metadata Choices: a document may list all methods beside its favourite; any of them works. */
async function readAuthentication(
  content: Record<string, unknown>,
  deps: Deps,
): Promise<Authentication> {
  const favourite = content["token_endpoint_auth_method"];
  const methods = new Set(readTexts(content["token_endpoint_auth_methods_supported"]) ?? []);
  if (typeof favourite === "string") methods.add(favourite);
  if (methods.size === 0 || (methods.has("none") && !methods.has("private_key_jwt"))) {
    return { token_endpoint_auth_method: "none" };
  }
  if (!methods.has("private_key_jwt"))
    throw invalid("it asks for a way to authenticate that needs a shared secret");
  const isPublicToo = methods.has("none");
  const method = { token_endpoint_auth_method: "private_key_jwt" } as const;
  try {
    const keys = await readKeys(content, deps);
    return { ...method, ...keys, ...(isPublicToo && { auth_optional: true }) };
  } catch (error) {
    if (!isPublicToo) throw error;
    // Without its keys it can still be the public client that it offers to be; they are asked for when it uses them.
    const uri = fetchableUri(content["jwks_uri"]);
    if (uri === undefined) return { token_endpoint_auth_method: "none" };
    return { ...method, jwks: [], jwks_uri: uri, auth_optional: true };
  }
}

const fetchableUri = (value: unknown): string | undefined =>
  typeof value === "string" && documentUrlProblem(value) === undefined ? value : undefined;

async function readKeys(
  content: Record<string, unknown>,
  deps: Deps,
): Promise<Pick<Client, "jwks" | "jwks_uri">> {
  if (content["jwks_uri"] === undefined) return { jwks: readJwks(content["jwks"]) };
  const uri = fetchableUri(content["jwks_uri"]);
  if (uri === undefined) throw invalid("its jwks_uri cannot be fetched");
  const { content: keys } = await fetchDocument(uri, deps).catch((error: unknown) => {
    const cause = error instanceof OAuthError ? error.facts.cause : undefined;
    throw cause === undefined ? error : invalid(`of its keys at ${uri}: ${cause}`);
  });
  return { jwks_uri: uri, jwks: readJwks(keys) };
}
