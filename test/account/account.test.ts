// The account pages over HTTP: who gets them, what each press does, and what two tabs and old pages do to each other.
import { afterAll, describe, expect, test } from "bun:test";
import { cpSync } from "node:fs";
import { accountRoutes } from "../../src/account/routes.ts";
import { seal } from "../../src/login/forms.ts";
import {
  Browser,
  type TestServer,
  callMcp,
  hiddenFields,
  logIn,
  refreshWith,
  registerClient,
  startServer,
  temporaryFolder,
} from "../server.ts";
import { textOf } from "../web/read.ts";

const servers: TestServer[] = [];
afterAll(() => Promise.all(servers.map((server) => server.close())));

async function start(settings = {}): Promise<{ server: TestServer; owner: Browser }> {
  const server = await startServer({ settings });
  servers.push(server);
  const owner = new Browser(server);
  await owner.signIn();
  return { server, owner };
}

const idOf = ({ tokens }: { tokens: { refresh_token: string } }): string =>
  tokens.refresh_token.slice(4, 26);

/** Opens a page and sends the form on it that goes to `path`. */
async function submit(
  owner: Browser,
  page: string,
  path: string,
  fields: Record<string, string> = {},
): Promise<Response> {
  const html = await (await owner.get(page)).text();
  const form = new RegExp(`<form[^>]*action="[^"]*${path}"[\\s\\S]*?</form>`).exec(html)?.[0];
  if (form === undefined) throw new Error(`no form to ${path} on ${page}: ${html}`);
  return owner.post(path, { ...hiddenFields(form), ...fields });
}

async function follow(owner: Browser, response: Response): Promise<string> {
  expect(response.status).toBe(303);
  return textOf(await owner.get(response.headers.get("location") ?? ""));
}

describe("who gets in", () => {
  const gets = accountRoutes.filter(({ method }) => method === "GET").map(({ path }) => path);
  const posts = accountRoutes.filter(({ method }) => method === "POST").map(({ path }) => path);

  test.each(gets)("GET %s: nobody but the owner, and it changes nothing", async (path) => {
    const { server, owner } = await start();
    const login = await logIn(server, {}, owner);
    const stranger = await new Browser(server).get(path);
    expect([stranger.status, stranger.headers.get("location")]).toEqual([303, "/login"]);
    const groups = server.counters.groups;
    const answer = await owner.get(`${path}?id=${idOf(login)}&all-but=x&ids=${idOf(login)}`);
    expect([200, 303]).toContain(answer.status);
    expect(answer.headers.get("access-control-allow-origin")).toBeNull();
    expect(server.counters.groups).toBe(groups);
    expect((await callMcp(server, login.tokens.access_token)).status).toBe(200);
  });

  test.each(posts)("POST %s: refused without session, proof or own page", async (path) => {
    const { server, owner } = await start();
    const login = await logIn(server, {}, owner);
    const session = (await server.deps.store.sessions.list())[0]?.[0] ?? "";
    const proof = seal(server.deps, "account", session, "");
    const others = seal(server.deps, "account", "another session", "");
    const fields = { ids: idOf(login), id: idOf(login), name: "x", proof };
    const attempts: [Browser, Record<string, string>, Record<string, string>][] = [
      [new Browser(server), fields, {}],
      [owner, { ...fields, proof: "" }, {}],
      [owner, { ...fields, proof: others }, {}],
      [owner, { ...fields, proof: seal(server.deps, "logout", session, "") }, {}],
      [owner, fields, { "sec-fetch-site": "cross-site", origin: "https://evil.test" }],
      [owner, fields, { "sec-fetch-site": "same-site" }],
      [owner, fields, { origin: "null" }],
    ];
    for (const [browser, given, headers] of attempts) {
      const answer = await browser.post(path, given, headers);
      expect(answer.status).toBe(403);
      expect(answer.headers.get("content-type")).toStartWith("text/html");
    }
    expect((await callMcp(server, login.tokens.access_token)).status).toBe(200);
    expect((await owner.get("/account")).status).toBe(200);
  });

  test("signing in leads there, and every page leads to every other", async () => {
    const { server } = await start();
    const browser = new Browser(server);
    expect((await browser.signIn()).headers.get("location")).toBe("/account");
    const html = await (await browser.get("/account")).text();
    for (const [, path = ""] of html.matchAll(/<a href="(\/[a-z/]+)"/g))
      expect([path, (await browser.get(path)).status]).toEqual([path, 200]);
  });
});

