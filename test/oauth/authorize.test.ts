import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  Browser,
  REDIRECT,
  type TestServer,
  authorizationUrl,
  hiddenFields,
  obtainCode,
  redeemCode,
  registerClient,
  startServer,
} from "../server.ts";

let server: TestServer;
let clientId: string;
let owner: Browser;
beforeAll(async () => {
  server = await startServer();
  clientId = (await registerClient(server)).client_id;
  owner = new Browser(server);
  await owner.signIn();
});
afterAll(() => server.close());

const url = (changes: Record<string, string | undefined> = {}): string =>
  authorizationUrl(server, clientId, changes);

/** PAGE: an error on our own origin, never a redirect. */
async function expectPage(response: Response, status = 400): Promise<string> {
  expect([response.status, response.headers.get("location")]).toEqual([status, null]);
  expect(response.headers.get("content-type")).toStartWith("text/html");
  return response.text();
}

/** BACK(error): to the registered redirect URI, with the same state and our issuer. */
function expectBack(response: Response, error: string, state: string | null = "st4te"): void {
  expect(response.status).toBe(303);
  const location = new URL(response.headers.get("location") ?? "");
  expect(location.origin + location.pathname).toBe(REDIRECT);
  expect(location.searchParams.get("error")).toBe(error);
  expect(location.searchParams.get("state")).toBe(state);
  expect(location.searchParams.get("iss")).toBe(server.config.issuer);
  expect(location.searchParams.get("code")).toBeNull();
}

describe("RFC 6749 §4.1.2.1: what must never redirect", () => {
  test.each<[string, Record<string, string | undefined>]>([
    ["a foreign redirect URI", { redirect_uri: "https://evil.test/cb" }],
    ["a redirect URI with a suffix", { redirect_uri: `${REDIRECT}/../x` }],
    [
      "a foreign redirect URI beside a bad response_type",
      { redirect_uri: "https://evil.test/cb", response_type: "token" },
    ],
    [
      "a foreign redirect URI with prompt=none",
      { redirect_uri: "https://evil.test/cb", prompt: "none" },
    ],
    ["an unknown client", { client_id: "nobody" }],
    ["the client __proto__", { client_id: "__proto__" }],
    ["no client", { client_id: undefined }],
    ["an empty client", { client_id: "" }],
  ])("%s", async (_name, changes) => {
    await expectPage(await owner.get(url(changes)));
    await expectPage(await new Browser(server).get(url(changes)));
  });

  test.each(["client_id", "redirect_uri"])("%s twice, even with one value", async (name) => {
    const value = new URL(url()).searchParams.get(name) ?? "";
    await expectPage(await owner.get(`${url()}&${name}=${encodeURIComponent(value)}`));
  });

  test("arrays and objects are unknown names, not values", async () => {
    await expectPage(
      await owner.get(
        url({ client_id: undefined, "client_id[$ne]": "1", "client_id[]": clientId }),
      ),
    );
  });

  test("POST with the request in query and body is no way around", async () => {
    const response = await owner.post(url(), { redirect_uri: "https://evil.test/cb" });
    expect([response.status, response.headers.get("location")]).toEqual([405, null]);
  });

  test.each<[string, string | undefined, string[], string[]]>([
    ["nothing known", undefined, ["Claude:", "ChatGPT:", "Cursor:", "VS Code:", "Codex:"], []],
    ["claude.ai", "https://claude.ai/api/mcp/auth_callback", ["Claude:"], ["VS Code:"]],
    ["VS Code", "https://vscode.dev/redirect", ["VS Code:"], ["Claude:", "Cursor:"]],
    ["loopback", REDIRECT, ["Claude Code:", "Codex:", "Gemini CLI:"], ["ChatGPT:"]],
  ])("an unknown client, %s: the page says what to do in which", async (_name, uri, has, lacks) => {
    const html = await expectPage(await owner.get(url({ client_id: "nobody", redirect_uri: uri })));
    for (const words of has) expect(html).toContain(`<li>${words}`);
    for (const words of lacks) expect(html).not.toContain(`<li>${words}`);
  });

  test("RFC 9700 §4.11: nobody is redirected before the owner has logged in", async () => {
    const html = await expectPage(await new Browser(server).get(url({ scope: "nonsense" })), 200);
    expect(html).toContain('type="password"');
  });
});

