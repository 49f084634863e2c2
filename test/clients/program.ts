// A client program around an SDK: what it remembers between connections, its person with the browser, and every request
// that it sends. It knows no SDK: sdk1.ts and sdk2.ts hand `provider` to theirs.
import { randomToken } from "../../src/primitives.ts";
import type { Browser } from "../server.ts";

export const CALLBACK = "http://127.0.0.1:9/callback";
export const CLIENT_NAME = "Notebook";

/** As the SDKs store them; `issuer` is theirs. */
export interface StoredTokens {
  access_token: string;
  token_type: string;
  expires_in?: number;
  refresh_token?: string;
  scope?: string;
  issuer?: string;
}
export interface StoredClient {
  client_id: string;
  issuer?: string;
}

/** The part of an OAuthClientProvider that both SDKs have in common. */
export interface Provider {
  readonly redirectUrl: string;
  readonly clientMetadata: {
    client_name: string;
    redirect_uris: string[];
    token_endpoint_auth_method: string;
    grant_types: string[];
    response_types: string[];
  };
  state(): string;
  clientInformation(): StoredClient | undefined;
  saveClientInformation(client: StoredClient): void;
  tokens(): StoredTokens | undefined;
  saveTokens(tokens: StoredTokens): void;
  redirectToAuthorization(url: URL): Promise<void>;
  saveCodeVerifier(verifier: string): void;
  codeVerifier(): string;
  invalidateCredentials(scope: "all" | "client" | "tokens" | "verifier" | "discovery"): void;
}

/** What a program finds again when it starts anew. */
export interface Memory {
  client: StoredClient | undefined;
  tokens: StoredTokens | undefined;
  verifier: string;
  /** The SDK's own. */
  discovery: unknown;
}

export interface Program {
  readonly memory: Memory;
  readonly provider: Provider;
  readonly fetch: (url: string | URL, init?: RequestInit) => Promise<Response>;
  /** One line a request: "POST /mcp tools/call 200", "POST /token refresh_token 400". */
  readonly requests: string[];
  /** Authorization requests that the person was sent to. */
  readonly logins: URL[];
  /** What the browser brought back, in the order of `logins`. */
  readonly answers: URLSearchParams[];
  /** What the person decides from now on. */
  decision: "allow" | "deny";
}

/** @param memory what an earlier program left, to start with */
export function createProgram(browser: Browser, memory?: Memory): Program {
  const kept: Memory = memory
    ? structuredClone(memory)
    : { client: undefined, tokens: undefined, verifier: "", discovery: undefined };
  const requests: string[] = [];
  const program: Program = {
    memory: kept,
    requests,
    logins: [],
    answers: [],
    decision: "allow",
    fetch: async (url, init) => {
      const response = await fetch(url, init);
      requests.push(describeRequest(new URL(url), init, response.status));
      return response;
    },
    provider: createProvider(kept, async (url) => {
      program.logins.push(url);
      program.answers.push(await visit(browser, url, program.decision));
    }),
  };
  return program;
}

function createProvider(memory: Memory, redirect: (url: URL) => Promise<void>): Provider {
  return {
    redirectUrl: CALLBACK,
    clientMetadata: {
      client_name: CLIENT_NAME,
      redirect_uris: [CALLBACK],
      token_endpoint_auth_method: "none",
      grant_types: ["authorization_code", "refresh_token"],
      response_types: ["code"],
    },
    state: () => randomToken(),
    clientInformation: () => memory.client,
    saveClientInformation: (client) => void (memory.client = client),
    tokens: () => memory.tokens,
    saveTokens: (tokens) => void (memory.tokens = tokens),
    redirectToAuthorization: redirect,
    saveCodeVerifier: (verifier) => void (memory.verifier = verifier),
    codeVerifier: () => memory.verifier,
    invalidateCredentials: (scope) => {
      if (scope === "all" || scope === "client") memory.client = undefined;
      if (scope === "all" || scope === "tokens") memory.tokens = undefined;
      if (scope === "all" || scope === "discovery") memory.discovery = undefined;
    },
  };
}

/** The person logs in where needed and decides. @throws {Error} when the browser is not sent back to the client */
async function visit(
  browser: Browser,
  url: URL,
  decision: "allow" | "deny",
): Promise<URLSearchParams> {
  const response = await browser.authorize(url.href, decision);
  const location = response.headers.get("location");
  if (response.status !== 303 || !location?.startsWith(`${CALLBACK}?`)) {
    throw new Error(`not sent back: ${response.status} ${location} ${await response.text()}`);
  }
  const answer = new URL(location).searchParams;
  if (answer.get("state") !== url.searchParams.get("state")) throw new Error("another state");
  return answer;
}

function describeRequest(url: URL, init: RequestInit | undefined, status: number): string {
  return [init?.method ?? "GET", url.pathname, subject(init?.body), status]
    .filter((part) => part !== "")
    .join(" ");
}

/** The method of a JSON-RPC message, the grant of a token request. */
function subject(body: unknown): string {
  if (body instanceof URLSearchParams) return body.get("grant_type") ?? "";
  if (typeof body !== "string") return "";
  return body.startsWith("{")
    ? (/"method":"([^"]+)"/.exec(body)?.[1] ?? "")
    : (new URLSearchParams(body).get("grant_type") ?? "");
}
