// One Postern in the test's own process: its own folder, its own clock, requests straight into the app.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { changePassword } from "../src/admin/owner.ts";
import { type App, createApp } from "../src/app.ts";
import { type Opened, open } from "../src/cli/open.ts";
import { type Config, readConfig } from "../src/config.ts";
import type { Deps } from "../src/deps.ts";
import { sha256 } from "../src/primitives.ts";
import type { Internet } from "../src/oauth/outbound.ts";
import type { GivenSettings } from "../src/settings.ts";

export const PASSWORD = "correct horse battery";
export const REDIRECT = "http://127.0.0.1:9/callback";
export const VERIFIER = "v".repeat(64);

export interface Clock {
  /** Epoch milliseconds. */
  at: number;
  advance(seconds: number): void;
}

export interface TestServer {
  readonly config: Config;
  readonly deps: Deps;
  readonly app: App;
  readonly clock: Clock;
  readonly folder: string;
  readonly warnings: string[];
  /** Work that the store has done. */
  readonly counters: Opened["counters"];
  /** @param from address of the client; 203.0.113.7 when not given */
  fetch(path: string, init?: RequestInit, from?: string): Promise<Response>;
  /** Closes and opens the same folder again: a clean restart. */
  restart(settings?: GivenSettings): Promise<TestServer>;
  close(): Promise<void>;
}

export interface TestOptions {
  readonly settings?: GivenSettings;
  /** A folder to open; a new one that is removed at close when absent. */
  readonly folder?: string;
  readonly clock?: Clock;
  /** Milliseconds that no setting of the clock moves; the clock's when absent. */
  readonly monotonic?: () => number;
  /** Without an owner when false. */
  readonly owner?: boolean;
  /** Stands in for the internet. */
  readonly internet?: Internet;
}

export function testClock(at = Date.UTC(2026, 10, 21)): Clock {
  const clock = { at, advance: (seconds: number) => void (clock.at += seconds * 1000) };
  return clock;
}

export const temporaryFolder = (): string => mkdtempSync(join(tmpdir(), "postern-test-"));

/** @param isOurs whether the folder goes with the server that is closed last */
export async function startServer(
  options: TestOptions = {},
  isOurs = options.folder === undefined,
): Promise<TestServer> {
  const folder = options.folder ?? temporaryFolder();
  const clock = options.clock ?? testClock();
  const settings = { data: folder, rateLimits: "off", ...options.settings };
  const config = readConfig(settings);
  const warnings: string[] = [];
  const terminal = {
    log: () => undefined,
    event: () => undefined,
    warn: (text: string) => void warnings.push(text),
  };
  const now = (): number => clock.at;
  const opened = await open(config, terminal, { now, monotonic: options.monotonic ?? now });
  const { close } = opened;
  const deps = { ...opened.deps, ...(options.internet && { internet: options.internet }) };
  if (options.owner !== false && !(await deps.store.owner.get("owner"))) {
    await changePassword(PASSWORD, deps);
  }
  const app = createApp(deps);
  const remove = (): void => rmSync(folder, { recursive: true, force: true });
  return {
    config,
    deps,
    app,
    clock,
    folder,
    warnings,
    counters: opened.counters,
    fetch: async (path, init = {}, from = "203.0.113.7") => {
      const url = path.startsWith("http") ? path : config.origin + path;
      const request = new Request(url, { redirect: "manual", ...init });
      Object.defineProperty(request, "ip", { value: from, configurable: true });
      return app.fetch(request);
    },
    restart: async (changed = {}) => {
      await close();
      const settings = { ...options.settings, ...changed };
      return startServer({ ...options, settings, folder, clock }, isOurs);
    },
    close: async () => {
      await close();
      if (isOurs) remove();
    },
  };
}

/** A browser without a screen: cookies, forms as their pages gave them, the headers a browser adds. */
export class Browser {
  readonly cookies = new Map<string, string>();
  readonly #server: Pick<TestServer, "fetch" | "config">;
  constructor(server: Pick<TestServer, "fetch" | "config">) {
    this.#server = server;
  }

  async send(path: string, init: RequestInit = {}): Promise<Response> {
    const headers = new Headers(init.headers);
    if (this.cookies.size > 0)
      headers.set(
        "cookie",
        [...this.cookies].map(([name, value]) => `${name}=${value}`).join("; "),
      );
    const response = await this.#server.fetch(path, { ...init, headers });
    for (const line of response.headers.getSetCookie()) {
      const [name = "", value = ""] = (line.split(";", 1)[0] ?? "").split("=");
      if (/max-age=0/i.test(line)) this.cookies.delete(name);
      else this.cookies.set(name, value);
    }
    return response;
  }

  get(path: string): Promise<Response> {
    return this.send(path, { headers: { "sec-fetch-site": "none" } });
  }