describe("what goes back to the client as an error", () => {
  test.each<[string, Record<string, string | undefined>, string]>([
    ["no response_type", { response_type: undefined }, "invalid_request"],
    ["response_type token", { response_type: "token" }, "unsupported_response_type"],
    ["response_type code token", { response_type: "code token" }, "unsupported_response_type"],
    ["response_type id_token", { response_type: "id_token" }, "unsupported_response_type"],
    ["response_type none", { response_type: "none" }, "unsupported_response_type"],
    ["response_mode fragment", { response_mode: "fragment" }, "invalid_request"],
    ["response_mode form_post", { response_mode: "form_post" }, "invalid_request"],
    ["request", { request: "x.y.z" }, "request_not_supported"],
    ["request_uri", { request_uri: "https://evil.test/r" }, "request_uri_not_supported"],
    ["no code_challenge", { code_challenge: undefined }, "invalid_request"],
    [
      "RFC 7636 §4.3: no method, which means plain",
      { code_challenge_method: undefined },
      "invalid_request",
    ],
    ["method plain", { code_challenge_method: "plain" }, "invalid_request"],
    ["method s256", { code_challenge_method: "s256" }, "invalid_request"],
    ["method S512", { code_challenge_method: "S512" }, "invalid_request"],
    ["a challenge of 42 characters", { code_challenge: "a".repeat(42) }, "invalid_request"],
    ["a challenge of 129 characters", { code_challenge: "a".repeat(129) }, "invalid_request"],
    ["a padded challenge", { code_challenge: `${"a".repeat(43)}=` }, "invalid_request"],
    ["a challenge outside base64url", { code_challenge: `${"a".repeat(42)}+` }, "invalid_request"],
    ["a foreign resource", { resource: "https://other.test/mcp" }, "invalid_target"],
    ["a resource with a fragment", { resource: "http://localhost:7676/mcp#x" }, "invalid_target"],
    ["an unknown scope alone", { scope: "admin" }, "invalid_scope"],
    ["prompt=none", { prompt: "none" }, "consent_required"],
  ])("%s: %p", async (_name, changes, error) => {
    expectBack(await owner.get(url(changes)), error);
  });

  test.each([
    "state",
    "scope",
    "code_challenge",
    "code_challenge_method",
    "response_type",
    "response_mode",
    "prompt",
    "request",
    "request_uri",
  ])("%s twice, equal or not, empty or not", async (name) => {
    const once = { scope: "mcp", response_mode: "query", prompt: "none" };
    const value = new URL(url(once)).searchParams.get(name) ?? "";
    for (const [first, second] of [
      [value, value],
      [value, "other"],
      ["", ""],
    ] as const) {
      const asked = `${url({ ...once, [name]: first })}&${name}=${encodeURIComponent(second)}`;
      // Of two states the first goes back.
      const state = name === "state" ? new URL(asked).searchParams.get("state") || null : "st4te";
      expectBack(await owner.get(asked), "invalid_request", state);
    }
  });

  test("a denial", async () => {
    expectBack(await owner.authorize(url(), "deny"), "access_denied");
  });

  test("a state of a megabyte is refused, without the state", async () => {
    expectBack(await owner.get(url({ state: "x".repeat(5000) })), "invalid_request", null);
  });
});

describe("what is tolerated", () => {
  test.each<[string, Record<string, string | undefined>]>([
    ["unknown parameters", { foo: "1", max_age: "0", login_hint: "me" }],
    ["prompt=consent", { prompt: "consent" }],
    ["prompt=login", { prompt: "login" }],
    ["no scope", { scope: undefined }],
    ["an empty scope", { scope: "" }],
    ["the scopes of OpenID Connect", { scope: "openid profile email offline_access" }],
    ["an unknown scope beside a known one", { scope: "mcp admin" }],
    ["no state", { state: undefined }],
    ["no redirect URI when one is registered", { redirect_uri: undefined }],
    ["the resource", { resource: "http://localhost:7676/mcp" }],
    ["the resource with a slash", { resource: "http://localhost:7676/mcp/" }],
    ["the origin as resource", { resource: "http://localhost:7676" }],
  ])("%s", async (_name, changes) => {
    const response = await owner.authorize(url(changes));
    const location = new URL(response.headers.get("location") ?? "");
    expect(location.searchParams.get("code")).toStartWith("pac_");
  });
});

