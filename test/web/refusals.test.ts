// Every refusal that a person gets to see, from a running server: it says what was wrong, of which client, what came, what
// was expected and what to do now, and its request is in the log.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { StoreUnavailable } from "../../src/errors.ts";
import { createApp } from "../../src/app.ts";
import {
  Browser,
  REDIRECT,
  type TestServer,
  authorizationUrl,
  hiddenFields,
  redeemCode,
  registerClient,
  startServer,
} from "../server.ts";
import { textOf } from "./read.ts";

const HTML = { accept: "text/html,*/*;q=0.8" };

/** The log lines of a request. */
const logged = (server: TestServer, requestId: string): string[] =>
  readFileSync(join(server.folder, "audit.jsonl"), "utf8")
    .split("\n")
    .filter((line) => line.includes(`"request":"${requestId}"`));

async function expectRefusal(
  server: TestServer,
  response: Response,
  status: number,
  words: readonly string[],
): Promise<void> {
  const requestId = response.headers.get("x-request-id") ?? "none";
  expect([response.status, response.headers.get("location")]).toEqual([status, null]);
  const text = await textOf(response);
  for (const each of words) expect(text).toContain(each);
  expect(text).toContain(` What to do now `);
  expect(text).toEndWith(`Error ${status}. The server’s log has it under request ${requestId}.`);
  expect(logged(server, requestId)).toHaveLength(1);
}

let server: TestServer;
let owner: Browser;
let clientId: string;
beforeAll(async () => {
  server = await startServer();
  owner = new Browser(server);
  await owner.signIn();
  ({ client_id: clientId } = await registerClient(server, { client_name: "Cursor" }));
});
afterAll(() => server.close());

const url = (changes: Record<string, string | undefined> = {}): string =>
  authorizationUrl(server, clientId, changes);
const consentFields = async (): Promise<Record<string, string>> => ({
  ...hiddenFields(await (await owner.get(url())).text()),
  decision: "allow",
});

describe("every page of a refusal", () => {
  const rows: readonly [string, number, () => Promise<Response>, string[]][] = [
    [
      "an authorization request without a client",
      400,
      () => owner.get("/authorize"),
      [
        "This page is opened by clients",
        "Sent an address without parameters",
        "Expected client_id=…",
        "Start in your client",
        "Home page",
      ],
    ],
    [
      "two clients",
      400,
      () => owner.get(`${url()}&client_id=other`),
      [" client_id=other Expected client_id, once", "Update the"],
    ],
    [
      "two redirect URIs",
      400,
      () => owner.get(`${url()}&redirect_uri=https://evil.test/`),
      [`Sent redirect_uri=${REDIRECT} redirect_uri=https://evil.test/`, "more than once"],
    ],
    [
      "an unknown client",
      400,
      () => owner.get(url({ client_id: "nobody" })),
      [
        "This server does not know the client",
        `Sent client_id=nobody redirect_uri=${REDIRECT}`,
        "Expected the client_id of a client that is registered here",
        "Remove this server in the client and add it again",
        "Claude Code: /mcp, choose",
      ],
    ],
    [
      "a redirect URI that is not registered",
      400,
      () => owner.get(url({ redirect_uri: "https://evil.test/cb" })),
      [
        "The client wants its answer somewhere else",
        "Client Cursor",
        "Sent redirect_uri=https://evil.test/cb",
        `Expected ${REDIRECT}`,
        "registers anew",
      ],
    ],
    [
      "a client id that is no address of a document",
      400,
      () => owner.get(url({ client_id: "https://127.0.0.1/client" })),
      [
        "This client could not be checked",
        "Reason Its host is not on the internet.",
        "Sent client_id=https://127.0.0.1/client",
        "Expected client_id=https://<a host on the internet>/<path>",
        "Only the maker of the client",
      ],
    ],
    [
      "a consent page with the form of nobody",
      403,
      () => owner.post("/consent", { request: "x", decision: "allow" }),
      ["This page is too old to be answered", "Nothing was allowed", "Go back to the client"],
    ],
    [
      "a consent page that was answered and redeemed",
      403,
      async () => {
        const fields = await consentFields();
        const answer = await owner.post("/consent", fields);
        const code = new URL(answer.headers.get("location") ?? "").searchParams.get("code") ?? "";
        await redeemCode(server, clientId, code);
        return owner.post("/consent", fields);
      },
      ["Already answered", "Client Cursor", "You can close this window"],
    ],
    [
      "a form from another site",
      403,
      async () => owner.post("/consent", await consentFields(), { origin: "https://evil.test" }),
      [
        "This form came from somewhere else",
        "Sent Origin: https://evil.test Sec-Fetch-Site: same-origin",
        "Expected Origin: http://localhost:7676",
        "Nothing was done.",
        "Home page",
      ],
    ],
    [
      "a login form of nobody",
      403,
      () => new Browser(server).post("/login", { request: "", password: "x" }),
      ["This page cannot be used", "Expected the form as the login page gave it", "Sign in"],
    ],
    [
      "a logout with the form of another page",
      403,
      async () => owner.post("/logout", await consentFields()),
      ["You are still signed in", "Open the page"],
    ],
    [
      "a setup link that was used",
      410,
      () => new Browser(server).get("/setup?token=x"),
      ["This server is already set up", "Sign in with the password", "postern password"],
    ],
    [
      "a path that is nobody's",
      404,
      () => owner.send("/conect", { headers: HTML }),
      [
        "This page does not exist",
        "There is nothing here",
        "Sent /conect",
        "Check the address",
        "Home page",
      ],
    ],
    [
      "a form opened as a page",
      405,
      () => owner.get("/consent"),
      ["does not work that way", "Sent GET /consent", "Expected POST", "use the buttons"],
    ],
    [
      "too large a form",
      413,
      () => owner.post("/login", { password: "x".repeat(40_000) }),
      ["That was too much", "32 KB"],
    ],
    [
      "a form of another kind",
      400,
      () =>
        owner.send("/login", {
          method: "POST",
          headers: { origin: server.config.origin, "content-type": "text/plain" },
          body: "password=x",
        }),
      ["The body must be application/x-www-form-urlencoded"],
    ],
    [
      "a name that is not this server's",
      403,
      () => server.fetch("http://evil.test/login", { headers: { ...HTML, host: "evil.test" } }),
      ["Open the server by its public address", "--url https://…"],
    ],
  ];

  test.each(rows)("%s: %d", async (_name, status, act, words) => {
    await expectRefusal(server, await act(), status, words);
  });
});

