// What happens around every handler, whichever it is.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type TestServer, startServer } from "./server.ts";

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
