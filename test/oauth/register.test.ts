import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  REDIRECT,
  type TestServer,
  authorizationUrl,
  logIn,
  obtainCode,
  redeemCode,
  registerClient,
  startServer,
  temporaryFolder,
} from "../server.ts";

let server: TestServer;
beforeEach(async () => {
  server = await startServer();
});
afterEach(() => server.close());

const post = (body: BodyInit, type = "application/json", from?: string): Promise<Response> =>
  server.fetch("/register", { method: "POST", headers: { "content-type": type }, body }, from);

describe("RFC 7591 §3.2.1: the answer", () => {
  test("201, everything as registered, no null", async () => {
    const response = await post(
      JSON.stringify({
        client_name: "Claude",
        redirect_uris: [REDIRECT],
        grant_types: ["authorization_code", "refresh_token", "implicit"],
        response_types: ["code"],
        token_endpoint_auth_method: "none",
        scope: "mcp nonsense",
        application_type: "web",
        software_statement: "x",
        logo_uri: "",
        client_uri: "https://claude.ai",
      }),
      "application/json; charset=utf-8",
    );
    expect([response.status, response.headers.get("cache-control")]).toEqual([201, "no-store"]);
    expect(response.headers.get("access-control-allow-origin")).toBe("*");
    const text = await response.text();
    expect(text).not.toContain("null");
    expect(JSON.parse(text)).toEqual({
      client_id: expect.stringMatching(/^[A-Za-z0-9_-]{65}$/),
      client_id_issued_at: Math.floor(server.clock.at / 1000),
      client_name: "Claude",
      client_uri: "https://claude.ai",
      redirect_uris: [REDIRECT],
      grant_types: ["authorization_code", "refresh_token"],
      response_types: ["code"],
      token_endpoint_auth_method: "none",
      scope: "mcp",
    });
  });

  test("a secret comes with client_secret_expires_at 0, a public client has none", async () => {
    const confidential = await registerClient(server, {
      token_endpoint_auth_method: "client_secret_post",
    });
    expect(confidential).toMatchObject({
      client_secret: expect.stringMatching(/^pcs_/),
      client_secret_expires_at: 0,
    });
    expect(await registerClient(server)).not.toHaveProperty("client_secret");
  });

  test("says nothing about grants: refresh tokens included", async () => {
    expect((await registerClient(server))["grant_types"]).toEqual([
      "authorization_code",
      "refresh_token",
    ]);
  });

  test("its scope is what it can have: all that is offered, so that it can step up later", async () => {
    await server.close();
    server = await startServer({ settings: { scopes: "read write" } });
    for (const scope of ["read", "admin", "", undefined]) {
      const client = await registerClient(server, { scope });
      expect(client["scope"]).toBe("read write");
      for (const asked of ["read", "read write"]) {
        const code = await obtainCode(server, client.client_id, { scope: asked });
        const tokens = await (await redeemCode(server, client.client_id, code)).json();
        expect(tokens).toMatchObject({ scope: asked });
      }
    }
  });

  test.each([
    [
      [
        "cursor://anysphere.cursor-mcp/oauth/callback",
        "http://localhost:8787/callback",
        "https://www.cursor.com/cb",
      ],
    ],
    [["https://vscode.dev/redirect", "http://127.0.0.1:33418/", "http://127.0.0.1/"]],
  ])("the redirect URIs of real clients: %p", async (uris) => {
    expect(
      (await registerClient(server, { redirect_uris: uris, application_type: "web" }))[
        "redirect_uris"
      ],
    ).toEqual(uris);
  });
});

