import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { cpSync, rmSync } from "node:fs";
import {
  Browser,
  type Login,
  type TestServer,
  callMcp,
  logIn,
  obtainCode,
  postToken,
  redeemCode,
  refreshWith,
  registerClient,
  startServer,
  temporaryFolder,
  type Tokens,
} from "../server.ts";

let server: TestServer;
let login: Login;
beforeEach(async () => {
  server = await startServer();
  login = await logIn(server);
});
afterEach(() => server.close());

const STRANGER = "198.51.100.99";

async function refreshed(token: string, changes = {}, from?: string): Promise<Tokens> {
  const response = await refreshWith(server, login.clientId, token, changes, from);
  expect(response.status).toBe(200);
  return (await response.json()) as Tokens;
}

async function refused(
  token: string,
  error = "invalid_grant",
  changes = {},
  from?: string,
): Promise<void> {
  const response = await refreshWith(server, login.clientId, token, changes, from);
  expect([response.status, ((await response.json()) as { error: string }).error]).toEqual([
    400,
    error,
  ]);
}

const generation = (token: string): number => Number(token.split(".")[1]);
const status = async (tokens: Tokens): Promise<number> =>
  (await callMcp(server, tokens.access_token)).status;
const familyOf = (token: string): string => token.slice(4, 26);
const grantOf = (token: string) => server.deps.store.refresh_tokens.get(familyOf(token));

describe("p = g", () => {
  test("RFC 6749 §6: rotates and answers as RFC 6749 §5.1 says", async () => {
    const response = await refreshWith(server, login.clientId, login.tokens.refresh_token);
    expect(response.headers.get("cache-control")).toBe("no-store");
    const tokens = (await response.json()) as Tokens;
    expect(tokens).toMatchObject({ token_type: "Bearer", expires_in: 3600, scope: "mcp" });
    expect(generation(tokens.refresh_token)).toBe(2);
    expect(await status(tokens)).toBe(200);
  });

  test("the answer is on disk before it is given", async () => {
    const copy = temporaryFolder();
    const tokens = await refreshed(login.tokens.refresh_token);
    cpSync(server.folder, copy, { recursive: true });
    const other = await startServer({ folder: copy, clock: server.clock });
    expect((await callMcp(other, tokens.access_token)).status).toBe(200);
    expect((await refreshWith(other, login.clientId, tokens.refresh_token)).status).toBe(200);
    await other.close();
    rmSync(copy, { recursive: true });
  });

  test("the predecessor's access token lives on to its own end", async () => {
    const tokens = await refreshed(login.tokens.refresh_token);
    expect(await status(login.tokens)).toBe(200);
    expect(await status(tokens)).toBe(200);
    server.clock.advance(3601);
    expect(await status(tokens)).toBe(401);
  });

  test("is a use of g: its access token, coming later, says nothing new", async () => {
    await refreshed(login.tokens.refresh_token);
    const before = await grantOf(login.tokens.refresh_token);
    expect(await status(login.tokens)).toBe(200);
    await server.deps.store.update((draft) => draft.get("owner", "owner"));
    expect(await grantOf(login.tokens.refresh_token)).toBe(before);
  });

  test("eight live access tokens at most", async () => {
    let { tokens } = login;
    const all = [tokens];
    for (let count = 0; count < 9; count++)
      all.push((tokens = await refreshed(tokens.refresh_token)));
    const statuses = await Promise.all(all.map(status));
    expect(statuses).toEqual([401, 401, 200, 200, 200, 200, 200, 200, 200, 200]);
  });
});

