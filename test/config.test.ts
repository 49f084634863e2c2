import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { routes } from "../src/routes.ts";
import { parseCommandLine } from "../src/cli/command_line.ts";
import { helpText } from "../src/cli/run.ts";
import { readConfig, unknownVariables } from "../src/config.ts";
import { FatalError } from "../src/errors.ts";
import { settingRows } from "../src/settings/rows.ts";
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
    [{ url: "ftp://x" }, "begins with https:// or http://"],
    [{ url: "mcp.example.com" }, "begins with https:// or http://"],
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
    [{ upstream: "localhost:3000" }, "begins with https:// or http://"],
    [{ command: '"x' }, "left open"],
    [{ command: "[1]" }, "array of strings"],
    [{ command: " " }, "a program"],
    [{ command: "x", processes: "two" }, "per-session or shared"],
    [{ command: "x", upstream: "http://a.test/" }, "a command and an upstream"],
    [{ command: "x", headers: "a: b" }, "headers and no upstream"],
    [{ env: "A=b" }, "no command"],
    [{ workingFolder: "/tmp" }, "no command"],
    [{ command: "x", env: "1=b" }, "NAME=value"],
    [{ command: "x", env: "A=env:POSTERN_X" }, "Postern's own"],
    [{ policy: "tools" }, "expected *"],
    [{ policy: "tool=mcp" }, "expected *"],
    [{ policy: "tools/=mcp" }, "expected *"],
    [{ policy: "tools=" }, "scope names"],
    [{ policy: "tools=admin" }, "the scope admin, which it does not offer"],
    [{ upstream: "http://a.test/", headers: "a" }, "Name: value"],
    [{ upstream: "http://a.test/", headers: "a b: c" }, "Name: value"],
    [{ upstream: "http://a.test/", headers: "X-Postern-User: c" }, "not yours"],
    [{ upstream: "http://a.test/", headers: '{"a":1}' }, "text for each name"],
    [{ upstream: "http://a.test/", headers: '{"a":"b\\r\\nc: d"}' }, "line end"],
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
    [["-x"], "unknown flag -x", "--help"],
    [["npx", "-y", "server"], "unknown flag -y", '"serve --"'],
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

describe("the server behind", () => {
  test.each<[string, string[]]>([
    ["npx -y server /home/me/notes", ["npx", "-y", "server", "/home/me/notes"]],
    [`a "b c"  'd "e' f\\ g h"i"'j'`, ["a", "b c", 'd "e', "f g", "hij"]],
    [`a "" '' "\\"" $HOME ~ *`, ["a", "", "", '"', "$HOME", "~", "*"]],
    ['["a","b c",""]', ["a", "b c", ""]],
  ])("the command %s", (command, words) => {
    expect(readConfig({ command }).servers[0].command).toEqual(words);
  });

  test("the words behind -- are the command, where a server is started", () => {
    const commandOf = (...argv: string[]): unknown => {
      const { command } = parseCommandLine(argv).given;
      return command === undefined ? undefined : JSON.parse(command);
    };
    expect(commandOf("--", "npx", "-y", "--port", "1")).toEqual(["npx", "-y", "--port", "1"]);
    expect(commandOf("serve", "--port", "1", "--", "x", "--", "y")).toEqual(["x", "--", "y"]);
    expect(commandOf("dev", "--", "x")).toEqual(["x"]);
    expect(commandOf("--")).toBeUndefined();
    const line = parseCommandLine(["grants", "revoke", "--", "-id"]);
    expect([line.words, line.given.command]).toEqual([["grants", "revoke", "-id"], undefined]);
  });

  test("variables and headers, as text and as JSON", () => {
    const command = "x";
    const env = "A, B=env:C,D=file:/e f ,G=h=i,";
    const expected = { A: "env:A", B: "env:C", D: "file:/e f", G: "h=i" };
    expect(readConfig({ command, env }).servers[0].env).toEqual(expected);
    expect(readConfig({ command, env: JSON.stringify(expected) }).servers[0].env).toEqual(expected);
    const upstream = "http://a.test/";
    const headers = "Authorization: Bearer x: y\n  X-Key:file:/k  \n";
    expect(readConfig({ upstream, headers }).servers[0].headers).toEqual({
      Authorization: "Bearer x: y",
      "X-Key": "file:/k",
    });
  });

  test("a policy, as text and as JSON", () => {
    const scopes = "read write admin";
    const expected = { "*": ["read"], tools: ["write", "read"], "tools/a=b*": ["admin"] };
    const text = "*=read, tools=write read,tools/a=b*=admin";
    expect(readConfig({ scopes, policy: text }).servers[0].policy).toEqual(expected);
    const words = { "*": "read", tools: "write read", "tools/a=b*": "admin" };
    const found = readConfig({ scopes, policy: JSON.stringify(words) }).servers[0];
    expect(found.policy).toEqual(expected);
  });

  test("several of every kind in config.json", () => {
    const own = join(folder, "kinds");
    mkdirSync(own);
    const servers = [
      { path: "/a", upstream: "http://a.test/mcp", headers: { Authorization: "file:/a" } },
      { path: "/b", command: ["b", "c d"], env: { X: "env:Y" }, workingFolder: "/tmp" },
      { path: "/c", command: "c 'd e'", processes: "per-session", scopes: ["x", "y"] },
      { path: "/d" },
    ];
    writeFileSync(join(own, "config.json"), JSON.stringify({ servers, processes: "shared" }));
    const found = readConfig({ data: own }).servers;
    expect(found.map(({ path, command, processes }) => [path, command, processes])).toEqual([
      ["/a", undefined, "shared"],
      ["/b", ["b", "c d"], "shared"],
      ["/c", ["c", "d e"], "per-session"],
      ["/d", undefined, "shared"],
    ]);
    expect(found[0].headers).toEqual({ Authorization: "file:/a" });
    expect(found[1]).toMatchObject({ env: { X: "env:Y" }, workingFolder: "/tmp" });
    expect(found[2]?.scopes).toEqual(["x", "y"]);
  });

  test("a value that may be a secret is not repeated", () => {
    const upstream = "http://a.test/";
    for (const headers of ["Bearer s3cret", '{"a":"s3cret', '{"a b":"s3cret"}']) {
      const { message } = failure(() => readConfig({ upstream, headers }));
      expect(message).not.toContain("s3cret");
    }
  });
});
