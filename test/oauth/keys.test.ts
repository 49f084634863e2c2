// API keys: what they open, what they do not, when they end, and what their use costs.
import { afterAll, describe, expect, test } from "bun:test";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ADMIN_PATH, admin } from "../../src/admin.ts";
import type { KeyRow, MadeKey } from "../../src/admin/keys.ts";
import {
  Browser,
  type TestServer,
  callMcp,
  logIn,
  postToken,
  refreshWith,
  registerClient,
  startServer,
  temporaryFolder,
} from "../server.ts";

const servers: TestServer[] = [];
afterAll(() => Promise.all(servers.map((server) => server.close())));

const two = [
  { path: "/notes", upstream: "http://127.0.0.1:1/mcp", name: "Notes", scopes: ["read", "write"] },
  { path: "/home", upstream: "http://127.0.0.1:1/mcp", name: "Home", scopes: ["home"] },
];

async function start(config?: object, settings = {}): Promise<TestServer> {
  const folder = temporaryFolder();
  if (config) writeFileSync(join(folder, "config.json"), JSON.stringify(config), { mode: 0o600 });
  const server = await startServer({ folder, settings });
  servers.push(server);
  return server;
}

async function ask<T>(
  server: TestServer,
  method: string,
  path: string,
  body?: object,
): Promise<{ status: number; answer: T & { error_description?: string } }> {
  const response = await admin(
    new Request(`http://postern${ADMIN_PATH}${path}`, {
      method,
      ...(body && {
        body: JSON.stringify(body),
        headers: { "content-type": "application/json" },
      }),
    }),
    server.deps,
  );
  return { status: response.status, answer: await response.json() };
}

async function makeKey(server: TestServer, asked: object = {}): Promise<MadeKey> {
  const { answer } = await ask<MadeKey>(server, "POST", "/keys", { name: "script", ...asked });
  return answer;
}

const keysOf = async (server: TestServer): Promise<KeyRow[]> =>
  (await ask<KeyRow[]>(server, "GET", "/keys")).answer;

const call = (server: TestServer, key: string, path = "/mcp", from?: string) =>
  server.fetch(
    path,
    {
      method: "POST",
      headers: {
        authorization: `Bearer ${key}`,
        "content-type": "application/json",
        accept: "application/json, text/event-stream",
      },
      body: JSON.stringify({
        jsonrpc: "2.0",
        id: 1,
        method: "tools/call",
        params: { name: "whoami", arguments: {} },
      }),
    },
    from,
  );

