// Clients that come with an id of this folder and are not known any more: what the owner is told, and who gets in again.
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { ADMIN_PATH, admin } from "../../src/admin.ts";
import { startInternet } from "../internet.ts";
import {
  Browser,
  PASSWORD,
  REDIRECT,
  type Registered,
  type TestServer,
  VERIFIER,
  authorizationUrl,
  hiddenFields,
  logIn,
  obtainCode,
  postToken,
  redeemCode,
  registerClient,
  startServer,
} from "../server.ts";
import { textOf } from "../web/read.ts";

let server: TestServer;
let owner: Browser;
beforeEach(async () => {
  server = await startServer();
  owner = new Browser(server);
  await owner.signIn();
});
afterEach(() => server.close());

async function verb(method: string, path: string): Promise<void> {
  const response = await admin(
    new Request(`http://postern${ADMIN_PATH}${path}`, { method }),
    server.deps,
  );
  expect(response.status).toBe(200);
}
const remove = (id: string): Promise<void> => verb("DELETE", `/clients/${id}`);
const forget = (id: string): Promise<boolean> => server.deps.store.clients.delete(id);

/** The whole way in again, as a public client. */
async function expectIn(id: string, browser = owner): Promise<void> {
  const code = await obtainCode(server, id, {}, browser);
  expect((await redeemCode(server, id, code)).status).toBe(200);
}

async function pageOf(id: string, status = 400): Promise<string> {
  const response = await owner.get(authorizationUrl(server, id));
  expect(response.status).toBe(status);
  return textOf(response);
}

describe("a client that the owner removed", () => {
  test("is asked about by its name, with the day, and let in again only by hand", async () => {
    const { clientId } = await logIn(server, { client_name: "Cursor" }, owner);
    await remove(clientId);
    const page = await pageOf(clientId);
    expect(page).toContain("Let Cursor use ");
    expect(page).toContain("You removed this client on 21 November 2026.");
    expect(page).toContain("Deny Allow again");
    await owner.authorize(authorizationUrl(server, clientId), "deny");
    expect(await server.deps.store.clients.get(clientId)).toBeUndefined();
    expect(await pageOf(clientId)).toContain("You removed this client");
    await expectIn(clientId);
    expect(await pageOf(clientId, 200)).not.toContain("removed");
    await forget(clientId);
    expect(await pageOf(clientId)).toContain("is not known here any more");
  });

  test("is remembered over a restart, under another public URL, for a year", async () => {
    const { client_id: id } = await registerClient(server);
    await remove(id);
    server = await server.restart();
    server = await server.restart({ url: "http://localhost:7676/x" });
    server = await server.restart({ url: "http://localhost:7676" });
    owner = new Browser(server);
    await owner.signIn();
    expect(await pageOf(id)).toContain("You removed this client on 21 November 2026.");
    server.clock.advance(366 * 86_400);
    owner = new Browser(server);
    await owner.signIn();
    expect(await pageOf(id)).toContain("is not known here any more");
  });

  test("is remembered among 64; one more removed twice counts once", async () => {
    const removed: string[] = [];
    for (let count = 0; count < 66; count++) {
      const { client_id: id } = await registerClient(server, { client_name: "\u0001".repeat(200) });
      await remove(id);
      removed.push(id);
    }
    const [first = "", second = "", third = ""] = removed;
    expect(await pageOf(second)).toContain("is not known here any more");
    expect(await pageOf(third)).toContain("You removed this client");
    await expectIn(third);
    await remove(third);
    expect(await pageOf(third)).toContain("You removed this client");
    expect(await pageOf(first)).toContain("is not known here any more");
  });

  test("while its consent page was open, is asked about as removed, and not stored by the answer", async () => {
    // Without a name nothing else of the page would differ.
    const { client_id: id } = await registerClient(server, { client_name: undefined });
    const fields = hiddenFields(await (await owner.get(authorizationUrl(server, id))).text());
    await remove(id);
    const answer = await owner.post("/consent", { ...fields, decision: "allow" });
    expect(answer.headers.get("location")).toStartWith("/authorize?");
    expect(await server.deps.store.clients.get(id)).toBeUndefined();
  });

  test("together with all idle ones: those that were ever let in are remembered", async () => {
    const { clientId, tokens } = await logIn(server, {}, owner);
    const { client_id: unused } = await registerClient(server);
    await verb("DELETE", `/grants/${tokens.refresh_token.slice(4, 26)}`);
    await verb("POST", "/clients/purge");
    expect(await pageOf(clientId)).toContain("You removed this client");
    expect(await pageOf(unused)).toContain("is not known here any more");
  });

  test("who is not signed in learns nothing of it", async () => {
    const { client_id: id } = await registerClient(server, { client_name: "Cursor" });
    await remove(id);
    const stranger = await server.fetch(authorizationUrl(server, id));
    expect(stranger.status).toBe(400);
    expect(await textOf(stranger)).not.toMatch(/Cursor|removed/);
  });

  test("closed registration lets nobody in again", async () => {
    const { client_id: id } = await registerClient(server);
    await remove(id);
    server = await server.restart({ registration: "closed" });
    owner = new Browser(server);
    await owner.signIn();
    expect(await pageOf(id)).toContain("This server does not know the client");
  });
});

