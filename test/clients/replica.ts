// Plays one entry of the zoo against a Postern in the test's own process: what the client keeps, when it asks, and what it
// does with each answer. How it gets in is replica_login.ts's; what must come of it all is zoo.test.ts's.
import * as jose from "jose";
import { randomToken } from "../../src/primitives.ts";
import { ASSERTION_TYPE } from "../../src/oauth/jwt.ts";
import type { Fixture } from "../internet.ts";
import type { Browser, TestServer, Tokens } from "../server.ts";
import { fetchAsPage } from "./page_fetch.ts";
import type { Probe } from "../../src/clients/shape.ts";
import type { Creature } from "./zoo.ts";

/** Where a story happens; the server and the person's browser are others after a restart. */
export interface World {
  server: TestServer;
  browser: Browser;
  readonly internet: Fixture;
  /** Signs the assertions of clients that have keys. */
  readonly keys: jose.GenerateKeyPairResult;
}

export interface KeptTokens extends Tokens {
  /** Epoch seconds, by the client's clock. */
  readonly expiresAt: number;
}

/** What a client keeps between its starts. */
export interface Memory {
  clientId?: string | undefined;
  tokens?: KeptTokens | undefined;
}

export interface Replica {
  readonly shape: Creature;
  readonly world: World;
  readonly memory: Memory;
  /** One line a request, without preflights: "POST /token refresh_token 400". */
  readonly requests: string[];
  /** Those of `requests` that brought an access token and were refused. */
  readonly refused: string[];
  /** Times that its person was asked to log in. */
  logins: number;
}

/** @param kept what an earlier process of the same client left */
export const createReplica = (shape: Creature, world: World, kept: Memory = {}): Replica => ({
  shape,
  world,
  memory: structuredClone(kept),
  requests: [],
  refused: [],
  logins: 0,
});

export const epoch = ({ world }: Replica): number => Math.floor(world.server.clock.at / 1000);

/** One request as it goes out of this client, remembered. */
export async function send(
  replica: Replica,
  url: string,
  init: RequestInit = {},
): Promise<Response> {
  const { shape, world, requests, refused } = replica;
  const { pathname } = new URL(url, shape.issuer);
  const headers = new Headers(init.headers);
  if (shape.agents) headers.set("user-agent", shape.agents[pathname.startsWith("/mcp") ? 1 : 0]);
  const from = shape.addresses[requests.length % shape.addresses.length] ?? "";
  const ask = (request: RequestInit): Promise<Response> => world.server.fetch(url, request, from);
  const response = shape.origin
    ? await fetchAsPage(ask, shape.origin, { ...init, headers })
    : await ask({ ...init, headers });
  const parts = [init.method ?? "GET", pathname, subject(init.body), response.status];
  const line = parts.filter((part) => part !== "").join(" ");
  requests.push(line);
  if (headers.has("authorization") && response.status === 401) refused.push(line);
  return response;
}

/** The method of a JSON-RPC message, the grant of a token request. */
function subject(body: unknown): string {
  if (body instanceof URLSearchParams) return body.get("grant_type") ?? "";
  return typeof body === "string" ? (/"method":"([^"]+)"/.exec(body)?.[1] ?? "") : "";
}

interface Message {
  readonly method: string;
  readonly params?: Readonly<Record<string, unknown>>;
  readonly headers?: Readonly<Record<string, string>> | undefined;
}

/** One JSON-RPC message in the manner of the client's revision. */
function post(
  replica: Replica,
  { method, params = {}, headers = {} }: Message,
  token: string | undefined,
): Promise<Response> {
  const { name, typed, revision } = replica.shape;
  const stateless = revision === "2026-07-28";
  const self = { name, version: "1" };
  const meta = {
    "io.modelcontextprotocol/protocolVersion": revision,
    "io.modelcontextprotocol/clientInfo": self,
    "io.modelcontextprotocol/clientCapabilities": {},
  };
  const first = method === "initialize";
  const tool = params["name"];
  return send(replica, typed, {
    method: "POST",
    headers: {
      accept: "application/json, text/event-stream",
      "content-type": "application/json",
      ...(!first && { "mcp-protocol-version": revision }),
      ...(stateless && { "mcp-method": method }),
      ...(stateless && typeof tool === "string" && { "mcp-name": tool }),
      ...(token !== undefined && { authorization: `Bearer ${token}` }),
      ...headers,
    },
    body: JSON.stringify({
      jsonrpc: "2.0",
      ...(!method.startsWith("notifications/") && { id: replica.requests.length }),
      method,
      params: {
        ...(first && { protocolVersion: revision, capabilities: {}, clientInfo: self }),
        ...(stateless && { _meta: meta }),
        ...params,
      },
    }),
  });
}

