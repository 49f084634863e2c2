import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Browser, PASSWORD, type TestServer, startServer } from "../server.ts";

let server: TestServer;
beforeAll(async () => {
  server = await startServer({ owner: false });
});
afterAll(() => server.close());

const fields = { password: PASSWORD, password_again: PASSWORD };

describe("the setup link is the only way to become the owner", () => {
  test.each(["", "x", "A".repeat(43)])("not with the token %p", async (token) => {
    const browser = new Browser(server);
    expect((await browser.get(`/setup?token=${token}`)).status).toBe(403);
    expect((await browser.post("/setup", { ...fields, token })).status).toBe(403);
    expect(await server.deps.store.owner.get("owner")).toBeUndefined();
  });

  test("with its own, once", async () => {
    const browser = new Browser(server);
    const token = server.deps.setupToken;
    expect((await browser.get(`/setup?token=${token}`)).status).toBe(200);
    expect((await browser.post("/setup", { ...fields, token })).status).toBe(303);
    expect((await browser.post("/setup", { ...fields, token })).status).toBe(410);
    // Opened once more: the owner goes on, everybody else is told.
    const again = await browser.get(`/setup?token=${token}`);
    expect([again.status, again.headers.get("location")]).toEqual([303, "/connect"]);
    expect((await new Browser(server).get(`/setup?token=${token}`)).status).toBe(410);
  });
});