describe("what is refused, and stored nowhere", () => {
  const deep = `${"[".repeat(100_000)}${"]".repeat(100_000)}`;
  test.each<[string, string, number, string]>([
    ["no JSON", "{", 400, "invalid_client_metadata"],
    ["an array", "[]", 400, "invalid_client_metadata"],
    ["null", "null", 400, "invalid_client_metadata"],
    ["a string", '"x"', 400, "invalid_client_metadata"],
    ["nothing", "", 400, "invalid_client_metadata"],
    ["100,000 levels", `{"redirect_uris":${deep.slice(0, 60_000)}`, 400, "invalid_client_metadata"],
    [
      "over 64 KB",
      JSON.stringify({ redirect_uris: [REDIRECT], x: "y".repeat(66_000) }),
      413,
      "invalid_request",
    ],
    [
      "a member twice",
      `{"redirect_uris":["${REDIRECT}"],"redirect_uris":["https://other.test/"]}`,
      400,
      "invalid_client_metadata",
    ],
    [
      "a member twice, once in escapes",
      `{"redirect_uris":["${REDIRECT}"],"redirect_\\u0075ris":["https://other.test/"]}`,
      400,
      "invalid_client_metadata",
    ],
    [
      "a member twice, deep inside",
      `{"redirect_uris":["${REDIRECT}"],"x":[{"a":{"b":1,"c":[],"b":{}}}]}`,
      400,
      "invalid_client_metadata",
    ],
    ["no redirect_uris", "{}", 400, "invalid_redirect_uri"],
    ["empty redirect_uris", '{"redirect_uris":[]}', 400, "invalid_redirect_uri"],
    ["a string of redirect_uris", `{"redirect_uris":"${REDIRECT}"}`, 400, "invalid_redirect_uri"],
    ["a number among them", '{"redirect_uris":[1]}', 400, "invalid_redirect_uri"],
    [
      "300 of them",
      JSON.stringify({ redirect_uris: Array(300).fill(REDIRECT) }),
      400,
      "invalid_redirect_uri",
    ],
    ["javascript:", '{"redirect_uris":["javascript:alert(1)"]}', 400, "invalid_redirect_uri"],
    [
      "a bad one among good ones",
      JSON.stringify({ redirect_uris: [REDIRECT, "http://evil.test/"] }),
      400,
      "invalid_redirect_uri",
    ],
    [
      "a number as scope",
      JSON.stringify({ redirect_uris: [REDIRECT], scope: 1 }),
      400,
      "invalid_client_metadata",
    ],
    [
      "a number as name",
      JSON.stringify({ redirect_uris: [REDIRECT], client_name: 1 }),
      400,
      "invalid_client_metadata",
    ],
    [
      "no usable grant",
      JSON.stringify({ redirect_uris: [REDIRECT], grant_types: ["client_credentials"] }),
      400,
      "invalid_client_metadata",
    ],
    [
      "no usable response type",
      JSON.stringify({ redirect_uris: [REDIRECT], response_types: ["token"] }),
      400,
      "invalid_client_metadata",
    ],
    [
      "private_key_jwt",
      JSON.stringify({ redirect_uris: [REDIRECT], token_endpoint_auth_method: "private_key_jwt" }),
      400,
      "invalid_client_metadata",
    ],
  ])("%s", async (_name, body, status, error) => {
    const response = await post(body);
    expect([response.status, await response.json()]).toMatchObject([status, { error }]);
    expect(await server.deps.store.clients.list()).toEqual([]);
  });

  test.each([
    `"x":{"redirect_uris":1},"y":["redirect_uris","redirect_uris"]`,
    `"x":"{\\"a\\":1,\\"a\\":2}","a":"}","b":"\\\\"`,
    `"x":[{"a":1},{"a":2},[{"a":3}]],"a":{"a":{"a":{}}}`,
    `"":1," ":2,"\u0000":3`,
    `"x":"${"\\\\".repeat(15_000)}","y":"${"a".repeat(30_000)}"`,
  ])("no member twice, though it looks like it: %#", async (members) => {
    const body = `{"redirect_uris":["${REDIRECT}"],${members.replace("\u0000", "\\u0000")}}`;
    expect((await post(body)).status).toBe(201);
  });

  test("a form is 400 JSON", async () => {
    const response = await post("redirect_uris=x", "application/x-www-form-urlencoded");
    expect([response.status, await response.json()]).toMatchObject([
      400,
      { error: "invalid_client_metadata" },
    ]);
  });

  test("__proto__ and constructor are nothing special", async () => {
    const response = await post(
      `{"redirect_uris":["${REDIRECT}"],"token_endpoint_auth_method":"none","__proto__":{"client_name":"x"},"constructor":{"prototype":{"a":1}}}`,
    );
    expect(response.status).toBe(201);
    expect(await response.json()).not.toHaveProperty("client_name");
    expect(({} as Record<string, unknown>)["a"]).toBeUndefined();
  });

  test("the client cannot choose its id or its secret", async () => {
    const client = await registerClient(server, { client_id: "mine", client_secret: "mine" });
    expect(client.client_id).not.toBe("mine");
    expect(client).not.toHaveProperty("client_secret");
  });
});

