// Where did it stop: what single requests show becomes one attempt of one client, whoever its browser is, without a secret
// and without a cost for clients that are in.
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { type Attempt, isConnected, standsAt, stepNames } from "../../src/attempts/steps.ts";
import { type Origin, type Sight, createAttempts } from "../../src/attempts/trail.ts";
import {
  Browser,
  type TestServer,
  type Tokens,
  authorizationUrl,
  callMcp,
  hiddenFields,
  obtainCode,
  postToken,
  redeemCode,
  refreshWith,
  registerClient,
  startServer,
} from "../server.ts";

let server: TestServer;
beforeEach(async () => {
  server = await startServer();
});
afterEach(() => server.close());

const AGENT = "test-client/1.0";
const PHONE = "198.51.100.9";

const sentBy =
  (agent: string, address?: string): TestServer["fetch"] =>
  (path, init = {}, from = address) => {
    const headers = new Headers(init.headers);
    headers.set("user-agent", agent);
    return server.fetch(path, { ...init, headers }, from);
  };
const client = (agent = AGENT): Pick<TestServer, "fetch" | "config"> => ({
  config: server.config,
  fetch: sentBy(agent),
});
/** The browser of a person in another network than the client. */
const phone = (): Browser =>
  new Browser({ config: server.config, fetch: sentBy("Mozilla/5.0 (iPhone)", PHONE) });

/** What a client does before it opens a browser. */
async function approach(): Promise<void> {
  await client().fetch("/mcp", { method: "POST" });
  await client().fetch("/.well-known/oauth-protected-resource/mcp");
  await client().fetch("/.well-known/oauth-authorization-server");
}

function only(): Attempt {
  const [attempt, ...others] = server.deps.attempts.list();
  expect(others).toEqual([]);
  if (!attempt) throw new Error("no attempt");
  return attempt;
}
const passed = ({ steps }: Attempt): string[] =>
  steps.filter(({ outcome }) => outcome === "passed").map(({ step }) => step);

/** From the first request to the tokens. */
async function connect(browser = phone()): Promise<{ clientId: string; tokens: Tokens }> {
  await approach();
  const { client_id: clientId } = await registerClient(client());
  const code = await obtainCode(server, clientId, {}, browser);
  const response = await redeemCode(client(), clientId, code);
  expect(response.status).toBe(200);
  return { clientId, tokens: await response.json() };
}

describe("one login is one attempt", () => {
  test("every step is seen, in order, over two networks and two programs", async () => {
    const { clientId, tokens } = await connect();
    expect(only().last).toBe("token");
    await callMcp(server, tokens.access_token);
    const attempt = only();
    expect(attempt).toMatchObject({
      network: "203.0.113.0/24",
      agent: AGENT,
      client_id: clientId,
      client_name: "Test client",
      redirect_uri: "http://127.0.0.1:9/callback",
    });
    expect(passed(attempt)).toEqual([...stepNames]);
    expect(isConnected(attempt)).toBe(true);
  });

  test("each step names the request that the answer and the log name", async () => {
    const answer = await client().fetch("/mcp", { method: "POST" });
    expect(only().steps).toMatchObject([
      {
        step: "challenge",
        outcome: "passed",
        times: 1,
        request: answer.headers.get("x-request-id"),
      },
    ]);
  });

  test("no secret is kept", async () => {
    const browser = phone();
    const { tokens } = await connect(browser);
    await callMcp(server, tokens.access_token);
    const kept = JSON.stringify(server.deps.attempts.list());
    const secrets = [tokens.access_token, tokens.refresh_token, ...browser.cookies.values()];
    for (const secret of [...secrets, "st4te", "pac_", "code_challenge"]) {
      expect(kept).not.toContain(secret);
    }
  });

  test("a client that is known by its id comes with its browser", async () => {
    const { client_id: id } = await registerClient(client());
    server.deps.attempts.forget(() => true);
    await approach();
    await obtainCode(server, id, {}, phone());
    expect(only().agent).toBe(AGENT);
    expect(passed(only())).toEqual([
      "challenge",
      "metadata",
      "authorization",
      "login",
      "consent",
      "code",
    ]);
  });

  test("an hour later the same client begins another one", async () => {
    await approach();
    const { client_id: id } = await registerClient(client());
    await phone().get(authorizationUrl(server, id));
    server.clock.advance(3600);
    await approach();
    await phone().get(authorizationUrl(server, id));
    expect(server.deps.attempts.list().map(passed)).toEqual([
      ["challenge", "metadata", "authorization"],
      ["challenge", "metadata", "registration", "authorization"],
    ]);
  });

  test("two clients at the same time are two attempts", async () => {
    const other = client("other/2");
    await approach();
    await other.fetch("/mcp", { method: "POST" });
    const { client_id: id } = await registerClient(client());
    await other.fetch("/mcp", { method: "POST" });
    await phone().get(authorizationUrl(server, id));
    const seen = server.deps.attempts.list().map((each) => [each.agent, passed(each).length]);
    expect(seen.toSorted()).toEqual([
      ["other/2", 1],
      [AGENT, 4],
    ]);
  });
});

