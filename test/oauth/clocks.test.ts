// A clock that is wrong for a while: what was expired or superseded stays so when it is right again, and nobody is told that a
// login is over when only a doubted clock says so.
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { cpSync, rmSync } from "node:fs";
import {
  Browser,
  type Login,
  type TestServer,
  type Tokens,
  callMcp,
  logIn,
  refreshWith,
  startServer,
  temporaryFolder,
  testClock,
} from "../server.ts";

const HOUR = 3600;
const DAY = 24 * HOUR;
const STRANGER = "198.51.100.99";

let server: TestServer;
let login: Login;
/** Seconds that have passed, whatever the clock was set to. */
let running: number;
beforeEach(async () => {
  running = 0;
  server = await startServer({ clock: testClock(), monotonic: () => running * 1000 });
  login = await logIn(server);
});
afterEach(() => server.close());

function pass(seconds: number): void {
  running += seconds;
  server.clock.advance(seconds);
}

/** Starts again under a clock that is `seconds` ahead of the one before. */
async function restartAhead(seconds: number): Promise<void> {
  server.clock.advance(seconds);
  server = await server.restart();
}

const asked = (token: string, from?: string): Promise<Response> =>
  refreshWith(server, login.clientId, token, {}, from);
async function refreshed(token: string): Promise<Tokens> {
  const response = await asked(token);
  expect(response.status).toBe(200);
  return (await response.json()) as Tokens;
}
const call = async ({ access_token: token }: Tokens): Promise<number> =>
  (await callMcp(server, token)).status;

/** The clock is set back while the server runs, and believed a day later. */
async function setRight(ahead: number, hourly?: () => Promise<unknown>): Promise<void> {
  server.clock.advance(-ahead);
  for (let hours = 0; hours < 26; hours++) {
    pass(HOUR);
    server.deps.now();
    await hourly?.();
  }
}

describe("80 days ahead at a start, and right again", () => {
  const AHEAD = 80 * DAY;
  let second: Tokens;
  let third: Tokens;
  beforeEach(async () => {
    second = await refreshed(login.tokens.refresh_token);
    await restartAhead(AHEAD);
    third = await refreshed(second.refresh_token);
  });

  test("an access token that has expired stays so, and its login goes on", async () => {
    expect(await call(third)).toBe(200);
    pass(2 * HOUR);
    expect(await call(third)).toBe(401);
    await setRight(AHEAD);
    expect(await call(third)).toBe(401);
    const next = await refreshed(third.refresh_token);
    expect(await call(next)).toBe(200);
    expect(await call(third)).toBe(401);
    pass(40 * DAY);
    expect(await call(third)).toBe(401);
  });

  test("a superseded refresh token stays so, for strangers and siblings", async () => {
    expect(await call(third)).toBe(200);
    await setRight(AHEAD);
    expect((await asked(second.refresh_token, STRANGER)).status).toBe(400);
    expect((await asked(third.refresh_token)).status).toBe(400);
  });

  test("a lost answer is given again, with an access token that lives as long as any", async () => {
    await setRight(AHEAD);
    const again = await refreshed(second.refresh_token);
    expect(again.refresh_token).toBe(third.refresh_token);
    expect(again.expires_in).toBe(HOUR);
    pass(HOUR);
    expect(await call(again)).toBe(401);
  });

  test("a browser that signed in meanwhile is signed out after 30 days, however busy", async () => {
    const browser = new Browser(server);
    await browser.signIn();
    const seen = async (): Promise<number> => (await browser.get("/account")).status;
    await setRight(AHEAD, seen);
    for (let hours = 0; hours < 28 * 24; hours += 10) {
      expect(await seen()).toBe(200);
      pass(10 * HOUR);
    }
    for (let hours = 0; hours < 3 * 24; hours += 10) {
      await seen();
      pass(10 * HOUR);
    }
    expect(await seen()).toBe(303);
  });
});

