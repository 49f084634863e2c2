// What a stranger's registration can do to the pages of the owner and to the look-ups behind them (P47, P49, P50, P64, P65).
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { ADMIN_PATH, admin } from "../../src/admin.ts";
import {
  Browser,
  REDIRECT,
  authorizationUrl,
  obtainCode,
  postToken,
  redeemCode,
  registerClient,
} from "../server.ts";
import { type Stand, expectJson, expectPage, startStand } from "./stand.ts";

let stand: Stand;
beforeAll(async () => {
  stand = await startStand({ scopes: "read write" });
});
afterAll(() => stand.close());

async function consentPage(
  metadata: Record<string, unknown>,
  redirect = REDIRECT,
): Promise<string> {
  const { client_id: id } = await registerClient(stand.server, {
    redirect_uris: [redirect],
    ...metadata,
  });
  const url = authorizationUrl(stand.server, id, { redirect_uri: redirect });
  const response = await stand.owner.get(url);
  const policy = response.headers.get("content-security-policy") ?? "";
  expect(policy).toStartWith("default-src 'none'");
  expect(policy).not.toMatch(/unsafe|script-src|https?:/);
  const html = await expectPage(response, 200);
  expect(html).toContain('value="allow"');
  return html;
}

/** Every element of a page as a parser sees it, with its attributes; the note about a doubtful name apart. */
async function elements(html: string): Promise<string[]> {
  const found: string[] = [];
  const rewriter = new HTMLRewriter().on("*", {
    element: (element) => {
      const attributes = [...element.attributes]
        // What is sealed differs from page to page.
        .map(([name, value]) => (name === "value" ? name : `${name}=${value}`));
      const text = [element.tagName, ...attributes].join(" ");
      if (text !== "p class=note role=note") found.push(text);
    },
  });
  await rewriter.transform(new Response(html)).text();
  return found;
}