interface Stop {
  readonly name: string;
  readonly go: () => Promise<unknown>;
  /** Where it stands, and with what outcome. */
  readonly at: string;
  readonly reason?: RegExp;
}

/** A new client and the browser of its person. */
async function open({
  signedIn = true,
  changes = {},
}: { signedIn?: boolean; changes?: Record<string, string> } = {}): Promise<{
  browser: Browser;
  page: string;
}> {
  const { client_id: id } = await registerClient(client());
  const browser = phone();
  if (signedIn) await browser.signIn();
  return { browser, page: await (await browser.get(authorizationUrl(server, id, changes))).text() };
}

const stops: readonly Stop[] = [
  {
    name: "nobody follows the challenge",
    go: () => client().fetch("/mcp"),
    at: "challenge passed",
  },
  {
    name: "a web page that may not call",
    go: () =>
      client().fetch("/mcp", { method: "POST", headers: { origin: "https://evil.example" } }),
    at: "challenge refused",
    reason: /web origin/,
  },
  {
    name: "another Host",
    go: () => client().fetch("/mcp", { method: "POST", headers: { host: "inner:80" } }),
    at: "challenge refused",
    reason: /Host/,
  },
  { name: "metadata read, nothing after", go: approach, at: "metadata passed" },
  {
    name: "a registration that is refused",
    go: async () => {
      await approach();
      await client().fetch("/register", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ redirect_uris: ["javascript:alert(1)"] }),
      });
    },
    at: "registration refused",
    reason: /redirect/,
  },
  {
    name: "registered, no browser",
    go: () => registerClient(client()),
    at: "registration passed",
  },
  {
    name: "an id from elsewhere",
    go: () => phone().get(authorizationUrl(server, "mcp_from_elsewhere")),
    at: "authorization refused",
    reason: /not registered/,
  },
  {
    name: "another redirect URI",
    go: () => open({ changes: { redirect_uri: "https://other.example/cb" } }),
    at: "authorization refused",
    reason: /did not register/,
  },
  {
    name: "a foreign resource",
    go: () => open({ changes: { resource: "https://other.example/mcp" } }),
    at: "authorization refused",
  },
  { name: "nobody signs in", go: () => open({ signedIn: false }), at: "authorization passed" },
  {
    name: "a wrong password",
    go: async () => {
      const { browser, page } = await open({ signedIn: false });
      await browser.signIn(page, "not the password");
    },
    at: "login refused",
    reason: /wrong password/,
  },
  { name: "consent is shown and not answered", go: () => open(), at: "login passed" },
  {
    name: "the owner declines",
    go: async () => {
      const { client_id: id } = await registerClient(client());
      await phone().authorize(authorizationUrl(server, id), "deny");
    },
    at: "consent refused",
    reason: /declined/,
  },
  {
    name: "a consent that came from another site",
    go: async () => {
      const { browser, page } = await open();
      const fields = { ...hiddenFields(page), decision: "allow" };
      await browser.post("/consent", fields, {
        origin: "https://evil.example",
        "sec-fetch-site": "cross-site",
      });
    },
    at: "consent refused",
    reason: /page of this server/,
  },
  {
    name: "the code never comes back",
    go: async () => obtainCode(server, (await registerClient(client())).client_id, {}, phone()),
    at: "code passed",
  },
  {
    name: "a wrong verifier",
    go: async () => {
      const { client_id: id } = await registerClient(client());
      const code = await obtainCode(server, id, {}, phone());
      await redeemCode(client(), id, code, { code_verifier: "w".repeat(64) });
    },
    at: "token refused",
    reason: /not valid/,
  },
  {
    name: "a client that nobody knows at the token endpoint",
    go: () =>
      postToken(client(), {
        grant_type: "authorization_code",
        client_id: "nobody",
        code: "x",
        code_verifier: "y",
      }),
    at: "token refused",
  },
  { name: "tokens that are never used", go: () => connect(), at: "token passed" },
];

describe("where it stopped", () => {
  test.each(stops)("$name", async ({ go, at, reason }) => {
    await go();
    const step = standsAt(only());
    expect(`${step?.step} ${step?.outcome}`).toBe(at);
    if (reason) expect(step?.reason).toMatch(reason);
  });

  test("no owner yet", async () => {
    const bare = await startServer({ owner: false });
    const { client_id: id } = await registerClient(bare);
    await bare.fetch(authorizationUrl(bare, id));
    const [attempt] = bare.deps.attempts.list();
    expect(attempt && standsAt(attempt)).toMatchObject({
      step: "authorization",
      outcome: "refused",
    });
    await bare.close();
  });

  test("a server behind that does not answer is no client's fault", async () => {
    const gone = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response() });
    const upstream = `http://127.0.0.1:${gone.port}/mcp`;
    await gone.stop(true);
    server = await server.restart({ upstream });
    const { tokens } = await connect();
    expect((await callMcp(server, tokens.access_token)).status).toBe(502);
    expect(standsAt(only())).toMatchObject({ step: "call", outcome: "refused" });
  });
});

