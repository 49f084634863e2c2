// What is decided of a request before any handler: its client, its Host, its path.
import { describe, expect, test } from "bun:test";
import { readConfig } from "../src/config.ts";
import { clientAddress, isAmbiguousPath, isOwnHost } from "../src/http.ts";

describe("RFC 9700 §4.13: X-Forwarded-For is believed only from proxies", () => {
  const https = readConfig({ url: "https://a.test" });
  const local = readConfig({});
  const networks = readConfig({
    url: "https://a.test",
    trustedProxies: "172.16.0.0/12, fdaa::/16, 10.0.0.1",
  });
  const listed = readConfig({ url: "https://a.test", trustedProxies: "10.0.0.1,10.0.0.2" });
  test.each([
    ["auto, from loopback, https", https, "127.0.0.1", "1.1.1.1, 2.2.2.2", "2.2.2.2"],
    ["auto, from ::1, https", https, "::1", "2.2.2.2", "2.2.2.2"],
    ["auto, from elsewhere", https, "3.3.3.3", "1.1.1.1", "3.3.3.3"],
    ["auto, http on loopback", local, "127.0.0.1", "1.1.1.1", "127.0.0.1"],
    ["auto, with a port", https, "127.0.0.1", "1.2.3.4:5678", "1.2.3.4"],
    ["auto, IPv6 with a port", https, "127.0.0.1", "[2001:db8::1]:99", "2001:db8::1"],
    ["auto, nobody named", https, "127.0.0.1", "", "unknown"],
    ["auto, garbage", https, "127.0.0.1", "<script>", "unknown"],
    [
      "a list, the right-most stranger",
      listed,
      "10.0.0.1",
      "9.9.9.9, 1.1.1.1, 10.0.0.2",
      "1.1.1.1",
    ],
    ["a list, all trusted", listed, "10.0.0.1", "10.0.0.2", "unknown"],
    ["a list, nobody named", listed, "10.0.0.1", "", "unknown"],
    ["a list, with ports", listed, "10.0.0.1", "9.9.9.9, 1.1.1.1:50123, 10.0.0.2:443", "1.1.1.1"],
    ["networks, inside", networks, "172.31.255.254", "1.1.1.1", "1.1.1.1"],
    ["networks, inside, IPv6", networks, "fdaa:0:1::3", "6.6.6.6, 1.1.1.1, 172.16.0.1", "1.1.1.1"],
    ["networks, mapped into IPv6", networks, "::ffff:172.16.0.9", "1.1.1.1", "1.1.1.1"],
    ["networks, one address", networks, "10.0.0.1", "1.1.1.1", "1.1.1.1"],
    ["networks, beside", networks, "172.32.0.1", "1.1.1.1", "172.32.0.1"],
    ["networks, beside, IPv6", networks, "fdab::1", "1.1.1.1", "fdab::1"],
    ["networks, garbage behind", networks, "10.0.0.1", "1.1.1.1, <script>", "unknown"],
    ["a list, from elsewhere", listed, "127.0.0.1", "1.1.1.1", "127.0.0.1"],
  ])("%s", (_name, config, peer, forwarded, address) => {
    const headers = new Headers(forwarded === "" ? {} : { "x-forwarded-for": forwarded });
    expect(clientAddress(peer, headers, config)).toBe(address);
  });
});

describe("Host", () => {
  const config = readConfig({ url: "https://mcp.example.com" });
  test.each([
    "mcp.example.com",
    "MCP.example.com:443",
    "localhost",
    "127.0.0.1:7676",
    "[::1]:7676",
  ])("%s is ours", (host) => {
    expect(isOwnHost(host, config)).toBe(true);
  });
  test.each([
    "evil.test",
    "mcp.example.com.evil.test",
    "mcp.example.com, evil",
    "a@mcp.example.com",
    "",
    "mcp.example.com/x",
    "localhost.evil.test",
  ])("%p is not", (host) => expect(isOwnHost(host, config)).toBe(false));
});

describe("paths that can be read in two ways", () => {
  test.each([
    "//mcp",
    "/mcp//x",
    "/mcp/%2e%2e/x",
    "/mcp%2fx",
    "/mcp%5Cx",
    "/mcp;x",
    "/mcp/%00",
    "/mcp/%252e",
    "/mcp\\x",
    "/a%3bb",
  ])("%s", (path) => {
    expect(isAmbiguousPath(`http://localhost:7676${path}`)).toBe(true);
  });
  test.each([
    "/",
    "",
    "/mcp",
    "/mcp/a%20b",
    "/mcp?x=//;%2f",
    "/authorize?redirect_uri=http%3A%2F%2Fa%2Fb",
    "/a.b/c",
  ])("%p is plain", (path) => {
    expect(isAmbiguousPath(`http://localhost:7676${path}`)).toBe(false);
  });
});