describe("p = g - 1", () => {
  test("10 parallel refreshes get the same successor, and every later chain works", async () => {
    const answers = await Promise.all(
      Array.from({ length: 10 }, () => refreshed(login.tokens.refresh_token)),
    );
    expect(new Set(answers.map((tokens) => tokens.refresh_token)).size).toBe(1);
    expect(new Set(answers.map((tokens) => tokens.access_token)).size).toBe(1);
    for (const tokens of answers) expect(await status(tokens)).toBe(200);
    await Promise.all(answers.map((tokens) => refreshed(tokens.refresh_token)));
  });

  test("a lost answer, twice in a row, days later: the same bytes", async () => {
    const lost = await refreshed(login.tokens.refresh_token);
    server.clock.advance(2 * 86_400);
    const again = await refreshed(login.tokens.refresh_token, {}, STRANGER);
    expect(again.refresh_token).toBe(lost.refresh_token);
    expect(again.access_token).toBe(lost.access_token);
    server.clock.advance(86_400);
    const third = await refreshed(login.tokens.refresh_token, {}, STRANGER);
    expect(third.refresh_token).toBe(lost.refresh_token);
    expect(await status(third)).toBe(200);
  });

  test("a late retry after the successor was used ends the family", async () => {
    const tokens = await refreshed(login.tokens.refresh_token);
    expect(await status(tokens)).toBe(200);
    server.clock.advance(121);
    await refused(login.tokens.refresh_token, "invalid_grant", {}, STRANGER);
    expect(await grantOf(tokens.refresh_token)).toBeUndefined();
    expect(await status(tokens)).toBe(401);
    await refused(tokens.refresh_token);
  });

  test("within 120 s of the rotation, used or not, from anywhere", async () => {
    const tokens = await refreshed(login.tokens.refresh_token);
    expect(await status(tokens)).toBe(200);
    server.clock.advance(120);
    const again = await refreshed(login.tokens.refresh_token, {}, STRANGER);
    expect(again.refresh_token).toBe(tokens.refresh_token);
  });

  test("a sibling of the same network has an hour, a stranger has not", async () => {
    const tokens = await refreshed(login.tokens.refresh_token, {}, "203.0.113.7");
    expect(await status(tokens)).toBe(200);
    server.clock.advance(3600);
    const again = await refreshed(login.tokens.refresh_token, {}, "203.0.113.200");
    expect(again.refresh_token).toBe(tokens.refresh_token);
    server.clock.advance(1);
    await refused(login.tokens.refresh_token, "invalid_grant", {}, "203.0.113.200");
  });

  test("nobody is a sibling of those whose address cannot be read", async () => {
    const tokens = await refreshed(login.tokens.refresh_token, {}, "_hidden");
    expect(await status(tokens)).toBe(200);
    server.clock.advance(121);
    await refused(login.tokens.refresh_token, "invalid_grant", {}, "_hidden");
  });

  test("no replay moves a window", async () => {
    const tokens = await refreshed(login.tokens.refresh_token, {}, "203.0.113.7");
    await status(tokens);
    for (const step of [30, 30, 30, 30]) {
      server.clock.advance(step);
      await refreshed(login.tokens.refresh_token, {}, STRANGER);
    }
    server.clock.advance(1);
    await refused(login.tokens.refresh_token, "invalid_grant", {}, STRANGER);
  });

  test("a replay after the access token expired renews it, once, for all", async () => {
    const lost = await refreshed(login.tokens.refresh_token);
    server.clock.advance(3601);
    expect(await status(lost)).toBe(401);
    const again = await refreshed(login.tokens.refresh_token);
    expect(again.access_token).toBe(lost.access_token);
    expect(again.expires_in).toBe(3600);
    expect(await status(lost)).toBe(200);
  });

  test("a replay that changes nothing writes nothing", async () => {
    await refreshed(login.tokens.refresh_token);
    const before = await grantOf(login.tokens.refresh_token);
    await refreshed(login.tokens.refresh_token);
    expect(await grantOf(login.tokens.refresh_token)).toBe(before);
  });

  test("RFC 7009 §2.1: a revoked access token is not handed out again, the retry rotates", async () => {
    const lost = await refreshed(login.tokens.refresh_token);
    await server.fetch("/revoke", {
      method: "POST",
      body: new URLSearchParams({ client_id: login.clientId, token: lost.access_token }),
    });
    expect(await status(lost)).toBe(401);
    const again = await refreshed(login.tokens.refresh_token);
    expect(generation(again.refresh_token)).toBe(3);
    expect(await status(again)).toBe(200);
    expect(await status(lost)).toBe(401);
  });

  describe("after its access token was revoked", () => {
    let first: Tokens;
    beforeEach(async () => {
      first = await refreshed(login.tokens.refresh_token);
      await server.fetch("/revoke", {
        method: "POST",
        body: new URLSearchParams({ client_id: login.clientId, token: first.access_token }),
      });
    });

    test("parallel retries and both siblings get one and the same successor", async () => {
      const { refresh_token: old } = login.tokens;
      const answers = [
        ...(await Promise.all([old, old, old].map((token) => refreshed(token)))),
        await refreshed(first.refresh_token),
      ];
      expect(new Set(answers.map(({ refresh_token: token }) => token)).size).toBe(1);
      expect(new Set(answers.map(({ access_token: token }) => token)).size).toBe(1);
    });

    test("a lost answer to the retry is not punished, days later, over a restart", async () => {
      const lost = await refreshed(login.tokens.refresh_token);
      server.clock.advance(2 * 86_400);
      server = await server.restart();
      expect((await refreshed(login.tokens.refresh_token)).refresh_token).toBe(lost.refresh_token);
      await refreshed(lost.refresh_token);
      await refused(login.tokens.refresh_token);
    });

    test("the windows are those of the newest rotation", async () => {
      const next = await refreshed(login.tokens.refresh_token, {}, "203.0.113.7");
      expect(await status(next)).toBe(200);
      server.clock.advance(3600);
      await refreshed(login.tokens.refresh_token, {}, "203.0.113.200");
      await refused(login.tokens.refresh_token, "invalid_grant", {}, STRANGER);
      await refused(next.refresh_token);
    });
  });

  test("a login whose answers get lost is in use: 90 days count from the last of them", async () => {
    await refreshed(login.tokens.refresh_token);
    server.clock.advance(60 * 86_400);
    const again = await refreshed(login.tokens.refresh_token);
    server.clock.advance(60 * 86_400);
    await refreshed(again.refresh_token);
  });
});