describe("connections", () => {
  test("none yet: the page says what to do next", async () => {
    const { owner } = await start();
    expect(await textOf(await owner.get("/account"))).toContain("No client is connected");
  });

  test("are grouped by name and place, each with its times, network and scopes", async () => {
    const { server, owner } = await start();
    await logIn(server, { client_name: "Notes" }, owner);
    await logIn(server, { client_name: "Notes" }, owner);
    await logIn(server, { client_name: "Other" }, owner);
    server.clock.advance(7200);
    const html = await (await owner.get("/account")).text();
    expect(html.match(/<h2>/g)).toHaveLength(2);
    const text = await textOf(new Response(html));
    expect(text).toContain("2 hours ago from 203.0.113.0/24");
    expect(text).toContain("not verified Access goes to a program on the computer");
    expect(text).toMatch(/in 90 days if unused in any case on \d+ November 2027/);
  });

  test("one is ended on a page of its own; the client is out, the others stay", async () => {
    const { server, owner } = await start();
    const [one, two] = [await logIn(server, {}, owner), await logIn(server, {}, owner)];
    const page = `/account/connections/end?id=${idOf(one)}`;
    expect(await textOf(await owner.get(page))).toContain("End this connection of Test client?");
    const after = await follow(owner, await submit(owner, page, "/account/connections/end"));
    expect(after).toContain("One connection ended.");
    expect((await callMcp(server, one.tokens.access_token)).status).toBe(401);
    expect((await refreshWith(server, one.clientId, one.tokens.refresh_token)).status).toBe(400);
    expect((await callMcp(server, two.tokens.access_token)).status).toBe(200);
  });

  test("all but the newest: what came in since the page was made stays too", async () => {
    const { server, owner } = await start();
    const logins = [];
    for (const _ of [1, 2, 3]) {
      logins.push(await logIn(server, {}, owner));
      server.clock.advance(60);
    }
    const other = await logIn(server, { client_name: "Other" }, owner);
    const html = await (await owner.get("/account")).text();
    const link = /href="(\/account\/connections\/end\?all-but=[^"]+)"/.exec(html)?.[1] ?? "";
    expect(link).toEndWith(idOf(logins[2]!));
    const late = await logIn(server, {}, owner);
    const done = await submit(owner, link, "/account/connections/end");
    expect(await follow(owner, done)).toContain("2 connections ended.");
    const all = [...logins, late, other];
    const statuses = all.map(
      async (each) => (await callMcp(server, each.tokens.access_token)).status,
    );
    expect(await Promise.all(statuses)).toEqual([401, 401, 200, 200, 200]);
  });

  test("two tabs: the second press on the same page says that it is over", async () => {
    const { server, owner } = await start();
    const login = await logIn(server, {}, owner);
    const page = `/account/connections/end?id=${idOf(login)}`;
    const html = await (await owner.get(page)).text();
    const press = () => owner.post("/account/connections/end", hiddenFields(html));
    const answers = await Promise.all([press(), press()]);
    const texts = await Promise.all(answers.map((answer) => follow(owner, answer)));
    expect(texts.filter((text) => text.includes("One connection ended."))).toHaveLength(1);
    expect(texts.filter((text) => text.includes("was over already"))).toHaveLength(1);
    expect(await follow(owner, await owner.get(page))).toContain("was over already");
  });

  test("a refresh under way while it is ended brings nothing back", async () => {
    const { server, owner } = await start();
    const login = await logIn(server, {}, owner);
    const html = await (await owner.get(`/account/connections/end?id=${idOf(login)}`)).text();
    const refresh = () => refreshWith(server, login.clientId, login.tokens.refresh_token);
    const [, , refreshed] = await Promise.all([
      refresh(),
      owner.post("/account/connections/end", hiddenFields(html)),
      refresh(),
    ]);
    const { access_token: token = "" } = (await refreshed.json()) as { access_token?: string };
    expect(await server.deps.store.refresh_tokens.list()).toEqual([]);
    expect((await callMcp(server, token)).status).toBe(401);
    expect((await callMcp(server, login.tokens.access_token)).status).toBe(401);
  });

  test("a name is given, kept over a refresh, and a bad one explained", async () => {
    const { server, owner } = await start();
    const login = await logIn(server, {}, owner);
    const page = `/account/connections/rename?id=${idOf(login)}`;
    const path = "/account/connections/rename";
    const bad = await submit(owner, page, path, { name: " \t " });
    expect([bad.status, await textOf(bad)]).toEqual([
      400,
      expect.stringContaining("A name is needed."),
    ]);
    await follow(owner, await submit(owner, page, path, { name: "<b>laptop</b>" }));
    await refreshWith(server, login.clientId, login.tokens.refresh_token);
    const html = await (await owner.get("/account")).text();
    expect(html).toContain("&lt;b&gt;laptop&lt;/b&gt;");
    expect(html).not.toContain("<b>");
  });
});

