import { describe, expect, test } from "bun:test";
import { readConfig } from "../../src/config.ts";
import {
  checkRedirectUri,
  findServer,
  grantableScopes,
  matchRedirectUri,
  narrowScopes,
  verifyPkce,
} from "../../src/oauth/rules.ts";

describe("RFC 8252 §7: redirect URIs that may be registered", () => {
  test.each([
    "https://claude.ai/api/mcp/auth_callback",
    "https://chatgpt.com/connector/oauth/abc?x=1",
    "http://127.0.0.1/callback",
    "http://127.0.0.1:33418/",
    "http://localhost/callback",
    "http://[::1]:3000/cb",
    "cursor://anysphere.cursor-mcp/oauth/callback",
    "com.example.app:/oauth",
  ])("accepts %s", (uri) => {
    expect(checkRedirectUri(uri)).toEqual({ ok: true });
  });

  test.each([
    "",
    "/callback",
    "callback",
    "https://",
    "https:good.test\\@evil.test/cb",
    "https:/good.test/cb",
    "https:good.test/cb",
    "https://good.test@evil.test/cb",
    "https://good.test%40evil.test/cb",
    "https://*.example.com/cb",
    "https://example.com/cb#fragment",
    "https://example.com/c b",
    "https://example.com/\u0000",
    "https://exаmple.com/cb",
    "http://example.com/cb",
    "http://192.168.1.5/cb",
    "http://localhost.evil.test/cb",
    "http://127.0.0.1.evil.test/cb",
    "http://127.0.0.1@evil.test/cb",
    "http://0x7f.1/cb",
    "http://2130706433/cb",
    "http://[::ffff:127.0.0.1]/cb",
    "http://LOCALHOST/cb",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "\tjavascript:alert(1)",
    " javascript:alert(1)",
    "java\nscript:alert(1)",
    "data:text/html,x",
    "vbscript:x",
    "blob:https://a/b",
    "file:///etc/passwd",
    "about:blank",
    "ws://localhost/x",
    "view-source:https://a",
  ])("refuses %p", (uri) => {
    expect(checkRedirectUri(uri).ok).toBe(false);
  });

  test("refuses more than 2048 characters", () => {
    expect(checkRedirectUri(`https://example.com/${"a".repeat(2048)}`).ok).toBe(false);
  });
});

describe("OAuth 2.1 §2.3.1: redirect URIs are compared whole", () => {
  const registered = [
    "https://good.test/cb",
    "http://127.0.0.1:3000/cb",
    "http://localhost/callback",
    "cursor://x/cb",
  ];

  test.each([
    "https://good.test/cb",
    "http://127.0.0.1:3000/cb",
    "http://127.0.0.1:9999/cb",
    "http://127.0.0.1/cb",
    "http://localhost:3118/callback",
    "cursor://x/cb",
  ])("matches %s", (uri) => {
    expect(matchRedirectUri(registered, uri)).toBe(true);
  });

  test.each([
    "https://good.test/cb/",
    "https://good.test/cb/../x",
    "https://good.test/cb%2f..",
    "https://good.test/cb?x=1",
    "https://good.test/cb#f",
    "https://good.test/CB",
    "https://good.test:443/cb",
    "https://good.test:8443/cb",
    "https://good.test.evil.test/cb",
    "https://sub.good.test/cb",
    "https://evil.test/cb",
    "http://127.0.0.1:9999/other",
    "https://127.0.0.1:3000/cb",
    "http://localhost:3000/cb",
    "http://127.0.0.1:3000@evil.test/cb",
    "http://127.0.0.1:3000/cb?x",
    "http://localhost:99999/callback",
    "cursor://x/cb2",
    "cursor://X/cb",
  ])("refuses %s", (uri) => {
    expect(matchRedirectUri(registered, uri)).toBe(false);
  });
});

describe("RFC 7636 §4.6: PKCE", () => {
  test("the vector of Appendix B", () => {
    const challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
    const verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    expect(verifyPkce(verifier, challenge)).toBe(true);
    expect(verifyPkce(`${verifier}\n`, challenge)).toBe(false);
    expect(verifyPkce(challenge, challenge)).toBe(false);
    expect(verifyPkce("", challenge)).toBe(false);
  });
});

describe("RFC 6749 §3.3: scopes", () => {
  const offered = ["read", "write"];
  test.each<[string | undefined, string[] | undefined]>([
    [undefined, ["read", "write"]],
    ["", ["read", "write"]],
    ["write", ["write"]],
    ["write read", ["read", "write"]],
    ["read admin", ["read"]],
    ["admin", undefined],
    ["openid profile email offline_access", ["read", "write"]],
    ["read offline_access", ["read"]],
  ])("asked %p grants %p", (asked, granted) => {
    expect(grantableScopes(asked, offered)).toEqual(granted);
  });

  test("RFC 6749 §6: a refresh narrows and never widens", () => {
    expect(narrowScopes(undefined, ["read"])).toEqual(["read"]);
    expect(narrowScopes("read", ["read", "write"])).toEqual(["read"]);
    expect(narrowScopes("read write", ["read"])).toBeUndefined();
    expect(narrowScopes("read offline_access", ["read"])).toEqual(["read"]);
  });
});

describe("RFC 8707 §2: resource indicators", () => {
  const one = readConfig({ url: "https://host.test" });
  test.each([
    { resources: [] },
    { resources: ["https://host.test/mcp"] },
    { resources: ["https://host.test/mcp/"] },
    { resources: ["https://host.test"] },
    { resources: ["https://host.test/"] },
    { resources: ["https://HOST.test:443/mcp"] },
    { resources: ["https://host.test/mcp", "https://host.test"] },
  ])("one server: %p is it", ({ resources }) => {
    expect(findServer(one, resources)).toBe(one.servers[0]);
  });
  test.each([
    { resources: ["https://other.test/mcp"] },
    { resources: ["http://host.test/mcp"] },
    { resources: ["https://host.test/other"] },
    { resources: ["https://host.test/mcp#f"] },
    { resources: ["https://u@host.test/mcp"] },
    { resources: ["https://host.test/mcp?x"] },
    { resources: ["mcp"] },
    { resources: ["https://host.test/mcp", "https://other.test/mcp"] },
  ])("one server: %p is foreign", ({ resources }) => {
    expect(findServer(one, resources)).toBeUndefined();
  });
});
