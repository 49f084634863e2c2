// The file with the setup link, when the disk does not do what it is asked.
import { expect, test } from "bun:test";
import { mkdirSync, readFileSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { setupLink } from "../../src/login/setup.ts";
import { Browser, startServer } from "../server.ts";

test("a link file that cannot be removed does not undo the setup", async () => {
  const server = await startServer({ owner: false });
  const inTheWay = join(server.folder, "setup-link");
  mkdirSync(inTheWay);
  const { status } = await new Browser(server).setUp(setupLink(server.deps));
  expect(status).toBe(303);
  expect(await server.deps.store.owner.get("owner")).toBeDefined();
  expect(readFileSync(join(server.folder, "audit.jsonl"), "utf8")).toContain(
    `${inTheWay} cannot be removed`,
  );
  rmdirSync(inTheWay);
  await server.close();
});