describe("registrations do not pile up", () => {
  const registerFrom = async (from: string): Promise<string> => {
    const body = JSON.stringify({ redirect_uris: [REDIRECT], token_endpoint_auth_method: "none" });
    const client = (await (await post(body, undefined, from)).json()) as { client_id: string };
    return client.client_id;
  };
  const registerMany = (count: number, from: (index: number) => string): Promise<string[]> =>
    Promise.all(Array.from({ length: count }, (_, index) => registerFrom(from(index))));
  const isKnown = async (id = ""): Promise<boolean> =>
    (await server.deps.store.clients.get(id)) !== undefined;

  test("one network has 50 that nobody let in, its oldest make room; others and those let in stay", async () => {
    const { clientId } = await logIn(server);
    const other = await registerFrom("198.51.100.1");
    const first = await registerFrom("203.0.113.1");
    server.clock.advance(1);
    const rest = await registerMany(50, (index) => `203.0.113.${index}`);
    expect(await server.deps.store.clients.list()).toHaveLength(52);
    expect(await Promise.all([clientId, other, first, rest[0]].map(isKnown))).toEqual([
      true,
      true,
      false,
      true,
    ]);
  });

  test.each([
    ["IPv4", (network: number, host: number) => `10.0.${network}.${host}`],
    [
      "IPv6, each from a /64 of its own",
      (network: number, host: number) => `2001:db8:${network}:${host}::1`,
    ],
  ])("500 in all; who has most makes room for who has few (%s)", async (_name, address) => {
    const lonely = await registerFrom("198.51.100.1");
    server.clock.advance(1);
    await registerMany(550, (index) => address(index % 11, Math.floor(index / 11)));
    expect(await server.deps.store.clients.list()).toHaveLength(500);
    const late = await registerFrom("192.0.2.1");
    expect(await server.deps.store.clients.list()).toHaveLength(500);
    expect(await Promise.all([lonely, late].map(isKnown))).toEqual([true, true]);
  });

  test("one that nobody let in is gone after 24 h, one that was let in is not", async () => {
    const { client_id: unused } = await registerClient(server);
    const { clientId: used } = await logIn(server);
    server.clock.advance(86_400);
    expect((await server.fetch(authorizationUrl(server, unused))).status).toBe(400);
    expect((await server.fetch(authorizationUrl(server, used))).status).toBe(200);
  });

  test("20 at once from one prefix, then 429; others go on", async () => {
    await server.close();
    server = await startServer({ settings: { rateLimits: "on" } });
    const body = JSON.stringify({ redirect_uris: [REDIRECT] });
    const statuses = [];
    for (let count = 0; count < 21; count++)
      statuses.push((await post(body, undefined, "2001:db8::1")).status);
    expect(statuses.filter((status) => status === 201)).toHaveLength(20);
    expect((await post(body, undefined, "2001:db8::2")).status).toBe(429);
    expect((await post(body, undefined, "2001:db9::2")).status).toBe(201);
  });

  test("all at once they are no more than one after the other; what is refused as malformed is not counted", async () => {
    await server.close();
    server = await startServer({ settings: { rateLimits: "on" } });
    const many = async (body: string): Promise<Record<number, number>> => {
      const answers = await Promise.all(Array.from({ length: 60 }, () => post(body)));
      const byStatus = Map.groupBy(answers, ({ status }) => status);
      return Object.fromEntries([...byStatus].map(([status, all]) => [status, all.length]));
    };
    expect(await many("{}")).toEqual({ 400: 60 });
    const good = JSON.stringify({ redirect_uris: [REDIRECT] });
    expect(await many(good)).toEqual({ 201: 20, 429: 40 });
    expect(await server.deps.store.clients.list()).toHaveLength(20);
  });

  test("closed registration is 404 and not advertised", async () => {
    server = await server.restart({ registration: "closed" });
    expect((await post(JSON.stringify({ redirect_uris: [REDIRECT] }))).status).toBe(404);
    const metadata = await (await server.fetch("/.well-known/oauth-authorization-server")).json();
    expect(metadata).not.toHaveProperty("registration_endpoint");
  });
});

