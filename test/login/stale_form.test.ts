// A login page that can no longer be taken as it is: too old, from before a restart, or bound to a cookie that is gone.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  Browser,
  PASSWORD,
  type TestServer,
  authorizationUrl,
  hiddenFields,
  registerClient,
  startServer,
} from "../server.ts";

let server: TestServer;
let clientId: string;
beforeAll(async () => {
  server = await startServer();
  clientId = (await registerClient(server)).client_id;
});
afterAll(() => server.close());

/** From a login page that was refused to the consent page of the same request. */
async function expectToGoOn(browser: Browser, refused: Response): Promise<void> {
  expect(refused.status).toBe(403);
  const html = await refused.text();
  expect(html).toContain("waited too long");
  expect(browser.cookies.has("postern_7676")).toBe(false);
  const signedIn = await browser.signIn(html);
  expect(signedIn.status).toBe(303);
  const consent = await browser.get(signedIn.headers.get("location") ?? "");
  expect(await consent.text()).toContain('value="allow"');
}

const url = (): string => authorizationUrl(server, clientId);
const send = (browser: Browser, html: string, password = PASSWORD): Promise<Response> =>
  browser.post("/login", { ...hiddenFields(html), password });

describe("the login page asks again, and the request goes on", () => {
  test("after it waited ten minutes", async () => {
    const browser = new Browser(server);
    const html = await (await browser.get(url())).text();
    server.clock.advance(601);
    await expectToGoOn(browser, await send(browser, html));
  });

  test("when two tabs were opened at the same moment and the cookie of the other won", async () => {
    const [browser, other] = [new Browser(server), new Browser(server)];
    const html = await (await browser.get(url())).text();
    await other.get(url());
    for (const [name, value] of other.cookies) browser.cookies.set(name, value);
    await expectToGoOn(browser, await send(browser, html));
  });

  test("when the browser keeps no cookie from before", async () => {
    const browser = new Browser(server);
    const html = await (await browser.get(url())).text();
    browser.cookies.clear();
    await expectToGoOn(browser, await send(browser, html));
  });

  test("and one that finds a session goes on at once, without another password", async () => {
    const browser = new Browser(server);
    const html = await (await browser.get(url())).text();
    browser.cookies.clear();
    await browser.signIn();
    const answer = await send(browser, html, "");
    expect(answer.status).toBe(303);
    expect(answer.headers.get("location")).toStartWith(`/authorize?response_type=code&client_id=`);
    const nobody = await browser.post("/login", { request: "no grammar", password: "" });
    expect(nobody.headers.get("location")).toBe("/account");
  });

  test("when the server was restarted meanwhile", async () => {
    const browser = new Browser(server);
    const html = await (await browser.get(url())).text();
    server = await server.restart();
    const later = new Browser(server);
    for (const [name, value] of browser.cookies) later.cookies.set(name, value);
    await expectToGoOn(later, await send(later, html));
  });
});

describe("nothing that the field says is believed", () => {
  const field = (content: string): string =>
    `${Buffer.from(content).toString("base64url")}.9999999999.${"A".repeat(43)}`;

  test("the password is not even looked at", async () => {
    const browser = new Browser(server);
    const html = await (await browser.get("/login")).text();
    browser.cookies.clear();
    expect((await send(browser, html)).headers.get("location")).toBeNull();
    expect([...browser.cookies.keys()]).toEqual(["postern_7676_browser"]);
  });

  test("a made-up request leads to the authorization endpoint and its errors, nowhere else", async () => {
    const browser = new Browser(server);
    const answer = await browser.post("/login", {
      request: field("client_id=unknown&redirect_uri=https://mallory.example/"),
      password: PASSWORD,
    });
    const signedIn = await browser.signIn(await answer.text());
    const location = signedIn.headers.get("location") ?? "";
    expect(location).toStartWith("/authorize?client_id=unknown&");
    const page = await browser.get(location);
    expect([page.status, page.headers.get("location")]).toEqual([400, null]);
  });

  test.each([
    ["a line end", field("a\r\nset-cookie: x=1")],
    ["a space", field("a b")],
    ["no text", field("\u{fffd}\0")],
    ["no field at all", ""],
    ["no grammar", "no grammar"],
  ])("%s is an error page", async (_name, request) => {
    const answer = await new Browser(server).post("/login", { request, password: PASSWORD });
    expect([answer.status, answer.headers.get("location")]).toEqual([403, null]);
    expect(await answer.text()).not.toContain('name="password"');
  });
});
