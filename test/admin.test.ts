// The admin API: its document, its verbs as the owner's shell calls them, and who gets to it on the public listener.
import { afterAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ADMIN_PATH, admin, adminRoutes } from "../src/admin.ts";
import { seal } from "../src/login/forms.ts";
import {
  Browser,
  type TestServer,
  callMcp,
  logIn,
  obtainCode,
  redeemCode,
  refreshWith,
  registerClient,
  startServer,
  temporaryFolder,
} from "./server.ts";

const servers: TestServer[] = [];
async function start(settings = {}): Promise<TestServer> {
  const server = await startServer({ settings });
  servers.push(server);
  return server;
}
afterAll(() => Promise.all(servers.map((server) => server.close())));

type Row = Record<string, unknown>;

/** A request of the owner's shell; resolves to status and answer. */
async function ask(
  server: TestServer,
  method: string,
  path: string,
  body?: unknown,
): Promise<{ status: number; answer: Row & Row[] }> {
  const request = new Request(`http://postern${ADMIN_PATH}${path}`, {
    method,
    ...(body !== undefined && {
      body: JSON.stringify(body),
      headers: { "content-type": "application/json" },
    }),
  });
  const response = await admin(request, server.deps);
  return { status: response.status, answer: await response.json() };
}

const list = async (server: TestServer, path: string): Promise<Row[]> =>
  (await ask(server, "GET", path)).answer;