describe("RFC 7591 §3: an initial access token", () => {
  test("is asked for when the owner gave one out, and unlocks registration", async () => {
    const file = join(server.folder, "token");
    writeFileSync(file, "an initial access token\n");
    server = await server.restart({ registrationTokenFile: file });
    const body = JSON.stringify({ redirect_uris: [REDIRECT] });
    const send = (headers: Record<string, string>): Promise<Response> =>
      server.fetch("/register", {
        method: "POST",
        body,
        headers: { "content-type": "application/json", ...headers },
      });
    const cases: [Record<string, string>, string][] = [
      [{}, 'Bearer realm="postern"'],
      [{ authorization: "Basic x" }, 'Bearer realm="postern"'],
      [{ authorization: "Bearer wrong" }, 'Bearer realm="postern", error="invalid_token"'],
      [{ authorization: "Bearer" }, 'Bearer realm="postern", error="invalid_token"'],
    ];
    for (const [headers, challenge] of cases) {
      const response = await send(headers);
      expect([response.status, response.headers.get("www-authenticate")]).toEqual([401, challenge]);
    }
    expect((await send({ authorization: "Bearer an" })).status).toBe(401);
    expect(await server.deps.store.clients.list()).toEqual([]);
    const metadata = await (await server.fetch("/.well-known/oauth-authorization-server")).json();
    expect(metadata).toHaveProperty("registration_endpoint");
  });

  test("wrong ones are counted: 20 tries from one prefix, at once or not", async () => {
    const file = join(server.folder, "token");
    writeFileSync(file, "0123456789abcdef0123\n");
    server = await server.restart({ registrationTokenFile: file, rateLimits: "on" });
    const guess = (index: number, from?: string): Promise<Response> =>
      server.fetch(
        "/register",
        {
          method: "POST",
          body: JSON.stringify({ redirect_uris: [REDIRECT] }),
          headers: { "content-type": "application/json", authorization: `Bearer guess${index}` },
        },
        from,
      );
    for (let count = 0; count < 30; count++) expect((await post("{}")).status).toBe(401);
    const answers = await Promise.all(Array.from({ length: 60 }, (_, index) => guess(index)));
    expect(answers.filter(({ status }) => status === 401)).toHaveLength(20);
    expect(answers.filter(({ status }) => status === 429)).toHaveLength(40);
    expect((await guess(0, "198.51.100.1")).status).toBe(401);
  });

  test("a token without spaces works", async () => {
    const file = join(server.folder, "token");
    writeFileSync(file, "0123456789abcdef0123\n");
    server = await server.restart({ registrationTokenFile: file });
    const response = await server.fetch("/register", {
      method: "POST",
      body: JSON.stringify({ redirect_uris: [REDIRECT] }),
      headers: { "content-type": "application/json", authorization: "Bearer 0123456789abcdef0123" },
    });
    expect(response.status).toBe(201);
  });

  test.each(["", "short"])("the file content %p is refused at start", async (text) => {
    const file = join(server.folder, "token");
    writeFileSync(file, text);
    const folder = temporaryFolder();
    await expect(
      startServer({ folder, settings: { registrationTokenFile: file } }),
    ).rejects.toThrow("too short");
  });
});

test("a registration is durable: it survives a restart and works", async () => {
  const { client_id: id } = await registerClient(server);
  server = await server.restart();
  expect(await obtainCode(server, id)).toStartWith("pac_");
});
