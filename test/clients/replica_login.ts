// How a client of the zoo gets in: discovery, an id for itself, its person's browser, the code.
import * as jose from "jose";
import { randomToken, sha256 } from "../../src/primitives.ts";
import { type Replica, connect, keep, probe, requestTokens, send } from "./replica.ts";
import type { PublishedDocument } from "../../src/clients/shape.ts";

interface Discovered {
  readonly issuer: string;
  readonly authorization_endpoint: string;
  readonly registration_endpoint: string;
  readonly scopes_supported: readonly string[];
  readonly resource: string;
  /** Of the challenge. */
  readonly scope: string | undefined;
}

let lastPort = 49_152;
/** The same value with a port of its own in place of the word PORT. */
const withPort = <T>(value: T): T =>
  JSON.parse(JSON.stringify(value).replaceAll("PORT", String(++lastPort))) as T;

/**
 * Gets an id where it has none, sends its person to log in, and connects.
 * Resolves to the page that stopped its person, if one did. @throws {Error} for what no client could go on with
 */
export async function logIn(replica: Replica): Promise<string | undefined> {
  const { shape, memory, world } = replica;
  const found = await discover(replica);
  const known = memory.clientId;
  memory.clientId ??= await newId(replica, found);
  const asked = {
    verifier: randomToken(48),
    state: randomToken(),
    redirectUri: withPort(shape.redirectUri),
  };
  const address = (): string => authorizationUrl(replica, found, asked);
  // mcp-remote: a 4xx there means that the server does not know the client any more.
  if (
    known !== undefined &&
    shape.asksBeforeBrowser &&
    (await send(replica, address())).status >= 400
  )
    memory.clientId = await newId(replica, found);
  replica.logins++;
  const response = await world.browser.authorize(address());
  const page = await response.text();
  const answer = response.headers.get("location") ?? appLink(page);
  if (answer === undefined) return page;
  if (!answer.startsWith(`${asked.redirectUri}?`)) throw new Error(`sent to ${answer}`);
  const given = new URL(answer).searchParams;
  // RFC 9207 §2.4; RFC 6749 §10.12
  if (given.get("iss") !== found.issuer || given.get("state") !== asked.state)
    throw new Error(`not the answer to what was asked: ${answer}`);
  const tokens = await requestTokens(replica, {
    grant_type: "authorization_code",
    code: given.get("code") ?? "",
    code_verifier: asked.verifier,
    redirect_uri: asked.redirectUri,
    ...(shape.resourceForTokens && { resource: found.resource }),
  });
  if (tokens.status !== 200) throw new Error(`token: ${await tokens.text()}`);
  await keep(replica, tokens);
  await connect(replica);
  return undefined;
}

/** Where the page sends the person, when it is an app's own scheme. */
const appLink = (page: string): string | undefined =>
  /href="([a-z.+-]+:[^"]*[?&]code=[^"]*)"/.exec(page)?.[1]?.replaceAll("&amp;", "&");

async function discover(replica: Replica): Promise<Discovered> {
  const { shape } = replica;
  let challenge = "";
  for (const each of shape.probes)
    challenge = (await probe(replica, each)).headers.get("www-authenticate") ?? challenge;
  const documents = [];
  for (const path of shape.discovery) {
    const headers = { accept: "application/json", "mcp-protocol-version": shape.revision };
    const response = await send(replica, path, { headers });
    if (response.status !== 200) throw new Error(`${path}: ${response.status}`);
    documents.push(await response.json());
  }
  const [resource, server] = documents as [
    { resource: string; authorization_servers: string[] },
    Discovered,
  ];
  // RFC 9728 §3.3 and RFC 8414 §3.3, as the strict ones read them.
  if (shape.comparesResource && resource.resource !== shape.issuer + shape.typed)
    throw new Error(`${resource.resource} is not what was typed`);
  if (server.issuer !== resource.authorization_servers[0]) throw new Error(`not ${server.issuer}`);
  const scope = /scope="([^"]*)"/.exec(challenge)?.[1];
  return { ...server, resource: resource.resource, scope };
}

/** What the server calls it, or the URL of its own document. */
async function newId(replica: Replica, { registration_endpoint }: Discovered): Promise<string> {
  const { identity } = replica.shape;
  if (identity.by === "document") return publish(replica, identity);
  let id = "";
  for (let times = 0; times < (identity.times ?? 1); times++) {
    const response = await send(replica, registration_endpoint, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(withPort(identity.metadata)),
    });
    if (response.status !== 201) throw new Error(`register: ${await response.text()}`);
    id = ((await response.json()) as { client_id: string }).client_id;
  }
  return id;
}

async function publish(
  { world }: Replica,
  { host, path, document, keys }: PublishedDocument,
): Promise<string> {
  const { documents, url } = world.internet;
  const id = url(host, path);
  const jwks_uri = keys === undefined ? undefined : url(host, keys);
  const jwk = { ...(await jose.exportJWK(world.keys.publicKey)), kid: "1", alg: "RS256" };
  if (jwks_uri !== undefined) documents.set(jwks_uri, () => Response.json({ keys: [jwk] }));
  documents.set(id, () => Response.json({ client_id: id, ...document, jwks_uri }));
  return id;
}

function authorizationUrl(
  { shape, memory }: Replica,
  found: Discovered,
  asked: { verifier: string; state: string; redirectUri: string },
): string {
  const query = new URLSearchParams({
    response_type: "code",
    client_id: memory.clientId ?? "",
    code_challenge: sha256(asked.verifier),
    code_challenge_method: "S256",
    redirect_uri: asked.redirectUri,
    state: asked.state,
    resource: found.resource,
    ...(shape.prompt && { prompt: shape.prompt }),
  });
  const scope = {
    challenge: found.scope ?? found.scopes_supported.join(" "),
    supported: found.scopes_supported.join(" "),
    words: shape.words ?? "",
    none: "",
  }[shape.scope];
  if (scope !== "") query.set("scope", scope);
  return `${found.authorization_endpoint}?${query}`;
}
