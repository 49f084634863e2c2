// Where secrets may be found afterwards: nowhere (P42, P101). And how hard they are to guess (P43).
import { describe, expect, test } from "bun:test";
import { cpSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { accountRoutes } from "../../src/account/routes.ts";
import { ADMIN_PATH, admin, adminRoutes } from "../../src/admin.ts";
import type { BegunCheckup } from "../../src/admin/checkup.ts";
import type { MadeKey } from "../../src/admin/keys.ts";
import { changePassword } from "../../src/admin/owner.ts";
import { newClientId } from "../../src/oauth/clients.ts";
import { newClientSecret, newCode, newFamily } from "../../src/oauth/tokens.ts";
import { randomToken } from "../../src/primitives.ts";
import {
  Browser,
  PASSWORD,
  REDIRECT,
  type TestServer,
  type Tokens,
  VERIFIER,
  authorizationUrl,
  callMcp,
  logIn,
  obtainCode,
  postToken,
  redeemCode,
  refreshWith,
  registerClient,
  startServer,
  temporaryFolder,
} from "../server.ts";
import { folderTexts } from "./stand.ts";

/** A secret as somebody might have written it down. */
function spellings(secret: string): string[] {
  const bytes = Buffer.from(secret);
  return [
    secret,
    encodeURIComponent(secret),
    bytes.toString("hex"),
    bytes.toString("base64").replace(/=+$/, ""),
    bytes.toString("base64url"),
    JSON.stringify(secret).slice(1, -1),
    [...secret].toReversed().join(""),
  ];
}

/** What makes a token a token: without its name, generation and family, which are no secrets. */
const cores = (tokens: Tokens): string[] => {
  const [, , secret = "", tag = ""] = tokens.refresh_token.split(".");
  const [, , proof = ""] = tokens.access_token.split(".");
  return [secret, tag, proof];
};

/** A life in which everything secret is used, and much of it where it does not belong. Gives all of it, and what was shown. */
async function live(
  server: TestServer,
): Promise<{ secrets: Map<string, string>; shown: Map<string, string> }> {
  const secrets = new Map<string, string>([
    ["setup token", server.deps.setupToken],
    ["form key", server.deps.formKey],
    ["password", PASSWORD],
    ["wrong password", "a wrong guess at it"],
    ["new password", "another long password"],
    ["verifier", VERIFIER],
  ]);
  const keep = (name: string, text: string | undefined): string => {
    secrets.set(name, text ?? "");
    return text ?? "";
  };
  await server.fetch(`/setup?token=${server.deps.setupToken}`);
  const owner = new Browser(server);
  await owner.signIn(undefined, "a wrong guess at it");
  await owner.signIn();
  for (const [name, value] of owner.cookies) keep(`cookie ${name}`, value);
  const confidential = await registerClient(server, {
    token_endpoint_auth_method: "client_secret_post",
  });
  keep("client secret", confidential.client_secret);
  const { clientId, tokens } = await logIn(server, {}, owner);
  cores(tokens).forEach((core, index) => keep(`first tokens ${index}`, core));
  await callMcp(server, tokens.access_token);
  const second = (await (
    await refreshWith(server, clientId, tokens.refresh_token)
  ).json()) as Tokens;
  cores(second).forEach((core, index) => keep(`second tokens ${index}`, core));
  const waiting = keep("waiting code", await obtainCode(server, clientId, {}, owner));
  const burnt = keep("burnt code", await obtainCode(server, clientId, {}, owner));
  await redeemCode(server, clientId, burnt, { code_verifier: "w".repeat(64) });
  const misplaced = [
    tokens.access_token,
    second.refresh_token,
    second.access_token,
    confidential.client_secret ?? "",
    waiting,
    burnt,
  ];
  const shell = (method: string, path: string, body = {}): Promise<Response> =>
    admin(
      new Request(`http://postern${ADMIN_PATH}${path}`, {
        method,
        ...(method !== "GET" && {
          headers: { "content-type": "application/json" },
          body: JSON.stringify(body),
        }),
      }),
      server.deps,
    );
  const made = (await (await shell("POST", "/keys", { name: "A script" })).json()) as MadeKey;
  keep("key", made.key.split(".")[1]);
  expect((await callMcp(server, made.key)).status).toBe(200);
  misplaced.push(made.key);
  const checkup = (await (await shell("POST", "/checkups")).json()) as BegunCheckup;
  keep("check-up", checkup.key);
  keep("cookie of the check-up", checkup.cookie?.split("=")[1]);
  misplaced.push(`pcu_${checkup.key}.seen`);
  // A token that somebody else issued, known by nothing but the word before it.
  const foreign = keep("foreign token", randomToken());
  for (const scheme of ["Bearer", "bearer", "Basic"]) {
    const headers = { origin: `${scheme} ${foreign}`, authorization: `${scheme} ${foreign}` };
    await server.fetch("/mcp", { headers });
    await server.fetch("/login", { method: "POST", headers });
  }
  for (const secret of misplaced) await misplace(server, owner, clientId, secret);
  const shown = await show(server, owner, shell);
  await refreshWith(server, clientId, tokens.refresh_token);
  server.clock.advance(7200);
  await refreshWith(server, clientId, tokens.refresh_token);
  await changePassword("another long password", server.deps);
  return { secrets, shown };
}

/** All that the owner can read of it, and that a scraper can. */
async function show(
  server: TestServer,
  owner: Browser,
  shell: (method: string, path: string) => Promise<Response>,
): Promise<Map<string, string>> {
  const shown = new Map([["metrics", await server.deps.metrics.text()]]);
  const lists = adminRoutes.filter(({ method, path }) => method === "GET" && !path.includes("{"));
  for (const { path } of lists) {
    const answer = await shell("GET", path);
    expect([path, answer.status]).toEqual([path, 200]);
    shown.set(`GET ${path}`, await answer.text());
  }
  const pages = accountRoutes.filter(({ method }) => method === "GET");
  for (const { path } of pages) shown.set(path, await (await owner.get(path)).text());
  return shown;
}

/** Puts a secret where people and programs put it by mistake. */
async function misplace(
  server: TestServer,
  owner: Browser,
  clientId: string,
  secret: string,
): Promise<void> {
  const fields = [
    "client_id",
    "client_secret",
    "code",
    "refresh_token",
    "scope",
    "resource",
    "redirect_uri",
  ];
  for (const grant_type of ["authorization_code", "refresh_token", secret]) {
    for (const field of fields)
      await postToken(server, {
        grant_type,
        client_id: clientId,
        code: "x",
        refresh_token: "x",
        [field]: secret,
      });
  }
  for (const token of [secret, `${secret}x`, encodeURIComponent(secret)]) {
    for (const client_id of [clientId, secret])
      await server.fetch("/revoke", {
        method: "POST",
        body: new URLSearchParams({ client_id, token }),
      });
    await server.fetch(`/mcp/${token}?access_token=${token}`, {
      headers: { origin: `https://${token}` },
    });
    await server.fetch(`/${token}`);
    await server.fetch(`/.well-known/${token}`);
    await server.fetch("/mcp", {
      headers: { authorization: `Bearer ${token}`, "user-agent": token },
    });
    await server.fetch("/mcp", { headers: { authorization: `Basic ${btoa(`x:${token}`)}` } });
    await server.fetch("/login", { method: "POST", headers: { origin: token } });
    await server.fetch("/", { headers: { host: `${token}.test`, referer: `https://x/${token}` } });
  }
  for (const field of [...fields, "state", "code_challenge", "response_type"]) {
    const changes = { [field]: secret };
    await owner.get(authorizationUrl(server, clientId, changes));
  }
  await server.fetch("/register", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({
      client_name: secret,
      redirect_uris: [REDIRECT, `https://x.test/${secret}#f`],
      token_endpoint_auth_method: secret,
    }),
  });
}