/** Looks without a token. */
export function probe(replica: Replica, { method, message, headers }: Probe): Promise<Response> {
  return message
    ? post(replica, { method: message, headers }, undefined)
    : send(replica, replica.shape.typed, { method, headers: headers ?? {} });
}

/** What each start of the program does, with the token that it has. */
export async function connect(replica: Replica): Promise<void> {
  const { shape, memory } = replica;
  const token = memory.tokens?.access_token;
  // Codex and mcp-remote look without a token even when they have one.
  for (const each of shape.probes) if (each.method === "GET") await probe(replica, each);
  if (shape.revision === "2026-07-28") {
    await post(replica, { method: "server/discover" }, token);
    return;
  }
  await post(replica, { method: "initialize" }, token);
  await post(replica, { method: "notifications/initialized" }, token);
  await send(replica, shape.typed, {
    headers: {
      accept: "text/event-stream",
      authorization: `Bearer ${token}`,
      "mcp-protocol-version": shape.revision,
    },
  });
}

/**
 * Calls the tool of the built-in server, refreshing as this client does. "needs its person": it can do no more alone.
 * @throws {Error} for any other answer than the tool's
 */
export async function call(replica: Replica): Promise<"answered" | "needs its person"> {
  const { shape, memory } = replica;
  const { ahead, when401 } = shape.refresh;
  if (!memory.tokens) return "needs its person";
  const isDue = ahead !== undefined && epoch(replica) >= memory.tokens.expiresAt - ahead;
  if (isDue && !(await refresh(replica, memory.tokens))) return "needs its person";
  let response = await callTool(replica);
  if (response.status === 401) {
    const refreshed = when401 && (await refresh(replica, memory.tokens));
    if (!refreshed) return "needs its person";
    response = await callTool(replica);
  }
  const text = await response.text();
  if (response.status === 200 && text.includes("owner")) return "answered";
  throw new Error(`call: ${response.status} ${text}`);
}

const callTool = (replica: Replica): Promise<Response> =>
  post(
    replica,
    { method: "tools/call", params: { name: "whoami", arguments: {} } },
    replica.memory.tokens?.access_token,
  );

/** Whether it has a fresh access token now; if not, what is of no use any more is forgotten. */
async function refresh(replica: Replica, tokens: KeptTokens): Promise<boolean> {
  const { memory, shape } = replica;
  const times = shape.refresh.twice ? 2 : 1;
  const answers = await Promise.all(
    Array.from({ length: times }, async (_, index) => {
      await Bun.sleep(index * 2);
      return requestRefresh(replica, tokens);
    }),
  );
  const bad = answers.find((answer) => answer.status !== 200);
  if (!bad) {
    for (const answer of answers) await keep(replica, answer);
    return true;
  }
  const { error } = (await bad.json()) as { error: string };
  // What the SDKs drop on each error; other errors drop nothing.
  if (error === "invalid_grant" || error === "invalid_client") memory.tokens = undefined;
  if (error === "invalid_client" && shape.whenUnknown === "registers") memory.clientId = undefined;
  return false;
}

/** The request of a refresh; what comes is not kept. */
export const requestRefresh = (replica: Replica, tokens: Tokens): Promise<Response> =>
  requestTokens(replica, {
    grant_type: "refresh_token",
    refresh_token: tokens.refresh_token,
    ...(replica.shape.refresh.scope && { scope: tokens.scope }),
    ...(replica.shape.resourceForTokens && {
      resource: replica.shape.issuer + replica.shape.typed,
    }),
  });

export async function requestTokens(
  replica: Replica,
  fields: Record<string, string>,
): Promise<Response> {
  const { identity } = replica.shape;
  const id = replica.memory.clientId ?? "";
  const hasKeys = identity.by === "document" && identity.keys !== undefined;
  const assertion = hasKeys && {
    client_assertion_type: ASSERTION_TYPE,
    client_assertion: await sign(replica, id),
  };
  return send(replica, "/token", {
    method: "POST",
    headers: { accept: "application/json" },
    body: new URLSearchParams({ ...fields, client_id: id, ...assertion }),
  });
}

const sign = (replica: Replica, id: string): Promise<string> =>
  new jose.SignJWT({ iss: id, sub: id, aud: replica.shape.issuer, jti: randomToken() })
    .setProtectedHeader({ alg: "RS256", kid: "1" })
    .setIssuedAt(epoch(replica))
    .setExpirationTime(epoch(replica) + 60)
    .sign(replica.world.keys.privateKey);

/** Keeps the tokens of a good answer. */
export async function keep(replica: Replica, response: Response): Promise<void> {
  const tokens = (await response.json()) as Tokens;
  replica.memory.tokens = { ...tokens, expiresAt: epoch(replica) + tokens.expires_in };
}