describe("a key", () => {
  test("opens the MCP endpoint; the server behind learns its name and scopes", async () => {
    const server = await start();
    const { key, id } = await makeKey(server, { name: "Home Assistant" });
    expect(key).toMatch(/^pak_[\w-]{22}\.[\w-]{43}$/);
    const answer = await call(server, key);
    expect(answer.status).toBe(200);
    expect(await answer.text()).toContain(`"id":"key:${id}","name":"Home Assistant"`);
  });

  test("is in no file, in no list and in no log", async () => {
    const server = await start();
    const { key, id } = await makeKey(server);
    await call(server, key);
    await call(server, `${key.slice(0, -1)}_`);
    const secret = key.split(".")[1] ?? "";
    const texts = readdirSync(server.folder)
      .filter((name) => !name.startsWith(".lock"))
      .map((name) => readFileSync(join(server.folder, name), "utf8"));
    texts.push(JSON.stringify(await keysOf(server)));
    texts.push(JSON.stringify((await ask(server, "GET", `/keys/${id}`)).answer));
    for (const text of texts) expect(text).not.toContain(secret);
    expect(texts.join("")).toContain('"secret_hash"');
    expect(texts.at(-2)).not.toContain("hash");
  });

  test("opens the servers that it was made for, with the scopes it was given", async () => {
    const server = await start({ servers: two });
    const {
      key,
      scope,
      servers: paths,
    } = await makeKey(server, {
      servers: ["/notes"],
      scope: "read",
    });
    expect([scope, paths]).toEqual(["read", ["/notes"]]);
    // The server behind is not there: 502 is what who may pass gets.
    expect((await call(server, key, "/notes")).status).toBe(502);
    expect((await call(server, key, "/home")).status).toBe(401);
    const both = await makeKey(server, {
      name: "both",
      servers: ["http://localhost:7676/home", "/notes"],
    });
    expect(both.scope).toBe("home read write");
    expect((await call(server, both.key, "/home")).status).toBe(502);
  });

  test("whose scopes are all gone is told so, and one server's scopes do not count at another", async () => {
    const server = await start({ servers: two });
    const { key } = await makeKey(server, { servers: ["/notes"], scope: "read" });
    const renamed = [
      { ...two[0], scopes: ["other"] },
      { ...two[1], scopes: ["home", "read"] },
    ];
    writeFileSync(join(server.folder, "config.json"), JSON.stringify({ servers: renamed }));
    const after = await server.restart();
    servers.push(after);
    const answer = await call(after, key, "/notes");
    expect([answer.status, answer.headers.get("www-authenticate")]).toEqual([
      403,
      expect.stringContaining("insufficient_scope"),
    ]);
    expect((await call(after, key, "/home")).status).toBe(401);
  });

  test("stays good under another public URL", async () => {
    const server = await start();
    const { key } = await makeKey(server);
    const moved = await server.restart({ url: "https://mcp.example.com" });
    servers.push(moved);
    expect((await call(moved, key)).status).toBe(200);
  });

  test.each([
    ["another secret", (key: string) => `${key.slice(0, -2)}${key.endsWith("AA") ? "BB" : "AA"}`],
    ["another id", (key: string) => key.replace(/^pak_.{22}/, `pak_${"x".repeat(22)}`)],
    ["more", (key: string) => `${key}A`],
    ["less", (key: string) => key.slice(0, -1)],
    ["another prefix", (key: string) => key.replace("pak_", "pat_")],
    ["its id alone", (key: string) => key.split(".")[0] ?? ""],
    ["padding", (key: string) => `${key}=`],
  ])("with %s opens nothing", async (_, change) => {
    const server = servers[0] ?? (await start());
    const { key } = await makeKey(server, { name: `k${Math.random()}` });
    expect((await call(server, change(key))).status).toBe(401);
    expect((await call(server, key)).status).toBe(200);
  });

  test("in the query or the body is not read", async () => {
    const server = servers[0] ?? (await start());
    const { key } = await makeKey(server, { name: "misplaced" });
    expect((await server.fetch(`/mcp?access_token=${key}`, { method: "POST" })).status).toBe(401);
    const body = new URLSearchParams({ access_token: key });
    expect((await server.fetch("/mcp", { method: "POST", body })).status).toBe(401);
  });

  test("wrong ones are throttled; one that has expired hears 401 while others guess", async () => {
    const server = await start(undefined, { rateLimits: "on" });
    const { key } = await makeKey(server, { expires_in: 60 });
    server.clock.advance(61);
    const wrong = `pak_${"x".repeat(22)}.${"y".repeat(43)}`;
    const statuses = new Set<number>();
    for (let count = 0; count < 70; count++) statuses.add((await call(server, wrong)).status);
    expect(statuses).toEqual(new Set([401, 429]));
    expect((await call(server, key)).status).toBe(401);
  });
});

describe("no other endpoint takes a key", () => {
  test("as a code, a refresh token, a client's id or secret, an assertion, or at revocation", async () => {
    const server = await start();
    const { key, id } = await makeKey(server);
    const { client_id: clientId } = await registerClient(server);
    const attempts: Record<string, string>[] = [
      { grant_type: "refresh_token", client_id: clientId, refresh_token: key },
      {
        grant_type: "authorization_code",
        client_id: clientId,
        code: key,
        code_verifier: "v".repeat(64),
      },
      {
        grant_type: "authorization_code",
        client_id: key,
        code: "x",
        code_verifier: "v".repeat(64),
      },
      { grant_type: "client_credentials", client_id: id, client_secret: key },
      {
        grant_type: "client_credentials",
        client_id: `key:${id}`,
        client_secret: key.split(".")[1] ?? "",
      },
      {
        grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
        client_id: clientId,
        subject_token: key,
      },
    ];
    for (const fields of attempts) {
      const answer = await postToken(server, fields);
      expect([400, 401]).toContain(answer.status);
      expect(await answer.text()).not.toContain("access_token");
    }
    const body = new URLSearchParams({ client_id: clientId, token: key });
    expect((await server.fetch("/revoke", { method: "POST", body })).status).toBe(200);
    expect((await call(server, key)).status).toBe(200);
  });

  test("nor as a way to the account, to registration, or to introspection", async () => {
    const server = await start();
    const { key } = await makeKey(server);
    const headers = { authorization: `Bearer ${key}`, "sec-fetch-site": "same-origin" };
    expect((await server.fetch(`${ADMIN_PATH}/keys`, { headers })).status).toBe(403);
    expect((await server.fetch("/account/keys", { headers })).status).toBe(303);
    const body = new URLSearchParams({ token: key });
    expect((await server.fetch("/introspect", { method: "POST", headers, body })).status).toBe(401);
  });
});