describe("the answer", () => {
  test("RFC 9207 §2: carries iss, equal to the metadata byte for byte", async () => {
    const metadata = (await (
      await server.fetch("/.well-known/oauth-authorization-server")
    ).json()) as { issuer: string };
    const response = await owner.authorize(url());
    expect(response.headers.get("location")).toContain(
      `iss=${encodeURIComponent(metadata.issuer)}`,
    );
  });

  test.each([
    "a%2Bb%20c",
    "%E2%82%AC%0D%0A",
    "%FF%FE",
    "x".repeat(2048),
    "a+b",
    "%22%27%3C",
    "%E2%80%A8",
  ])("state %p goes back byte for byte", async (state) => {
    const response = await owner.authorize(`${url({ state: undefined })}&state=${state}`);
    const location = response.headers.get("location") ?? "";
    expect(/[?&]state=([^&]*)/.exec(location)?.[1]).toBe(state);
  });

  test("the query of the redirect URI is kept", async () => {
    const redirect = "https://good.test/cb?a=1";
    const client = await registerClient(server, { redirect_uris: [redirect] });
    const response = await owner.authorize(
      authorizationUrl(server, client.client_id, { redirect_uri: redirect }),
    );
    expect(response.headers.get("location")).toStartWith("https://good.test/cb?a=1&code=pac_");
  });

  test("RFC 9700 §4.12: is a 303", async () => {
    expect((await owner.authorize(url())).status).toBe(303);
  });

  test("for an app's own scheme an error is a page that says what was wrong, and to whom", async () => {
    const redirect = "cursor://anysphere.cursor-mcp/oauth/callback?code=1";
    const client = await registerClient(server, {
      client_name: "Cursor",
      redirect_uris: [redirect],
    });
    const changes = { redirect_uri: redirect, scope: "admin" };
    const response = await owner.get(authorizationUrl(server, client.client_id, changes));
    const requestId = response.headers.get("x-request-id") ?? "none";
    const html = await expectPage(response, 200);
    expect(html).toContain("Nothing was allowed");
    expect(html).toContain("<bdi>Cursor</bdi> asked for something");
    expect(html).toContain(requestId);
    expect(html).toContain("error=invalid_scope");
  });

  test("for an app's own scheme it is a page with the address", async () => {
    const redirect = "cursor://anysphere.cursor-mcp/oauth/callback";
    const client = await registerClient(server, { redirect_uris: [redirect] });
    const response = await owner.authorize(
      authorizationUrl(server, client.client_id, { redirect_uri: redirect }),
    );
    const html = await expectPage(response, 200);
    expect(html).toContain(`${redirect}?code=pac_`);
  });
});

describe("GET changes nothing", () => {
  test("a request fetched by a program first, then by the browser", async () => {
    const before = JSON.stringify(await server.deps.store.clients.list());
    for (let count = 0; count < 3; count++) {
      expect((await server.fetch(url(), { headers: { "user-agent": "mcp-remote" } })).status).toBe(
        200,
      );
    }
    expect(await server.deps.store.codes.list()).toHaveLength(await codesNow());
    expect(JSON.stringify(await server.deps.store.clients.list())).toBe(before);
    expect((await owner.authorize(url())).status).toBe(303);
  });
  const codesNow = async (): Promise<number> => (await server.deps.store.codes.list()).length;
});

