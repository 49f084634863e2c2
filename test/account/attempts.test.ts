// /account/attempts: the owner sees how far each client came; nobody else sees anything.
import { afterEach, beforeEach, expect, test } from "bun:test";
import {
  Browser,
  type TestServer,
  authorizationUrl,
  registerClient,
  startServer,
} from "../server.ts";
import { textOf } from "../web/read.ts";

let server: TestServer;
beforeEach(async () => {
  server = await startServer();
});
afterEach(() => server.close());

test("a client that stopped is there, with the cause and what to try", async () => {
  const browser = new Browser(server);
  const { client_id: id } = await registerClient(server, { client_name: "<b>Notes</b>" });
  await browser.get(authorizationUrl(server, id));
  await browser.signIn();
  server.clock.advance(600);
  const page = await (await browser.get("/account/attempts")).text();
  const text = await textOf(new Response(page));
  expect(text).toContain("<b>Notes</b> ✗ stopped");
  expect(text).toContain("registered browser opened Stopped after: opened the browser.");
  expect(text).toContain("nobody signed in");
  expect(text).toContain("postern password");
  expect(page).not.toContain("st4te");
});

test("whoever is not signed in is sent to sign in", async () => {
  const response = await server.fetch("/account/attempts");
  expect([response.status, response.headers.get("location")]).toEqual([303, "/login"]);
});
