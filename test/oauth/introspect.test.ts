import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { ADMIN_PATH, admin } from "../../src/admin.ts";
import type { NewClient } from "../../src/admin/clients.ts";
import {
  type Login,
  type TestServer,
  type Tokens,
  logIn,
  refreshWith,
  registerClient,
  startServer,
  temporaryFolder,
} from "../server.ts";

let server: TestServer;
let login: Login;
let notes: NewClient;
let home: NewClient;

const add = async (body: Record<string, unknown>, to = server): Promise<Response> =>
  admin(
    new Request(`http://postern${ADMIN_PATH}/clients`, {
      method: "POST",
      body: JSON.stringify(body),
      headers: { "content-type": "application/json" },
    }),
    to.deps,
  );
const addServer = async (resource: string): Promise<NewClient> =>
  (await (
    await add({ client_name: "notes on the NAS", resource_server: resource })
  ).json()) as NewClient;
const basic = ({
  client_id,
  client_secret,
}: Pick<NewClient, "client_id" | "client_secret">): Record<string, string> => ({
  authorization: `Basic ${btoa(`${client_id}:${client_secret}`)}`,
});
const introspect = (
  token: string,
  headers: Record<string, string> = basic(notes),
  fields = {},
): Promise<Response> =>
  server.fetch("/introspect", {
    method: "POST",
    headers,
    body: new URLSearchParams({ token, ...fields }),
  });
const answer = async (token: string, who = notes): Promise<unknown> =>
  (await introspect(token, basic(who))).json();

beforeAll(async () => {
  const folder = temporaryFolder();
  writeFileSync(
    join(folder, "config.json"),
    JSON.stringify({
      servers: [
        { path: "/notes", scopes: "read write" },
        { path: "/home", scopes: "read write" },
      ],
    }),
  );
  server = await startServer({ folder });
  login = await logIn(server);
  notes = await addServer("http://localhost:7676/notes");
  home = await addServer("http://localhost:7676/home");
});
afterAll(() => server.close());

describe("RFC 7662 §2.2: the answer", () => {
  test("a live token: what it is worth, and nothing is cached", async () => {
    const response = await introspect(login.tokens.access_token);
    expect([response.status, response.headers.get("cache-control")]).toEqual([200, "no-store"]);
    const now = Math.floor(server.clock.at / 1000);
    expect(await response.json()).toEqual({
      active: true,
      scope: "read write",
      client_id: login.clientId,
      client_name: "Test client",
      username: "owner",
      sub: "owner",
      aud: "http://localhost:7676/notes",
      iss: server.config.issuer,
      token_type: "Bearer",
      exp: now + 3600,
      iat: now,
    });
  });

  test("a narrow token says so", async () => {
    const tokens = (await (
      await refreshWith(server, login.clientId, login.tokens.refresh_token, { scope: "read" })
    ).json()) as Tokens;
    expect(await answer(tokens.access_token)).toMatchObject({ active: true, scope: "read" });
  });

  test.each<[string, () => string]>([
    ["an unknown token", () => `pat_${"A".repeat(22)}.1.${"A".repeat(43)}`],
    ["garbage", () => "x"],
    ["a refresh token", () => login.tokens.refresh_token],
    [
      "a changed token",
      () =>
        `${login.tokens.access_token.slice(0, -1)}${login.tokens.access_token.endsWith("A") ? "B" : "A"}`,
    ],
  ])("%s: inactive and nothing else", async (_name, token) => {
    expect(await answer(token())).toEqual({ active: false });
  });

  test("a token for another resource server is inactive", async () => {
    expect(await answer(login.tokens.access_token, home)).toEqual({ active: false });
  });

  test("a token whose scopes are all gone from the server is worth nothing", async () => {
    const folder = temporaryFolder();
    const old = await startServer({ folder, settings: { scopes: "old" } });
    const { tokens } = await logIn(old);
    const own = (await (
      await add({ client_name: "notes", resource_server: true }, old)
    ).json()) as NewClient;
    const ask = async (at: TestServer): Promise<unknown> =>
      (
        await at.fetch("/introspect", {
          method: "POST",
          headers: basic(own),
          body: new URLSearchParams({ token: tokens.access_token }),
        })
      ).json();
    expect(await ask(old)).toMatchObject({ active: true, scope: "old" });
    const renamed = await old.restart({ scopes: "new" });
    expect(await ask(renamed)).toEqual({ active: false });
    await renamed.close();
  });

  test("using a token by introspection supersedes its predecessor", async () => {
    const own = await logIn(server);
    const next = (await (
      await refreshWith(server, own.clientId, own.tokens.refresh_token)
    ).json()) as Tokens;
    await answer(next.access_token);
    await server.deps.store.update((draft) => draft.get("owner", "owner"));
    server.clock.advance(121);
    expect(
      (await refreshWith(server, own.clientId, own.tokens.refresh_token, {}, "198.51.100.1"))
        .status,
    ).toBe(400);
    expect(await answer(next.access_token)).toEqual({ active: false });
  });

  test("expired and revoked: inactive", async () => {
    const own = await logIn(server);
    expect(await answer(own.tokens.access_token)).toMatchObject({ active: true });
    await server.fetch("/revoke", {
      method: "POST",
      body: new URLSearchParams({ client_id: own.clientId, token: own.tokens.refresh_token }),
    });
    expect(await answer(own.tokens.access_token)).toEqual({ active: false });
    const other = await logIn(server);
    server.clock.advance(3600);
    expect(await answer(other.tokens.access_token)).toEqual({ active: false });
  });
});