test("what fails behind a client that is long in is no matter of its way in", async () => {
  const { tokens } = await connect();
  await callMcp(server, tokens.access_token);
  const { attempts } = server.deps;
  const family = tokens.refresh_token.slice(4, 26);
  const error = {
    code: "server_error",
    message: "the MCP server behind cannot be reached",
  } as const;
  server.clock.advance(700);
  attempts.see({ step: "call", family, error });
  expect(standsAt(only())).toMatchObject({ step: "call", outcome: "passed" });
});

/** Runs `work` and counts what is looked at meanwhile. */
async function sightsOf(work: () => Promise<unknown>): Promise<number> {
  const { attempts } = server.deps;
  const { see } = attempts;
  let count = 0;
  Object.assign(attempts, {
    see: (sight: Sight, from?: Origin) => {
      count++;
      see(sight, from);
    },
  });
  await work();
  Object.assign(attempts, { see });
  return count;
}

describe("clients that are in cost nothing", () => {
  test("calls and refreshes go unseen, but for the first call with a new token", async () => {
    const { clientId, tokens } = await connect();
    expect(await sightsOf(() => callMcp(server, tokens.access_token))).toBe(1);
    const calls = async (token: string): Promise<void> => {
      for (let index = 0; index < 20; index++) {
        expect((await callMcp(server, token)).status).toBe(200);
      }
    };
    expect(await sightsOf(() => calls(tokens.access_token))).toBe(0);
    let next = tokens;
    const refreshes = async (): Promise<void> => {
      for (let index = 0; index < 5; index++) {
        next = await (await refreshWith(server, clientId, next.refresh_token)).json();
      }
      expect((await refreshWith(server, clientId, "prt_bad")).status).toBe(400);
    };
    expect(await sightsOf(refreshes)).toBe(0);
    expect(await sightsOf(() => calls(next.access_token))).toBe(1);
    expect(isConnected(only())).toBe(true);
  });

  test("a client that looks without its token at every start makes no new attempt", async () => {
    const { tokens } = await connect();
    await callMcp(server, tokens.access_token);
    for (let start = 0; start < 5; start++) {
      server.clock.advance(3600);
      await approach();
    }
    expect(isConnected(only())).toBe(true);
    await registerClient(client());
    expect(server.deps.attempts.list().map(({ last }) => last)).toEqual(["registration", "call"]);
  });
});

describe("memory is bounded", () => {
  const origin = (index: number): Origin => ({
    address: `10.${index >> 8}.${index & 255}.1`,
    agent: "a".repeat(10_000),
    requestId: `r-${index}`,
  });
  const bounds = { attempts: 20, bytes: 20_000 };

  test.each([
    { step: "challenge" },
    { step: "registration", clientId: "c".repeat(5000), clientName: "n".repeat(5000) },
    {
      step: "authorization",
      clientId: "d",
      redirectUri: "r".repeat(9000),
      error: { code: "invalid_request", message: "m".repeat(9000) },
    },
  ] satisfies Sight[])("a flood of $step leaves what the owner took part in", (sight) => {
    const attempts = createAttempts(() => 0, bounds);
    attempts.see({ step: "authorization", clientId: "real", query: "q" }, origin(0));
    attempts.see({ step: "login", query: "q" }, origin(0));
    for (let index = 1; index < 5000; index++) {
      const id = "clientId" in sight && { clientId: `${index} ${sight.clientId}` };
      attempts.see({ ...sight, ...id }, origin(index));
    }
    const kept = attempts.list();
    expect(kept.length).toBeLessThanOrEqual(bounds.attempts);
    expect(kept.length).toBeGreaterThan(3);
    expect(JSON.stringify(kept).length).toBeLessThanOrEqual(bounds.bytes);
    expect(kept.map(({ client_id: id }) => id)).toContain("real");
  });

  test("one attempt alone may be too large", () => {
    const attempts = createAttempts(() => 0, { attempts: 20, bytes: 100 });
    attempts.see({ step: "registration", clientId: "c" }, origin(1));
    expect(attempts.list()).toEqual([]);
    attempts.see({ step: "registration", clientId: "c" }, origin(1));
    expect(attempts.list()).toEqual([]);
  });

  test("what led to a forgotten attempt is forgotten with it", () => {
    const attempts = createAttempts(() => 0);
    attempts.see({ step: "registration", clientId: "c" }, origin(1));
    attempts.forget(({ client_id: id }) => id === "c");
    attempts.see({ step: "consent", query: "q", clientId: "c" }, origin(1));
    expect(attempts.list()).toEqual([]);
  });
});
