import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import * as jose from "jose";
import { isPublicAddress } from "../../src/addresses.ts";
import { ASSERTION_TYPE } from "../../src/oauth/jwt.ts";
import { assertionAlgorithms as algorithms } from "../../src/oauth/metadata.ts";
import { documentUrlProblem } from "../../src/oauth/outbound.ts";
import { type Fixture, startInternet } from "../internet.ts";
import {
  Browser,
  REDIRECT,
  type TestServer,
  type Tokens,
  VERIFIER,
  authorizationUrl,
  callMcp,
  hiddenFields,
  postToken,
  redeemCode,
  refreshWith,
  startServer,
} from "../server.ts";
import { needs } from "../needs.ts";

const HOST = "claude.ai";
let net: Fixture;
let server: TestServer;
let owner: Browser;
let id: string;
let count = 0;

beforeAll(async () => {
  net = startInternet(HOST, "chatgpt.com");
  server = await startServer({ internet: net.internet });
  owner = new Browser(server);
  await owner.signIn();
});
afterAll(async () => {
  await server.close();
  await net.close();
});
beforeEach(() => {
  id = net.url(HOST, `/oauth/client-${++count}`);
  net.asked.length = 0;
});

const publish = (
  changes: Record<string, unknown> = {},
  headers: Record<string, string> = {},
): void => {
  const document = {
    client_id: id,
    client_name: "Claude Code",
    redirect_uris: ["http://localhost/callback", REDIRECT],
    ...changes,
  };
  net.documents.set(id, () => Response.json(document, { headers }));
};
const url = (changes: Record<string, string | undefined> = {}): string =>
  authorizationUrl(server, id, changes);
const see = async (changes = {}): Promise<string> => {
  const response = await owner.get(url(changes));
  return `${response.status} ${response.headers.get("location") ?? ""}${await response.text()}`;
};
async function login(changes: Record<string, string | undefined> = {}): Promise<string> {
  const response = await owner.authorize(url(changes));
  const code = new URL(response.headers.get("location") ?? "about:blank").searchParams.get("code");
  if (code === null) throw new Error(`${response.status} ${await response.text()}`);
  return code;
}
const redeem = (code: string, changes: Record<string, string> = {}): Promise<Response> =>
  redeemCode(server, id, code, changes);