describe("more than 90 days ahead at a start", () => {
  /** RFC 6749 §5.2 has no code for it; clients keep their tokens on this one. */
  async function expectPutOff(token: string, from?: string): Promise<void> {
    const response = await asked(token, from);
    expect([response.status, response.headers.get("retry-after")]).toEqual([503, "60"]);
    expect(await response.json()).toMatchObject({ error: "temporarily_unavailable" });
  }
  const grants = () => server.deps.store.refresh_tokens.list();

  test.each([
    ["idle for too long", 100 * DAY],
    ["past its absolute end", 3650 * DAY],
  ])("%s is 503 and changes nothing; right again, everybody is in", async (_, ahead) => {
    const before = await grants();
    await restartAhead(ahead);
    // RFC 6750 §3.1: what a client does about it is to refresh.
    expect(await call(login.tokens)).toBe(401);
    await expectPutOff(login.tokens.refresh_token);
    expect(await grants()).toEqual(before);
    server.clock.advance(-ahead);
    expect(await call(login.tokens)).toBe(200);
    await refreshed(login.tokens.refresh_token);
  });

  test("a day later the clock is believed: 400", async () => {
    await restartAhead(100 * DAY);
    pass(DAY - 1);
    await expectPutOff(login.tokens.refresh_token);
    pass(1);
    expect((await asked(login.tokens.refresh_token)).status).toBe(400);
  });

  test("a used token's predecessor is put off while its windows may be open, and ends the login then", async () => {
    const second = await refreshed(login.tokens.refresh_token);
    expect(await call(second)).toBe(200);
    await restartAhead(100 * DAY);
    await expectPutOff(login.tokens.refresh_token, STRANGER);
    server.clock.advance(-100 * DAY);
    expect((await asked(login.tokens.refresh_token, STRANGER)).status).toBe(200);
    pass(HOUR);
    expect((await asked(login.tokens.refresh_token, STRANGER)).status).toBe(400);
    expect(await grants()).toEqual([]);
  });

  test.each([100, 3650])("a token older than that ends the login, %d days ahead", async (days) => {
    const second = await refreshed(login.tokens.refresh_token);
    await refreshed(second.refresh_token);
    await restartAhead(days * DAY);
    expect((await asked(login.tokens.refresh_token)).status).toBe(400);
    expect(await grants()).toEqual([]);
  });

  test("a token that the folder does not know yet goes forward, before the absolute end", async () => {
    const folder = temporaryFolder();
    cpSync(server.folder, folder, { recursive: true });
    const second = await refreshed(login.tokens.refresh_token);
    await server.close();
    server = await startServer({ folder, clock: server.clock, monotonic: () => running * 1000 });
    await restartAhead(100 * DAY);
    expect((await refreshed(second.refresh_token)).refresh_token.split(".")[1]).toBe("3");
    rmSync(folder, { recursive: true });
  });

  test("while it runs it counts by itself: nothing is put off", async () => {
    const second = await refreshed(login.tokens.refresh_token);
    expect(await call(second)).toBe(200);
    server.clock.advance(3650 * DAY);
    expect(await call(second)).toBe(200);
    pass(HOUR + 1);
    expect((await asked(login.tokens.refresh_token)).status).toBe(400);
  });
});

test("set back by a minute: refreshes under way and tokens in hand are good", async () => {
  server.clock.advance(-60);
  server.deps.now();
  pass(50);
  const second = await refreshed(login.tokens.refresh_token);
  expect(await call(second)).toBe(200);
  const before = server.deps.now();
  pass(20);
  expect(server.deps.now()).toBe(before - 40_000);
  const again = await asked(login.tokens.refresh_token, STRANGER);
  expect(((await again.json()) as Tokens).refresh_token).toBe(second.refresh_token);
  expect(await call(second)).toBe(200);
});

test("tokens made under a longer setting live on when it is made shorter", async () => {
  server = await server.restart({ accessTokenTtl: "24h" });
  const tokens = await refreshed(login.tokens.refresh_token);
  server = await server.restart({ accessTokenTtl: "1h" });
  pass(20 * HOUR);
  expect(await call(tokens)).toBe(200);
  pass(4 * HOUR);
  expect(await call(tokens)).toBe(401);
});