describe("clients", () => {
  test("one is removed with its connections", async () => {
    const { server, owner } = await start();
    const login = await logIn(server, {}, owner);
    const page = `/account/clients/remove?id=${login.clientId}`;
    expect(await textOf(await owner.get(page))).toContain("With it its connection ends");
    await follow(owner, await submit(owner, page, "/account/clients/remove"));
    expect((await callMcp(server, login.tokens.access_token)).status).toBe(401);
    expect((await refreshWith(server, login.clientId, login.tokens.refresh_token)).status).toBe(
      401,
    );
  });

  test("unused ones go with one press; one with a connection stays", async () => {
    const { server, owner } = await start();
    const login = await logIn(server, {}, owner);
    await registerClient(server);
    await registerClient(server);
    const done = await submit(owner, "/account/clients", "/account/clients/purge");
    expect(await follow(owner, done)).toContain("2 unused clients were removed.");
    expect((await callMcp(server, login.tokens.access_token)).status).toBe(200);
  });

  test("one gets a name of the owner's own", async () => {
    const { server, owner } = await start();
    const { client_id: id } = await registerClient(server);
    const page = `/account/clients/rename?id=${id}`;
    await follow(owner, await submit(owner, page, "/account/clients/rename", { name: "Mine" }));
    const text = await textOf(await owner.get("/account/clients"));
    expect(text).toContain("Mine calls itself Test client");
  });
});

describe("browsers", () => {
  test("another one is signed out; one's own has no button", async () => {
    const { server, owner } = await start();
    const other = new Browser(server);
    await other.signIn();
    const html = await (await owner.get("/account/browsers")).text();
    expect(html.match(/action="\/account\/browsers\/end"/g)).toHaveLength(1);
    const done = await submit(owner, "/account/browsers", "/account/browsers/end");
    expect(await follow(owner, done)).toContain("That browser was signed out.");
    expect((await other.get("/account")).status).toBe(303);
    expect((await owner.get("/account")).status).toBe(200);
  });

  test("all others at once", async () => {
    const { server, owner } = await start();
    const others = [new Browser(server), new Browser(server)];
    for (const each of others) await each.signIn();
    const done = await submit(owner, "/account/browsers", "/account/browsers/purge");
    expect(await follow(owner, done)).toContain("2 browsers signed out.");
    for (const each of others) expect((await each.get("/account")).status).toBe(303);
    expect((await owner.get("/account")).status).toBe(200);
  });
});

test("everything ends with one press: connections, codes, and every browser", async () => {
  const { server, owner } = await start();
  const other = new Browser(server);
  const login = await logIn(server, {}, other);
  const answer = await submit(owner, "/account/everything", "/account/everything");
  expect(await textOf(answer)).toContain("Everything has ended");
  expect((await callMcp(server, login.tokens.access_token)).status).toBe(401);
  for (const browser of [owner, other]) expect((await browser.get("/account")).status).toBe(303);
  const back = await logIn(server, {}, owner);
  expect((await callMcp(server, back.tokens.access_token)).status).toBe(200);
});

test("a link that says something was done says only what the table has", async () => {
  const { owner } = await start();
  const text = async (query: string) => textOf(await owner.get(`/account?${query}`));
  expect(await text("done=ended&count=3")).toContain("3 connections ended.");
  for (const query of [
    "done=hacked",
    "done=ended&count=<b>",
    "done=constructor",
    "done=ended&count=1e9",
  ])
    expect(await text(query)).toContain("Sign out Connections No client is connected");
});

test("under the path of the public URL", async () => {
  const { server } = await start({ url: "http://localhost:7676/base" });
  const owner = new Browser(server);
  expect((await owner.signIn()).headers.get("location")).toBe("/base/account");
  const login = await logIn(server, {}, owner);
  const html = await (await owner.get(`/base/account/connections/end?id=${idOf(login)}`)).text();
  const done = await owner.post("/base/account/connections/end", hiddenFields(html));
  expect(done.headers.get("location")).toBe("/base/account?done=ended");
});