test("no owner yet", async () => {
  const own = await startServer({ owner: false });
  const { client_id: id } = await registerClient(own);
  for (const path of ["/login", authorizationUrl(own, id)]) {
    const answer = await new Browser(own).get(path);
    expect(answer.headers.get("retry-after")).toBe("60");
    await expectRefusal(own, answer, 503, ["This server has no owner yet", "setup-link"]);
  }
  await expectRefusal(own, await new Browser(own).get("/setup?token=x"), 403, [
    "This setup link does not work",
    "Open the link that the server printed last",
    "setup-link",
  ]);
  await own.close();
});

test("too many requests from one network", async () => {
  const own = await startServer({ settings: { rateLimits: "on" } });
  const { client_id: id } = await registerClient(own, { client_name: "Cursor" });
  const asked = authorizationUrl(own, id);
  for (let count = 0; count < 30; count++) await own.fetch(asked);
  const answer = await own.fetch(asked);
  expect(answer.headers.get("retry-after")).toBe("2");
  const html = await answer.clone().text();
  const words = ["Too many tries", "Client Cursor", "Wait 2 seconds, then try again."];
  await expectRefusal(own, answer, 429, words);
  const [, path = ""] = /<a class="button main" href="(\/authorize\?[^"]*)"/.exec(html) ?? [];
  own.clock.advance(2);
  expect((await own.fetch(path.replaceAll("&amp;", "&"))).status).toBe(200);
  await own.close();
});

test("a wrong password is in the log by its request", async () => {
  const answer = await new Browser(server).signIn(undefined, "not the password");
  const [line = ""] = logged(server, answer.headers.get("x-request-id") ?? "none");
  expect(line).toContain('"event":"login_failed"');
});

describe("trouble of the server's own", () => {
  test.each<[string, Error, number, string]>([
    ["a disk that takes nothing", new StoreUnavailable("the disk is full"), 503, "Not right now"],
    ["a fault", new TypeError("x is not a function"), 500, "That did not work"],
  ])("%s", async (_name, error, status, title) => {
    const update = (): Promise<never> => Promise.reject(error);
    const app = createApp({ ...server.deps, store: { ...server.deps.store, update } });
    const browser = new Browser({
      config: server.config,
      fetch: async (path, init) =>
        app.fetch(
          new Request(new URL(path, server.config.origin), { redirect: "manual", ...init }),
        ),
    });
    for (const [name, value] of owner.cookies) browser.cookies.set(name, value);
    const answer = await browser.post("/consent", await consentFields());
    expect(await answer.clone().text()).not.toContain(error.message.slice(0, 10));
    await expectRefusal(server, answer, status, [title]);
  });
});

describe("a consent page that waited too long", () => {
  test("leads back to the same request, and names the client", async () => {
    const fields = await consentFields();
    server.clock.advance(601);
    const answer = await owner.post("/consent", fields);
    const html = await answer.clone().text();
    await expectRefusal(server, answer, 403, [
      "too old to be answered",
      "Client Cursor",
      "Show the",
    ]);
    const [, path = ""] = /<a class="button main" href="(\/authorize\?[^"]*)"/.exec(html) ?? [];
    const again = await owner.get(path.replaceAll("&amp;", "&"));
    const done = await owner.post("/consent", {
      ...hiddenFields(await again.text()),
      decision: "allow",
    });
    expect(done.headers.get("location")).toContain("state=st4te");
  });

  test("and so does one whose session is over: through the login", async () => {
    const browser = new Browser(server);
    await browser.signIn();
    const html = await (await browser.get(url())).text();
    browser.cookies.clear();
    const answer = await browser.post("/consent", { ...hiddenFields(html), decision: "allow" });
    const [, path = ""] =
      /<a class="button main" href="(\/authorize\?[^"]*)"/.exec(await answer.text()) ?? [];
    const done = await browser.authorize(path.replaceAll("&amp;", "&"));
    expect(done.headers.get("location")).toContain("code=pac_");
  });

  test.each(['{"query":"a\\"b","x":1}', "{", "null", '{"query":"javascript:1"', '"//evil.test"'])(
    "nothing that its form claims leads elsewhere: %s",
    async (claimed) => {
      const field = `${Buffer.from(claimed).toString("base64url")}.9999999999.${"A".repeat(43)}`;
      const answer = await owner.post("/consent", { request: field, decision: "allow" });
      expect(answer.status).toBe(403);
      const links = [...(await answer.text()).matchAll(/<a [^>]*href="([^"]*)"/g)];
      for (const [, to] of links) expect(to).toMatch(/^\/(?:$|authorize\?)/);
    },
  );
});