describe("p > g: the folder is an older copy", () => {
  test.each([1, 10, 100])("a copy %d rotations old goes forward", async (rotations) => {
    const copy = temporaryFolder();
    cpSync(server.folder, copy, { recursive: true });
    let { tokens } = login;
    for (let count = 0; count < rotations; count++) tokens = await refreshed(tokens.refresh_token);
    const restored = await startServer({ folder: copy, clock: server.clock });
    const response = await refreshWith(restored, login.clientId, tokens.refresh_token);
    expect(response.status).toBe(200);
    const next = (await response.json()) as Tokens;
    expect(generation(next.refresh_token)).toBe(rotations + 2);
    expect((await callMcp(restored, next.access_token)).status).toBe(200);
    await restored.close();
    rmSync(copy, { recursive: true });
  });

  test("idle expiry of the old record does not count, whatever its age", async () => {
    const copy = temporaryFolder();
    cpSync(server.folder, copy, { recursive: true });
    let { tokens } = login;
    for (let days = 0; days < 200; days += 50) {
      server.clock.advance(50 * 86_400);
      tokens = await refreshed(tokens.refresh_token);
    }
    const restored = await startServer({ folder: copy, clock: server.clock });
    expect((await refreshWith(restored, login.clientId, tokens.refresh_token)).status).toBe(200);
    await restored.close();
    rmSync(copy, { recursive: true });
  });
});

describe("any other p: a superseded token came back", () => {
  test("two generations back ends the family, over a restart too", async () => {
    const second = await refreshed(login.tokens.refresh_token);
    const third = await refreshed(second.refresh_token);
    await refused(login.tokens.refresh_token);
    expect(await status(third)).toBe(401);
    server = await server.restart();
    await refused(third.refresh_token);
    expect(await status(third)).toBe(401);
  });

  test("superseded and used, then a restart, then the old one comes: the family is dead", async () => {
    const tokens = await refreshed(login.tokens.refresh_token, {}, STRANGER);
    expect(await status(tokens)).toBe(200);
    server.clock.advance(3601);
    server = await server.restart();
    await refused(login.tokens.refresh_token);
    await refused(tokens.refresh_token);
  });

  test("whatever else the request says", async () => {
    const second = await refreshed(login.tokens.refresh_token);
    await refreshed(second.refresh_token);
    await refused(login.tokens.refresh_token, "invalid_grant", {
      scope: "admin",
      resource: "https://other.test/",
    });
    expect(await grantOf(login.tokens.refresh_token)).toBeUndefined();
  });
});