describe("CIMD: a client that describes itself", () => {
  test("logs in, is shown with its verified host, refreshes and is remembered", async () => {
    publish();
    const page = await see();
    expect(page).toContain(HOST);
    expect(page).toContain("Claude Code");
    expect(page).not.toContain("Not verified");
    const tokens = (await (await redeem(await login())).json()) as Tokens;
    expect((await callMcp(server, tokens.access_token)).status).toBe(200);
    expect((await refreshWith(server, id, tokens.refresh_token)).status).toBe(200);
  });

  test("RFC 8252 §7.3: its portless loopback redirect works on any port", async () => {
    publish();
    const redirect = "http://localhost:3118/callback";
    expect(
      (await redeem(await login({ redirect_uri: redirect }), { redirect_uri: redirect })).status,
    ).toBe(200);
  });

  test("application/*+json is JSON too", async () => {
    const document = JSON.stringify({ client_id: id, client_name: "x", redirect_uris: [REDIRECT] });
    net.documents.set(
      id,
      () =>
        new Response(document, {
          headers: { "content-type": "application/client+json; charset=utf-8" },
        }),
    );
    expect(await login()).toStartWith("pac_");
  });

  test("nothing is fetched for a stranger, nor at the token endpoint", async () => {
    publish();
    const response = await new Browser(server).get(url());
    expect([response.status, net.asked]).toEqual([200, []]);
    expect(await response.text()).toContain(new URL(id).host);
    expect((await redeem(`pac_${"A".repeat(43)}`)).status).toBe(401);
    expect(net.asked).toEqual([]);
  });

  test("a stranger is shown the same of one that was let in and of one that never came", async () => {
    publish();
    await owner.authorize(url());
    const shown = async (client: string): Promise<string> => {
      const response = await server.fetch(authorizationUrl(server, client));
      const html = await response.text();
      return `${response.status} ${html.replace(/value="[^"]*"/g, "")}`;
    };
    const known = await shown(id);
    expect(known).toStartWith("200 ");
    expect(await shown(`${id}-never`)).toBe(known);
  });

  test("what a document says of its client stays text", async () => {
    publish({
      client_name: `"><svg onload=alert(1)>\u202e</title><script>alert(2)</script>`,
      client_uri: "javascript:alert(3)",
      logo_uri: "https://evil.test/pixel",
    });
    const page = await see();
    expect(page).toStartWith("200 ");
    expect(page).toContain("&lt;svg onload=alert(1)&gt;");
    expect(page).not.toMatch(/<script|onload=alert\(1\)>|javascript:|evil\.test|\u202e/);
  });

  test("a document that is gone, or a restart without internet, stops no refresh", async () => {
    publish();
    let { refresh_token: token } = (await (await redeem(await login())).json()) as Tokens;
    net.documents.delete(id);
    token = ((await (await refreshWith(server, id, token)).json()) as Tokens).refresh_token;
    net.asked.length = 0;
    server = await server.restart();
    expect((await refreshWith(server, id, token)).status).toBe(200);
    expect(net.asked).toEqual([]);
    owner = new Browser(server);
    await owner.signIn();
  });

  test("a document that changes between page and answer is shown again", async () => {
    publish({}, { "cache-control": "no-store" });
    const fields = { ...hiddenFields(await (await owner.get(url())).text()), decision: "allow" };
    publish(
      { redirect_uris: [REDIRECT, "https://evil.example.com/cb"] },
      { "cache-control": "no-store" },
    );
    const response = await owner.post("/consent", fields);
    expect(response.headers.get("location")).toStartWith("/authorize?");
    expect(await server.deps.store.clients.get(id)).toBeUndefined();
  });

  test("a redirect URI that is not in the document is an error page", async () => {
    publish();
    expect(await see({ redirect_uri: "https://evil.example.com/cb" })).toStartWith("400 ");
  });
});

describe("caching (RFC 9111)", () => {
  const asks = async (headers: Record<string, string>, wait: number): Promise<number> => {
    publish({}, headers);
    await see();
    server.clock.advance(wait);
    await see();
    return net.asked.length;
  };
  test.each<[Record<string, string>, number, number]>([
    [{}, 299, 1],
    [{}, 300, 2],
    [{ "cache-control": "max-age=60" }, 59, 1],
    [{ "cache-control": "max-age=60" }, 60, 2],
    [{ "cache-control": "max-age=60", age: "50" }, 10, 2],
    [{ "cache-control": "no-store" }, 0, 2],
    [{ "cache-control": "no-cache, max-age=60" }, 0, 2],
    [{ expires: "0" }, 0, 2],
    [{ expires: "Sat, 21 Nov 2026 00:01:00 GMT", date: "Sat, 21 Nov 2026 00:00:00 GMT" }, 59, 1],
    [{ expires: "Sat, 21 Nov 2026 00:01:00 GMT", date: "Sat, 21 Nov 2026 00:00:00 GMT" }, 60, 2],
    [{ expires: "0", "cache-control": "max-age=60" }, 59, 1],
    [{ age: "x" }, 0, 2],
  ])("%p after %d s: %d requests", async (headers, wait, requests) => {
    expect(await asks(headers, wait)).toBe(requests);
  });

  test("a day at the most", async () => {
    expect(await asks({ "cache-control": "max-age=99999999" }, 40_000)).toBe(1);
    server.clock.advance(40_000);
    await see();
    expect(net.asked).toHaveLength(1);
    server.clock.advance(6_400);
    await see();
    expect(net.asked).toHaveLength(2);
  });

  test("an ETag is asked for again, and 304 keeps the document", async () => {
    publish({}, { etag: '"1"', "cache-control": "max-age=10" });
    await see();
    server.clock.advance(11);
    net.documents.set(id, (request) =>
      request.headers.get("if-none-match") === '"1"'
        ? new Response(null, { status: 304 })
        : new Response(null, { status: 500 }),
    );
    expect(await see()).toStartWith("200 ");
  });

  test("RFC 9111 §5.2.2.5: of no-store nothing is kept, not even to be asked for again", async () => {
    publish({}, { etag: '"1"', "cache-control": "no-store" });
    await see();
    let conditional: string | null = "none yet";
    net.documents.set(id, (request) => {
      conditional = request.headers.get("if-none-match");
      return new Response(null, { status: 304 });
    });
    expect(await see()).toStartWith("400 ");
    expect(conditional).toBeNull();
  });

  test("an error is never kept", async () => {
    net.documents.set(id, () => new Response("", { status: 500 }));
    expect(await see()).toStartWith("400 ");
    publish();
    expect(await see()).toStartWith("200 ");
  });
});

