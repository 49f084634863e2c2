// The strict client library oauth4webapi in the hands of one client: the only file that knows it. Every answer goes through
// the library's own checks.
import * as oauth from "oauth4webapi";
import type { Postern } from "../process.ts";
import { REDIRECT } from "../server.ts";

/** What a client deals with: a process, or a server in this one. */
export type Site = Pick<Postern, "config" | "url" | "fetch" | "browser"> &
  Partial<Pick<Postern, "admin">>;

/** Public URLs of tests are on loopback without TLS. */
const plain = { [oauth.allowInsecureRequests]: true };

export type Registration = Partial<oauth.OmitSymbolProperties<oauth.Client>>;

/** A registered client and its secret, if it has one. */
export interface Registered {
  readonly client: oauth.Client;
  readonly authentication: oauth.ClientAuth;
}

export interface AuthorizationOptions {
  readonly parameters?: Record<string, string>;
  readonly decision?: "allow" | "deny";
  /** What the library expects to come back; what was sent when absent. */
  readonly state?: string;
  /** Changes the answer on its way from the browser to the client. */
  readonly onTheWay?: (answer: URLSearchParams) => void;
}

/** An answer to an authorization request that the library found good, and the verifier that belongs to it. */
export interface Authorized {
  readonly answer: URLSearchParams;
  readonly verifier: string;
}

export interface StrictClient {
  readonly server: oauth.AuthorizationServer;
  register(metadata?: Registration): Promise<Registered>;
  authorize(registered: Registered, options?: AuthorizationOptions): Promise<Authorized>;
  redeem(registered: Registered, authorized: Authorized): Promise<oauth.TokenEndpointResponse>;
  refresh(
    registered: Registered,
    token: string | undefined,
    parameters?: Record<string, string>,
  ): Promise<oauth.TokenEndpointResponse>;
  /** A grant that the library has no function for. */
  grant(registered: Registered, grantType: string): Promise<oauth.TokenEndpointResponse>;
  revoke(registered: Registered, token: string | undefined): Promise<void>;
  /** An MCP server elsewhere, for the guarded resource; the owner adds it. */
  addResourceServer(method: string): Promise<Registered>;
  introspect(registered: Registered, token: string): Promise<oauth.IntrospectionResponse>;
  /** A call of a tool at the MCP endpoint. */
  call(accessToken: string): Promise<Response>;
}

/** RFC 8414 §3.3 */
export async function discover(issuer: string, site?: Site): Promise<oauth.AuthorizationServer> {
  const options = {
    ...plain,
    algorithm: "oauth2",
    ...(site && { [oauth.customFetch]: site.fetch }),
  } as const;
  const response = await oauth.discoveryRequest(new URL(issuer), options);
  return oauth.processDiscoveryResponse(new URL(issuer), response);
}

/** RFC 9728 §3.3 */
export async function discoverResource(resource: string): Promise<oauth.ResourceServer> {
  const response = await oauth.resourceDiscoveryRequest(new URL(resource), plain);
  return oauth.processResourceDiscoveryResponse(new URL(resource), response);
}

/** @param answers told of each answer of an endpoint before the library reads it */
export async function strictClient(
  site: Site,
  answers: (path: string, response: Response) => void = () => undefined,
): Promise<StrictClient> {
  const server = await discover(site.config.issuer, site);
  const options = {
    ...plain,
    [oauth.customFetch]: async (url: string, init: RequestInit) => {
      const response = await site.fetch(url, init);
      answers(new URL(url).pathname.slice(site.config.basePath.length), response);
      return response;
    },
  };
  return {
    server,
    register: async (metadata = {}) => {
      const asked = { redirect_uris: [REDIRECT], token_endpoint_auth_method: "none", ...metadata };
      const response = await oauth.dynamicClientRegistrationRequest(server, asked, options);
      const client = await oauth.processDynamicClientRegistrationResponse(response);
      return { client, authentication: authenticationOf(client, client.client_secret) };
    },
    authorize: (registered, asked = {}) => authorize(site, server, registered, asked),
    redeem: async ({ client, authentication }, { answer, verifier }) => {
      const response = await oauth.authorizationCodeGrantRequest(
        server,
        client,
        authentication,
        answer,
        REDIRECT,
        verifier,
        options,
      );
      return oauth.processAuthorizationCodeResponse(server, client, response);
    },
    refresh: async ({ client, authentication }, token = "", parameters = {}) => {
      const response = await oauth.refreshTokenGrantRequest(server, client, authentication, token, {
        ...options,
        additionalParameters: parameters,
      });
      return oauth.processRefreshTokenResponse(server, client, response);
    },
    grant: async ({ client, authentication }, grantType) => {
      const response = await oauth.genericTokenEndpointRequest(
        server,
        client,
        authentication,
        grantType,
        {},
        options,
      );
      return oauth.processGenericTokenEndpointResponse(server, client, response);
    },
    revoke: async ({ client, authentication }, token = "") => {
      const response = await oauth.revocationRequest(
        server,
        client,
        authentication,
        token,
        options,
      );
      return oauth.processRevocationResponse(response);
    },
    addResourceServer: (method) => addResourceServer(method, site),
    introspect: async ({ client, authentication }, token) => {
      const response = await oauth.introspectionRequest(
        server,
        client,
        authentication,
        token,
        options,
      );
      return oauth.processIntrospectionResponse(server, client, response);
    },
    call: (accessToken) => callTools(accessToken, site),
  };
}

