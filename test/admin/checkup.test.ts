// Check-ups: the doctor is let in for a moment, answered by this very process, and leaves nothing behind, however it ends.
import { afterAll, afterEach, describe, expect, test } from "bun:test";
import { ADMIN_PATH, admin } from "../../src/admin.ts";
import type { BegunCheckup } from "../../src/admin/checkup.ts";
import { CHECKUP_HEADER, checkupName } from "../../src/checkup.ts";
import type { Arrived } from "../../src/gateway/checkup.ts";
import { type Postern, startPostern, stopProcesses } from "../process.ts";
import {
  Browser,
  type TestServer,
  callMcp,
  logIn,
  redeemCode,
  registerClient,
  startServer,
  obtainCode,
} from "../server.ts";

afterAll(stopProcesses);
const servers: TestServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});
async function start(settings = {}, owner = true): Promise<TestServer> {
  const server = await startServer({ settings, owner });
  servers.push(server);
  return server;
}

const shell = (server: TestServer, method: string, path: string): Promise<Response> =>
  admin(new Request(`http://postern${ADMIN_PATH}${path}`, { method }), server.deps);
const begin = async (server: TestServer): Promise<BegunCheckup> =>
  (await shell(server, "POST", "/checkups")).json();
const end = async (server: TestServer, key: string): Promise<{ removed: number }> =>
  (await shell(server, "DELETE", `/checkups/${key}`)).json();

const probe = (
  server: Pick<TestServer, "fetch">,
  bearer: string,
  init: RequestInit = {},
): Promise<Response> =>
  server.fetch("/mcp", {
    method: "POST",
    body: "{}",
    ...init,
    headers: { authorization: `Bearer ${bearer}`, ...init.headers },
  });

describe("the bearer of a check-up", () => {
  test("is answered with what arrived, while it runs and no longer", async () => {
    const server = await start();
    const { key } = await begin(server);
    const answer = await probe(server, `pcu_${key}.seen`, {
      headers: { "mcp-method": "tools/list", cookie: "secret=1" },
    });
    expect(answer.headers.get("mcp-session-id")).toBe(key.slice(0, 8));
    const arrived: Arrived = await answer.json();
    expect(arrived).toMatchObject({
      method: "POST",
      path: "/mcp",
      resource: "http://localhost:7676/mcp",
      peer: "203.0.113.7",
      address: "203.0.113.7",
      headers: { "mcp-method": "tools/list" },
    });
    expect(JSON.stringify(arrived)).not.toMatch(/secret|pcu_/);
    await end(server, key);
    expect((await probe(server, `pcu_${key}.seen`)).status).toBe(401);
  });

  test.each(["pcu_x.seen", "pcu_.seen", `pcu_${"A".repeat(22)}.seen`])(
    "a wrong one is a wrong token: %s",
    async (bearer) => {
      const server = await start();
      await begin(server);
      expect((await probe(server, bearer)).status).toBe(401);
    },
  );

  test("opens nothing: not the tools, not the stream of another, not the API", async () => {
    const server = await start();
    const { key } = await begin(server);
    expect((await probe(server, `pcu_${key}`)).status).toBe(401);
    expect((await probe(server, `pcu_${key}.tools`)).status).toBe(401);
    const listed = await callMcp(server, `pcu_${key}.seen`);
    expect(await listed.text()).not.toContain("whoami");
    const api = await server.fetch(`${ADMIN_PATH}/grants`, {
      headers: { authorization: `Bearer pcu_${key}.seen` },
    });
    expect(api.status).toBe(403);
  });

  test("the slow stream begins at once", async () => {
    const server = await start();
    const { key } = await begin(server);
    const answer = await probe(server, `pcu_${key}.stream`);
    expect(answer.headers.get("content-type")).toBe("text/event-stream");
    const reader = answer.body?.getReader();
    const first = await reader?.read();
    expect(new TextDecoder().decode(first?.value)).toBe("event: first\ndata: {}\n\n");
    await reader?.cancel();
  });
});

