// What the owner reads before deciding (AUT-13, CIM-14, P50, P51), and after.
import { describe, expect, test } from "bun:test";
import { type ConsentPage, consentPage, destination } from "../../src/web/consent_page.ts";
import { elements, textOf } from "./read.ts";

const NOW = 1_790_000_000;
const request: ConsentPage = {
  base: "",
  hidden: { request: "sealed", form_token: "token" },
  clientId: "Zk3v0qYtZ1m9Q2w7bX5c8Au5T1rS2kq0",
  clientName: "Claude",
  registeredAt: NOW - 130,
  now: NOW,
  redirectUri: "https://evil.test:8443/cb?x=1&y=<2>",
  server: { name: "Notes", resource: "https://mcp.example.com/mcp" },
  scopes: ["notes:read", "notes:write"],
  idleTtl: 90 * 86_400,
  absoluteTtl: 365 * 86_400,
};

test.each([
  ["https://claude.ai/api/cb", { kind: "web", host: "claude.ai" }],
  ["https://claude.ai@evil.test/cb", { kind: "web", host: "evil.test" }],
  ["https://a.test:8443/cb", { kind: "web", host: "a.test:8443" }],
  ["https://\u0441laude.ai/cb", { kind: "web", host: "xn--laude-0ye.ai" }],
  ["http://localhost:3118/callback", { kind: "loopback", port: "3118" }],
  ["http://127.0.0.1/", { kind: "loopback", port: "80" }],
  ["http://[::1]:9/cb", { kind: "loopback", port: "9" }],
  ["http://localhost.evil.test/", { kind: "web", host: "localhost.evil.test" }],
  ["cursor://anysphere.cursor-mcp/oauth/callback", { kind: "app", scheme: "cursor" }],
  ["com.example.app:/cb", { kind: "app", scheme: "com.example.app" }],
])("%s is received by the right one", (uri, expected) => {
  expect<unknown>(destination(uri)).toEqual(expected);
});