/** How a client authenticates that was registered so. */
export function authenticationOf(
  client: oauth.Client,
  secret: oauth.JsonValue | undefined,
): oauth.ClientAuth {
  if (client.token_endpoint_auth_method === "none") return oauth.None();
  const text = String(secret);
  return client.token_endpoint_auth_method === "client_secret_post"
    ? oauth.ClientSecretPost(text)
    : oauth.ClientSecretBasic(text);
}

async function authorize(
  site: Site,
  server: oauth.AuthorizationServer,
  { client }: Registered,
  asked: AuthorizationOptions,
): Promise<Authorized> {
  const verifier = oauth.generateRandomCodeVerifier();
  const state = oauth.generateRandomState();
  const url = new URL(server.authorization_endpoint ?? "");
  url.search = new URLSearchParams({
    response_type: "code",
    client_id: client.client_id,
    redirect_uri: REDIRECT,
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: "S256",
    state,
    resource: site.url,
    ...asked.parameters,
  }).toString();
  const response = await site.browser.authorize(url.href, asked.decision);
  const location = response.headers.get("location");
  if (location === null) throw new Error(`not sent back: ${response.status}`);
  const { searchParams } = new URL(location);
  asked.onTheWay?.(searchParams);
  // RFC 6749 §4.1.2, RFC 9207 §2.4
  const answer = oauth.validateAuthResponse(server, client, searchParams, asked.state ?? state);
  return { answer, verifier };
}

async function addResourceServer(method: string, site: Site): Promise<Registered> {
  const body = { client_name: "Elsewhere", resource_server: site.url };
  const response = await site.admin?.("POST", "/clients", body);
  if (!response?.ok) throw new Error(`not added: ${await response?.text()}`);
  const { client_id: id, client_secret: secret }: { client_id: string; client_secret: string } =
    await response.json();
  const client = { client_id: id, token_endpoint_auth_method: method };
  return { client, authentication: authenticationOf(client, secret) };
}

function callTools(accessToken: string, site: Site): Promise<Response> {
  const headers = new Headers({
    "content-type": "application/json",
    accept: "application/json, text/event-stream",
  });
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/list", params: {} });
  const url = new URL(site.url);
  return oauth.protectedResourceRequest(accessToken, "POST", url, headers, body, {
    ...plain,
    [oauth.customFetch]: (target, { body: sent, ...init }) =>
      site.fetch(target, { ...init, body: String(sent) }),
  });
}

/** A key for assertions (RFC 7523), and its public half as a JWK. */
export async function newKey(): Promise<{ authentication: oauth.ClientAuth; jwk: JsonWebKey }> {
  const pair = await oauth.generateKeyPair("ES256", { extractable: true });
  const jwk = await crypto.subtle.exportKey("jwk", pair.publicKey);
  return {
    authentication: oauth.PrivateKeyJwt({ key: pair.privateKey, kid: "1" }),
    jwk: { ...jwk, kid: "1" } as JsonWebKey,
  };
}

/** What the library throws for an error in the body, in a challenge, and in an authorization response. */
export const inBody = (error: string, status = 400): object => ({
  code: "OAUTH_RESPONSE_BODY_ERROR",
  error,
  status,
});
export const inChallenge = (parameters: object): object => ({
  code: "OAUTH_WWW_AUTHENTICATE_CHALLENGE",
  status: 401,
  cause: [parameters],
});
export const inAnswer = (error: string): object => ({
  code: "OAUTH_AUTHORIZATION_RESPONSE_ERROR",
  error,
});
export const notConforming = { code: "OAUTH_INVALID_RESPONSE" };
export const basicChallenge = inChallenge({ scheme: "basic", parameters: { realm: "postern" } });