  post(
    path: string,
    fields: Record<string, string>,
    headers: Record<string, string> = {},
  ): Promise<Response> {
    return this.send(path, {
      method: "POST",
      headers: { origin: this.#server.config.origin, "sec-fetch-site": "same-origin", ...headers },
      body: new URLSearchParams(fields),
    });
  }

  /** Signs in on the page that `response` is, or on /login. Resolves to the answer of the POST. */
  async signIn(page?: string, password = PASSWORD): Promise<Response> {
    const { basePath } = this.#server.config;
    const html = page ?? (await (await this.get(`${basePath}/login`)).text());
    return this.post(`${basePath}/login`, { ...hiddenFields(html), password });
  }

  /** Makes this person the owner, through the link of the first start; signed in afterwards. */
  async setUp(link: string, password = PASSWORD): Promise<Response> {
    const html = await (await this.get(link)).text();
    const { basePath } = this.#server.config;
    const fields = { ...hiddenFields(html), password, password_again: password };
    const response = await this.post(`${basePath}/setup`, fields);
    if (response.status !== 303) throw new Error(`setup: ${response.status} ${html}`);
    return response;
  }

  /** From an authorization URL to the redirect that the client receives. */
  async authorize(url: string, decision: "allow" | "deny" = "allow"): Promise<Response> {
    let response = await this.get(url);
    let html = await response.text();
    if (html.includes('name="password"')) {
      response = await this.signIn(html);
      response = await this.get(response.headers.get("location") ?? "");
      html = await response.text();
    }
    if (!html.includes('value="allow"')) return new Response(html, response);
    return this.post(`${this.#server.config.basePath}/consent`, {
      ...hiddenFields(html),
      decision,
    });
  }
}

const entities: Record<string, string> = {
  "&amp;": "&",
  "&quot;": '"',
  "&#39;": "'",
  "&lt;": "<",
  "&gt;": ">",
};
const unescapeHtml = (text: string): string =>
  text.replace(/&(amp|quot|#39|lt|gt);/g, (match) => entities[match] ?? match);

export function hiddenFields(html: string): Record<string, string> {
  const fields: Record<string, string> = {};
  for (const [tag] of html.matchAll(/<input[^>]*type="hidden"[^>]*>/g)) {
    const name = /name="([^"]*)"/.exec(tag)?.[1];
    if (name !== undefined) fields[name] = unescapeHtml(/value="([^"]*)"/.exec(tag)?.[1] ?? "");
  }
  return fields;
}

export interface Registered {
  readonly client_id: string;
  readonly client_secret?: string;
  readonly [member: string]: unknown;
}

export async function registerClient(
  server: Pick<TestServer, "fetch" | "config">,
  metadata: Record<string, unknown> = {},
): Promise<Registered> {
  const response = await server.fetch(`${server.config.basePath}/register`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({
      client_name: "Test client",
      redirect_uris: [REDIRECT],
      token_endpoint_auth_method: "none",
      ...metadata,
    }),
  });
  if (response.status !== 201)
    throw new Error(`register: ${response.status} ${await response.text()}`);
  return (await response.json()) as Registered;
}

export function authorizationUrl(
  server: Pick<TestServer, "config">,
  clientId: string,
  changes: Record<string, string | undefined> = {},
): string {
  const parameters: Record<string, string | undefined> = {
    response_type: "code",
    client_id: clientId,
    redirect_uri: REDIRECT,
    code_challenge: sha256(VERIFIER),
    code_challenge_method: "S256",
    state: "st4te",
    ...changes,
  };
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters))
    if (value !== undefined) query.append(name, value);
  return `${server.config.issuer}/authorize?${query}`;
}

/** The code that an allowed request ends with. */
export async function obtainCode(
  server: Pick<TestServer, "fetch" | "config">,
  clientId: string,
  changes: Record<string, string | undefined> = {},
  browser = new Browser(server),
): Promise<string> {
  const response = await browser.authorize(authorizationUrl(server, clientId, changes));
  const location = response.headers.get("location");
  const code = location === null ? null : new URL(location).searchParams.get("code");
  if (code === null)
    throw new Error(`authorize: ${response.status} ${location} ${await response.text()}`);
  return code;
}

export interface Tokens {
  readonly access_token: string;
  readonly refresh_token: string;
  readonly token_type: string;
  readonly expires_in: number;
  readonly scope: string;
}

export function postToken(
  server: Pick<TestServer, "fetch" | "config">,
  fields: Record<string, string>,
  from?: string,
): Promise<Response> {
  return server.fetch(
    `${server.config.basePath}/token`,
    { method: "POST", body: new URLSearchParams(fields) },
    from,
  );
}

export const redeemCode = (
  server: Pick<TestServer, "fetch" | "config">,
  clientId: string,
  code: string,
  changes: Record<string, string> = {},
): Promise<Response> =>
  postToken(server, {
    grant_type: "authorization_code",
    client_id: clientId,
    code,
    redirect_uri: REDIRECT,
    code_verifier: VERIFIER,
    ...changes,
  });

export const refreshWith = (
  server: Pick<TestServer, "fetch" | "config">,
  clientId: string,
  refreshToken: string,
  changes: Record<string, string> = {},
  from?: string,
): Promise<Response> =>
  postToken(
    server,
    { grant_type: "refresh_token", client_id: clientId, refresh_token: refreshToken, ...changes },
    from,
  );

export interface Login {
  readonly clientId: string;
  readonly tokens: Tokens;
}

/** A registered client with its first tokens. */
export async function logIn(
  server: Pick<TestServer, "fetch" | "config">,
  metadata: Record<string, unknown> = {},
  browser = new Browser(server),
): Promise<Login> {
  const { client_id: clientId } = await registerClient(server, metadata);
  const response = await redeemCode(
    server,
    clientId,
    await obtainCode(server, clientId, {}, browser),
  );
  if (response.status !== 200)
    throw new Error(`token: ${response.status} ${await response.text()}`);
  return { clientId, tokens: (await response.json()) as Tokens };
}

/** The status of a call at the MCP endpoint with a token. */
export async function callMcp(
  server: Pick<TestServer, "fetch" | "config">,
  accessToken: string,
): Promise<Response> {
  return server.fetch(server.config.servers[0].path, {
    method: "POST",
    headers: {
      authorization: `Bearer ${accessToken}`,
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
    },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/list", params: {} }),
  });
}