describe("documents that are refused, on a page that helps", () => {
  const json =
    (content: unknown): (() => Response) =>
    () =>
      Response.json(content);
  const good = (changes: Record<string, unknown>) => ({
    client_id: id,
    client_name: "x",
    redirect_uris: [REDIRECT],
    ...changes,
  });
  test.each<[string, string, () => () => Response | Promise<Response>]>([
    ["404", "It was answered with status 404.", () => () => new Response("", { status: 404 })],
    [
      "a redirect to a good one",
      "It was answered with status 302.",
      () => () =>
        new Response(null, { status: 302, headers: { location: net.url(HOST, "/good") } }),
    ],
    [
      "HTML",
      "It is not JSON by its media type.",
      () => () => new Response("<p>", { headers: { "content-type": "text/html" } }),
    ],
    [
      "JSON under another type",
      "It is not JSON by its media type.",
      () => () =>
        new Response(JSON.stringify(good({})), { headers: { "content-type": "text/plain" } }),
    ],
    [
      "no JSON",
      "It is not valid JSON.",
      () => () => new Response("{", { headers: { "content-type": "application/json" } }),
    ],
    [
      "a BOM",
      "It is not valid JSON.",
      () => () =>
        new Response(`\uFEFF${JSON.stringify(good({}))}`, {
          headers: { "content-type": "application/json" },
        }),
    ],
    [
      "no UTF-8",
      "It is not UTF-8.",
      () => () =>
        new Response(new Uint8Array([0x7b, 0xff, 0x7d]), {
          headers: { "content-type": "application/json" },
        }),
    ],
    ["an array", "It is no JSON object.", () => json([])],
    ["null", "It is no JSON object.", () => json(null)],
    ["11 KB", "It is larger than 10240 bytes.", () => json(good({ x: "y".repeat(11_000) }))],
    [
      "another client_id",
      "Its client_id is another one.",
      () => json(good({ client_id: `${id}/` })),
    ],
    ["no client_id", "Its client_id is another one.", () => json(good({ client_id: undefined }))],
    ["no name", "It has no client_name.", () => json(good({ client_name: undefined }))],
    ["no redirect URIs", "It has no redirect_uris.", () => json(good({ redirect_uris: [] }))],
    [
      "a redirect URI nobody may register",
      "Its redirect URI javascript:alert(1) may not be registered.",
      () => json(good({ redirect_uris: ["javascript:alert(1)"] })),
    ],
    [
      "grants that lack authorization_code",
      "Its grant_types lack authorization_code, the only way to log in here.",
      () => json(good({ grant_types: ["client_credentials", "refresh_token"] })),
    ],
    [
      "responses that lack code",
      "Its response_types lack code.",
      () => json(good({ response_types: ["token"] })),
    ],
    ["a secret", "It has client_secret.", () => json(good({ client_secret: "x" }))],
    [
      "client_secret_expires_at",
      "It has client_secret_expires_at.",
      () => json(good({ client_secret_expires_at: 0 })),
    ],
    [
      "a shared-secret method",
      "It asks for a way to authenticate that needs a shared secret.",
      () => json(good({ token_endpoint_auth_method: "client_secret_basic" })),
    ],
    [
      "a private key",
      "Its jwks holds a secret key.",
      () =>
        json(
          good({
            token_endpoint_auth_method: "private_key_jwt",
            jwks: { keys: [{ kty: "EC", d: "x" }] },
          }),
        ),
    ],
    [
      "no keys for private_key_jwt",
      "It has no usable jwks.",
      () => json(good({ token_endpoint_auth_method: "private_key_jwt" })),
    ],
    [
      "an inner jwks_uri",
      "Its jwks_uri cannot be fetched.",
      () =>
        json(
          good({
            token_endpoint_auth_method: "private_key_jwt",
            jwks_uri: "https://127.0.0.1/jwks",
          }),
        ),
    ],
  ])("%s: %s", async (_name, cause, make) => {
    net.documents.set(id, make());
    net.documents.set(net.url(HOST, "/good"), json(good({})));
    const page = (await see()).replace(/\s+/g, " ");
    expect(page).toStartWith("400 ");
    expect(page).toContain("could not be used");
    expect(page).toContain(`<dt>Reason</dt> <dd>${cause}</dd>`);
    expect(page).toContain(`<code>client_id=${id}</code>`);
    expect(page).toContain("codex mcp login");
    expect(net.asked.filter((each) => each.endsWith("/good"))).toEqual([]);
  });

  test.each([
    { grant_types: [] },
    { grant_types: ["authorization_code", "urn:x"] },
    { response_types: [] },
  ])("%p is fine", async (changes) => {
    net.documents.set(id, json(good(changes)));
    expect(await see()).toStartWith("200 ");
  });

  test("an endless drip ends after the deadline, and a bomb is cut at 10 KB", async () => {
    const cut = Promise.withResolvers<void>();
    const endless = new ReadableStream({
      pull: (stream) => stream.enqueue(new Uint8Array(4096).fill(32)),
      cancel: () => cut.resolve(),
    });
    const type = { headers: { "content-type": "application/json" } };
    net.documents.set(id, () => new Response(endless, type));
    expect(await see()).toStartWith("400 ");
    await cut.promise;
    const drip = new ReadableStream({ start: (stream) => stream.enqueue(new Uint8Array([0x7b])) });
    net.documents.set(id, () => new Response(drip, type));
    expect(await see()).toStartWith("400 ");
  }, 10_000);

  test.each<[string, string, () => string]>([
    ["a name that leads nowhere", "Its host could not be reached.", () => "https://nowhere.dev/c"],
    ["an inner address", "Its host could not be reached.", () => "https://inner.dev/c"],
    ["a closed port", "Its host could not be reached.", () => `https://${HOST}:4443/c`],
    [
      "a certificate of another name",
      "The certificate of its host is not valid.",
      () => net.url("www.claude.ai", "/c"),
    ],
    ["keys that are not there", "Of its keys at ", () => id],
  ])("%s: %s", async (_name, cause, address) => {
    net.names.set("inner.dev", ["10.0.0.1"]).set("www.claude.ai", ["127.0.0.1"]);
    const keys = net.url(HOST, "/keys/none");
    publish({ token_endpoint_auth_method: "private_key_jwt", jwks_uri: keys });
    const response = await owner.get(authorizationUrl(server, address()));
    expect(response.status).toBe(400);
    const page = (await response.text()).replace(/\s+/g, " ");
    expect(page).toContain(`<dt>Reason</dt> <dd>${cause}`);
  });

  test("to the outside all of them look alike: status, headers, and nothing of what was answered", async () => {
    const seen = new Set<string>();
    for (const status of [404, 500, 403]) {
      net.documents.set(id, () => new Response("secret inner words", { status }));
      const response = await owner.get(url());
      const { "x-request-id": _id, ...headers } = Object.fromEntries(response.headers);
      seen.add(JSON.stringify([response.status, headers]));
      expect(await response.text()).not.toContain("secret inner words");
    }
    expect(seen.size).toBe(1);
  });
});

