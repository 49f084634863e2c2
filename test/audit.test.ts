// The audit trail: what of a login's life is told, and that strangers cannot write it full.
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { AuditEvent } from "../src/audit.ts";
import {
  type Login,
  type TestServer,
  type Tokens,
  callMcp,
  logIn,
  obtainCode,
  postToken,
  redeemCode,
  refreshWith,
  registerClient,
  startServer,
} from "./server.ts";

let server: TestServer;
beforeEach(async () => {
  server = await startServer();
});
afterEach(() => server.close());

const trail = (): AuditEvent[] =>
  readFileSync(join(server.folder, "audit.jsonl"), "utf8")
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line));
/** The events of a kind, without their time and the id of their request. */
const told = (...names: string[]): Record<string, unknown>[] =>
  trail()
    .filter(({ event }) => names.includes(event))
    .map(({ at: _at, request: _request, ...fields }) => fields);

describe("the life of a login", () => {
  const STRANGER = "198.51.100.99";
  let login: Login;
  let about: Record<string, unknown>;
  beforeEach(async () => {
    login = await logIn(server);
    const family = login.tokens.refresh_token.slice(4, 26);
    about = { client: login.clientId, family, address: "203.0.113.7" };
  });
  const refreshed = async (token: string, from?: string): Promise<Tokens> =>
    (await (await refreshWith(server, login.clientId, token, {}, from)).json()) as Tokens;
  const revoke = (fields: Record<string, string>): Promise<Response> =>
    server.fetch("/revoke", {
      method: "POST",
      body: new URLSearchParams({ client_id: login.clientId, ...fields }),
    });

  test("a refresh tells the generation that it made, the retry within the window nothing", async () => {
    const second = await refreshed(login.tokens.refresh_token);
    await refreshed(login.tokens.refresh_token);
    await refreshed(second.refresh_token);
    expect(told("grant_refreshed", "refresh_replayed")).toEqual([
      { event: "grant_refreshed", ...about, generation: 2 },
      { event: "grant_refreshed", ...about, generation: 3 },
    ]);
  });

  test("the retry whose access token was revoked makes a generation, and tells that one", async () => {
    const second = await refreshed(login.tokens.refresh_token);
    await revoke({ token: second.access_token });
    const third = await refreshed(login.tokens.refresh_token);
    expect(third.refresh_token.split(".")[1]).toBe("3");
    expect(told("grant_refreshed").map(({ generation }) => generation)).toEqual([2, 3]);
  });

  test("a late replay is told, with the token that came", async () => {
    await refreshed(login.tokens.refresh_token);
    server.clock.advance(121);
    await refreshed(login.tokens.refresh_token, STRANGER);
    expect(told("refresh_replayed")).toEqual([
      { event: "refresh_replayed", ...about, address: STRANGER, generation: 1 },
    ]);
  });

  test("a superseded token that comes back is told with whose it is, once", async () => {
    const second = await refreshed(login.tokens.refresh_token);
    await callMcp(server, second.access_token);
    server.clock.advance(121);
    for (let count = 0; count < 3; count++) {
      await refreshWith(server, login.clientId, login.tokens.refresh_token, {}, STRANGER);
    }
    expect(told("refresh_reused")).toEqual([
      {
        event: "refresh_reused",
        ...about,
        address: STRANGER,
        name: "Test client",
        generation: 1,
      },
    ]);
  });

  test("a code that is redeemed again is told with the login that it ends", async () => {
    const code = await obtainCode(server, login.clientId);
    const tokens = (await (await redeemCode(server, login.clientId, code)).json()) as Tokens;
    await redeemCode(server, login.clientId, code);
    expect(told("code_replayed")).toEqual([
      {
        event: "code_replayed",
        client: login.clientId,
        name: "Test client",
        family: tokens.refresh_token.slice(4, 26),
        address: "203.0.113.7",
      },
    ]);
  });

  test("a revocation tells what ended: some access tokens, or the login", async () => {
    const second = await refreshed(login.tokens.refresh_token);
    await revoke({ token: second.access_token });
    await revoke({ token: second.access_token });
    await revoke({ token: "pat_unknown" });
    await revoke({ token: login.tokens.refresh_token });
    await revoke({ token: login.tokens.refresh_token });
    expect(told("access_revoked", "grant_revoked")).toEqual([
      { event: "access_revoked", ...about, by: "client", generation: 2 },
      { event: "grant_revoked", ...about, by: "client" },
    ]);
  });

  test("another client's try to revoke is told, and is no revocation", async () => {
    const { client_id: other } = await registerClient(server);
    await revoke({ client_id: other, token: login.tokens.refresh_token });
    expect(told("grant_revoked")).toEqual([]);
    expect(told("request_refused")).toMatchObject([
      {
        code: "invalid_grant",
        path: "/revoke",
        detail: `client ${other} would revoke a token of another client`,
      },
    ]);
  });
});

describe("what strangers cause", () => {
  const wrongHost = (from: string): Promise<Response> =>
    server.fetch("/token", { method: "POST", headers: { host: "evil.test" } }, from);
  const wrongToken = (from: string): Promise<Response> =>
    postToken(server, { grant_type: "refresh_token", client_id: "x", refresh_token: "x" }, from);
  const mistyped = (from: string): Promise<Response> =>
    server.fetch("/nothing", { headers: { accept: "text/html" } }, from);

  test.each([
    ["wrong Host", wrongHost],
    ["wrong token", wrongToken],
    ["mistyped address", mistyped],
  ])("%s: 20 lines a network and minute, the rest a number", async (_name, send) => {
    for (let count = 0; count < 500; count++) await send(`198.51.100.${count % 250}`);
    await send("203.0.113.7");
    expect(told("request_refused")).toHaveLength(21);
    expect(told("requests_refused")).toEqual([]);
    server.clock.advance(60);
    await send("198.51.100.1");
    expect(told("requests_refused")).toEqual([
      { event: "requests_refused", network: "198.51.100.0/24", lines: 480 },
    ]);
    expect(told("request_refused")).toHaveLength(22);
  });

  test("a thousand networks: 200 lines and a number for each of a hundred, the others together", async () => {
    for (let round = 0; round < 3; round++) {
      for (let index = 0; index < 1000; index++) {
        await wrongHost(`10.${Math.floor(index / 250)}.${index % 250}.1`);
      }
    }
    expect(told("request_refused")).toHaveLength(200);
    server.clock.advance(60);
    await wrongHost("203.0.113.7");
    const numbers = told("requests_refused");
    expect(numbers.length).toBeLessThanOrEqual(101);
    expect(numbers.reduce((sum, { lines }) => sum + Number(lines), 200)).toBe(3000);
    expect(numbers.some(({ network }) => network === "other networks")).toBe(true);
  });

  test("what an owner wants to know is never left out", async () => {
    for (let count = 0; count < 100; count++) await wrongHost("203.0.113.7");
    await logIn(server);
    expect(told("login", "consent_granted", "grant_created")).toHaveLength(3);
  });

  test("what was left out is told at the stop at the latest", async () => {
    for (let count = 0; count < 50; count++) await wrongHost("203.0.113.7");
    server = await server.restart();
    expect(told("requests_refused")).toEqual([
      { event: "requests_refused", network: "203.0.113.0/24", lines: 30 },
    ]);
  });
});
