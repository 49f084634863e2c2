// Over HTTP, on a disk that takes nothing for a while: 503 and nothing lost, and everything goes on once it has space again.
import { afterEach, beforeEach, describe, expect, test as always } from "bun:test";
import { needs } from "../needs.ts";
import {
  Browser,
  type Login,
  REDIRECT,
  type TestServer,
  type Tokens,
  authorizationUrl,
  callMcp,
  hiddenFields,
  logIn,
  obtainCode,
  redeemCode,
  refreshWith,
  startServer,
} from "../server.ts";
import { limitFiles } from "./token_disk.ts";

const test = needs("linux", "prlimit");

let server: TestServer;
let login: Login;
beforeEach(async () => {
  server = await startServer();
  login = await logIn(server);
});
afterEach(async () => {
  limitFiles("unlimited");
  await server.close();
});

/** Runs `work` while no file takes a byte. */
async function onFullDisk<T>(work: () => Promise<T>): Promise<T> {
  limitFiles(0);
  try {
    return await work();
  } finally {
    limitFiles("unlimited");
  }
}

/** RFC 6749 §5.2 has no code for it; clients keep their tokens on this one. */
async function expectUnavailable(response: Response): Promise<void> {
  expect([response.status, response.headers.get("retry-after")]).toEqual([503, "5"]);
  expect(response.headers.get("cache-control")).toBe("no-store");
  expect(response.headers.get("access-control-allow-origin")).toBe("*");
  expect(await response.json()).toEqual({
    error: "temporarily_unavailable",
    error_description: "the server cannot save changes at the moment, try again soon",
  });
}

const revoke = (token: string): Promise<Response> =>
  server.fetch("/revoke", {
    method: "POST",
    body: new URLSearchParams({ client_id: login.clientId, token }),
  });
const register = (): Promise<Response> =>
  server.fetch("/register", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ redirect_uris: [REDIRECT], token_endpoint_auth_method: "none" }),
  });

test("a refresh rotates nothing, and the same token gets the next generation afterwards", async () => {
  const { refresh_token: token, access_token: access } = login.tokens;
  const before = await server.deps.store.refresh_tokens.list();
  await onFullDisk(async () => {
    for (let count = 0; count < 3; count++) {
      await expectUnavailable(await refreshWith(server, login.clientId, token));
    }
    expect(await server.deps.store.refresh_tokens.list()).toEqual(before);
    expect((await callMcp(server, access)).status).toBe(200);
  });
  const next = (await (await refreshWith(server, login.clientId, token)).json()) as Tokens;
  expect(next.refresh_token.split(".")[1]).toBe("2");
  expect((await callMcp(server, next.access_token)).status).toBe(200);
});

test("20 refreshes at once are 503 together, and the same token is good afterwards", async () => {
  const { refresh_token: token } = login.tokens;
  await onFullDisk(async () => {
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => refreshWith(server, login.clientId, token)),
    );
    for (const answer of answers) await expectUnavailable(answer);
  });
  server = await server.restart();
  expect((await refreshWith(server, login.clientId, token)).status).toBe(200);
});

test("a code is not used up: it is good until its own end, and then once", async () => {
  const code = await obtainCode(server, login.clientId);
  await onFullDisk(async () => {
    await expectUnavailable(await redeemCode(server, login.clientId, code));
    await expectUnavailable(await redeemCode(server, login.clientId, code));
  });
  const tokens = (await (await redeemCode(server, login.clientId, code)).json()) as Tokens;
  expect((await callMcp(server, tokens.access_token)).status).toBe(200);
  expect((await redeemCode(server, login.clientId, code)).status).toBe(400);
});

test("a code that waited for the disk too long has expired", async () => {
  const code = await obtainCode(server, login.clientId);
  await onFullDisk(async () => expectUnavailable(await redeemCode(server, login.clientId, code)));
  server.clock.advance(60);
  expect((await redeemCode(server, login.clientId, code)).status).toBe(400);
});

test("a registration is not answered that is not saved", async () => {
  const before = await server.deps.store.clients.list();
  await onFullDisk(async () => expectUnavailable(await register()));
  expect(await server.deps.store.clients.list()).toEqual(before);
  expect((await register()).status).toBe(201);
});