describe("RFC 7662 §2.2: introspection", () => {
  test("of a key answers a resource server of one of its servers, and no other", async () => {
    const server = await start({ servers: two });
    const {
      key,
      id,
      expires_at: exp,
    } = await makeKey(server, { servers: ["/notes"], scope: "read" });
    const statusAt = async (resource: string, token: string) => {
      const made = await ask<{ client_id: string; client_secret: string }>(
        server,
        "POST",
        "/clients",
        {
          client_name: "nas",
          resource_server: resource,
        },
      );
      const { client_id: name, client_secret: secret } = made.answer;
      const answer = await server.fetch("/introspect", {
        method: "POST",
        headers: { authorization: `Basic ${btoa(`${name}:${secret}`)}` },
        body: new URLSearchParams({ token }),
      });
      return answer.json();
    };
    const notes = "http://localhost:7676/notes";
    expect(await statusAt(notes, key)).toMatchObject({
      active: true,
      scope: "read",
      client_id: `key:${id}`,
      aud: notes,
      exp,
    });
    expect(await statusAt("http://localhost:7676/home", key)).toEqual({ active: false });
    await ask(server, "DELETE", `/keys/${id}`);
    expect(await statusAt(notes, key)).toEqual({ active: false });
  });
});

describe("the end", () => {
  test("comes at its time, and the record leaves a week later", async () => {
    const server = await start();
    const { key } = await makeKey(server, { expires_in: 3600 });
    server.clock.advance(3599);
    expect((await call(server, key)).status).toBe(200);
    server.clock.advance(1);
    expect((await call(server, key)).status).toBe(401);
    expect(await keysOf(server)).toMatchObject([{ state: "ended" }]);
    server.clock.advance(7 * 86_400);
    const after = await server.restart();
    servers.push(after);
    expect(await keysOf(after)).toEqual([]);
  });

  test("is a year away when nothing is said, and never with 0", async () => {
    const server = await start();
    const usual = await makeKey(server);
    expect((usual.expires_at ?? 0) - usual.created_at).toBe(365 * 86_400);
    const lasting = await makeKey(server, { name: "lasting", expires_in: 0 });
    expect(lasting).not.toHaveProperty("expires_at");
    server.clock.advance(400 * 86_400);
    expect((await call(server, usual.key)).status).toBe(401);
    expect((await call(server, lasting.key)).status).toBe(200);
  });

  test("by the owner is at once, for good, and over a use that is being noted", async () => {
    const server = await start();
    const { key, id } = await makeKey(server);
    await Promise.all([
      call(server, key),
      ask(server, "DELETE", `/keys/${id.slice(0, 6)}`),
      call(server, key),
    ]);
    expect((await call(server, key)).status).toBe(401);
    const after = await server.restart();
    servers.push(after);
    expect((await call(after, key)).status).toBe(401);
    expect(await keysOf(after)).toEqual([]);
  });

  test.each([
    ["revoke-all", (server: TestServer) => ask(server, "POST", "/revoke-all")],
    [
      "a new password",
      (server: TestServer) => ask(server, "PUT", "/password", { password: "another password" }),
    ],
  ])("comes with %s, in the same commit as that of the logins", async (_, end) => {
    const server = await start();
    const { key } = await makeKey(server);
    const login = await logIn(server);
    const groups = server.counters.groups;
    expect((await end(server)).answer).toMatchObject({ revoked: 1, keys: 1 });
    expect(server.counters.groups - groups).toBe(1);
    expect((await call(server, key)).status).toBe(401);
    expect((await callMcp(server, login.tokens.access_token)).status).toBe(401);
  });

  test("of a login leaves keys alone", async () => {
    const server = await start();
    const { key } = await makeKey(server);
    const login = await logIn(server);
    await ask(server, "DELETE", `/clients/${login.clientId}`);
    expect((await call(server, key)).status).toBe(200);
    expect((await refreshWith(server, login.clientId, login.tokens.refresh_token)).status).toBe(
      401,
    );
  });
});