test("a removed client with a document of its own is asked about as removed", async () => {
  const net = startInternet("claude.ai");
  const own = await startServer({ internet: net.internet });
  const id = net.url("claude.ai", "/client");
  net.documents.set(id, () =>
    Response.json({ client_id: id, client_name: "Claude Code", redirect_uris: [REDIRECT] }),
  );
  const browser = new Browser(own);
  const url = authorizationUrl(own, id);
  await browser.authorize(url);
  expect(await textOf(await browser.get(url))).not.toContain("removed");
  const [row] = (await (
    await admin(new Request(`http://postern${ADMIN_PATH}/clients`), own.deps)
  ).json()) as { id: string }[];
  const path = `http://postern${ADMIN_PATH}/clients/${row?.id}`;
  expect((await admin(new Request(path, { method: "DELETE" }), own.deps)).status).toBe(200);
  const asked = await browser.get(url);
  expect(asked.status).toBe(200);
  expect(await textOf(asked)).toContain("You removed this client on 21 November 2026.");
  expect((await browser.authorize(url)).headers.get("location")).toContain("code=pac_");
  expect(await textOf(await browser.get(url))).not.toContain("removed");
  await own.close();
  await net.close();
});

describe("a client that got a secret with its id", () => {
  const register = (method: string | undefined): Promise<Registered> =>
    registerClient(server, { token_endpoint_auth_method: method });

  test.each(["client_secret_basic", "client_secret_post"])(
    "%s: is refused before anybody agrees to anything, with what to do",
    async (method) => {
      const { client_id: id } = await register(method);
      await expectKnown(id);
      await forget(id);
      for (const browser of [owner, new Browser(server)]) {
        const response = await browser.get(authorizationUrl(server, id));
        expect([response.status, response.headers.get("location")]).toEqual([400, null]);
        const html = await response.clone().text();
        expect(html).not.toMatch(/value="allow"|type="password"/);
        const text = await textOf(response);
        expect(text).toContain("This client has to be added again");
        expect(text).toContain(`Sent client_id=${id} redirect_uri=${REDIRECT}`);
        expect(text).toContain("Remove this server in the client and add it again");
        expect(text).toContain("postern clients add");
      }
      expect(await server.deps.store.clients.get(id)).toBeUndefined();
    },
  );

  const expectKnown = async (id: string): Promise<void> =>
    expect(await pageOf(id, 200)).toContain("Let Test client use");

  test("that it never asked for, gets in again, with the old secret or without", async () => {
    const { client_id: id, client_secret: secret = "" } = await register(undefined);
    await forget(id);
    const fields = async (): Promise<Record<string, string>> => ({
      grant_type: "authorization_code",
      client_id: id,
      code: await obtainCode(server, id, {}, owner),
      redirect_uri: REDIRECT,
      code_verifier: VERIFIER,
    });
    expect((await postToken(server, await fields())).status).toBe(200);
    const posted = { ...(await fields()), client_secret: secret };
    expect((await postToken(server, posted)).status).toBe(200);
    const basic = await server.fetch("/token", {
      method: "POST",
      headers: { authorization: `Basic ${btoa(`${id}:${secret}`)}` },
      body: new URLSearchParams(await fields()),
    });
    expect(basic.status).toBe(200);
  });
});

test("a public client that was never lost sends no secret", async () => {
  const { client_id: id } = await registerClient(server);
  const code = await obtainCode(server, id, {}, owner);
  expect((await redeemCode(server, id, code, { client_secret: PASSWORD })).status).toBe(401);
});
