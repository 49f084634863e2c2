import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  type Login,
  type TestServer,
  type Tokens,
  callMcp,
  logIn,
  refreshWith,
  registerClient,
  startServer,
} from "../server.ts";

let server: TestServer;
let login: Login;
beforeEach(async () => {
  server = await startServer();
  login = await logIn(server);
});
afterEach(() => server.close());

const revoke = (fields: Record<string, string>): Promise<Response> =>
  server.fetch("/revoke", {
    method: "POST",
    body: new URLSearchParams({ client_id: login.clientId, ...fields }),
  });
const works = async (tokens: Tokens): Promise<boolean> =>
  (await callMcp(server, tokens.access_token)).status === 200;

describe("RFC 7009 §2.1", () => {
  test.each(["refresh_token", "access_token", "nonsense", ""])(
    "a refresh token ends its grant; hint %p",
    async (hint) => {
      const response = await revoke({ token: login.tokens.refresh_token, token_type_hint: hint });
      expect([response.status, await response.text()]).toEqual([200, ""]);
      expect(await works(login.tokens)).toBe(false);
      expect((await refreshWith(server, login.clientId, login.tokens.refresh_token)).status).toBe(
        400,
      );
      server = await server.restart();
      expect(await works(login.tokens)).toBe(false);
      expect((await refreshWith(server, login.clientId, login.tokens.refresh_token)).status).toBe(
        400,
      );
    },
  );

  test("a superseded refresh token ends it too, without alarm", async () => {
    const tokens = (await (
      await refreshWith(server, login.clientId, login.tokens.refresh_token)
    ).json()) as Tokens;
    await revoke({ token: login.tokens.refresh_token });
    expect(await works(tokens)).toBe(false);
  });

  test("an expired one as well", async () => {
    server.clock.advance(100 * 86_400);
    await revoke({ token: login.tokens.refresh_token });
    expect(await server.deps.store.refresh_tokens.list()).toEqual([]);
  });

  test("an access token ends those up to its generation, not the grant", async () => {
    const second = (await (
      await refreshWith(server, login.clientId, login.tokens.refresh_token)
    ).json()) as Tokens;
    const third = (await (
      await refreshWith(server, login.clientId, second.refresh_token)
    ).json()) as Tokens;
    expect(
      (await revoke({ token: second.access_token, token_type_hint: "refresh_token" })).status,
    ).toBe(200);
    expect(await Promise.all([login.tokens, second, third].map(works))).toEqual([
      false,
      false,
      true,
    ]);
    expect((await refreshWith(server, login.clientId, third.refresh_token)).status).toBe(200);
  });

  test("a token of another client is refused and left alone", async () => {
    const other = await registerClient(server);
    for (const token of [login.tokens.refresh_token, login.tokens.access_token]) {
      const response = await revoke({ client_id: other.client_id, token });
      expect([response.status, await response.json()]).toMatchObject([
        400,
        { error: "invalid_grant" },
      ]);
    }
    expect(await works(login.tokens)).toBe(true);
    expect((await refreshWith(server, login.clientId, login.tokens.refresh_token)).status).toBe(
      200,
    );
  });
});

describe("RFC 7009 §2.2", () => {
  test.each([
    "x",
    "prt_x",
    "pat_x",
    `prt_${"A".repeat(22)}.1.${"A".repeat(43)}.${"A".repeat(43)}`,
    "__proto__",
  ])("an unknown token %p is 200", async (token) => {
    expect((await revoke({ token })).status).toBe(200);
    expect(await works(login.tokens)).toBe(true);
  });

  test("guessing with the right family but a wrong secret changes nothing", async () => {
    const parts = login.tokens.refresh_token.split(".");
    parts[2] = "A".repeat(43);
    expect((await revoke({ token: parts.join(".") })).status).toBe(200);
    expect(await works(login.tokens)).toBe(true);
  });

  test.each<[Record<string, string>, number, string]>([
    [{ token: "" }, 400, "invalid_request"],
    [{ client_id: "nobody", token: "x" }, 401, "invalid_client"],
    [{ client_id: "", token: "x" }, 401, "invalid_client"],
  ])("%p is %d %s", async (fields, status, error) => {
    const response = await revoke(fields);
    expect([response.status, await response.json()]).toMatchObject([status, { error }]);
  });
});
