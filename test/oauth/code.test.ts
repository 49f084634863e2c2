import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { readConfig } from "../../src/config.ts";
import { ASSERTION_TYPE } from "../../src/oauth/jwt.ts";
import {
  Browser,
  REDIRECT,
  type TestServer,
  type Tokens,
  VERIFIER,
  authorizationUrl,
  callMcp,
  logIn,
  obtainCode,
  postToken,
  redeemCode,
  refreshWith,
  registerClient,
  startServer,
} from "../server.ts";

let server: TestServer;
let clientId: string;
beforeEach(async () => {
  server = await startServer();
  clientId = (await registerClient(server)).client_id;
});
afterEach(() => server.close());

async function expectRefused(
  response: Response,
  error = "invalid_grant",
  status = 400,
): Promise<void> {
  expect(response.headers.get("cache-control")).toBe("no-store");
  expect([response.status, ((await response.json()) as { error: string }).error]).toEqual([
    status,
    error,
  ]);
}

describe("RFC 6749 §4.1.3: a code is redeemed", () => {
  test("once, for tokens that work at once", async () => {
    const response = await redeemCode(server, clientId, await obtainCode(server, clientId));
    expect(response.headers.get("cache-control")).toBe("no-store");
    expect(response.headers.get("pragma")).toBe("no-cache");
    const tokens = (await response.json()) as Tokens;
    expect(tokens).toMatchObject({ token_type: "Bearer", expires_in: 3600, scope: "mcp" });
    expect((await callMcp(server, tokens.access_token)).status).toBe(200);
  });

  test("a second correct redemption is refused and ends what the first gave", async () => {
    const code = await obtainCode(server, clientId);
    const tokens = (await (await redeemCode(server, clientId, code)).json()) as Tokens;
    server.clock.advance(500);
    await expectRefused(await redeemCode(server, clientId, code));
    expect((await callMcp(server, tokens.access_token)).status).toBe(401);
    await expectRefused(await refreshWith(server, clientId, tokens.refresh_token));
  });

  test("a second redemption without the verifier is refused and ends nothing", async () => {
    const code = await obtainCode(server, clientId);
    const tokens = (await (await redeemCode(server, clientId, code)).json()) as Tokens;
    await expectRefused(
      await redeemCode(server, clientId, code, { code_verifier: "w".repeat(64) }),
    );
    expect((await callMcp(server, tokens.access_token)).status).toBe(200);
  });

  test("of 20 redemptions at once exactly one wins", async () => {
    const code = await obtainCode(server, clientId);
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => redeemCode(server, clientId, code)),
    );
    expect(answers.map((response) => response.status).toSorted()).toEqual([
      200,
      ...Array(19).fill(400),
    ]);
    expect(await server.deps.store.refresh_tokens.list()).toEqual([]);
  });

  test("redirect_uri may be left out (OAuth 2.1 §10.2)", async () => {
    const code = await obtainCode(server, clientId);
    const response = await postToken(server, {
      grant_type: "authorization_code",
      client_id: clientId,
      code,
      code_verifier: VERIFIER,
    });
    expect(response.status).toBe(200);
  });

  test("RFC 8252 §7.3: with the loopback port that the request had", async () => {
    const portless = await registerClient(server, { redirect_uris: ["http://localhost/callback"] });
    const asked = "http://localhost:3118/callback";
    const code = await obtainCode(server, portless.client_id, { redirect_uri: asked });
    expect(
      (await redeemCode(server, portless.client_id, code, { redirect_uri: asked })).status,
    ).toBe(200);
    const another = await obtainCode(server, portless.client_id, { redirect_uri: asked });
    await expectRefused(
      await redeemCode(server, portless.client_id, another, {
        redirect_uri: "http://localhost:3119/callback",
      }),
    );
  });
});