describe("activity", () => {
  test("tells what happened, newest first, with what each request was", async () => {
    const { server, owner } = await start();
    const login = await logIn(server, { client_name: "Claude <b>Code</b>" }, owner);
    await refreshWith(server, login.clientId, login.tokens.refresh_token);
    const html = await (await owner.get("/account/activity")).text();
    expect(html).not.toContain("<b>");
    const text = await textOf(new Response(html));
    expect(text).toMatch(/Connected Claude <b>Code<\/b>[\s\S]* A client registered/);
    expect(text).not.toContain("Access was renewed");
    expect(text).toContain(`family ${idOf(login)}`);
    const all = await textOf(await owner.get("/account/activity?all=yes"));
    expect(all).toContain("Access was renewed");
  });

  test("is filtered, and goes on with what is older", async () => {
    const { server, owner } = await start();
    for (let count = 0; count < 60; count++) {
      server.deps.audit.record("login_failed", { address: "198.51.100.9" });
      server.clock.advance(1);
    }
    await logIn(server, { client_name: "Findable" }, owner);
    const text = async (query: string) => textOf(await owner.get(`/account/activity?${query}`));
    expect(await text("about=findable")).toMatch(/Connected[\s\S]*A client registered/);
    expect(await text("about=findable")).not.toContain("Wrong password");
    expect(await text("kind=clients")).not.toContain("Wrong password");
    expect(await text("about=nobody%20knows")).toContain("Nothing of the kind");
    const html = await (await owner.get("/account/activity?kind=access")).text();
    const older = /href="([^"]*before=[^"]*)"/.exec(html)?.[1]?.replaceAll("&amp;", "&") ?? "";
    const count = (page: string): number => page.match(/Wrong password/g)?.length ?? 0;
    const second = await (await owner.get(older)).text();
    expect([count(html), count(html) + count(second)]).toEqual([50, 60]);
    for (const bad of ["kind=nothing", "before=x"]) {
      const answer = await owner.get(`/account/activity?${bad}`);
      expect([answer.status, await answer.text()]).toEqual([400, expect.stringContaining("alert")]);
    }
  });
});

describe("warnings", () => {
  /** A superseded token comes back. */
  async function reuse(server: TestServer, owner: Browser): Promise<void> {
    const login = await logIn(server, { client_name: "Claude" }, owner);
    const { clientId, tokens } = login;
    const second = await (await refreshWith(server, clientId, tokens.refresh_token)).json();
    await callMcp(server, (second as { access_token: string }).access_token);
    server.clock.advance(7200);
    const last = await refreshWith(server, clientId, tokens.refresh_token, {}, "198.51.100.66");
    expect(last.status).toBe(400);
  }

  test("a reuse that was caught is said until it was read, over a restart", async () => {
    const { server, owner } = await start();
    await reuse(server, owner);
    const page = await textOf(await owner.get("/account"));
    expect(page).toContain("An old token of Claude came back");
    expect(page).toContain("from 198.51.100.66: its connection was ended");
    const again = await server.restart();
    servers.push(again);
    const browser = new Browser(again);
    await browser.signIn();
    expect(await textOf(await browser.get("/account"))).toContain("An old token of Claude");
    await submit(browser, "/account", "/account/warnings/seen");
    expect(await textOf(await browser.get("/account"))).not.toContain("An old token");
    const after = await again.restart();
    servers.push(after);
    const other = new Browser(after);
    await other.signIn();
    expect(await textOf(await other.get("/account"))).not.toContain("An old token");
  });

  test("what comes after the page was made is still said", async () => {
    const { server, owner } = await start();
    await reuse(server, owner);
    const html = await (await owner.get("/account")).text();
    const form = /<form[^>]*warnings\/seen"[\s\S]*?<\/form>/.exec(html)?.[0] ?? "";
    server.clock.advance(1);
    await reuse(server, owner);
    const seen = await owner.post("/account/warnings/seen", hiddenFields(form));
    expect(seen.status).toBe(303);
    const text = await textOf(await owner.get("/account"));
    expect(text.match(/An old token/g)).toHaveLength(1);
  });

  test("a copied folder is said, with what to do", async () => {
    const server = await startServer({ folder: temporaryFolder() });
    await logIn(server);
    await server.close();
    const copy = temporaryFolder();
    cpSync(server.folder, copy, { recursive: true });
    const copied = await startServer({ folder: copy, clock: server.clock });
    servers.push(copied);
    const browser = new Browser(copied);
    await browser.signIn();
    expect(await textOf(await browser.get("/account"))).toContain("was copied or restored since");
    await submit(browser, "/account", "/account/warnings/seen");
    expect(await textOf(await browser.get("/account"))).not.toContain("was copied");
  });

  test.each(["", "tomorrow", "2999-01-01T00:00:00Z"])("cannot be read until %j", async (until) => {
    const { server, owner } = await start();
    await reuse(server, owner);
    const html = await (await owner.get("/account")).text();
    const answer = await owner.post("/account/warnings/seen", { ...hiddenFields(html), until });
    expect(answer.status).toBe(400);
    expect(await textOf(await owner.get("/account"))).toContain("An old token");
  });
});
