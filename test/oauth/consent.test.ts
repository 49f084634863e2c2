// POST /consent on a disk that takes nothing: the person in front of the page is told, and the client is not sent a code
// that it could not redeem.
import { expect, test } from "bun:test";
import { createApp } from "../../src/app.ts";
import { StoreUnavailable } from "../../src/errors.ts";
import { Browser, authorizationUrl, registerClient, startServer } from "../server.ts";

test("a client is not let in while nothing can be saved, and the page says so", async () => {
  const server = await startServer();
  const { client_id: clientId } = await registerClient(server);
  const update = (): Promise<never> => Promise.reject(new StoreUnavailable("the disk is full"));
  const full = createApp({ ...server.deps, store: { ...server.deps.store, update } });
  const browser = new Browser({
    config: server.config,
    fetch: async (path, init) =>
      full.fetch(new Request(new URL(path, server.config.origin), { redirect: "manual", ...init })),
  });
  const refused = await browser.authorize(authorizationUrl(server, clientId));
  expect(refused.status).toBe(503);
  expect(refused.headers.get("retry-after")).toBe("5");
  const page = await refused.text();
  expect(page).toContain("Not right now");
  expect(page).toContain("cannot save changes");
  expect(await server.deps.store.codes.list()).toEqual([]);

  const allowed = await new Browser(server).authorize(authorizationUrl(server, clientId));
  expect(allowed.headers.get("location")).toContain("code=pac_");
  await server.close();
});
