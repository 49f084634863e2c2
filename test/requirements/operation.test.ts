// Requirements on running it safely that no other test names: each test begins with the id of its row.
import { afterEach, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { startPostern, stopProcesses } from "../process.ts";
import {
  PASSWORD,
  type TestServer,
  type Tokens,
  VERIFIER,
  authorizationUrl,
  callMcp,
  obtainCode,
  redeemCode,
  refreshWith,
  registerClient,
  startServer,
} from "../server.ts";

let server: TestServer | undefined;
afterEach(async () => {
  await server?.close();
  server = undefined;
  await stopProcesses();
});

test("SEC-4: a whole life leaves no secret in the log, on the terminal, in an address or an error", async () => {
  const postern = await startPostern();
  const { client_id: id } = await registerClient(postern);
  const code = await obtainCode(postern, id, {}, postern.browser);
  const tokens = (await (await redeemCode(postern, id, code)).json()) as Tokens;
  const next = (await (await refreshWith(postern, id, tokens.refresh_token)).json()) as Tokens;
  await callMcp(postern, next.access_token);
  const answers = [
    await postern.fetch(`/mcp?access_token=${next.access_token}`, { method: "POST" }),
    await redeemCode(postern, id, code, { code_verifier: `${VERIFIER}x` }),
    await refreshWith(postern, id, `${next.refresh_token}x`),
    await postern.browser.post("/login", { request: "x", password: PASSWORD }),
  ];
  const said = await Promise.all(
    answers.map(async (answer) => `${answer.headers.get("location")} ${await answer.text()}`),
  );
  await postern.kill("SIGTERM");
  const audit = readFileSync(join(postern.folder, "audit.jsonl"), "utf8");
  expect(audit).toContain(id);
  const cookies = [...postern.browser.cookies.values()];
  const secrets = [tokens, next].flatMap((each) => [each.access_token, each.refresh_token]);
  for (const secret of [code, ...secrets, ...cookies, VERIFIER, PASSWORD]) {
    expect(secret.length).toBeGreaterThan(10);
    for (const text of [audit, postern.stdout(), postern.stderr(), ...said])
      expect(text).not.toContain(secret);
  }
});

test("AUT-25: of the password nothing is kept but its argon2id hash", async () => {
  server = await startServer();
  const hash = (await server.deps.store.owner.get("owner"))?.password_hash;
  expect(hash).toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$[^$]{22,}\$[^$]{43}$/);
});

test("SEC-9: whoever asks too often waits, told for how long, as a page or as JSON", async () => {
  server = await startServer({ settings: { rateLimits: "on" } });
  const own = server;
  const { client_id: id } = await registerClient(own);
  const token = (): Promise<Response> =>
    own.fetch("/token", { method: "POST", body: new URLSearchParams({ grant_type: "x" }) });
  for (const [ask, type] of [
    [() => own.fetch(authorizationUrl(own, id)), "text/html"],
    [token, "application/json"],
  ] as const) {
    let response = await ask();
    for (let tries = 0; tries < 100 && response.status !== 429; tries++) response = await ask();
    expect([response.status, response.headers.get("content-type")]).toMatchObject([
      429,
      expect.stringMatching(new RegExp(`^${type}`)),
    ]);
    expect(Number(response.headers.get("retry-after"))).toBeGreaterThan(0);
  }
});

test.each(["https://host.test", "http://localhost:7676"])(
  "SEC-11: every answer of %s says what it is, and https that it stays so",
  async (url) => {
    server = await startServer({ settings: { url } });
    for (const [path, init] of [
      ["/", {}],
      ["/login", {}],
      ["/authorize", {}],
      ["/nothing", {}],
      ["/healthz", {}],
      ["/token", { method: "POST" }],
      ["/mcp", { method: "POST" }],
      ["/mcp", { method: "OPTIONS" }],
      ["/.well-known/oauth-authorization-server", {}],
    ] as const) {
      const { headers } = await server.fetch(path, init);
      expect([path, headers.get("x-content-type-options")]).toEqual([path, "nosniff"]);
      expect([path, headers.has("strict-transport-security")]).toEqual([
        path,
        url.startsWith("https"),
      ]);
    }
  },
);

test("SEC-16, RS-23: health is for everybody, under any name of the host, and tells nothing; the rest is closed", async () => {
  server = await startServer({ settings: { url: "https://host.test/base" } });
  const response = await server.fetch("/base/healthz", { headers: { host: "10.0.0.7:7676" } });
  expect([response.status, await response.json()]).toEqual([200, { status: "ok" }]);
  for (const path of ["/healthz", "/base/health", "/base/admin", "/base/data/state.json", "/x"])
    expect([path, (await server.fetch(path)).status]).toEqual([path, 404]);
});