describe("what burns a code", () => {
  test.each<[string, Record<string, string>]>([
    ["RFC 7636 §4.6: a wrong verifier", { code_verifier: "w".repeat(64) }],
    ["an empty verifier", { code_verifier: "" }],
    ["a verifier of 42 characters", { code_verifier: "v".repeat(42) }],
    ["a verifier of 129 characters", { code_verifier: "v".repeat(129) }],
    ["the challenge as verifier", { code_verifier: "x".repeat(43) }],
    ["a verifier with a newline", { code_verifier: `${VERIFIER}\n` }],
    ["another redirect_uri", { redirect_uri: "http://127.0.0.1:9/other" }],
  ])("%s", async (_name, changes) => {
    const code = await obtainCode(server, clientId);
    await expectRefused(await redeemCode(server, clientId, code, changes));
    await expectRefused(await redeemCode(server, clientId, code));
  });

  test("another client", async () => {
    const other = await registerClient(server);
    const code = await obtainCode(server, clientId);
    await expectRefused(await redeemCode(server, other.client_id, code));
    await expectRefused(await redeemCode(server, clientId, code));
  });

  test("60 seconds", async () => {
    const code = await obtainCode(server, clientId);
    server.clock.advance(60);
    await expectRefused(await redeemCode(server, clientId, code));
  });

  test("a restart: invalid_grant, not an error of ours", async () => {
    const code = await obtainCode(server, clientId);
    server = await server.restart();
    await expectRefused(await redeemCode(server, clientId, code));
  });

  test("a new password and the end of the client", async () => {
    const code = await obtainCode(server, clientId);
    const { changePassword } = await import("../../src/admin/owner.ts");
    await changePassword("another long password", server.deps);
    await expectRefused(await redeemCode(server, clientId, code));
    expect(await server.deps.store.refresh_tokens.list()).toEqual([]);
  });
});

describe("what does not burn a code", () => {
  test.each(["pac_x", "pac_", "", "x", `pac_${"A".repeat(43)}`])(
    "a forged code %p",
    async (forged) => {
      const code = await obtainCode(server, clientId);
      await expectRefused(
        await redeemCode(server, clientId, forged),
        forged === "" ? "invalid_request" : "invalid_grant",
      );
      expect((await redeemCode(server, clientId, code)).status).toBe(200);
    },
  );

  test("RFC 8707 §2.2: a foreign resource is invalid_target", async () => {
    const code = await obtainCode(server, clientId);
    await expectRefused(
      await redeemCode(server, clientId, code, { resource: "https://other.test/mcp" }),
      "invalid_target",
    );
    expect((await redeemCode(server, clientId, code)).status).toBe(200);
  });

  test("a server that the owner takes away after the consent: no login for what is not there", async () => {
    const code = await obtainCode(server, clientId);
    const { app, config, deps } = server;
    app.reload({ ...deps, config: readConfig({ data: config.data, path: "/other" }) });
    await expectRefused(await redeemCode(server, clientId, code), "invalid_target");
    expect(await deps.store.refresh_tokens.list()).toEqual([]);
    app.reload(deps);
    expect((await redeemCode(server, clientId, code)).status).toBe(200);
  });

  test("an unknown client", async () => {
    const code = await obtainCode(server, clientId);
    await expectRefused(await redeemCode(server, "nobody", code), "invalid_client", 401);
    expect((await redeemCode(server, clientId, code)).status).toBe(200);
  });
});

