// Two servers in one process: nothing that one remembers is known to the other.
import { afterAll, beforeAll, beforeEach, expect, test } from "bun:test";
import { startInternet } from "./internet.ts";
import {
  Browser,
  REDIRECT,
  type TestServer,
  authorizationUrl,
  callMcp,
  hiddenFields,
  logIn,
  obtainCode,
  postToken,
  redeemCode,
  refreshWith,
  registerClient,
  startServer,
} from "./server.ts";

const net = startInternet("claude.ai");
const idOf = (path: string): string => net.url("claude.ai", path);
let one: TestServer;
let other: TestServer;
beforeAll(async () => {
  const options = { internet: net.internet, settings: { rateLimits: "on" } };
  [one, other] = await Promise.all([startServer(options), startServer(options)]);
});
afterAll(async () => {
  await Promise.all([one.close(), other.close()]);
  await net.close();
});
beforeEach(() => {
  one.clock.advance(3600);
  other.clock.advance(3600);
  net.asked.length = 0;
});

async function signedIn(server: TestServer): Promise<Browser> {
  const browser = new Browser(server);
  await browser.signIn();
  return browser;
}

test("a client's document is fetched by each", async () => {
  const id = idOf("/client");
  const content = { client_id: id, client_name: "Claude Code", redirect_uris: [REDIRECT] };
  const headers = { "cache-control": "max-age=3600" };
  net.documents.set(id, () => Response.json(content, { headers }));
  for (const server of [one, other, one, other]) {
    const browser = await signedIn(server);
    expect((await browser.get(authorizationUrl(server, id))).status).toBe(200);
  }
  expect(net.asked).toEqual([id, id]);
});

test("fetches of one take no place from the other", async () => {
  const hold = Promise.withResolvers<void>();
  const slow = Array.from({ length: 4 }, (_, index) => idOf(`/slow${index}`));
  for (const id of slow) {
    net.documents.set(id, () => hold.promise.then(() => new Response("", { status: 404 })));
  }
  const [owner, stranger] = await Promise.all([signedIn(one), signedIn(other)]);
  const running = slow.map((id) => owner.get(authorizationUrl(one, id)));
  while (net.asked.length < 4) await Bun.sleep(1);
  const absent = idOf("/absent");
  expect((await owner.get(authorizationUrl(one, absent))).status).toBe(503);
  expect((await stranger.get(authorizationUrl(other, absent))).status).toBe(400);
  hold.resolve();
  expect((await Promise.all(running)).map(({ status }) => status)).toEqual([400, 400, 400, 400]);
});

test("who has to wait at one has not at the other", async () => {
  const statuses = async (server: TestServer): Promise<number[]> =>
    (
      await Promise.all(
        Array.from({ length: 21 }, () => postToken(server, { grant_type: "x", client_id: "x" })),
      )
    ).map(({ status }) => status);
  const expected = [...Array<number>(20).fill(400), 429];
  expect((await statuses(one)).toSorted()).toEqual(expected);
  expect((await statuses(other)).toSorted()).toEqual(expected);
});

test("clients, logins, codes, sessions and forms of one are nothing to the other", async () => {
  const { clientId, tokens } = await logIn(one);
  expect((await callMcp(one, tokens.access_token)).status).toBe(200);
  expect((await callMcp(other, tokens.access_token)).status).toBe(401);
  expect((await refreshWith(other, clientId, tokens.refresh_token)).status).toBe(401);
  const own = (await registerClient(other)).client_id;
  expect((await refreshWith(other, own, tokens.refresh_token)).status).toBe(400);
  expect((await redeemCode(other, own, await obtainCode(one, clientId))).status).toBe(400);
  const browser = await signedIn(one);
  const form = hiddenFields(await (await browser.get(authorizationUrl(one, clientId))).text());
  const elsewhere = new Browser(other);
  for (const [name, value] of browser.cookies) elsewhere.cookies.set(name, value);
  const answer = await elsewhere.post("/consent", { ...form, decision: "allow" });
  expect([answer.status, answer.headers.get("location")]).toEqual([403, null]);
  expect((await refreshWith(one, clientId, tokens.refresh_token)).status).toBe(200);
});