describe("what is never dialled", () => {
  test.each([
    "http://claude.ai/client",
    "https://claude.ai",
    "https://claude.ai/",
    "https://claude.ai/a/../b",
    "https://claude.ai/%2e%2e/b",
    "https://claude.ai/a#b",
    "https://u:p@claude.ai/a",
    "https://claude.ai:22/a",
    "https://127.0.0.1/a",
    "https://2130706433/a",
    "https://0x7f000001/a",
    "https://[::1]/a",
    "https://localhost/a",
    "https://printer/a",
    "https://printer.local/a",
    "https://a.internal/a",
    "https://CLAUDE.ai/a",
    "https://claude.ai:443/a",
    "https://clаude.ai/a",
    `https://claude.ai/${"a".repeat(2048)}`,
    "https://claude.ai/a b",
    "https://claude.ai\\@evil.com/a",
  ])("%p: refused before any name is looked up", async (bad) => {
    expect(documentUrlProblem(bad)).toBeString();
    const response = await owner.get(authorizationUrl(server, bad));
    expect([response.status, response.headers.get("location")]).toEqual([400, null]);
    expect(net.asked).toEqual([]);
  });

  test.each([
    "https://claude.ai/oauth/claude-code-client-metadata",
    "https://chatgpt.com/oauth/abc/client.json",
    "https://github.com/copilot/cli/client-metadata.json",
    "https://a.example.com:8443/x?y=1",
  ])("%p is fine", (good) => {
    expect(documentUrlProblem(good)).toBeUndefined();
  });

  test.each([
    "127.0.0.1",
    "10.1.2.3",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "255.255.255.255",
    "192.0.2.1",
    "198.18.0.1",
    "::1",
    "::",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "64:ff9b::7f00:1",
    "fc00::1",
    "fd12::1",
    "fe80::1",
    "ff02::1",
    "2001:db8::1",
    "2001::1",
    "2002:7f00:1::",
    "fe80::1%eth0",
    "x",
    "",
  ])("%p is not public", (address) => {
    expect(isPublicAddress(address)).toBe(false);
  });
  test.each([
    "8.8.8.8",
    "1.1.1.1",
    "172.32.0.1",
    "100.128.0.1",
    "160.79.104.10",
    "2606:4700::1111",
    "2a00:1450::1",
  ])("%p is public", (address) => {
    expect(isPublicAddress(address)).toBe(true);
  });

  test.each([[["10.0.0.1"]], [["127.0.0.1", "10.0.0.1"]], [["10.0.0.1", "127.0.0.1"]], [[]]])(
    "a name with the addresses %p",
    async (addresses) => {
      publish();
      net.names.set(HOST, addresses);
      expect(await see()).toStartWith("400 ");
      net.names.set(HOST, ["127.0.0.1"]);
      expect(net.asked).toEqual([]);
    },
  );

  test("the name is looked up once: what was judged is what is dialled", async () => {
    publish();
    let lookups = 0;
    const rebinding = {
      ...net.internet,
      resolve: async () => (++lookups === 1 ? ["127.0.0.1"] : ["10.0.0.1"]),
    };
    const own = await startServer({ internet: rebinding });
    const browser = new Browser(own);
    await browser.signIn();
    expect((await browser.get(authorizationUrl(own, id))).status).toBe(200);
    expect(lookups).toBe(1);
    await own.close();
  });

  // Elsewhere loopback has one address only.
  needs("linux")(
    "RFC 6724 §2: of several addresses the next is tried when one does not answer",
    async () => {
      publish();
      const internet = {
        ...net.internet,
        // Nothing listens at the first; the second takes the connection and never says a word.
        resolve: async () => ["127.0.0.2", silent.hostname, "127.0.0.1"],
        isAllowed: (address: string) => address.startsWith("127."),
      };
      const silent = Bun.listen({
        hostname: "127.0.0.3",
        port: Number(new URL(id).port),
        socket: { data: () => undefined },
      });
      const own = await startServer({ internet });
      const browser = new Browser(own);
      await browser.signIn();
      expect((await browser.get(authorizationUrl(own, id))).status).toBe(200);
      expect(net.asked).toEqual([id]);
      silent.stop(true);
      await own.close();
    },
    10_000,
  );

  test("four addresses are tried and no more", async () => {
    publish();
    const internet = {
      ...net.internet,
      resolve: async () => ["127.0.0.2", "127.0.0.2", "127.0.0.2", "127.0.0.2", "127.0.0.1"],
      isAllowed: (address: string) => address.startsWith("127."),
    };
    const own = await startServer({ internet });
    const browser = new Browser(own);
    await browser.signIn();
    expect((await browser.get(authorizationUrl(own, id))).status).toBe(400);
    expect(net.asked).toEqual([]);
    await own.close();
  });

  test("a certificate of another name", async () => {
    const other = id.replace(HOST, "www.claude.ai");
    net.names.set("www.claude.ai", ["127.0.0.1"]);
    net.documents.set(other, () =>
      Response.json({ client_id: other, client_name: "x", redirect_uris: [REDIRECT] }),
    );
    expect((await owner.get(authorizationUrl(server, other))).status).toBe(400);
    expect(net.asked).toEqual([]);
  });

  test("ten fetches a minute from one host, four at once", async () => {
    const own = await startServer({ internet: net.internet, settings: { rateLimits: "on" } });
    const browser = new Browser(own);
    await browser.signIn();
    const statuses = [];
    for (let tries = 0; tries < 12; tries++)
      statuses.push((await browser.get(authorizationUrl(own, `${id}-${tries}`))).status);
    expect(statuses.filter((status) => status === 400)).toHaveLength(10);
    expect(statuses.at(-1)).toBe(503);
    await own.close();
    for (let tries = 0; tries < 6; tries++)
      net.documents.set(`${id}-slow-${tries}`, () =>
        Bun.sleep(300).then(() => new Response("", { status: 404 })),
      );
    const parallel = await Promise.all(
      Array.from({ length: 6 }, (_, tries) =>
        owner.get(authorizationUrl(server, `${id}-slow-${tries}`)),
      ),
    );
    expect(parallel.map(({ status }) => status).toSorted()).toEqual([400, 400, 400, 400, 503, 503]);
  });
});