describe("consent", () => {
  const form = async (changes = {}): Promise<Record<string, string>> =>
    hiddenFields(await (await owner.get(url(changes))).text());

  test("is shown every time, also to a client that was let in before", async () => {
    await owner.authorize(url());
    expect(await expectPage(await owner.get(url()), 200)).toContain('value="allow"');
  });

  test.each<[string, Record<string, string>]>([
    ["from another origin", { origin: "https://evil.test", "sec-fetch-site": "cross-site" }],
    ["from another origin, old browser", { origin: "https://evil.test", "sec-fetch-site": "" }],
    ["cross-site with our origin", { "sec-fetch-site": "cross-site" }],
    ["same-site", { "sec-fetch-site": "same-site" }],
    ["with Origin null from a sandbox", { origin: "null", "sec-fetch-site": "cross-site" }],
  ])("a POST %s is 403", async (_name, headers) => {
    const codes = (await server.deps.store.codes.list()).length;
    const response = await owner.post(
      "/consent",
      { ...(await form()), decision: "allow" },
      headers,
    );
    await expectPage(response, 403);
    expect(await server.deps.store.codes.list()).toHaveLength(codes);
  });

  test.each<[string, (fields: Record<string, string>) => Record<string, string>]>([
    ["without its field", () => ({ decision: "allow" })],
    [
      "with a changed field",
      (fields) => ({ ...fields, request: `x${fields["request"]}`, decision: "allow" }),
    ],
    ["with the login's field", () => ({ request: "eyJ9.9999999999.AAAA", decision: "allow" })],
  ])("a POST %s is 403", async (_name, change) => {
    await expectPage(await owner.post("/consent", change(await form())), 403);
  });

  test("fields added to the form decide nothing", async () => {
    const fields = {
      ...(await form()),
      redirect_uri: "https://evil.test/cb",
      scope: "admin",
      decision: "allow",
    };
    const response = await owner.post("/consent", fields);
    expect(response.headers.get("location")).toStartWith(REDIRECT);
  });

  test("anything but allow denies", async () => {
    expectBack(await owner.post("/consent", await form()), "access_denied");
    expectBack(
      await owner.post("/consent", { ...(await form()), decision: "ALLOW" }),
      "access_denied",
    );
  });

  test("a double click leads to the same place; after the redemption it says so", async () => {
    const fields = { ...(await form()), decision: "allow" };
    const [first, second] = await Promise.all([
      owner.post("/consent", fields),
      owner.post("/consent", fields),
    ]);
    expect(second?.headers.get("location")).toBe(first?.headers.get("location") ?? "none");
    const code = new URL(first?.headers.get("location") ?? "").searchParams.get("code") ?? "";
    expect((await redeemCode(server, clientId, code)).status).toBe(200);
    await expectPage(await owner.post("/consent", fields), 403);
  });

  test("of the answers of a session 64 are remembered, the newest", async () => {
    const browser = new Browser(server);
    await browser.signIn();
    const forms: Record<string, string>[] = [];
    const places: (string | null)[] = [];
    for (let count = 0; count < 70; count++) {
      const page = await (await browser.get(url())).text();
      const fields = { ...hiddenFields(page), decision: "allow" };
      forms.push(fields);
      places.push((await browser.post("/consent", fields)).headers.get("location"));
    }
    const sessions = (await server.deps.store.sessions.list()).map(([, session]) => session);
    expect(Math.max(...sessions.map(({ answered }) => answered.size))).toBe(64);
    for (const index of [6, 40, 69]) {
      const again = await browser.post("/consent", forms[index] ?? {});
      expect(again.headers.get("location")).toBe(places[index] ?? "none");
    }
  });

  test("two tabs at once keep their own requests", async () => {
    const browser = new Browser(server);
    const [one, two] = [url({ state: "one" }), url({ state: "two" })];
    const loginOne = await (await browser.get(one)).text();
    const loginTwo = await (await browser.get(two)).text();
    const afterOne = await browser.signIn(loginOne);
    const afterTwo = await browser.signIn(loginTwo);
    for (const [answer, state] of [
      [afterTwo, "two"],
      [afterOne, "one"],
    ] as const) {
      const page = await (await browser.get(answer.headers.get("location") ?? "")).text();
      const done = await browser.post("/consent", { ...hiddenFields(page), decision: "allow" });
      expect(new URL(done.headers.get("location") ?? "").searchParams.get("state")).toBe(state);
    }
  });

  test("a form that waited ten minutes is too old", async () => {
    const fields = await form();
    server.clock.advance(601);
    await expectPage(await owner.post("/consent", { ...fields, decision: "allow" }), 403);
  });
});

describe("over a restart", () => {
  test("a consent page from before says start again, and the next try works", async () => {
    let own = await startServer();
    const { client_id: id } = await registerClient(own);
    const browser = new Browser(own);
    await browser.signIn();
    const fields = hiddenFields(await (await browser.get(authorizationUrl(own, id))).text());
    own = await own.restart();
    const later = new Browser(own);
    for (const [name, value] of browser.cookies) later.cookies.set(name, value);
    await expectPage(await later.post("/consent", { ...fields, decision: "allow" }), 403);
    expect((await redeemCode(own, id, await obtainCode(own, id, {}, later))).status).toBe(200);
    await own.close();
  });
});

