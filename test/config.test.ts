import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { routes } from "../src/app.ts";
import { parseCommandLine } from "../src/cli/command_line.ts";
import { helpText } from "../src/cli/run.ts";
import { readConfig, unknownVariables } from "../src/config.ts";
import { FatalError } from "../src/errors.ts";
import { settingRows } from "../src/settings.ts";
import { temporaryFolder } from "./server.ts";

let folder: string;
beforeAll(() => {
  folder = temporaryFolder();
});
afterAll(() => rmSync(folder, { recursive: true }));

const failure = (
  work: () => unknown,
): { message: string; exitCode: number; hint?: string | undefined } => {
  try {
    work();
  } catch (error) {
    if (error instanceof FatalError) return error;
    throw error;
  }
  throw new Error("was accepted");
};

describe("defaults", () => {
  test("the public URL is the loopback one, on both families", () => {
    expect(readConfig({})).toMatchObject({
      issuer: "http://localhost:7676",
      hosts: ["127.0.0.1", "::1"],
      port: 7676,
      accessTokenTtl: 3600,
      refreshIdleTtl: 90 * 86_400,
      refreshAbsoluteTtl: 365 * 86_400,
      refreshGrace: 120,
      siblingGrace: 3600,
      registration: true,
      servers: [
        {
          path: "/mcp",
          resource: "http://localhost:7676/mcp",
          scopes: ["mcp"],
          upstream: undefined,
        },
      ],
    });
  });
});

describe("the public URL has one spelling", () => {
  test.each([
    ["https://mcp.example.com/", "https://mcp.example.com"],
    ["https://mcp.example.com:443", "https://mcp.example.com"],
    ["HTTPS://MCP.Example.com", "https://mcp.example.com"],
    ["https://example.com/auth/", "https://example.com/auth"],
    ["http://localhost:80", "http://localhost"],
    ["http://127.0.0.1:9000", "http://127.0.0.1:9000"],
  ])("%s is %s", (given, issuer) => {
    expect(readConfig({ url: given }).issuer).toBe(issuer);
  });

  test("a path in it moves every route and server under it", () => {
    expect(readConfig({ url: "https://example.com/auth" })).toMatchObject({
      basePath: "/auth",
      servers: [{ path: "/auth/mcp", resource: "https://example.com/auth/mcp" }],
    });
  });
});

describe("what is refused, in one line, with exit code 2", () => {
  test.each<[Record<string, string>, string]>([
    [{ url: "http://mcp.example.com" }, "https://mcp.example.com"],
    [{ url: "http://192.168.1.5:7676" }, "https://192.168.1.5:7676"],
    [{ url: "ftp://x" }, "http(s) URL"],
    [{ url: "mcp.example.com" }, "http(s) URL"],
    [{ url: "https://u:p@example.com" }, "user name"],
    [{ url: "https://example.com/?x=1" }, "query"],
    [{ url: "https://example.com/#x" }, "fragment"],
    [{ url: "https://example.com/a//b" }, "a path such as /mcp"],
    [{ host: "0.0.0.0" }, "public URL"],
    [{ host: "localhost" }, "IP address"],
    [{ port: "0" }, "whole number"],
    [{ port: "65536" }, "whole number"],
    [{ port: "7676x" }, "whole number"],
    [{ path: "mcp" }, "a path such as /mcp"],
    [{ path: "/.well-known/x" }, "a path such as /mcp"],
    [{ path: "/a/../b" }, "a path such as /mcp"],
    ...[...new Set(routes.map(({ path }) => path.replace("/**", "")))]
      .concat("/account", "/admin/api", "/metrics", "/readyz", "/TOKEN")
      .filter((path) => path !== "/")
      .map((path): [Record<string, string>, string] => [{ path }, "Postern's own; choose another"]),
    [{ path: "/token/x" }, "Postern's own"],
    [{ scopes: 'a"b' }, "scope names"],
    [{ accessTokenTtl: "soon" }, "a time"],
    [{ accessTokenTtl: "0" }, "a time"],
    [{ registration: "maybe" }, "open or closed"],
    [{ trustedProxies: "10.0.0.300" }, "not an IP address"],
    [{ trustedProxies: "proxy.example" }, "not an IP address"],
    [{ trustedProxies: "10.0.0.0/33" }, "a whole number from 1 to 32"],
    [{ trustedProxies: "fd00::/129" }, "a whole number from 1 to 128"],
    [{ trustedProxies: "10.0.0.0/0" }, "a whole number from 1 to 32"],
    [{ trustedProxies: "10.0.0.0/8/8" }, "not a network"],
    [{ allowedOrigins: "example.com" }, "not an origin"],
    [{ upstream: "localhost:3000" }, "http(s) URL"],
  ])("%p: %s", (given, words) => {
    const error = failure(() => readConfig(given));
    expect(error.exitCode).toBe(2);
    expect(error.message.includes("\n")).toBe(false);
    expect(`${error.message} ${error.hint ?? ""}`).toContain(words);
  });

  test("a bind off loopback with an https public URL is fine", () => {
    expect(readConfig({ host: "0.0.0.0", url: "https://a.test" }).hosts).toEqual(["0.0.0.0"]);
  });
});