describe("RFC 6749 §3.2: the token endpoint", () => {
  test("GET is 405 with Allow", async () => {
    const response = await server.fetch("/token");
    expect([response.status, response.headers.get("allow")]).toEqual([405, "POST"]);
  });

  test.each<[string, RequestInit, number, string]>([
    [
      "JSON",
      { body: "{}", headers: { "content-type": "application/json" } },
      400,
      "invalid_request",
    ],
    [
      "text",
      { body: "grant_type=x", headers: { "content-type": "text/plain" } },
      400,
      "invalid_request",
    ],
    [
      "an odd media type",
      { body: "x", headers: { "content-type": ";;,/" } },
      400,
      "invalid_request",
    ],
    ["nothing", {}, 400, "invalid_request"],
    [
      "a body over 16 KB",
      { body: new URLSearchParams({ grant_type: "x".repeat(17_000) }) },
      413,
      "invalid_request",
    ],
    ["no grant_type", { body: new URLSearchParams({ client_id: "x" }) }, 400, "invalid_request"],
  ])("%s is refused as JSON", async (_name, init, status, error) => {
    const response = await server.fetch("/token", { method: "POST", ...init });
    expect(response.headers.get("content-type")).toContain("application/json");
    await expectRefused(response, error, status);
  });

  test.each(["password", "implicit", "client_credentials", "__proto__", "constructor"])(
    "grant_type %s is unsupported_grant_type",
    async (grantType) => {
      await expectRefused(
        await postToken(server, { grant_type: grantType, client_id: clientId }),
        "unsupported_grant_type",
      );
    },
  );

  test("charset in the media type, + and %20, unknown parameters", async () => {
    const code = await obtainCode(server, clientId);
    const body = `grant_type=authorization_code&client_id=${clientId}&code=${code}&code_verifier=${VERIFIER}&redirect_uri=${encodeURIComponent(REDIRECT)}&foo=a+b%20c`;
    const response = await server.fetch("/token", {
      method: "POST",
      body,
      headers: { "content-type": "application/x-www-form-urlencoded; charset=UTF-8" },
    });
    expect(response.status).toBe(200);
  });

  test("20 refusals a minute from one prefix, then 429; another prefix is not affected", async () => {
    const limited = await startServer({ settings: { rateLimits: "on" } });
    for (let count = 0; count < 20; count++)
      await postToken(limited, { grant_type: "x", client_id: "x" });
    const response = await postToken(limited, { grant_type: "x", client_id: "x" });
    expect(response.status).toBe(429);
    expect(Number(response.headers.get("retry-after"))).toBeGreaterThan(0);
    expect(
      (await postToken(limited, { grant_type: "x", client_id: "x" }, "198.51.100.1")).status,
    ).toBe(400);
    limited.clock.advance(60);
    expect((await postToken(limited, { grant_type: "x", client_id: "x" })).status).toBe(400);
    await limited.close();
  });

  test("refusals that are asked for all at once are no more than one after the other", async () => {
    const limited = await startServer({ settings: { rateLimits: "on" } });
    const { client_id: id } = await registerClient(limited);
    for (const [path, fields] of [
      ["/token", { grant_type: "refresh_token", refresh_token: "x" }],
      ["/revoke", { token: "x", client_secret: "wrong" }],
      ["/introspect", { token: "x", client_secret: "wrong" }],
    ] as const) {
      const answers = await Promise.all(
        Array.from({ length: 100 }, () => {
          const body = new URLSearchParams({ client_id: id, ...fields });
          return limited.fetch(path, { method: "POST", body });
        }),
      );
      const statuses = answers.map(({ status }) => status);
      expect([path, statuses.filter((status) => status !== 429).length]).toEqual([path, 20]);
      limited.clock.advance(60);
    }
    await limited.close();
  });

  test("50 good requests at once from one prefix all pass, and none is counted", async () => {
    const limited = await startServer({ settings: { rateLimits: "on" } });
    const { clientId: id, tokens } = await logIn(limited);
    const answers = await Promise.all(
      Array.from({ length: 50 }, () => refreshWith(limited, id, tokens.refresh_token)),
    );
    expect(answers.map(({ status }) => status)).toEqual(Array(50).fill(200));
    const successors = (await Promise.all(answers.map((each) => each.json()))) as Tokens[];
    expect(new Set(successors.map((each) => each.refresh_token)).size).toBe(1);
    for (let count = 0; count < 20; count++) {
      expect((await refreshWith(limited, id, "x")).status).toBe(400);
    }
    expect((await refreshWith(limited, id, "x")).status).toBe(429);
    await limited.close();
  });
});