describe("AUT-13: the consent page", () => {
  test("names the client, the place, the server, the scopes and the time, and the rest in its details", async () => {
    const text = await textOf(consentPage(request));
    for (const part of [
      "Let Claude use Notes?",
      "Access goes to evil.test:8443",
      "Not verified.",
      "https://mcp.example.com/mcp",
      "notes:read notes:write",
      "after 90 days without use, after 1 year in any case",
      "Redirect URI https://evil.test:8443/cb?x=1&y=<2>",
      "Client ID Zk3v0qYtZ1m9Q2w7bX5c8Au5T1rS2kq0",
      "Registered 2 minutes ago",
    ])
      expect(text).toContain(part);
    expect(text).not.toContain("Verified:");
  });

  test.each([
    ["https://claude.ai/cb", "claude.ai", ""],
    ["https://claude.ai.connect.evil.example/cb", "evil.example", "claude.ai.connect."],
    ["https://login.evil.co.uk/cb", "evil.co.uk", "login."],
    ["https://a.b.c.evil.test:8443/cb", "evil.test:8443", "a.b.c."],
    ["https://203.0.113.7:8443/cb", "203.0.113.7:8443", ""],
    ["https://[2001:db8::7]/cb", "[2001:db8::7]", ""],
    ["https://intranet/cb", "intranet", ""],
  ])("P50: of the host of %s the end stands out", async (redirectUri, stands, soft) => {
    const html = (await consentPage({ ...request, redirectUri }).text()).replace(/<wbr ?\/>/g, "");
    const shown = /<p class="host">(.*?)<\/p>/s.exec(html)?.[1];
    expect(shown).toBe(soft === "" ? stands : `<span class="soft">${soft}</span>${stands}`);
  });

  test("sixty scopes are all shown, each whole", async () => {
    const scopes = Array.from({ length: 60 }, (_, index) => `scope:${index}`);
    const answer = consentPage({ ...request, scopes });
    expect(await textOf(answer)).toContain(scopes.join(" "));
  });

  test("CIM-14: a client that a host vouches for is shown with that host", async () => {
    const text = await textOf(consentPage({ ...request, verifiedHost: "claude.ai" }));
    expect(text).toContain("✓ Verified: this client is published by claude.ai");
    expect(text).not.toContain("Not verified");
  });

  test("P51: a loopback client gets a warning, verified or not", async () => {
    const local = { ...request, redirectUri: "http://localhost:3118/callback" };
    for (const verifiedHost of [undefined, "claude.ai"]) {
      const text = await textOf(consentPage({ ...local, verifiedHost }));
      expect(text).toContain("a program on this computer, port 3118");
      expect(text).toContain("Any program on this computer can claim");
    }
    expect(await textOf(consentPage(request))).not.toContain("Any program");
  });

  test("an app's scheme is named, with the warning that any app may take it", async () => {
    const text = await textOf(
      consentPage({ ...request, redirectUri: "cursor://anysphere.cursor-mcp/oauth/callback" }),
    );
    expect(text).toContain("the app that handles cursor://");
    expect(text).toContain("Any app on this device can claim this name and the scheme cursor:");
  });

  test("a name of mixed alphabets is flagged, a usual one is not", async () => {
    const flagged = consentPage({ ...request, clientName: "\u0421laude" });
    expect(await textOf(flagged)).toContain("mixes letters");
    expect(await textOf(consentPage(request))).not.toContain("mixes letters");
  });

  test("offers Deny before Allow, and the address only to loopback clients and only when asked to", async () => {
    const decisions = async (options: Partial<ConsentPage>): Promise<(string | undefined)[]> =>
      (await elements(consentPage({ ...request, ...options })))
        .filter(({ tag }) => tag === "button")
        .map(({ attributes }) => attributes.get("value"));
    const local = { redirectUri: "http://localhost:1/cb" };
    expect(await decisions({})).toEqual(["deny", "allow"]);
    expect(await decisions(local)).toEqual(["deny", "allow"]);
    expect(await decisions({ offerAddress: true })).toEqual(["deny", "allow"]);
    expect(await decisions({ ...local, offerAddress: true })).toEqual(["deny", "allow", "show"]);
  });

  test("carries the hidden fields and the choice of tools, and no other", async () => {
    const inputs = (await elements(consentPage(request))).filter(({ tag }) => tag === "input");
    const given = inputs.map(({ attributes }) => Object.fromEntries(attributes));
    expect(given.filter(({ type }) => type === "hidden")).toEqual([
      { type: "hidden", name: "request", value: "sealed" },
      { type: "hidden", name: "form_token", value: "token" },
    ]);
    expect(given.filter(({ type }) => type !== "hidden")).toEqual([
      { type: "radio", name: "leash", value: "all", checked: "" },
      { type: "radio", name: "leash", value: "read-only" },
    ]);
  });

  test.each<[NonNullable<ConsentPage["readmit"]>, string]>([
    [{ kind: "unknown" }, "is not known here any more: it was removed, its registration expired"],
    [{ kind: "removed", at: 1_795_230_439 }, "You removed this client on 21 November 2026."],
    [{ kind: "moved" }, "wants its answer at another address"],
  ])("of a client that was here before, %p: the status and the reason", async (readmit, words) => {
    const answer = consentPage({ ...request, clientName: undefined, readmit });
    expect(answer.status).toBe(400);
    const text = await textOf(answer);
    expect(text).toContain("Let an unnamed client use Notes?");
    expect(text).toContain(words);
  });

  test("of a removed client: letting it in again is no main button", async () => {
    const readmit = { kind: "removed", at: 1_795_230_439 } as const;
    const buttons = (await elements(consentPage({ ...request, readmit }))).filter(
      ({ tag }) => tag === "button",
    );
    expect(buttons.map(({ attributes }) => Object.fromEntries(attributes))).toEqual([
      { class: "main", name: "decision", value: "deny" },
      { name: "decision", value: "allow" },
    ]);
    expect(await textOf(consentPage({ ...request, readmit }))).toContain("Allow again");
  });
});