describe("what is checked first changes nothing", () => {
  const untouched = async (work: () => Promise<void>): Promise<void> => {
    const before = await grantOf(login.tokens.refresh_token);
    await work();
    expect(await grantOf(login.tokens.refresh_token)).toBe(before);
    await refreshed(login.tokens.refresh_token);
  };
  const withPart = (index: number, text: string): string => {
    const parts = login.tokens.refresh_token.slice(4).split(".");
    parts[index] = text;
    return `prt_${parts.join(".")}`;
  };

  test.each([
    ["wrong secret", () => withPart(2, "A".repeat(43))],
    ["wrong tag", () => withPart(3, "A".repeat(43))],
    ["a later generation without its tag", () => withPart(1, "2")],
    ["unknown family", () => withPart(0, "A".repeat(22))],
    ["leading zero", () => withPart(1, "01")],
    ["generation zero", () => withPart(1, "0")],
    ["huge generation", () => withPart(1, "99999999999999999999")],
    ["cut short", () => login.tokens.refresh_token.slice(0, -1)],
    ["over 512 bytes", () => `${login.tokens.refresh_token}${"A".repeat(512)}`],
    ["an access token", () => login.tokens.access_token],
    ["__proto__", () => "__proto__"],
    ["spaces", () => ` ${login.tokens.refresh_token}`],
  ])("%s: invalid_grant", async (_name, token) => {
    await untouched(() => refused(token()));
  });

  test("RFC 6749 §10.4: another client's token is refused and its family lives", async () => {
    const other = await registerClient(server);
    await untouched(async () => {
      const response = await refreshWith(server, other.client_id, login.tokens.refresh_token);
      expect([response.status, await response.json()]).toMatchObject([
        400,
        { error: "invalid_grant" },
      ]);
    });
  });

  test("an unknown client is 401 invalid_client, so that clients register anew", async () => {
    await untouched(async () => {
      const response = await refreshWith(server, "gone", login.tokens.refresh_token);
      expect([response.status, await response.json()]).toMatchObject([
        401,
        { error: "invalid_client" },
      ]);
    });
  });

  test("RFC 6749 §6: a wider scope is invalid_scope", async () => {
    await untouched(() =>
      refused(login.tokens.refresh_token, "invalid_scope", { scope: "mcp admin" }),
    );
  });

  test("RFC 8707 §2.2: another resource is invalid_target", async () => {
    await untouched(() =>
      refused(login.tokens.refresh_token, "invalid_target", { resource: "https://other.test/mcp" }),
    );
  });

  test("repeated parameters are invalid_request", async () => {
    await untouched(async () => {
      const body = new URLSearchParams({ grant_type: "refresh_token", client_id: login.clientId });
      body.append("refresh_token", login.tokens.refresh_token);
      body.append("refresh_token", login.tokens.refresh_token);
      const response = await server.fetch("/token", { method: "POST", body });
      expect([response.status, await response.json()]).toMatchObject([
        400,
        { error: "invalid_request" },
      ]);
    });
  });
});

describe("ends", () => {
  test("idle for 90 days", async () => {
    server.clock.advance(90 * 86_400);
    await refused(login.tokens.refresh_token);
  });

  test("a day before that it slides on", async () => {
    server.clock.advance(89 * 86_400);
    const tokens = await refreshed(login.tokens.refresh_token);
    server.clock.advance(89 * 86_400);
    await refreshed(tokens.refresh_token);
  });

  test("365 days after the login, however busy", async () => {
    let { tokens } = login;
    for (let days = 0; days < 360; days += 60) {
      server.clock.advance(60 * 86_400);
      tokens = await refreshed(tokens.refresh_token);
    }
    server.clock.advance(5 * 86_400);
    await refused(tokens.refresh_token);
  });

  test("an access token never outlives its grant", async () => {
    let { tokens } = login;
    for (const days of [80, 80, 80, 80, 45 - 0.01]) {
      server.clock.advance(days * 86_400);
      tokens = await refreshed(tokens.refresh_token);
    }
    expect(tokens.expires_in).toBeLessThan(900);
  });

  test("a grant of another public URL sleeps, and wakes when the URL returns", async () => {
    server = await server.restart({ url: "https://elsewhere.test" });
    await refused(login.tokens.refresh_token, "invalid_target");
    server = await server.restart({ url: "" });
    await refreshed(login.tokens.refresh_token);
  });
});

