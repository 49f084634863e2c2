// Requirements on clients and their redirect URIs that no other test names: each test begins with the id of its row.
import { afterAll, afterEach, beforeEach, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Glob } from "bun";
import { startInternet } from "../internet.ts";
import { startPostern, stopProcesses } from "../process.ts";
import {
  Browser,
  REDIRECT,
  type TestServer,
  type Tokens,
  authorizationUrl,
  obtainCode,
  postToken,
  redeemCode,
  registerClient,
  startServer,
} from "../server.ts";

let server: TestServer;
let owner: Browser;
beforeEach(async () => {
  server = await startServer();
  owner = new Browser(server);
  await owner.signIn();
});
afterEach(() => server.close());
afterAll(stopProcesses);

/** Everything that lies in the data folder. */
const filesOf = (folder: string): string =>
  [...new Glob("**/*").scanSync({ cwd: folder, dot: true })]
    .map((path) => readFileSync(join(folder, path), "utf8"))
    .join("\n");

test("DCR-8: a registration outlives kill -9 right after its 201", async () => {
  const postern = await startPostern();
  const { client_id: id } = await registerClient(postern);
  await postern.restart({ signal: "SIGKILL" });
  await postern.browser.signIn();
  expect(await obtainCode(postern, id, {}, postern.browser)).toStartWith("pac_");
});

test("DCR-10: registering lets nobody in, and what a client says of itself counts as not verified", async () => {
  const { client_id: id } = await registerClient(server, { client_name: "Claude" });
  expect(
    (await postToken(server, { grant_type: "client_credentials", client_id: id })).status,
  ).toBe(400);
  const html = await (await owner.get(authorizationUrl(server, id))).text();
  expect(html).toContain("Not verified");
  expect(html).toContain('value="allow"');
});

test("DCR-14: what a client or its user must keep secret is in the folder as a hash, if at all", async () => {
  const client = await registerClient(server, { token_endpoint_auth_method: "client_secret_post" });
  const { client_secret: secret = "" } = client;
  const code = await obtainCode(server, client.client_id);
  const response = await redeemCode(server, client.client_id, code, { client_secret: secret });
  const tokens = (await response.json()) as Tokens;
  const files = filesOf(server.folder);
  expect(files).toContain(client.client_id);
  for (const text of [secret, code, tokens.access_token, tokens.refresh_token]) {
    expect(text.length).toBeGreaterThan(40);
    expect(files).not.toContain(text);
    // Nor a part of it; the family of a grant is its id.
    const parts = text.slice(text.indexOf("_") + 1).split(".");
    for (const part of parts.filter(({ length }) => length === 43))
      expect(files).not.toContain(part);
  }
});

test("DCR-15: a name is text of bounded length, whatever stands in it; empty addresses are none", async () => {
  const name = `<script>alert(1)</script>\u202e${"x".repeat(300)}`;
  const client = await registerClient(server, {
    client_name: name,
    logo_uri: "",
    tos_uri: "",
    policy_uri: "",
  });
  expect(String(client["client_name"]).length).toBeLessThanOrEqual(200);
  const html = await (await owner.get(authorizationUrl(server, client.client_id))).text();
  expect(html).not.toContain("<script>alert");
  expect(html).not.toContain("\u202e");
});

test("DCR-16: who registers twice is two clients, and neither learns the other's secret", async () => {
  const metadata = { token_endpoint_auth_method: "client_secret_basic" };
  const [first, second] = [
    await registerClient(server, metadata),
    await registerClient(server, metadata),
  ];
  expect(second.client_id).not.toBe(first.client_id);
  expect(second.client_secret).not.toBe(first.client_secret ?? "");
});

test("RED-6: redirect_uri may be left out by a client that registered one, not by one that registered two", async () => {
  const other = "https://good.test/cb";
  for (const [uris, status] of [
    [[REDIRECT], 200],
    [[REDIRECT, other], 400],
  ] as const) {
    const { client_id: id } = await registerClient(server, { redirect_uris: uris });
    const response = await owner.get(authorizationUrl(server, id, { redirect_uri: undefined }));
    expect([response.status, response.headers.get("location")]).toEqual([status, null]);
  }
});

describe("client documents", () => {
  const internet = startInternet("claude.ai");
  afterAll(() => internet.close());

  test("CIM-20: the log says under the number on the page why a document could not be used", async () => {
    const id = internet.url("claude.ai", "/gone");
    const own = await startServer({ internet: internet.internet });
    const browser = new Browser(own);
    await browser.signIn();
    const response = await browser.get(authorizationUrl(own, id));
    const html = await response.text();
    expect([response.status, response.headers.get("location")]).toEqual([400, null]);
    const number = response.headers.get("x-request-id") ?? "none";
    expect(html).toContain(number);
    const lines = readFileSync(join(own.folder, "audit.jsonl"), "utf8").split("\n");
    expect(lines.find((line) => line.includes(number))).toContain(
      `${id}: it was answered with status 404`,
    );
    await own.close();
  });

  test("CIM-19: a logo that a document names is not shown, so nobody learns who looks", async () => {
    const id = internet.url("claude.ai", "/client");
    internet.documents.set(id, () =>
      Response.json({
        client_id: id,
        client_name: "Claude Code",
        redirect_uris: [REDIRECT],
        logo_uri: "https://claude.ai/pixel.png",
      }),
    );
    const own = await startServer({ internet: internet.internet });
    const browser = new Browser(own);
    await browser.signIn();
    const response = await browser.get(authorizationUrl(own, id));
    const html = await response.text();
    expect(html).toContain("Claude Code");
    expect(html).not.toMatch(/<img|pixel\.png/);
    expect(response.headers.get("content-security-policy")).toContain("default-src 'none'");
    expect(internet.asked.filter((url) => url.includes("pixel"))).toEqual([]);
    await own.close();
  });
});
