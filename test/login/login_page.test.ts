// The login page of a client that waits: it says which client, on every try.
import { afterEach, expect, test } from "bun:test";
import {
  Browser,
  PASSWORD,
  type TestServer,
  authorizationUrl,
  hiddenFields,
  registerClient,
  startServer,
} from "../server.ts";
import { textOf } from "../web/read.ts";

let server: TestServer;
afterEach(() => server.close());

test("the client's name stays through a wrong password, a wait, a stale page and a new try", async () => {
  server = await startServer({ settings: { rateLimits: "on" } });
  const { client_id: id } = await registerClient(server, { client_name: "Cursor" });
  const browser = new Browser(server);
  let html = "";
  const expectName = async (response: Response, status: number): Promise<void> => {
    html = await response.clone().text();
    expect(response.status).toBe(status);
    expect(await textOf(response)).toContain("To decide about Cursor, sign in first.");
  };
  await expectName(await browser.get(authorizationUrl(server, id)), 200);
  for (let count = 0; count < 5; count++) {
    await expectName(await browser.signIn(html, "not the password"), 403);
  }
  await expectName(await browser.signIn(html), 429);
  server.clock.advance(601);
  await expectName(await browser.signIn(html), 403);
  const done = await browser.post("/login", { ...hiddenFields(html), password: PASSWORD });
  expect(done.headers.get("location")).toStartWith("/authorize?");
});

test("a client with a document is named by its host until the owner is known", async () => {
  server = await startServer();
  const browser = new Browser(server);
  const page = await browser.get(authorizationUrl(server, "https://client.example.com/mcp.json"));
  const html = await page.clone().text();
  expect(await textOf(page)).toContain("To decide about client.example.com, sign in first.");
  const again = await browser.signIn(html, "not the password");
  expect(await textOf(again)).toContain("To decide about client.example.com, sign in first.");
});

test("a login for nobody names nobody, also after a wrong password", async () => {
  server = await startServer();
  const browser = new Browser(server);
  expect(await textOf(await browser.signIn(undefined, "wrong"))).not.toContain("To decide about");
});
