// What strangers can do to the list of attempts: fill it, write into it, read secrets out of it.
import { afterEach, beforeEach, expect, test } from "bun:test";
import {
  Browser,
  type TestServer,
  authorizationUrl,
  hiddenFields,
  logIn,
  registerClient,
  startServer,
} from "../server.ts";

let server: TestServer;
beforeEach(async () => {
  server = await startServer({ settings: { rateLimits: "on" } });
});
afterEach(() => server.close());

/** One stranger who calls itself something else each time. */
function stranger(index: number): Browser {
  const fetch: TestServer["fetch"] = (path, init = {}) => {
    const headers = new Headers(init.headers);
    headers.set("user-agent", `scanner-${index}`);
    return server.fetch(path, { ...init, headers }, "198.51.100.66");
  };
  return new Browser({ config: server.config, fetch });
}

/** A login that the owner began and left: what "where did it stop" is there for. */
async function beginLogin(): Promise<string> {
  const { client_id: id } = await registerClient(server, { client_name: "The owner's client" });
  const owner = new Browser(server);
  await owner.signIn();
  expect((await owner.get(authorizationUrl(server, id))).status).toBe(200);
  return id;
}

const ids = (): (string | undefined)[] => server.deps.attempts.list().map((each) => each.client_id);

test("nobody who is refused at the login pushes out what the owner began", async () => {
  const id = await beginLogin();
  for (let index = 0; index < 150; index++) {
    server.clock.advance(3);
    const browser = stranger(index);
    const page = await (
      await browser.get(authorizationUrl(server, `https://client${index}.dev/document`))
    ).text();
    const login = { ...hiddenFields(page), password: "a guess" };
    expect([403, 429]).toContain((await browser.post("/login", login)).status);
  }
  expect(ids()).toContain(id);
});

test("a token that was pasted where an id belongs is not kept", async () => {
  const { tokens } = await logIn(server);
  const owner = new Browser(server);
  await owner.signIn();
  const { access_token: token } = tokens;
  const agent = { headers: { "user-agent": `client/1.0 (Bearer ${token})` } };
  for (const browser of [owner, new Browser(server)]) {
    await browser.send(authorizationUrl(server, token), agent);
    await browser.send(authorizationUrl(server, `x%20${token}`), agent);
    await browser.send(
      authorizationUrl(server, "x", { redirect_uri: `https://x.test/%20${token}` }),
      agent,
    );
  }
  await registerClient(server, { client_name: token });
  await server.fetch("/mcp", agent);
  const kept = JSON.stringify(server.deps.attempts.list());
  expect(kept).toContain("pat_[redacted]");
  expect(kept).not.toContain(token.split(".")[2] ?? token);
});