test("consent says so on a page, and the same form is good afterwards", async () => {
  const browser = new Browser(server);
  await browser.signIn();
  const page = await browser.get(authorizationUrl(server, login.clientId));
  const form = { ...hiddenFields(await page.text()), decision: "allow" };
  await onFullDisk(async () => {
    const answer = await browser.post("/consent", form);
    expect([answer.status, answer.headers.get("location")]).toEqual([503, null]);
    expect(answer.headers.get("content-type")).toStartWith("text/html");
  });
  const answer = await browser.post("/consent", form);
  const code = new URL(answer.headers.get("location") ?? "").searchParams.get("code") ?? "";
  expect((await redeemCode(server, login.clientId, code)).status).toBe(200);
});

describe("what takes rights away holds at once, and over a restart", () => {
  const expectDead = async (tokens: Tokens): Promise<void> => {
    expect((await callMcp(server, tokens.access_token)).status).toBe(401);
    const refresh = await refreshWith(server, login.clientId, tokens.refresh_token);
    expect(refresh.status).toBe(400);
  };

  const refreshed = async (): Promise<Tokens> => {
    const answer = await refreshWith(server, login.clientId, login.tokens.refresh_token);
    return (await answer.json()) as Tokens;
  };

  test("a revocation", async () => {
    await onFullDisk(async () => {
      await expectUnavailable(await revoke(login.tokens.refresh_token));
      await expectDead(login.tokens);
    });
    server = await server.restart();
    await expectDead(login.tokens);
  });

  test("a superseded token that comes back", async () => {
    const next = await refreshed();
    await callMcp(server, next.access_token);
    server.clock.advance(3601);
    await onFullDisk(async () => {
      const stolen = await refreshWith(server, login.clientId, login.tokens.refresh_token);
      await expectUnavailable(stolen);
      await expectDead(next);
    });
    server = await server.restart();
    await expectDead(next);
  });

  test("the first use of a token: the one before it is superseded while the disk is full", async () => {
    const next = await refreshed();
    await onFullDisk(async () => {
      expect((await callMcp(server, next.access_token)).status).toBe(200);
      server.clock.advance(3601);
      // Its end is not saved either, but holds: whoever comes next is told so.
      const { refresh_token: superseded } = login.tokens;
      await expectUnavailable(await refreshWith(server, login.clientId, superseded));
      expect((await refreshWith(server, login.clientId, superseded)).status).toBe(400);
      await expectDead(next);
    });
    server = await server.restart();
    await expectDead(next);
  });

  test("and stays superseded when there is space again", async () => {
    const next = await refreshed();
    await onFullDisk(async () => {
      expect((await callMcp(server, next.access_token)).status).toBe(200);
    });
    server.clock.advance(3601);
    server = await server.restart();
    const answer = await refreshWith(server, login.clientId, login.tokens.refresh_token);
    expect(answer.status).toBe(400);
    await expectDead(next);
  });

  test("a code that is redeemed again", async () => {
    const code = await obtainCode(server, login.clientId);
    const tokens = (await (await redeemCode(server, login.clientId, code)).json()) as Tokens;
    await onFullDisk(async () => {
      await expectUnavailable(await redeemCode(server, login.clientId, code));
      await expectDead(tokens);
    });
    server = await server.restart();
    await expectDead(tokens);
  });
});

always("our own failure is not the client's: it is counted against nobody", async () => {
  await server.close();
  server = await startServer({ settings: { rateLimits: "on" } });
  login = await logIn(server);
  const { store } = server.deps;
  const { update } = store;
  const { StoreUnavailable } = await import("../../src/errors.ts");
  Object.assign(store, { update: () => Promise.reject(new StoreUnavailable("no space left")) });
  for (let count = 0; count < 30; count++) {
    const answer = await refreshWith(server, login.clientId, login.tokens.refresh_token);
    await expectUnavailable(answer);
    await expectUnavailable(await register());
  }
  Object.assign(store, { update });
  const answer = await refreshWith(server, login.clientId, login.tokens.refresh_token);
  expect(answer.status).toBe(200);
  expect((await register()).status).toBe(201);
});