const trail = (server: TestServer): Row[] =>
  readFileSync(join(server.folder, "audit.jsonl"), "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));

describe("docs/admin-api.md", () => {
  const text = readFileSync(join(import.meta.dir, "../docs/admin-api.md"), "utf8");
  const documented = [...text.matchAll(/^\| (GET|POST|PUT|PATCH|DELETE) \| `([^`]+)` \| \S/gm)].map(
    ([, method, path]) => `${method} ${path}`,
  );
  const served = adminRoutes.map(({ method, path }) => `${method} ${path}`);

  test("describes every verb that there is, and no other", () => {
    expect(documented).toEqual(served);
  });

  test("no verb stands there twice", () => {
    expect(new Set(served).size).toBe(served.length);
  });
});

describe("clients", () => {
  test("are listed, shown with their connections, renamed and removed", async () => {
    const server = await start();
    const { clientId, tokens } = await logIn(server, { client_name: "Notes" });
    const [row] = await list(server, "/clients");
    expect(row).toMatchObject({
      id: clientId,
      client_id: clientId,
      client_name: "Notes",
      source: "dcr",
      grants: 1,
    });
    expect(row).not.toHaveProperty("verified_host");
    const shown = (await ask(server, "GET", `/clients/${clientId.slice(0, 6)}`)).answer;
    expect(shown["connections"]).toMatchObject([{ client_id: clientId, state: "live" }]);
    const renamed = await ask(server, "PATCH", `/clients/${clientId}`, { name: " My  notes " });
    expect(renamed.answer).toEqual({ id: clientId, name: "My notes" } as never);
    expect((await list(server, "/clients"))[0]).toMatchObject({ label: "My notes" });
    expect((await ask(server, "DELETE", `/clients/${clientId}`)).status).toBe(200);
    expect(await list(server, "/clients")).toEqual([]);
    expect((await callMcp(server, tokens.access_token)).status).toBe(401);
  });

  test("a purge leaves those with a connection and those of the owner", async () => {
    const server = await start();
    const { clientId } = await logIn(server);
    await registerClient(server);
    const added = { client_name: "Mine", redirect_uris: ["https://mine.test/cb"] };
    const { answer } = await ask(server, "POST", "/clients", added);
    expect((await ask(server, "POST", "/clients/purge")).answer).toEqual({ deleted: 1 } as never);
    const left = (await list(server, "/clients")).map((row) => row["client_id"]);
    expect(left.toSorted()).toEqual([clientId, String(answer["client_id"])].toSorted());
  });

  test("one whose id is a URL has a short id, and its host vouches for it", async () => {
    const server = await start();
    const url = "https://app.test/oauth/client.json";
    const { clientId } = await logIn(server);
    const record = await server.deps.store.clients.get(clientId);
    if (record) await server.deps.store.clients.put(url, { ...record, source: "cimd" });
    const row = (await list(server, "/clients")).find((each) => each["client_id"] === url);
    expect(row).toMatchObject({ verified_host: "app.test", source: "cimd" });
    expect(row?.["id"]).toMatch(/^u_[\w-]{20}$/);
    for (const id of [String(row?.["id"]), encodeURIComponent(url)])
      expect((await ask(server, "GET", `/clients/${id}`)).answer["client_id"]).toBe(url);
  });
});

describe("grants", () => {
  test("tell who, where to, since when, from where and until when; no secret", async () => {
    const server = await start();
    const { clientId, tokens } = await logIn(server, { client_name: "Notes" });
    server.clock.advance(600);
    await refreshWith(server, clientId, tokens.refresh_token, {}, "198.51.100.9");
    const [row] = await list(server, "/grants");
    const at = Math.floor(server.clock.at / 1000);
    expect(row).toEqual({
      id: tokens.refresh_token.slice(4, 26),
      client_id: clientId,
      client_name: "Notes",
      redirect_host: "localhost",
      scope: "mcp",
      resource: server.config.servers[0].resource,
      created_at: at - 600,
      last_used_at: at,
      network: "198.51.100.0/24",
      expires_at: at - 600 + 365 * 86_400,
      idle_at: at + 90 * 86_400,
      generation: 2,
      state: "live",
    });
    const shown = JSON.stringify((await ask(server, "GET", `/grants/${row?.["id"]}`)).answer);
    expect(shown).toContain('"access_tokens":[{"generation":1');
    for (const secret of ["hash", "tag_key", ...tokens.refresh_token.split(".").slice(2)])
      expect(shown).not.toContain(secret);
  });

  test("tell retries from elsewhere with their networks, over the refreshes that follow; usual ones not", async () => {
    const server = await start();
    const { clientId, tokens } = await logIn(server);
    const refresh = async (from?: string): Promise<{ refresh_token: string }> =>
      (await refreshWith(server, clientId, tokens.refresh_token, {}, from)).json();
    const second = await refresh();
    await refresh();
    await server.deps.store.update((draft) => draft.get("owner", "owner"));
    expect((await list(server, "/grants"))[0]).not.toHaveProperty("replays");
    for (const from of ["198.51.100.9", "198.51.100.10", "192.0.2.1"]) {
      expect((await refresh(from)).refresh_token).toBe(second.refresh_token);
      server.clock.advance(1);
    }
    await refreshWith(server, clientId, second.refresh_token);
    const [row] = await list(server, "/grants");
    expect(row).toMatchObject({
      generation: 3,
      replays: {
        count: 3,
        last_at: Math.floor(server.clock.at / 1000) - 1,
        networks: ["198.51.100.0/24", "192.0.2.0/24"],
      },
    });
    const replayed = trail(server).filter(({ event }) => event === "refresh_replayed");
    expect(replayed.map(({ address }) => address)).toEqual([
      "198.51.100.9",
      "198.51.100.10",
      "192.0.2.1",
    ]);
  });

  test("a name that the owner gave stays over refreshes", async () => {
    const server = await start();
    const { clientId, tokens } = await logIn(server);
    const id = tokens.refresh_token.slice(4, 26);
    await Promise.all([
      ask(server, "PATCH", `/grants/${id}`, { name: "laptop" }),
      refreshWith(server, clientId, tokens.refresh_token),
    ]);
    expect((await list(server, "/grants"))[0]).toMatchObject({ label: "laptop", generation: 2 });
  });

  test("several end in one commit; what has ended meanwhile is passed over", async () => {
    const server = await start();
    const logins = [await logIn(server), await logIn(server), await logIn(server)];
    const ids = logins.map(({ tokens }) => tokens.refresh_token.slice(4, 26));
    await ask(server, "DELETE", `/grants/${ids[0]}`);
    const groups = server.counters.groups;
    const answer = await ask(server, "POST", "/grants/revoke", { ids: ids.slice(0, 2) });
    expect(answer).toEqual({ status: 200, answer: { revoked: 1 } as never });
    expect(server.counters.groups - groups).toBe(1);
    const statuses = logins.map(
      async ({ tokens }) => (await callMcp(server, tokens.access_token)).status,
    );
    expect(await Promise.all(statuses)).toEqual([401, 401, 200]);
  });

  test.each(["before", "after"])(
    "a refresh queued just %s the end brings nothing back",
    async (when) => {
      const server = await start();
      const { clientId, tokens } = await logIn(server);
      const end = () => ask(server, "DELETE", `/grants/${tokens.refresh_token.slice(4, 26)}`);
      const refresh = () => refreshWith(server, clientId, tokens.refresh_token);
      const [refreshed] =
        when === "before"
          ? await Promise.all([refresh(), end()])
          : ((await Promise.all([end(), refresh()])).toReversed() as [Response, unknown]);
      const answer = (await refreshed.json()) as { access_token?: string; refresh_token?: string };
      const after = await server.restart();
      servers.push(after);
      expect(await list(after, "/grants")).toEqual([]);
      for (const token of [tokens.access_token, answer.access_token ?? ""])
        expect((await callMcp(after, token)).status).toBe(401);
      for (const token of [tokens.refresh_token, answer.refresh_token ?? tokens.refresh_token])
        expect((await refreshWith(after, clientId, token)).status).toBe(400);
    },
  );

  test("a hundred refreshes and an end, all at once: the end holds", async () => {
    const server = await start();
    const { clientId, tokens } = await logIn(server);
    const id = tokens.refresh_token.slice(4, 26);
    const refreshes = Array.from({ length: 100 }, async (_, index) => {
      if (index === 50) await ask(server, "DELETE", `/grants/${id}`);
      return refreshWith(server, clientId, tokens.refresh_token);
    });
    await Promise.all(refreshes);
    expect(await list(server, "/grants")).toEqual([]);
  });

  test("a purge takes away what ended by itself", async () => {
    const server = await start();
    await logIn(server);
    server.clock.advance(91 * 86_400);
    const { tokens } = await logIn(server);
    expect((await list(server, "/grants")).map((row) => row["state"])).toEqual(["live", "ended"]);
    expect((await ask(server, "POST", "/grants/purge")).answer).toEqual({ deleted: 1 } as never);
    expect((await callMcp(server, tokens.access_token)).status).toBe(200);
  });

  test("those of another public URL are asleep", async () => {
    const folder = temporaryFolder();
    const server = await startServer({ folder });
    await logIn(server);
    const moved = await server.restart({ url: "https://mcp.example.com" });
    servers.push(moved);
    await registerClient(moved);
    expect((await list(moved, "/grants"))[0]).toMatchObject({ state: "asleep" });
  });
});

describe("sessions and codes", () => {
  test("a browser is known by what it calls itself, and signed out", async () => {
    const server = await start();
    const browser = new Browser(server);
    const page = await (await browser.get("/login")).text();
    const field = /name="request" value="([^"]*)"/.exec(page)?.[1] ?? "";
    const agent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
    await browser.post(
      "/login",
      { request: field, password: "correct horse battery" },
      { "user-agent": agent },
    );
    const [row] = await list(server, "/sessions");
    expect(row).toMatchObject({
      browser: "Firefox on Linux",
      network: "203.0.113.0/24",
      own: false,
    });
    expect(
      (await ask(server, "GET", `/sessions/${String(row?.["id"]).slice(0, 8)}`)).answer,
    ).toEqual(row as never);
    expect((await ask(server, "DELETE", `/sessions/${row?.["id"]}`)).status).toBe(200);
    expect((await browser.get("/connect")).status).toBe(303);
    expect(await list(server, "/sessions")).toEqual([]);
  });

  test("a code that waits is listed without itself, and taken back", async () => {
    const server = await start();
    const { client_id: id } = await registerClient(server);
    const code = await obtainCode(server, id);
    const [row] = await list(server, "/codes");
    expect(row).toMatchObject({ client_id: id, redeemed: false, scope: "mcp" });
    expect(JSON.stringify(row)).not.toMatch(/pac_|challenge/);
    expect((await ask(server, "GET", `/codes/${row?.["id"]}`)).answer).toEqual(row as never);
    expect((await ask(server, "GET", "/codes/c_nothing")).status).toBe(404);
    expect((await ask(server, "DELETE", `/codes/${row?.["id"]}`)).status).toBe(200);
    expect((await redeemCode(server, id, code)).status).toBe(400);
  });

  test("a redeemed code stays known, so that its second use is noticed", async () => {
    const server = await start();
    const { client_id: id } = await registerClient(server);
    const code = await obtainCode(server, id);
    await redeemCode(server, id, code);
    const [row] = await list(server, "/codes");
    expect(row).toMatchObject({ redeemed: true });
    expect((await ask(server, "DELETE", `/codes/${row?.["id"]}`)).status).toBe(404);
    expect((await ask(server, "POST", "/codes/purge")).answer).toEqual({ revoked: 0 } as never);
    expect((await redeemCode(server, id, code)).status).toBe(400);
    expect(await list(server, "/grants")).toEqual([]);
  });

  test("revoke-all leaves no session and no code", async () => {
    const server = await start();
    const { client_id: id } = await registerClient(server);
    const code = await obtainCode(server, id);
    await ask(server, "POST", "/revoke-all");
    expect(await list(server, "/sessions")).toEqual([]);
    expect(await list(server, "/codes")).toEqual([]);
    expect((await redeemCode(server, id, code)).status).toBe(400);
  });
});

describe("bad requests", () => {
  test.each<[string, string, unknown, number, string]>([
    ["GET", "/nothing", undefined, 404, "there is no such verb"],
    ["GET", "", undefined, 404, "there is no such verb"],
    ["GET", "/clients/", undefined, 404, "there is no such verb"],
    ["POST", "/grants", undefined, 405, "the method POST is not allowed here"],
    ["GET", "/grants/%ff", undefined, 400, "the path is malformed"],
    ["DELETE", "/grants/abc", undefined, 404, "there is no grant abc"],
    ["DELETE", "/sessions/s_nobody", undefined, 404, "there is no session s_nobody"],
    ["POST", "/grants/revoke", { ids: "all" }, 400, "ids must be a list of texts"],
    ["POST", "/grants/revoke", [], 400, "the body must be a JSON object"],
    ["PATCH", "/grants/abcd", { name: " " }, 400, "a name is needed"],
    ["PATCH", "/grants/abcd", { name: "a\u202eb" }, 400, "the name holds characters that"],
    ["PATCH", "/grants/abcd", { name: "n".repeat(101) }, 400, "the name is longer than 100"],
    ["POST", "/clients", { client_name: 1 }, 400, "a name is needed"],
    ["PUT", "/password", {}, 400, "password must be a string"],
  ])("%s %s %j: %d, %s", async (method, path, body, status, message) => {
    const server = servers[0] ?? (await start());
    const { status: got, answer } = await ask(server, method, path, body);
    expect([got, answer["error_description"]]).toEqual([status, expect.stringContaining(message)]);
  });
});

describe("on the public listener", () => {
  const url = (path: string): string => `${ADMIN_PATH}${path}`;

  /** The owner's browser, with what a page of ours would send along. */
  async function owner(server: TestServer) {
    const browser = new Browser(server);
    await browser.signIn();
    const session = (await server.deps.store.sessions.list()).at(-1);
    const proof = seal(server.deps, "account", session?.[0] ?? "", "");
    return { browser, proof };
  }
  const own = { "sec-fetch-site": "same-origin" };

  test("the owner's session with its proof gets what the socket gets", async () => {
    const server = await start();
    const { tokens } = await logIn(server);
    const { browser, proof } = await owner(server);
    const headers = { ...own, "x-postern-proof": proof };
    const answer = await browser.send(url("/grants"), { headers });
    expect([answer.status, await answer.json()]).toEqual([200, await list(server, "/grants")]);
    const id = tokens.refresh_token.slice(4, 26);
    const ended = await browser.send(url(`/grants/${id}`), { method: "DELETE", headers });
    expect(ended.status).toBe(200);
    expect(trail(server).at(-1)).toMatchObject({
      event: "grant_revoked",
      family: id,
      by: "owner",
      via: "account",
      address: "203.0.113.7",
      request: ended.headers.get("x-request-id"),
    });
  });

  test("every verb is refused without session, proof, own page; all in the same words", async () => {
    const server = await start();
    const { clientId, tokens } = await logIn(server);
    const { browser, proof } = await owner(server);
    const stranger = new Browser(server);
    const elsewhere = seal(server.deps, "account", "another session", "");
    const otherForm = seal(server.deps, "logout", "another session", "");
    const bearer = { authorization: `Bearer ${tokens.access_token}` };
    const attempts: [string, Browser, Record<string, string>][] = [
      ["nothing", stranger, {}],
      ["a bearer token", stranger, { ...own, ...bearer }],
      ["the proof alone", stranger, { ...own, "x-postern-proof": proof }],
      ["the session alone", browser, own],
      ["a proof of another session", browser, { ...own, "x-postern-proof": elsewhere }],
      ["a proof of another form", browser, { ...own, "x-postern-proof": otherForm }],
      ["another site", browser, { "sec-fetch-site": "cross-site", "x-postern-proof": proof }],
      ["a typed address", browser, { "sec-fetch-site": "none", "x-postern-proof": proof }],
      ["another origin", browser, { origin: "https://evil.test", "x-postern-proof": proof }],
      ["no header at all", browser, { "x-postern-proof": proof }],
    ];
    const routes = [...adminRoutes, { method: "GET", path: "/nothing" }];
    for (const [lack, from, headers] of attempts) {
      for (const { method, path } of routes) {
        const answer = await from.send(url(path.replace("{id}", clientId)), { method, headers });
        expect([lack, method, path, answer.status]).toEqual([lack, method, path, 403]);
        expect(await answer.json()).toMatchObject({ error: "access_denied" });
        expect(answer.headers.get("access-control-allow-origin")).toBeNull();
      }
    }
    expect((await callMcp(server, tokens.access_token)).status).toBe(200);
    expect((await browser.get("/connect")).status).toBe(200);
  });

  test("a proof is too old after twelve hours, and dead with its session", async () => {
    const server = await start();
    const { browser, proof } = await owner(server);
    const headers = { ...own, "x-postern-proof": proof };
    const status = async () => (await browser.send(url("/grants"), { headers })).status;
    expect(await status()).toBe(200);
    // The session is kept alive by other pages.
    server.clock.advance(6 * 3600);
    expect((await browser.get("/account")).status).toBe(200);
    server.clock.advance(6 * 3600 + 1);
    expect([await status(), (await browser.get("/account")).status]).toEqual([403, 200]);
    const again = await owner(server);
    await ask(server, "POST", "/revoke-all");
    const late = { ...own, "x-postern-proof": again.proof };
    expect((await again.browser.send(url("/grants"), { headers: late })).status).toBe(403);
  });

  test("it lies under the path of the public URL, and no MCP endpoint leads to it", async () => {
    const server = await start({ url: "http://localhost:7676/base" });
    const { browser, proof } = await owner(server);
    const headers = { ...own, "x-postern-proof": proof };
    expect((await browser.send(`/base${url("/grants")}`, { headers })).status).toBe(200);
    expect((await browser.send(url("/grants"), { headers })).status).toBe(404);
    const { tokens } = await logIn(server, {}, browser);
    for (const path of ["/base/mcp/admin/api/grants", "/base/mcp/..%2fadmin/api/grants"]) {
      const authorization = `Bearer ${tokens.access_token}`;
      const answer = await server.fetch(path, { headers: { ...headers, authorization } });
      expect(await answer.text()).not.toContain("client_id");
    }
  });

  test("no page of another origin learns anything by a preflight", async () => {
    const server = await start();
    const answer = await server.fetch(url("/grants"), {
      method: "OPTIONS",
      headers: { origin: "https://evil.test", "access-control-request-method": "GET" },
    });
    expect([answer.status, answer.headers.get("access-control-allow-origin")]).toEqual([405, null]);
  });
});