describe("RFC 6749 §2.3: client authentication", () => {
  const basic = (id: string, secret: string): string => `Basic ${btoa(`${id}:${secret}`)}`;
  const percent = (text: string): string => `%${Buffer.from(text).toHex().match(/../g)?.join("%")}`;
  async function attempt(
    registration: Record<string, unknown>,
    how: (id: string, secret: string) => RequestInit & { fields?: Record<string, string> },
  ): Promise<Response> {
    const client = await registerClient(server, registration);
    const code = await obtainCode(server, client.client_id);
    const { fields, ...init } = how(client.client_id, client.client_secret ?? "");
    return server.fetch("/token", {
      method: "POST",
      ...init,
      body: new URLSearchParams({
        grant_type: "authorization_code",
        code,
        redirect_uri: REDIRECT,
        code_verifier: VERIFIER,
        ...fields,
      }),
    });
  }
  const confidential = { token_endpoint_auth_method: "client_secret_basic" };

  test.each<
    [
      string,
      Record<string, unknown>,
      (id: string, secret: string) => RequestInit & { fields?: Record<string, string> },
      number,
    ]
  >([
    [
      "basic",
      confidential,
      (id, secret) => ({ headers: { authorization: basic(id, secret) } }),
      200,
    ],
    [
      "basic, each character form-encoded",
      confidential,
      (id, secret) => ({ headers: { authorization: basic(percent(id), percent(secret)) } }),
      200,
    ],
    [
      "basic with a secret that is no form encoding",
      confidential,
      (id) => ({ headers: { authorization: basic(id, "%zz%") } }),
      401,
    ],
    [
      "post",
      { token_endpoint_auth_method: "client_secret_post" },
      (id, secret) => ({ fields: { client_id: id, client_secret: secret } }),
      200,
    ],
    [
      "basic registered, post used",
      confidential,
      (id, secret) => ({ fields: { client_id: id, client_secret: secret } }),
      200,
    ],
    [
      "post registered, basic used",
      { token_endpoint_auth_method: "client_secret_post" },
      (id, secret) => ({ headers: { authorization: basic(id, secret) } }),
      200,
    ],
    [
      "post registered, nothing used",
      { token_endpoint_auth_method: "client_secret_post" },
      (id) => ({ fields: { client_id: id } }),
      401,
    ],
    [
      "basic registered, an assertion used",
      confidential,
      (id) => ({
        fields: {
          client_id: id,
          client_assertion_type: ASSERTION_TYPE,
          client_assertion: `e30.${Buffer.from(JSON.stringify({ sub: id })).toString("base64url")}.x`,
        },
      }),
      401,
    ],
    [
      "a secret that is demanded and absent",
      confidential,
      (id) => ({ fields: { client_id: id } }),
      401,
    ],
    [
      "a wrong secret",
      confidential,
      (id) => ({ headers: { authorization: basic(id, "wrong") } }),
      401,
    ],
    ["an empty secret", confidential, (id) => ({ headers: { authorization: basic(id, "") } }), 401],
    ["malformed Basic", confidential, () => ({ headers: { authorization: "Basic !!!" } }), 401],
    [
      "Bearer instead of Basic",
      confidential,
      (id) => ({ headers: { authorization: "Bearer x" }, fields: { client_id: id } }),
      401,
    ],
    [
      "two ids that differ",
      confidential,
      (id, secret) => ({
        headers: { authorization: basic(id, secret) },
        fields: { client_id: "other" },
      }),
      401,
    ],
    [
      "header and body at once",
      confidential,
      (id, secret) => ({
        headers: { authorization: basic(id, secret) },
        fields: { client_secret: secret },
      }),
      400,
    ],
    [
      "a public client with a secret",
      {},
      (id) => ({ fields: { client_id: id, client_secret: "x" } }),
      401,
    ],
    [
      "a method never asked for: with the secret",
      { token_endpoint_auth_method: undefined },
      (id, secret) => ({ headers: { authorization: basic(id, secret) } }),
      200,
    ],
    [
      "a method never asked for: without",
      { token_endpoint_auth_method: undefined },
      (id) => ({ fields: { client_id: id } }),
      200,
    ],
    [
      "a method never asked for: with a wrong one",
      { token_endpoint_auth_method: undefined },
      (id) => ({ headers: { authorization: basic(id, "x") } }),
      401,
    ],
    ["no client at all", {}, () => ({}), 401],
  ])("%s", async (_name, registration, how, status) => {
    const response = await attempt(registration, how);
    expect(response.status).toBe(status);
    if (status !== 401) return;
    expect(await response.json()).toMatchObject({ error: "invalid_client" });
  });

  test("RFC 6749 §5.2: a failed header is answered with a Basic challenge", async () => {
    const response = await attempt(confidential, (id) => ({
      headers: { authorization: basic(id, "wrong") },
    }));
    expect(response.headers.get("www-authenticate")).toStartWith("Basic ");
  });
});

test("a code belongs to the browser session that consented, not to whoever asked", async () => {
  const owner = new Browser(server);
  const url = authorizationUrl(server, clientId);
  const page = await (await owner.get(url)).text();
  await owner.signIn(page);
  const stranger = new Browser(server);
  const consentForm = await (await owner.get(url)).text();
  const { hiddenFields } = await import("../server.ts");
  const stolen = await stranger.post("/consent", {
    ...hiddenFields(consentForm),
    decision: "allow",
  });
  expect(stolen.status).toBe(403);
  expect(stolen.headers.get("location")).toBeNull();
});