describe("narrowed scope", () => {
  test("gives a narrow access token and keeps the grant", async () => {
    const wide = await startServer({ settings: { scopes: "read write" } });
    const { clientId, tokens } = await logIn(wide);
    const narrow = (await (
      await refreshWith(wide, clientId, tokens.refresh_token, { scope: "read" })
    ).json()) as Tokens;
    expect(narrow.scope).toBe("read");
    const again = (await (
      await refreshWith(wide, clientId, tokens.refresh_token, { scope: "read" })
    ).json()) as Tokens;
    expect(again.access_token).toBe(narrow.access_token);
    const full = (await (await refreshWith(wide, clientId, tokens.refresh_token)).json()) as Tokens;
    expect(full.scope).toBe("read write");
    expect(full.access_token).not.toBe(narrow.access_token);
    expect((await callMcp(wide, narrow.access_token)).status).toBe(200);
    expect((await callMcp(wide, full.access_token)).status).toBe(200);
    await wide.close();
  });
});

describe("scopes that the owner renamed or removed", () => {
  const restartWith = async (scopes: string): Promise<void> => {
    server = await server.restart({ scopes });
  };
  beforeEach(async () => {
    await server.close();
    server = await startServer({ settings: { scopes: "read write" } });
    login = await logIn(server);
  });

  test("none left: invalid_grant, so that the client logs in again; they return and so does the login", async () => {
    await restartWith("notes");
    for (const changes of [{}, { scope: "read write" }, { scope: "offline_access" }]) {
      await refused(login.tokens.refresh_token, "invalid_grant", changes);
    }
    const { tokens } = await logIn(server);
    expect(tokens.scope).toBe("notes");
    await restartWith("read");
    expect((await refreshed(login.tokens.refresh_token)).scope).toBe("read");
  });

  test("some left: those, for whoever asks for nothing and for all that it was granted", async () => {
    await restartWith("write notes");
    const { refresh_token: next, scope } = await refreshed(login.tokens.refresh_token);
    expect(scope).toBe("write");
    expect((await refreshed(next, { scope: "read write" })).scope).toBe("write");
  });

  test("RFC 6749 §6: asked for one that is gone, or was never granted: invalid_scope", async () => {
    await restartWith("write notes");
    await refused(login.tokens.refresh_token, "invalid_scope", { scope: "read" });
    await refused(login.tokens.refresh_token, "invalid_scope", { scope: "write notes" });
    await restartWith("notes");
    await refused(login.tokens.refresh_token, "invalid_scope", { scope: "notes" });
  });
});

describe("races", () => {
  test("refresh and revoke in the same group: the family stays dead", async () => {
    const revoke = server.fetch("/revoke", {
      method: "POST",
      body: new URLSearchParams({ client_id: login.clientId, token: login.tokens.refresh_token }),
    });
    const refresh = refreshWith(server, login.clientId, login.tokens.refresh_token);
    const [revoked, answer] = await Promise.all([revoke, refresh]);
    expect(revoked.status).toBe(200);
    if (answer.status === 200) expect(await status((await answer.json()) as Tokens)).toBe(401);
    expect(await grantOf(login.tokens.refresh_token)).toBeUndefined();
  });

  test("64 parallel refreshes of 64 logins share their syncs", async () => {
    const browser = new Browser(server);
    await browser.signIn();
    const logins = await Promise.all(Array.from({ length: 64 }, () => logIn(server, {}, browser)));
    const { counters } = server;
    const before = counters.syncs;
    const answers = await Promise.all(
      logins.map(({ clientId, tokens }) => refreshWith(server, clientId, tokens.refresh_token)),
    );
    expect(answers.every((response) => response.status === 200)).toBe(true);
    expect(counters.syncs - before).toBeLessThanOrEqual(8);
  });

  test("a client that did not ask for refresh tokens gets none", async () => {
    const { client_id: clientId } = await registerClient(server, {
      grant_types: ["authorization_code"],
    });
    const response = await redeemCode(server, clientId, await obtainCode(server, clientId));
    expect(await response.json()).not.toHaveProperty("refresh_token");
    const denied = await postToken(server, {
      grant_type: "refresh_token",
      client_id: clientId,
      refresh_token: "x",
    });
    expect([denied.status, await denied.json()]).toMatchObject([
      400,
      { error: "unauthorized_client" },
    ]);
  });
});