describe("RFC 7662 §2.1: who may ask", () => {
  test.each<[string, () => Promise<[Record<string, string>, Record<string, string>]>]>([
    ["nobody", async () => [{}, {}]],
    ["an unknown client", async () => [{}, { client_id: "unknown" }]],
    ["a wrong secret", async () => [basic({ ...notes, client_secret: "wrong" }), {}]],
    ["a wrong secret in the body", async () => [{}, { ...notes, client_secret: "wrong" }]],
    ["a bearer token", async () => [{ authorization: `Bearer ${login.tokens.access_token}` }, {}]],
  ])("not %s: 401 with a challenge", async (_name, credentials) => {
    const response = await introspect(login.tokens.access_token, ...(await credentials()));
    expect([response.status, await response.json()]).toMatchObject([
      401,
      { error: "invalid_client" },
    ]);
    expect(response.headers.get("www-authenticate")).toBe('Basic realm="postern"');
  });

  test.each<[string, () => Promise<[Record<string, string>, Record<string, string>]>]>([
    ["the public client of the token", async () => [{}, { client_id: login.clientId }]],
    [
      "an ordinary confidential client",
      async () => [
        basic(await registerClient(server, { token_endpoint_auth_method: "client_secret_basic" })),
        {},
      ],
    ],
  ])("not %s: it is known, and 403", async (_name, credentials) => {
    const response = await introspect(login.tokens.access_token, ...(await credentials()));
    expect([response.status, await response.json()]).toMatchObject([
      403,
      { error: "unauthorized_client" },
    ]);
  });

  test("its secret in the body is fine, and no token is invalid_request", async () => {
    const fields = { client_id: notes.client_id, client_secret: notes.client_secret ?? "" };
    expect((await introspect(login.tokens.access_token, {}, fields)).status).toBe(200);
    expect((await introspect("", basic(notes))).status).toBe(400);
    expect((await server.fetch("/introspect")).status).toBe(405);
  });

  test("a resource server gets no tokens and no consent page", async () => {
    const token = await server.fetch("/token", {
      method: "POST",
      headers: basic(notes),
      body: new URLSearchParams({ grant_type: "refresh_token", refresh_token: "x" }),
    });
    expect([token.status, await token.json()]).toMatchObject([
      400,
      { error: "unauthorized_client" },
    ]);
    expect(
      (
        await server.fetch(
          `/authorize?client_id=${notes.client_id}&redirect_uri=http://localhost/cb`,
        )
      ).status,
    ).toBe(400);
  });
});

describe("clients added by hand", () => {
  test.each<[Record<string, unknown>, number]>([
    [{}, 400],
    [{ client_name: "x" }, 400],
    [{ client_name: "x", redirect_uris: ["javascript:alert(1)"] }, 400],
    [{ client_name: "x", resource_server: "https://other.test/mcp" }, 400],
    [{ client_name: "x", redirect_uris: ["https://good.test/cb"] }, 200],
  ])("%p: %d", async (body, status) => {
    expect((await add(body)).status).toBe(status);
  });

  test("stay, used or not, and hold only a hash of their secret", async () => {
    const { client_id: id, client_secret: secret } = (await (
      await add({
        client_name: "ChatGPT",
        redirect_uris: ["https://chatgpt.com/cb"],
        confidential: true,
      })
    ).json()) as NewClient;
    server.clock.advance(40 * 86_400);
    const found = await server.deps.store.clients.get(id);
    expect(found).toMatchObject({
      source: "static",
      token_endpoint_auth_method: "client_secret_basic",
    });
    expect(JSON.stringify(found)).not.toContain(secret ?? "none");
  });
});