describe("the last use", () => {
  test("is kept with its network, over a restart, and costs one write in ten minutes", async () => {
    const server = await start();
    const { key } = await makeKey(server);
    const groups = server.counters.groups;
    for (let count = 0; count < 50; count++) await call(server, key);
    await Promise.all(Array.from({ length: 50 }, () => call(server, key)));
    await server.deps.store.update((draft) => draft.get("owner", "owner"));
    expect(server.counters.groups - groups).toBeLessThanOrEqual(2);
    const at = Math.floor(server.clock.at / 1000);
    expect(await keysOf(server)).toMatchObject([
      { last_used_at: at, last_used_from: "203.0.113.0/24" },
    ]);
    server.clock.advance(599);
    await call(server, key, "/mcp", "198.51.100.3");
    server.clock.advance(1);
    await call(server, key, "/mcp", "198.51.100.4");
    const after = await server.restart();
    servers.push(after);
    expect(await keysOf(after)).toMatchObject([
      { last_used_at: at + 600, last_used_from: "198.51.100.0/24" },
    ]);
  });
});

describe("making one", () => {
  test.each<[object, string]>([
    [{ name: "" }, "a name is needed"],
    [{ servers: [] }, "a key opens at least one server"],
    [{ servers: ["/nope"] }, "there is no server /nope"],
    [{ servers: "/mcp" }, "servers must be a list"],
    [{ scope: "admin" }, "no server of this key offers the scope admin"],
    [{ scope: "" }, "without a scope of"],
    [{ scope: 1 }, "without a scope of"],
    [{ expires_in: -1 }, "expires_in must be seconds"],
    [{ expires_in: 1.5 }, "expires_in must be seconds"],
    [{ expires_in: "30d" }, "expires_in must be seconds"],
    [{ expires_in: 1e12 }, "expires_in must be seconds"],
  ])("%p: %s", async (asked, message) => {
    const server = servers[1] ?? (await start());
    const before = (await keysOf(server)).length;
    const { status, answer } = await ask(server, "POST", "/keys", { name: "odd", ...asked });
    expect([status, answer.error_description]).toEqual([400, expect.stringContaining(message)]);
    expect((await keysOf(server)).length).toBe(before);
  });

  test("twice at once under one name makes one", async () => {
    const server = await start();
    const made = await Promise.all(
      [1, 2, 3].map(() => ask(server, "POST", "/keys", { name: "same" })),
    );
    expect(made.map(({ status }) => status).toSorted()).toEqual([200, 400, 400]);
    expect(await keysOf(server)).toHaveLength(1);
  });

  test("is bounded", async () => {
    const server = await start();
    for (let count = 0; count < 200; count++) await makeKey(server, { name: `key ${count}` });
    const { status, answer } = await ask(server, "POST", "/keys", { name: "one more" });
    expect([status, answer.error_description]).toEqual([400, "there are 200 keys; end some first"]);
  });

  test("on the account page shows it once; sent again it makes no second", async () => {
    const server = await start();
    const owner = new Browser(server);
    await owner.signIn();
    const html = await (await owner.get("/account/keys")).text();
    const proof = /name="proof" value="([^"]*)"/.exec(html)?.[1] ?? "";
    const fields = { proof, name: "from the page", expires_in: "2592000" };
    const shown = await (await owner.post("/account/keys", fields)).text();
    const key = /<pre>(pak_[\w-]+\.[\w-]+)<\/pre>/.exec(shown)?.[1] ?? "";
    expect((await call(server, key)).status).toBe(200);
    const again = await owner.post("/account/keys", fields);
    expect([again.status, await again.text()]).toEqual([
      400,
      expect.stringContaining("of that name already"),
    ]);
    expect(await (await owner.get("/account/keys")).text()).not.toContain(key);
    expect(await keysOf(server)).toHaveLength(1);
    const none = { ...fields, name: "nothing", chosen: "scope" };
    expect((await owner.post("/account/keys", none)).status).toBe(400);
  });
});
