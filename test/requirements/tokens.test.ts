// Requirements on tokens and their ends that no other test names: each test begins with the id of its row.
import { afterEach, beforeEach, expect, test } from "bun:test";
import { StoreUnavailable } from "../../src/errors.ts";
import {
  Browser,
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
} from "../server.ts";

let server: TestServer;
beforeEach(async () => {
  server = await startServer({ settings: { scopes: "read write" } });
});
afterEach(() => server.close());

test("TOK-16: a scope that is less than what was asked for is said, at the code and at each refresh", async () => {
  const { client_id: id } = await registerClient(server);
  const code = await obtainCode(server, id, { scope: "read admin" });
  const tokens = (await (await redeemCode(server, id, code)).json()) as Tokens;
  expect(tokens.scope).toBe("read");
  const next = await refreshWith(server, id, tokens.refresh_token);
  expect(await next.json()).toMatchObject({ scope: "read" });
});

test("TOK-17: tokens have 256 random bits, a prefix that scanners know, and never repeat", async () => {
  const { client_id: id } = await registerClient(server);
  const browser = new Browser(server);
  await browser.signIn();
  const secrets = new Set<string>();
  for (let count = 0; count < 40; count++) {
    const code = await obtainCode(server, id, {}, browser);
    const { access_token: access, refresh_token: refresh } = (await (
      await redeemCode(server, id, code)
    ).json()) as Tokens;
    expect(code).toMatch(/^pac_[A-Za-z0-9_-]{43}$/);
    expect(access).toMatch(/^pat_[A-Za-z0-9_-]{22}\.\d+\.[A-Za-z0-9_-]{43}$/);
    expect(refresh).toMatch(/^prt_[A-Za-z0-9_-]{22}\.\d+\.[A-Za-z0-9_-]{43}\.[A-Za-z0-9_-]{43}$/);
    secrets
      .add(code)
      .add(access)
      .add(refresh.split(".")[2] ?? "");
  }
  expect(secrets.size).toBe(120);
});

test("TOK-8: a parameter that nobody knows is nothing, one that stands twice is an error", async () => {
  const { client_id: id } = await registerClient(server);
  const fields = { redirect_uri: "http://127.0.0.1:9/callback", foo: "1" };
  expect((await redeemCode(server, id, await obtainCode(server, id), fields)).status).toBe(200);
  const code = await obtainCode(server, id);
  const body = new URLSearchParams({ grant_type: "authorization_code", client_id: id, code });
  body.append("code", code);
  const response = await server.fetch("/token", { method: "POST", body });
  expect([response.status, await response.json()]).toMatchObject([
    400,
    { error: "invalid_request" },
  ]);
});

test("REF-8: a disk that takes nothing is 503 with a time, and costs no token", async () => {
  const { clientId, tokens } = await logIn(server);
  const { store } = server.deps;
  const { update } = store;
  const full = (): Promise<never> => Promise.reject(new StoreUnavailable("no space left"));
  Object.assign(store, { update: full });
  const refused = await refreshWith(server, clientId, tokens.refresh_token);
  expect([refused.status, refused.headers.get("retry-after"), await refused.json()]).toMatchObject([
    503,
    expect.stringMatching(/^\d+$/),
    { error: "temporarily_unavailable" },
  ]);
  Object.assign(store, { update });
  expect((await refreshWith(server, clientId, tokens.refresh_token)).status).toBe(200);
  // The other way to say no is final, and says so.
  const bad = await refreshWith(server, clientId, "prt_x");
  expect([bad.status, await bad.json()]).toMatchObject([400, { error: "invalid_grant" }]);
});

test("REF-10: offline_access is taken and changes nothing", async () => {
  const { client_id: id } = await registerClient(server);
  for (const scope of ["read offline_access", "read"]) {
    const response = await redeemCode(server, id, await obtainCode(server, id, { scope }));
    expect(await response.json()).toMatchObject({
      scope: "read",
      refresh_token: expect.stringMatching(/^prt_/),
    });
  }
});

test("REV-6: what is revoked stays so at once and after a restart", async () => {
  const { clientId, tokens } = await logIn(server);
  const revoked = await server.fetch("/revoke", {
    method: "POST",
    body: new URLSearchParams({ client_id: clientId, token: tokens.refresh_token }),
  });
  expect([revoked.status, await revoked.text()]).toEqual([200, ""]);
  for (const moment of ["at once", "after a restart"]) {
    expect([moment, (await callMcp(server, tokens.access_token)).status]).toEqual([moment, 401]);
    const refresh = await refreshWith(server, clientId, tokens.refresh_token);
    expect([refresh.status, await refresh.json()]).toMatchObject([400, { error: "invalid_grant" }]);
    server = await server.restart();
  }
});

test("SEC-1, SEC-2: no grant and no response gives tokens without a code, and no code comes without PKCE", async () => {
  const { client_id: id } = await registerClient(server);
  for (const grant_type of ["password", "implicit", "client_credentials"]) {
    const response = await postToken(server, {
      grant_type,
      client_id: id,
      username: "owner",
      password: "correct horse battery",
    });
    expect(await response.json()).toMatchObject({ error: "unsupported_grant_type" });
  }
  const browser = new Browser(server);
  await expect(
    obtainCode(
      server,
      id,
      { code_challenge: undefined, code_challenge_method: undefined },
      browser,
    ),
  ).rejects.toThrow("authorize: 303");
});