describe("RFC 7523: private_key_jwt", async () => {
  const keys = await jose.generateKeyPair("RS256", { extractable: true });
  const jwk = { ...(await jose.exportJWK(keys.publicKey)), kid: "one", alg: "RS256" };
  const chatgpt = (): Record<string, unknown> => ({
    token_endpoint_auth_method: "private_key_jwt",
    token_endpoint_auth_signing_alg: "RS256",
    jwks_uri: net.url("chatgpt.com", "/oauth/jwks.json"),
  });
  const serveKeys = (...published: object[]): void =>
    void net.documents.set(net.url("chatgpt.com", "/oauth/jwks.json"), () =>
      Response.json({ keys: published }),
    );
  interface Changes {
    readonly claims?: Record<string, unknown>;
    readonly header?: Record<string, unknown>;
    readonly key?: Parameters<jose.SignJWT["sign"]>[0];
  }
  const assertion = ({
    claims = {},
    header = {},
    key = keys.privateKey,
  }: Changes = {}): Promise<string> => {
    const now = Math.floor(server.clock.at / 1000);
    const payload = {
      iss: id,
      sub: id,
      aud: server.config.issuer,
      exp: now + 60,
      iat: now,
      jti: crypto.randomUUID(),
      ...claims,
    };
    return new jose.SignJWT(payload)
      .setProtectedHeader({ alg: "RS256", kid: "one", ...header })
      .sign(key);
  };
  const redeemWith = async (
    text: string,
    changes: Record<string, string> = {},
  ): Promise<Response> =>
    postToken(server, {
      grant_type: "authorization_code",
      code: changes["code"] ?? (await login()),
      redirect_uri: REDIRECT,
      code_verifier: VERIFIER,
      client_assertion_type: ASSERTION_TYPE,
      client_assertion: text,
      ...changes,
    });

  test("ChatGPT's document: the assertion gets in, without client_id too, at refresh and revocation too", async () => {
    serveKeys(jwk);
    publish(chatgpt());
    const response = await redeemWith(await assertion());
    expect(response.status).toBe(200);
    const tokens = (await response.json()) as Tokens;
    const authenticated = async (): Promise<Record<string, string>> => ({
      client_id: id,
      client_assertion_type: ASSERTION_TYPE,
      client_assertion: await assertion({ claims: { aud: `${server.config.issuer}/token` } }),
    });
    const next = await postToken(server, {
      grant_type: "refresh_token",
      refresh_token: tokens.refresh_token,
      ...(await authenticated()),
    });
    expect(next.status).toBe(200);
    const revoked = await server.fetch("/revoke", {
      method: "POST",
      body: new URLSearchParams({ token: tokens.refresh_token, ...(await authenticated()) }),
    });
    expect(revoked.status).toBe(200);
  });

  test.each(algorithms)("a key for %s gets in", async (alg) => {
    const { privateKey, publicKey } = await jose.generateKeyPair(alg, { extractable: true });
    serveKeys({ ...(await jose.exportJWK(publicKey)), kid: alg });
    publish(chatgpt());
    const signed = await assertion({ key: privateKey, header: { alg, kid: alg } });
    expect((await redeemWith(signed)).status).toBe(200);
  });

  test("once declared it is required", async () => {
    serveKeys(jwk);
    publish(chatgpt());
    expect((await redeem(await login())).status).toBe(401);
  });

  test("a document that lists none as well works either way", async () => {
    serveKeys(jwk);
    publish({ ...chatgpt(), token_endpoint_auth_methods_supported: ["none", "private_key_jwt"] });
    expect((await redeem(await login())).status).toBe(200);
    expect((await redeemWith(await assertion())).status).toBe(200);
    expect((await redeemWith(await assertion({ claims: { iss: "x" } }))).status).toBe(401);
  });

  test("keys that cannot be fetched leave a document that lists none usable", async () => {
    net.documents.delete(net.url("chatgpt.com", "/oauth/jwks.json"));
    publish({ ...chatgpt(), token_endpoint_auth_methods_supported: ["none", "private_key_jwt"] });
    expect((await redeem(await login())).status).toBe(200);
  });

  test("rotated keys are fetched when an unknown kid comes", async () => {
    serveKeys(jwk);
    publish(chatgpt());
    await login();
    const next = await jose.generateKeyPair("ES256", { extractable: true });
    serveKeys({ ...(await jose.exportJWK(next.publicKey)), kid: "two" });
    const signed = await assertion({ key: next.privateKey, header: { alg: "ES256", kid: "two" } });
    expect((await redeemWith(signed)).status).toBe(200);
  });

  describe("an unknown kid", () => {
    const fetches = (): number => net.asked.filter((each) => each.endsWith("/jwks.json")).length;
    const stranger = async (kid: string): Promise<Response> => {
      const { privateKey } = await jose.generateKeyPair("ES256");
      const text = await assertion({ key: privateKey, header: { alg: "ES256", kid } });
      return redeemWith(text, { code: `pac_${"A".repeat(43)}` });
    };
    let code = "";
    beforeEach(async () => {
      // Nothing of the test before is remembered.
      server.clock.advance(86_400);
      owner = new Browser(server);
      await owner.signIn();
      serveKeys(jwk);
      publish(chatgpt());
      code = await login();
      net.asked.length = 0;
    });

    test("makes us fetch once in 30 s, whoever sends how many", async () => {
      const answers = await Promise.all(["a", "b", "c", "d", "e", "f", "g", "h"].map(stranger));
      expect(answers.map(({ status }) => status)).toEqual(Array(8).fill(401));
      server.clock.advance(29);
      expect([(await stranger("i")).status, fetches()]).toEqual([401, 1]);
      server.clock.advance(1);
      expect([(await stranger("j")).status, fetches()]).toEqual([401, 2]);
    });

    test("keeps nobody from logging in with the client, who has what it had", async () => {
      const usual = server;
      server = await startServer({ internet: net.internet, settings: { rateLimits: "on" } });
      owner = new Browser(server);
      await owner.signIn();
      publish(chatgpt(), { "cache-control": "no-store" });
      code = await login();
      net.asked.length = 0;
      for (let count = 0; count < 15; count++) {
        server.clock.advance(30);
        expect((await stranger("a")).status).toBe(401);
        code = await login();
      }
      // Each login asks for the keys once as well.
      expect(fetches()).toBe(2 * 15 + 15);
      expect((await redeemWith(await assertion(), { code })).status).toBe(200);
      await server.close();
      server = usual;
    });

    test("of new keys is good for all who come at once, with one fetch", async () => {
      const next = await jose.generateKeyPair("ES256", { extractable: true });
      serveKeys({ ...(await jose.exportJWK(next.publicKey)), kid: "two" });
      const codes = [code, await login(), await login()];
      net.asked.length = 0;
      const answers = await Promise.all(
        codes.map(async (each) =>
          redeemWith(
            await assertion({ key: next.privateKey, header: { alg: "ES256", kid: "two" } }),
            {
              code: each,
            },
          ),
        ),
      );
      expect(answers.map(({ status }) => status)).toEqual([200, 200, 200]);
      expect(fetches()).toBe(1);
    });

    test("whose keys cannot be fetched is 503: a 401 would end the client's login", async () => {
      net.documents.delete(net.url("chatgpt.com", "/oauth/jwks.json"));
      const response = await stranger("a");
      expect([response.status, await response.json()]).toMatchObject([
        503,
        { error: "temporarily_unavailable" },
      ]);
      expect(response.headers.get("retry-after")).toBe("30");
    });
  });

  test("keys that could not be fetched at the login are asked for when they are used", async () => {
    net.documents.delete(net.url("chatgpt.com", "/oauth/jwks.json"));
    publish({ ...chatgpt(), token_endpoint_auth_methods_supported: ["none", "private_key_jwt"] });
    const code = await login();
    serveKeys(jwk);
    expect((await redeemWith(await assertion(), { code })).status).toBe(200);
  });

  const hmacKey = new TextEncoder().encode(JSON.stringify(jwk));
  test.each<[string, () => Promise<string>]>([
    ["another issuer", () => assertion({ claims: { iss: "https://claude.ai/other" } })],
    ["another subject", () => assertion({ claims: { iss: "x", sub: id } })],
    ["another audience", () => assertion({ claims: { aud: "https://other.example.com" } })],
    ["no audience", () => assertion({ claims: { aud: undefined } })],
    [
      "an expired one",
      () => assertion({ claims: { exp: Math.floor(server.clock.at / 1000) - 61 } }),
    ],
    ["no expiry", () => assertion({ claims: { exp: undefined } })],
    [
      "an expiry in a day",
      () => assertion({ claims: { exp: Math.floor(server.clock.at / 1000) + 86_400 } }),
    ],
    [
      "one that is not good yet",
      () => assertion({ claims: { nbf: Math.floor(server.clock.at / 1000) + 120 } }),
    ],
    ["no jti", () => assertion({ claims: { jti: undefined } })],
    [
      "another key",
      async () => assertion({ key: (await jose.generateKeyPair("RS256")).privateKey }),
    ],
    [
      "HS256 with the public key as secret",
      () => assertion({ key: hmacKey, header: { alg: "HS256" } }),
    ],
    [
      "alg none",
      async () =>
        `${Buffer.from('{"alg":"none"}').toString("base64url")}.${(await assertion()).split(".")[1]}.`,
    ],
    ["an unknown crit", () => assertion({ header: { crit: ["x"], x: 1 } })],
    [
      "a changed payload",
      async () =>
        (await assertion()).replace(
          /\.(.)/,
          (_all, first: string) => `.${first === "A" ? "B" : "A"}`,
        ),
    ],
    ["garbage", async () => "a.b.c"],
  ])("%s: 401 invalid_client", async (_name, make) => {
    serveKeys(jwk);
    publish(chatgpt());
    await login();
    const response = await redeemWith(await make().catch(() => "a.b.c"), { client_id: id });
    expect([response.status, await response.json()]).toMatchObject([
      401,
      { error: "invalid_client" },
    ]);
  });

  test("an assertion works once", async () => {
    serveKeys(jwk);
    publish(chatgpt());
    const text = await assertion();
    const [first, second] = await Promise.all([redeemWith(text), redeemWith(text)]);
    expect([first.status, second.status].toSorted()).toEqual([200, 401]);
  });

  test("two ways at once, or the wrong type: invalid_request", async () => {
    serveKeys(jwk);
    publish(chatgpt());
    const bad: Record<string, string>[] = [
      { client_secret: "x" },
      { client_assertion_type: "urn:x" },
    ];
    for (const changes of bad) {
      const response = await redeemWith(await assertion(), changes);
      expect([response.status, await response.json()]).toMatchObject([
        400,
        { error: "invalid_request" },
      ]);
    }
  });
});