describe("P49: metadata stays text", () => {
  const payloads = [
    '"><svg onload=alert(1)>',
    "'><img src=x onerror=alert(1)>",
    "</title></style></textarea><script>alert(1)</script>",
    "<a href=https://evil.test>Claude</a>",
    "<meta http-equiv=refresh content='0;url=//evil.test'>",
    "<base href=//evil.test>",
    "--><!--",
    "${alert(1)}{{7*7}}<%= 1 %>",
    "&lt;script&gt;&#60;script&#62;",
    "\u2028<script>\u2029",
    "x".repeat(2048),
    "<".repeat(2000),
    "Claude\r\nSet-Cookie: a=b",
    "\u202eedualC",
    "C\u200bl\u200daude\ufeff",
    "\u0421laude",
    "a\u0300".repeat(600),
    "\u0000\u0007\u001b[31mred",
    " ",
  ];
  test.each(payloads)("%j", async (payload) => {
    await stand.attempt(async () => {
      const plain = await elements(await consentPage({ client_name: "plain" }));
      const uri = `https://evil.test/${encodeURIComponent(payload.slice(0, 500).toWellFormed())}`;
      const html = await consentPage({
        client_name: payload,
        client_uri: uri,
        logo_uri: uri,
        tos_uri: `javascript:${payload}`,
        policy_uri: "javascript:alert(1)",
        contacts: [payload],
        software_id: payload,
        software_version: payload,
        "client_name#de": payload,
      });
      // The same elements that any other client's page has: nothing came to life, nothing is loaded.
      expect(await elements(html)).toEqual(plain);
      expect(html).not.toContain("javascript:");
      // oxlint-disable-next-line no-misleading-character-class
      expect(html).not.toMatch(
        /[\u0000-\u0008\u000b-\u001f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/,
      );
      const name =
        /<h1>Let <bdi>(.*?)<\/bdi>/s.exec(html)?.[1]?.replace(/&[a-z#0-9]+;/g, "&") ?? "";
      expect([...name].length).toBeGreaterThan(0);
      expect([...name].length).toBeLessThanOrEqual(60);
    });
  });

  test("nor does the name get out of the login page of somebody not signed in", async () => {
    const { client_id: id } = await registerClient(stand.server, {
      client_name: '"><script>alert(1)</script>',
    });
    const url = authorizationUrl(stand.server, id);
    const html = await (await new Browser(stand.server).get(url)).text();
    expect(html).toContain("&lt;script&gt;");
    expect(html).not.toContain("<script");
  });
});

describe("P50: a borrowed name does not hide where the access goes", () => {
  test.each([
    ["https://evil.test/cb", "evil.<wbr />test"],
    [
      "https://claude.ai.evil.test/api/mcp/auth_callback",
      '<span class="soft">claude.<wbr />ai.<wbr /></span>evil.<wbr />test',
    ],
    ["https://evil.test/https://claude.ai/cb", "evil.<wbr />test"],
    ["https://evil.test:8443/cb", "evil.<wbr />test:8443"],
    ["http://127.0.0.1:9/callback", "a program on this computer"],
    ["claude-desktop://cb", "the app that handles claude-desktop://"],
  ])("%s", async (redirect, shown) => {
    const html = (await consentPage({ client_name: "Claude" }, redirect)).replace(/\s+/g, " ");
    expect(/<p class="host">(.*?)<\/p>/.exec(html)?.[1]?.replaceAll("<wbr/>", "<wbr />")).toContain(
      shown,
    );
    expect(html).toContain("Not verified.");
    expect(html).toContain("Client ID");
    expect(html).toContain("less than a minute ago");
  });
});

describe("P64, P65: nobody gets a code without a click, whatever was allowed before", () => {
  const known = async (): Promise<string> => {
    const { client_id: id } = await registerClient(stand.server, {
      redirect_uris: [REDIRECT, "https://second.test/cb"],
    });
    const code = await obtainCode(stand.server, id, { scope: "read" }, stand.owner);
    expect((await redeemCode(stand.server, id, code)).status).toBe(200);
    return id;
  };
  const requests: [string, Record<string, string>, Record<string, string>][] = [
    ["the same request", { scope: "read" }, {}],
    ["a link on another site", { scope: "read" }, { "sec-fetch-site": "cross-site" }],
    ["a frame", { scope: "read" }, { "sec-fetch-dest": "iframe", "sec-fetch-site": "cross-site" }],
    ["a prefetch", { scope: "read" }, { "sec-purpose": "prefetch", purpose: "prefetch" }],
    ["more scopes", { scope: "read write" }, {}],
    ["another redirect URI", { scope: "read", redirect_uri: "https://second.test/cb" }, {}],
    ["prompt=login", { scope: "read", prompt: "login" }, {}],
    ["approval_prompt=auto", { scope: "read", approval_prompt: "auto", auto: "1" }, {}],
    ["decision=allow in the link", { scope: "read", decision: "allow" }, {}],
  ];
  test.each(requests)("%s", async (_name, changes, headers) => {
    const id = await known();
    await stand.attempt(async () => {
      const url = authorizationUrl(stand.server, id, changes);
      const html = await expectPage(await stand.owner.send(url, { headers }), 200);
      expect(html).toContain('value="allow"');
    });
  });
});

describe("P47: names of JavaScript are no names of ours", () => {
  const names = [
    "__proto__",
    "constructor",
    "prototype",
    "toString",
    "hasOwnProperty",
    "valueOf",
    "__defineGetter__",
    "constructor.prototype",
    "self",
    "owner",
    "clients",
    "undefined",
    "null",
    "[object Object]",
    "NaN",
    "0",
  ];

  test.each(names)("%s as client, token, grant, scope, resource and parameter", async (name) => {
    await stand.attempt(async () => {
      const { clientId } = stand.victim;
      await expectPage(await stand.owner.get(authorizationUrl(stand.server, name)), 400);
      const grants = { grant_type: "refresh_token", client_id: name, refresh_token: name };
      await expectJson(await postToken(stand.server, grants), 401, "invalid_client");
      const mine = { ...grants, client_id: clientId };
      await expectJson(await postToken(stand.server, mine), 400, "invalid_grant");
      const code = { grant_type: "authorization_code", client_id: clientId, code: name };
      await expectJson(await postToken(stand.server, code), 400, "invalid_grant");
      await expectJson(
        await postToken(stand.server, { ...mine, grant_type: name }),
        400,
        "unsupported_grant_type",
      );
      const scoped = authorizationUrl(stand.server, clientId, { scope: name, resource: name });
      const refused = await stand.owner.get(scoped);
      expect(refused.headers.get("location")).toContain("error=invalid_");
      for (const path of [`/clients/${name}`, `/grants/${name}`]) {
        const url = `http://postern${ADMIN_PATH}${path}`;
        const answer = await admin(new Request(url, { method: "DELETE" }), stand.server.deps);
        expect([path, answer.status]).toEqual([path, 404]);
      }
      expect((await stand.server.fetch(`/${name}`)).status).toBe(404);
      expect((await stand.server.fetch(`/.well-known/${name}`)).status).toBe(404);
      const body = JSON.stringify({ redirect_uris: [REDIRECT] }).slice(0, -1);
      const registered = await stand.server.fetch("/register", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: `${body},"${name}":{"source":"static","first_grant_at":1,"client_id":"x"}}`,
      });
      expect(registered.status).toBe(201);
      expect(JSON.stringify(await registered.json())).not.toMatch(/static|first_grant_at/);
    });
    expect(Object.keys(Object.prototype)).toEqual([]);
  });
});

describe("P32: a token of one kind is none of another", () => {
  test("in every slot of the token endpoint", async () => {
    const { clientId, tokens } = stand.victim;
    const { code } = { code: `pac_${"A".repeat(43)}` };
    await stand.attempt(async () => {
      for (const token of [
        tokens.access_token,
        tokens.refresh_token.replace("prt_", "pat_"),
        code,
      ]) {
        await expectJson(
          await postToken(stand.server, {
            grant_type: "refresh_token",
            client_id: clientId,
            refresh_token: token,
          }),
          400,
          "invalid_grant",
        );
      }
      for (const token of [tokens.access_token, tokens.refresh_token]) {
        const fields = { grant_type: "authorization_code", client_id: clientId, code: token };
        await expectJson(await postToken(stand.server, fields), 400, "invalid_grant");
      }
    });
  });
});