describe("a client whose record an older copy of the folder does not have", () => {
  const cursor = "cursor://anysphere.cursor-mcp/oauth/callback";
  let old: TestServer;
  let id: string;
  let browser: Browser;
  beforeAll(async () => {
    old = await startServer();
    await registerClient(old);
    id = (
      await registerClient(old, {
        redirect_uris: [REDIRECT, cursor, "https://claude.ai/api/mcp/auth_callback"],
      })
    ).client_id;
    // What a restored copy from before the registration looks like.
    await old.deps.store.clients.delete(id);
    browser = new Browser(old);
    await browser.signIn();
  });
  afterAll(() => old.close());

  test.each([REDIRECT, cursor, "https://claude.ai/api/mcp/auth_callback"])(
    "is taken in again, to %s",
    async (redirect) => {
      const request = authorizationUrl(old, id, { redirect_uri: redirect });
      const page = await expectPage(await browser.get(request), 400);
      expect(page).toContain("is not known here any more");
      expect(await old.deps.store.clients.get(id)).toBeUndefined();
      const response = await browser.authorize(request);
      const answer = (response.headers.get("location") ?? "") + (await response.text());
      const code = /code=(pac_[A-Za-z0-9_-]{43})/.exec(answer)?.[1] ?? "";
      expect((await redeemCode(old, id, code, { redirect_uri: redirect })).status).toBe(200);
      await old.deps.store.clients.delete(id);
    },
  );

  test("comes with another of its redirect URIs, and is asked about again", async () => {
    await browser.authorize(authorizationUrl(old, id, { redirect_uri: cursor }));
    expect(await expectPage(await browser.get(authorizationUrl(old, id)), 400)).toContain(
      "another address",
    );
    await browser.authorize(authorizationUrl(old, id));
    await expectPage(await browser.get(authorizationUrl(old, id, { redirect_uri: cursor })), 200);
    await expectPage(await browser.get(authorizationUrl(old, id)), 200);
    await old.deps.store.clients.delete(id);
  });

  test("comes from two places at once, and both stay", async () => {
    const pages = [REDIRECT, cursor].map((redirect) =>
      browser
        .get(authorizationUrl(old, id, { redirect_uri: redirect }))
        .then((page) => page.text()),
    );
    const forms = (await Promise.all(pages)).map(hiddenFields);
    await Promise.all(
      forms.map((form) => browser.post("/consent", { ...form, decision: "allow" })),
    );
    const known = (await old.deps.store.clients.get(id))?.redirect_uris;
    expect(known?.toSorted()).toEqual([cursor, REDIRECT].toSorted());
    await old.deps.store.clients.delete(id);
  });

  test("a program that asks first sees a 4xx and may register again", async () => {
    expect((await old.fetch(authorizationUrl(old, id))).status).toBe(400);
  });

  test("a denial stores nothing", async () => {
    await browser.authorize(authorizationUrl(old, id), "deny");
    expect(await old.deps.store.clients.get(id)).toBeUndefined();
  });

  test.each<[string, () => string]>([
    ["an id of another folder", () => authorizationUrl(old, clientId)],
    [
      "an id with one changed character",
      () => authorizationUrl(old, `${id.slice(0, -2)}${id.at(-2) === "A" ? "B" : "A"}${id.at(-1)}`),
    ],
    [
      "a redirect URI that nobody may register",
      () => authorizationUrl(old, id, { redirect_uri: "http://evil.test/cb" }),
    ],
    ["no redirect URI", () => authorizationUrl(old, id, { redirect_uri: undefined })],
  ])("%s is an error page", async (_name, request) => {
    const html = await expectPage(await browser.get(request()));
    expect(html).not.toContain('value="allow"');
  });

  test("closed registration takes nobody in again", async () => {
    old = await old.restart({ registration: "closed" });
    expect(await expectPage(await old.fetch(authorizationUrl(old, id)))).not.toContain("password");
    old = await old.restart({ registration: "open" });
  });

  test("at the token endpoint it is 401 invalid_client, so that clients register anew", async () => {
    const response = await redeemCode(old, id, `pac_${"A".repeat(43)}`);
    expect([response.status, await response.json()]).toMatchObject([
      401,
      { error: "invalid_client" },
    ]);
  });
});

describe("a client on another machine", () => {
  test("its loopback address is shown to be copied, not opened", async () => {
    const page = await (await owner.get(url())).text();
    expect(page).toContain('value="show"');
    const response = await owner.post("/consent", { ...hiddenFields(page), decision: "show" });
    const html = await expectPage(response, 200);
    const code = /code=(pac_[A-Za-z0-9_-]+)/.exec(html)?.[1] ?? "";
    expect((await redeemCode(server, clientId, code)).status).toBe(200);
  });

  test("is offered for loopback only", async () => {
    const redirect = "https://good.test/cb";
    const client = await registerClient(server, { redirect_uris: [redirect] });
    const html = await (
      await owner.get(authorizationUrl(server, client.client_id, { redirect_uri: redirect }))
    ).text();
    expect(html).not.toContain('value="show"');
  });
});
