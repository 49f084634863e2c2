// What happens around every handler, whichever it is.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createApp } from "../src/app.ts";
import { routes } from "../src/routes.ts";
import { Browser, type TestServer, startServer } from "./server.ts";

let server: TestServer;
beforeAll(async () => {
  server = await startServer();
});
afterAll(() => server.close());

describe("a path that no route names is 404", () => {
  const browser = { accept: "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8" };

  test.each(["/nothing", "/admin", "/tokens", "/mcpx"])("%s: a page for people", async (path) => {
    const answer = await server.fetch(path, { headers: browser });
    expect(answer.status).toBe(404);
    expect(answer.headers.get("content-type")).toBe("text/html; charset=utf-8");
    expect(answer.headers.get("access-control-allow-origin")).toBeNull();
    expect(await answer.text()).toContain("There is nothing here");
  });

  test.each(["/nothing", "/admin", "/admin/apis"])("%s: JSON for programs", async (path) => {
    for (const accept of ["*/*", "application/json", ""]) {
      const answer = await server.fetch(path, { headers: { accept } });
      expect(answer.status).toBe(404);
      expect(await answer.json()).toEqual({
        error: "invalid_request",
        error_description: "there is nothing here",
      });
    }
  });

  test("of the well-known documents: JSON for everybody", async () => {
    const answer = await server.fetch("/.well-known/nothing", { headers: browser });
    expect(answer.status).toBe(404);
    expect(await answer.json()).toMatchObject({ error: "invalid_request" });
  });
});

test("a request's id never begins like a flag: people search logs for it", async () => {
  for (let start = 0; start < 300; start++) {
    const { fetch } = createApp(server.deps);
    const answer = await fetch(new Request("http://localhost:7676/healthz"));
    expect(answer.headers.get("x-request-id")).toMatch(/^[A-Za-z0-9][\w-]{7}-1$/);
  }
});

describe("the address of an MCP server without a token", () => {
  test("opened in a browser it is a page, with the same status and challenge", async () => {
    const answer = await server.fetch("/mcp", { headers: { accept: "text/html,*/*;q=0.8" } });
    expect(answer.status).toBe(401);
    expect(answer.headers.get("www-authenticate")).toContain(
      'resource_metadata="http://localhost:7676/.well-known/oauth-protected-resource/mcp"',
    );
    expect(answer.headers.get("content-type")).toBe("text/html; charset=utf-8");
    expect(await answer.text()).toContain("This address is for MCP clients");
  });

  test.each<[string, RequestInit]>([
    ["GET of a client", { headers: { accept: "text/event-stream" } }],
    ["GET of anything", { headers: { accept: "*/*" } }],
    ["POST", { method: "POST", headers: { accept: "text/html" } }],
    ["a wrong token", { headers: { accept: "text/html", authorization: "Bearer x" } }],
  ])("%s: JSON", async (_name, init) => {
    const answer = await server.fetch("/mcp", init);
    expect(answer.status).toBe(401);
    expect(answer.headers.get("www-authenticate")).toStartWith("Bearer ");
    expect(await answer.json()).toMatchObject({ error: "invalid_token" });
  });
});

describe("what nobody expected", () => {
  const inside = "ENOENT: /srv/secret/state.json pat_secret at store.ts:42";
  const paths = [
    ["POST", "/token", "grant_type=refresh_token&refresh_token=x&client_id=x", "json"],
    ["POST", "/revoke", "token=x&client_id=x", "json"],
    ["POST", "/introspect", "token=x&client_id=x", "json"],
    ["GET", "/authorize?client_id=x", undefined, "page"],
  ] as const;
  let broken: TestServer;
  beforeAll(async () => {
    broken = await startServer();
    const fails = (): never => {
      throw new TypeError(inside, { cause: new Error(inside) });
    };
    Object.assign(broken.deps.store.clients, { get: fails });
    Object.assign(broken.deps.store.refresh_tokens, { get: fails });
  });
  afterAll(() => broken.close());

  const expectNothingTold = async (answer: Response): Promise<string> => {
    expect(answer.status).toBe(500);
    const text = (await answer.text()) + JSON.stringify([...answer.headers]);
    for (const word of ["ENOENT", "secret", "TypeError", ".ts:"]) expect(text).not.toContain(word);
    return text;
  };

  test.each(paths)(
    "%s %s: 500 server_error, and not a word of it",
    async (method, path, body, form) => {
      const answer = await broken.fetch(path, {
        method,
        ...(body !== undefined && { body: new URLSearchParams(body) }),
      });
      const requestId = answer.headers.get("x-request-id") ?? "none";
      const type = answer.headers.get("content-type");
      expect(type).toStartWith(form === "json" ? "application/json" : "text/html");
      const text = await expectNothingTold(answer);
      expect(text).toContain(form === "json" ? "something went wrong in the server" : requestId);
      const line = readFileSync(join(broken.folder, "audit.jsonl"), "utf8")
        .split("\n")
        .find((each) => each.includes(`"request":"${requestId}"`));
      // The owner reads why, and no secret there either.
      expect(line).toContain("ENOENT: /srv/secret/state.json pat_[redacted]");
    },
  );

  test("at the MCP endpoint: no challenge that would make a client log in again", async () => {
    const token = `pat_${"A".repeat(22)}.1.${"A".repeat(43)}`;
    const answer = await broken.fetch("/mcp", {
      method: "POST",
      headers: { authorization: `Bearer ${token}` },
    });
    expect(answer.headers.get("www-authenticate")).toBeNull();
    await expectNothingTold(answer);
  });
});

describe("the route table", () => {
  const send = (method: string, path: string): Promise<Response> =>
    new Browser(server).send(path.replace("/**", "/grants"), {
      method,
      headers: { origin: server.config.origin, "sec-fetch-site": "same-origin" },
      ...(method !== "GET" && { body: new URLSearchParams({ token: "x", grant_type: "x" }) }),
    });
  const rows = routes.map(({ method, path, who }) => [method, path, who] as const);

  test.each(rows.filter(([, , who]) => who === "owner"))(
    "%s %s is for the %s: nobody else gets an answer",
    async (method, path) => {
      const { status, headers } = await send(method, path);
      const login = status === 303 && headers.get("location") === "/login";
      // Who is signed out may sign out.
      const harmless = path === "/logout" && status === 200;
      expect([status, login || harmless || (status >= 400 && status < 500)]).toEqual([
        status,
        true,
      ]);
    },
  );

  test.each(rows.filter(([, , who]) => who === "client"))(
    "%s %s is for a %s: nobody else gets an answer",
    async (method, path) => {
      expect([400, 401]).toContain((await send(method, path)).status);
    },
  );

  test.each(routes.filter(({ source }) => source.startsWith("RFC")))(
    "$path is handled where $source is cited",
    ({ source, handler }) => {
      const file = join(import.meta.dir, `../src/oauth/${handler.name}.ts`);
      expect(readFileSync(file, "utf8")).toContain(source.split(" §", 1)[0] ?? "");
    },
  );
});
