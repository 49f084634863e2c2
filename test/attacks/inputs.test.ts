// Inputs made to be slow to read, and origins that would like to read along (P94, P99).
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { routes } from "../../src/routes.ts";
import { REDIRECT, authorizationUrl, postToken, registerClient } from "../server.ts";
import { type Stand, startStand } from "./stand.ts";

let stand: Stand;
beforeAll(async () => {
  stand = await startStand();
});
afterAll(() => stand.close());

describe("P94: CORS", () => {
  const paths = [
    ...new Set(routes.map(({ path }) => path)),
    "/mcp",
    "/mcp/x",
    "/.well-known/oauth-authorization-server",
    "/.well-known/nothing",
    "/nothing",
  ];
  const open = new Set(routes.filter(({ cors }) => cors).map(({ path }) => path));
  const isPage = (path: string): boolean =>
    routes.some((route) => route.path === path) && !open.has(path);
  /** At the MCP endpoint who may call may read; elsewhere everybody may, or nobody. */
  const leave = (path: string, origin: string): string | null => {
    if (isPage(path)) return null;
    if (!path.startsWith("/mcp")) return "*";
    return origin === "http://localhost:7676" ? origin : null;
  };

  test.each(paths)("%s lets no foreign origin and no credentials in", async (path) => {
    for (const method of ["GET", "POST", "OPTIONS", "HEAD", "DELETE"]) {
      for (const origin of ["https://evil.test", "null", "http://localhost:7676"]) {
        const headers = { origin, "access-control-request-method": "POST" };
        const { headers: answer } = await stand.owner.send(path, { method, headers });
        expect(answer.get("access-control-allow-credentials")).toBeNull();
        const allowed = answer.get("access-control-allow-origin");
        expect([path, method, allowed]).toEqual([path, method, leave(path, origin)]);
        expect(answer.get("access-control-allow-private-network")).toBeNull();
      }
    }
  });
});

describe("P99: nothing takes longer for being odd", () => {
  const shapes: Record<string, (size: number) => string> = {
    "one letter": (size) => "a".repeat(size),
    "one letter and a stranger": (size) => `${"a".repeat(size)}!`,
    brackets: (size) => "(".repeat(size),
    quotes: (size) => `"`.repeat(size),
    backslashes: (size) => "\\".repeat(size),
    dots: (size) => ".".repeat(size),
    slashes: (size) => "/".repeat(size),
    "slashes and at": (size) => `https://${"/".repeat(size)}@`,
    colons: (size) => "a:".repeat(size / 2),
    blanks: (size) => " ".repeat(size),
    "words and blanks": (size) => "a ".repeat(size / 2),
    tabs: (size) => "\t".repeat(size),
    percents: (size) => "%".repeat(size),
    "encoded blanks": (size) => "%20".repeat(size / 3),
    ampersands: (size) => "&".repeat(size),
    equals: (size) => "=".repeat(size),
    accents: (size) => "a\u0300".repeat(size / 2),
    "joined emoji": (size) => "\u{1f468}\u200d".repeat(size / 4),
    digits: (size) => "1".repeat(size),
    base64: (size) => "A_".repeat(size / 2),
    "a token that goes on": (size) => `prt_${"A".repeat(22)}.1.${"A".repeat(size)}`,
    "a code that goes on": (size) => `pac_${"A".repeat(size)}`,
    "ports of loopback": (size) => `http://127.0.0.1:${"1".repeat(size)}/`,
    "labels of a host": (size) => `https://${"a.".repeat(size / 2)}a/`,
    "a nested list": (size) => "[".repeat(size),
    "cookies without a value": (size) => "postern_7676".repeat(size / 12),
    semicolons: (size) => ";".repeat(size),
  };

  // Far above what any of them takes, far below what one backtracking expression would.
  const LIMIT = 5_000;

  test.each(Object.entries(shapes))(
    "%s in every field",
    async (_name, shape) => {
      const { clientId } = stand.victim;
      const long = shape(14_000);
      await stand.attempt(async () => {
        const statuses: number[] = [];
        const send = async (answer: Promise<Response>): Promise<void> => {
          statuses.push((await answer).status);
        };
        for (const field of [
          "client_id",
          "redirect_uri",
          "scope",
          "resource",
          "state",
          "code_challenge",
          "prompt",
        ])
          await send(stand.owner.get(authorizationUrl(stand.server, clientId, { [field]: long })));
        for (const field of [
          "grant_type",
          "client_id",
          "code",
          "code_verifier",
          "refresh_token",
          "scope",
          "resource",
          "redirect_uri",
          "client_secret",
        ]) {
          const fields = { grant_type: "refresh_token", client_id: clientId, refresh_token: "x" };
          await send(postToken(stand.server, { ...fields, [field]: long }));
          await send(
            postToken(stand.server, {
              ...fields,
              grant_type: "authorization_code",
              code: "x",
              [field]: long,
            }),
          );
        }
        const name = shape(2000);
        const metadata = {
          redirect_uris: [REDIRECT],
          client_name: name,
          scope: name,
          client_uri: name,
        };
        await send(
          registerClient(stand.server, metadata).then(({ client_id: id }) =>
            stand.owner.get(authorizationUrl(stand.server, id)),
          ),
        );
        for (const redirect of [long, `https://x.test/${long}`]) {
          const body = JSON.stringify({ redirect_uris: [redirect] });
          const headers = { "content-type": "application/json" };
          await send(stand.server.fetch("/register", { method: "POST", headers, body }));
        }
        const header = new TextEncoder()
          .encode(long)
          .reduce((text, byte) => text + String.fromCharCode(byte), "");
        for (const field of [
          "authorization",
          "cookie",
          "origin",
          "host",
          "x-forwarded-for",
          "sec-fetch-site",
          "content-type",
          "access-control-request-headers",
        ]) {
          const headers = { [field]: header.trim() };
          for (const [method, path] of [
            ["POST", "/mcp"],
            ["POST", "/token"],
            ["POST", "/login"],
            ["GET", "/connect"],
            ["OPTIONS", "/mcp"],
          ] as const)
            await send(stand.server.fetch(path, { method, headers }));
        }
        await send(
          stand.server.fetch("/login", {
            method: "POST",
            headers: { origin: stand.server.config.origin },
            body: new URLSearchParams({ request: long, password: "x" }),
          }),
        );
        expect(statuses.filter((status) => status >= 500)).toEqual([]);
      });
    },
    LIMIT,
  );
});