describe("P42, P101: after a life with everything in it", () => {
  test("no secret is in any file of the folder, running, copied or at rest, nor shown or sent to anybody", async () => {
    const sent: string[] = [];
    const webhook = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: async (request) => {
        sent.push(await request.text());
        return new Response();
      },
    });
    const settings = { alertWebhook: webhook.url.href };
    const server = await startServer({ folder: temporaryFolder(), settings });
    const { secrets, shown } = await live(server);
    const copy = temporaryFolder();
    cpSync(server.folder, copy, { recursive: true });
    await server.close();
    await webhook.stop();
    expect(sent.length).toBeGreaterThan(1);
    shown.set("alerts", sent.join());
    expect(shown.size).toBeGreaterThan(15);
    for (const [name, secret] of secrets) {
      for (const spelling of spellings(secret)) {
        const found = [...shown].filter(([, text]) => text.includes(spelling));
        expect([name, found.map(([what]) => what)]).toEqual([name, []]);
      }
    }
    for (const folder of [copy, server.folder]) {
      const files = folderTexts(folder);
      expect([...files.keys()]).toContain("audit.jsonl");
      for (const [name, secret] of secrets) {
        expect(secret.length).toBeGreaterThan(8);
        for (const spelling of spellings(secret)) {
          const found = [...files].filter(([, text]) => text.includes(spelling));
          expect([name, found.map(([file]) => file)]).toEqual([name, []]);
        }
      }
      rmSync(folder, { recursive: true });
    }
  }, 60_000);

  test("the search finds what is there", async () => {
    const server = await startServer();
    const { tokens } = await logIn(server);
    const [secret = ""] = cores(tokens);
    server.deps.audit.record("start", { detail: encodeURIComponent(secret) });
    const texts = [...folderTexts(server.folder).values()];
    expect(spellings(secret).some((text) => texts.some((file) => file.includes(text)))).toBe(true);
    await server.close();
  });
});