describe("flag, variable, config.json, default, in that order", () => {
  const data = (): string => join(folder, "order");
  beforeAll(() => {
    mkdirSync(data());
    writeFileSync(
      join(data(), "config.json"),
      JSON.stringify({ port: 1001, accessTokenTtl: "10m", scopes: ["a", "b"] }),
    );
  });

  test("each wins over the next", () => {
    const environment = { POSTERN_PORT: "1002", POSTERN_DATA: data() };
    expect(readConfig({ port: "1003" }, environment).port).toBe(1003);
    expect(readConfig({}, environment).port).toBe(1002);
    expect(readConfig({ data: data() }).port).toBe(1001);
    expect(readConfig({}).port).toBe(7676);
    expect(readConfig({ data: data() })).toMatchObject({ accessTokenTtl: 600, scopes: ["a", "b"] });
  });

  test("the message says where a bad value stands", () => {
    expect(failure(() => readConfig({ port: "x" })).message).toContain("--port");
    expect(failure(() => readConfig({}, { POSTERN_PORT: "x" })).message).toContain("POSTERN_PORT");
  });

  test.each<[string, string, string]>([
    ["{", "not valid JSON", ""],
    ["[]", "one JSON object", ""],
    ['{"prot":1}', '"prot"', '"port"'],
    ['{"data":"x"}', '"data"', ""],
    ['{"port":"x"}', '"port" in config.json', ""],
    ['{"servers":{}}', "array", ""],
    ['{"servers":[]}', "empty", ""],
    ['{"servers":[{"path":"/a"},{"path":"/a"}]}', "same path", ""],
    ['{"servers":[{"pth":"/a"}]}', '"pth"', ""],
    ['{"servers":[{"path":"a"}]}', '"path" of entry 1', ""],
    ['{"servers":[{"path":"/login"}]}', '"path" of entry 1: /login is Postern\'s own', ""],
    ['{"servers":[{"path":"/a"}],"name":"x"}', '"name" in config.json has no effect', '"servers"'],
  ])("config.json %s: %s", (text, message, hint) => {
    const own = join(folder, "bad");
    mkdirSync(own, { recursive: true });
    writeFileSync(join(own, "config.json"), text);
    const error = failure(() => readConfig({ data: own }));
    expect([
      error.exitCode,
      error.message.includes(message),
      (error.hint ?? "").includes(hint),
    ]).toEqual([2, true, true]);
  });

  test("what names the one server is refused beside a list of servers", () => {
    const own = join(folder, "several");
    mkdirSync(own);
    writeFileSync(join(own, "config.json"), '{"servers":[{"path":"/a"},{"path":"/b"}]}');
    for (const [given, environment, source] of [
      [{ upstream: "http://127.0.0.1:1/" }, {}, "--upstream"],
      [{ path: "/mcp" }, {}, "--path"],
      [{}, { POSTERN_NAME: "x" }, "POSTERN_NAME"],
    ] as const) {
      const error = failure(() => readConfig({ ...given, data: own }, environment));
      expect(error.message).toBe(`${source} has no effect beside "servers" in config.json`);
      expect(error.exitCode).toBe(2);
    }
    const { servers } = readConfig({ data: own, scopes: "notes" }, { POSTERN_UPSTREAM: "" });
    expect(servers.map(({ path, scopes }) => [path, scopes])).toEqual([
      ["/a", ["notes"]],
      ["/b", ["notes"]],
    ]);
  });

  test("an empty flag or variable is none: the working directory is never the data folder by accident", () => {
    expect(readConfig({ data: "" }, { POSTERN_DATA: "" }).data).toBe(join(process.cwd(), "data"));
  });

  test("variables that no setting has are named", () => {
    expect(unknownVariables({ POSTERN_PROT: "1", POSTERN_PORT: "1", PATH: "" })).toEqual([
      "POSTERN_PROT",
    ]);
  });
});

describe("the command line", () => {
  test("words and settings", () => {
    expect(parseCommandLine(["grants", "revoke", "abcd", "--data", "x", "--json"])).toMatchObject({
      words: ["grants", "revoke", "abcd"],
      given: { data: "x" },
      json: true,
    });
  });

  test.each<[string[], string, string]>([
    [["--prot", "1"], "unknown flag --prot", "--port"],
    [["--zzz"], "unknown flag --zzz", "--help"],
    [["--port"], "--port", "--help"],
    [["-x"], "unknown flag --x", "--help"],
  ])("%p: %s", (argv, message, hint) => {
    const error = failure(() => parseCommandLine(argv));
    expect([
      error.exitCode,
      error.message.includes(message),
      (error.hint ?? "").includes(hint),
    ]).toEqual([2, true, true]);
  });

  test("--help has every setting with its variable", () => {
    const text = helpText();
    for (const { flag, variable } of settingRows()) {
      expect(text).toContain(flag);
      expect(text).toContain(variable);
    }
  });
});