describe("a session for the doctor", () => {
  test("is the owner's until the end of the check-up", async () => {
    const server = await start();
    const { key, cookie = "" } = await begin(server);
    const connect = (): Promise<Response> => server.fetch("/connect", { headers: { cookie } });
    expect((await connect()).status).toBe(200);
    await end(server, key);
    expect((await connect()).status).toBe(303);
    expect(await server.deps.store.sessions.list()).toEqual([]);
  });

  test("there is none without an owner", async () => {
    const server = await start({}, false);
    expect((await begin(server)).cookie).toBeUndefined();
  });

  test("is not given to a browser, whoever sits at it", async () => {
    const server = await start();
    const browser = new Browser(server);
    await browser.signIn();
    const { key } = await begin(server);
    expect((await browser.send(`${ADMIN_PATH}/checkups`, { method: "POST" })).status).toBe(403);
    expect(server.deps.checkups.size).toBe(1);
    await end(server, key);
  });
});

/** A whole login, marked as the doctor's. */
async function login(
  server: Pick<TestServer, "fetch" | "config">,
  { id, key }: BegunCheckup,
): Promise<string> {
  const marked = {
    config: server.config,
    fetch: (path: string, init: RequestInit = {}) => {
      const headers = new Headers(init.headers);
      headers.set(CHECKUP_HEADER, key);
      return server.fetch(path, { ...init, headers });
    },
  };
  await marked.fetch("/mcp", { method: "POST" });
  const { client_id: client } = await registerClient(marked, {
    client_name: checkupName("Claude", id),
  });
  const code = await obtainCode(marked, client, {}, new Browser(marked));
  const { access_token: token } = await (await redeemCode(marked, client, code)).json();
  await callMcp(marked, token);
  return token;
}

describe("nothing is left behind", () => {
  test("no client, no login, no attempt, no alert", async () => {
    const heard: string[] = [];
    const hook = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: async (request) => {
        heard.push(await request.text());
        return new Response();
      },
    });
    const server = await start({ alertWebhook: `http://127.0.0.1:${hook.port}/` });
    const kept = await logIn(server);
    const before = server.deps.attempts.list().length;
    const checkup = await begin(server);
    const token = await login(server, checkup);
    expect(await server.deps.store.clients.list()).toHaveLength(2);
    expect(server.deps.attempts.list()).toHaveLength(before);
    expect((await end(server, checkup.key)).removed).toBe(1);
    expect((await server.deps.store.clients.list()).map(([id]) => id)).toEqual([kept.clientId]);
    expect(await server.deps.store.refresh_tokens.list()).toHaveLength(1);
    expect((await callMcp(server, token)).status).toBe(401);
    expect((await callMcp(server, kept.tokens.access_token)).status).toBe(200);
    expect(server.deps.attempts.list()).toHaveLength(before);
    await server.deps.alerts.close();
    expect(heard.join()).not.toContain("postern doctor");
    expect(heard.map((text) => JSON.parse(text).event)).toEqual(["new_client", "new_connection"]);
    await hook.stop(true);
  });

  test("a header that is not ours hides nobody", async () => {
    const server = await start();
    await begin(server);
    await server.fetch("/mcp", { method: "POST", headers: { [CHECKUP_HEADER]: "guessed" } });
    expect(server.deps.attempts.list()).toHaveLength(1);
  });

  test("a name alone keeps nobody from being told, and is swept", async () => {
    const server = await start();
    await registerClient(server, { client_name: checkupName("Claude", "AAAAAAAAAAA") });
    await begin(server);
    const { key } = await begin(server);
    expect((await end(server, key)).removed).toBe(1);
  });

  test("a killed server sweeps at its next start", async () => {
    const postern: Postern = await startPostern();
    const checkup: BegunCheckup = await (await postern.admin("POST", "/checkups")).json();
    await login(postern, checkup);
    await postern.kill("SIGKILL");
    await postern.restart();
    const clients = async (): Promise<unknown[]> => (await postern.admin("GET", "/clients")).json();
    while ((await clients()).length > 0) await Bun.sleep(10);
    expect(await (await postern.admin("GET", "/grants")).json()).toEqual([]);
  });

  test("so many run at once, and no more", async () => {
    const server = await start();
    for (let index = 0; index < 4; index++) await begin(server);
    expect((await shell(server, "POST", "/checkups")).status).toBe(503);
  });

  test("ending one twice does nothing", async () => {
    const server = await start();
    const { key } = await begin(server);
    expect(await end(server, key)).toEqual({ removed: 0 });
    expect(await end(server, key)).toEqual({ removed: 0 });
  });
});