describe("P101: a log line is one line, whatever it tells of", () => {
  const marks = [
    "\r\nInjected: line",
    "\u001b[2J\u001b[31m",
    "\u202ereversed",
    "\u0000",
    "\u2028\u2029",
    "\u0085\u009b",
  ];
  test.each(marks)("%j", async (mark) => {
    const server = await startServer();
    const owner = new Browser(server);
    const { client_id: id } = await registerClient(server, {
      client_name: `Claude${mark}`,
      redirect_uris: ["https://x.test/cb"],
    });
    await owner.authorize(authorizationUrl(server, id, { redirect_uri: "https://x.test/cb" }));
    const odd = encodeURIComponent(mark);
    await server.fetch(`/mcp/${odd}`, { headers: { authorization: "Bearer x" } });
    await owner.get(authorizationUrl(server, `x${mark}`));
    await owner.get(authorizationUrl(server, id, { redirect_uri: `https://y.test/${mark}` }));
    await postToken(server, { grant_type: "refresh_token", client_id: mark, refresh_token: mark });
    const lines = readFileSync(join(server.folder, "audit.jsonl"), "utf8").trimEnd().split("\n");
    expect(lines.length).toBeGreaterThan(4);
    for (const line of lines) {
      expect(() => JSON.parse(line) as unknown).not.toThrow();
      // oxlint-disable-next-line no-control-regex
      expect(line).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]|\\u00[01]/);
      expect(line.length).toBeLessThan(3000);
    }
    await server.close();
  });
});

describe("P43: 100,000 of each are all different and use every bit alike", () => {
  const COUNT = 100_000;
  test.each<[string, () => string, number]>([
    ["secrets, tag keys and cookies", () => randomToken(), 256],
    ["codes", () => newCode().slice("pac_".length), 256],
    ["client secrets", () => newClientSecret().slice("pcs_".length), 256],
    // The first character of an id is a letter or digit.
    ["families", () => newFamily().slice(4), 104],
    ["client ids", () => newClientId("key", "without a secret").slice(4, 22), 104],
  ])("%s", (_name, make, bits) => {
    const seen = new Set<string>();
    const ones = new Uint32Array(bits);
    for (let count = 0; count < COUNT; count++) {
      const text = make();
      seen.add(text);
      const bytes = Buffer.from(text, "base64url");
      for (let bit = 0; bit < bits; bit++) ones[bit]! += ((bytes[bit >> 3] ?? 0) >> (bit & 7)) & 1;
    }
    expect(seen.size).toBe(COUNT);
    // Six standard deviations: one run in a million is that far off by itself.
    const spread = 6 * Math.sqrt(COUNT / 4);
    expect(Math.min(...ones)).toBeGreaterThan(COUNT / 2 - spread);
    expect(Math.max(...ones)).toBeLessThan(COUNT / 2 + spread);
  });

  test.each<[string, () => string]>([
    ["families", newFamily],
    ["client ids", () => newClientId("key", "with a secret")],
  ])("%s begin with each letter and digit alike", (_name, make) => {
    const found = new Map<string, number>();
    for (let count = 0; count < COUNT; count++) {
      const [first = ""] = make();
      found.set(first, (found.get(first) ?? 0) + 1);
    }
    expect([...found.keys()].toSorted().join("")).toBe(
      "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
    );
    const spread = 6 * Math.sqrt(COUNT / 62);
    expect(Math.min(...found.values())).toBeGreaterThan(COUNT / 62 - spread);
    expect(Math.max(...found.values())).toBeLessThan(COUNT / 62 + spread);
  });
});
