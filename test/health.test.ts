// /healthz and /readyz: what they answer, to whom, and what asking costs.
import { afterEach, describe, expect, test } from "bun:test";
import { renameSync } from "node:fs";
import { type SmallDisk, smallDisk } from "./faults/small_disk.ts";
import { needs } from "./needs.ts";
import { type TestServer, registerClient, startServer } from "./server.ts";

const servers: TestServer[] = [];
const disks: SmallDisk[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
  for (const disk of disks.splice(0)) disk.remove();
});

async function start(options: Parameters<typeof startServer>[0] = {}): Promise<TestServer> {
  const server = await startServer(options);
  servers.push(server);
  return server;
}

const statuses = async (server: TestServer): Promise<number[]> => {
  const answers = [await server.fetch("/healthz"), await server.fetch("/readyz")];
  return answers.map(({ status }) => status);
};

test("a server that lives and saves is both", async () => {
  const server = await start();
  const answer = await server.fetch("/readyz");
  expect([answer.status, await answer.json()]).toEqual([200, { status: "ready" }]);
  expect(answer.headers.get("cache-control")).toBe("no-store");
  expect(await statuses(server)).toEqual([200, 200]);
});

test("health checks come by bare address, and HEAD will do", async () => {
  const server = await start({ settings: { url: "https://mcp.example.com/base" } });
  for (const path of ["/base/healthz", "/base/readyz"]) {
    const headers = { host: "10.0.0.7:7676" };
    expect((await server.fetch(path, { headers })).status).toBe(200);
    expect((await server.fetch(path, { headers, method: "HEAD" })).status).toBe(200);
    expect((await server.fetch(path, { headers, method: "POST" })).status).toBe(421);
  }
  const foreign = { headers: { host: "10.0.0.7:7676" } };
  expect((await server.fetch("/base/", foreign)).status).toBe(421);
});

test("asking writes nothing while all is well", async () => {
  const server = await start();
  await registerClient(server);
  const { writes, syncs } = { ...server.counters };
  for (let count = 0; count < 20; count++) await server.fetch("/readyz");
  expect(server.counters).toMatchObject({ writes, syncs });
});

test("a data folder that was moved away is not ready; back in its place it is", async () => {
  const server = await start();
  renameSync(server.folder, `${server.folder}.away`);
  expect(await statuses(server)).toEqual([200, 503]);
  renameSync(`${server.folder}.away`, server.folder);
  expect(await statuses(server)).toEqual([200, 200]);
});

describe("a full disk", () => {
  const disk = (): SmallDisk => {
    const small = smallDisk(1);
    disks.push(small);
    return small;
  };
  const onDisk = needs("root", "linux");

  onDisk("is not ready before anything failed, and ready when there is room again", async () => {
    const { folder, fill, empty } = disk();
    const server = await start({ folder });
    expect(await statuses(server)).toEqual([200, 200]);
    fill(0);
    const answer = await server.fetch("/readyz");
    expect([answer.status, await answer.json()]).toEqual([503, { status: "cannot save" }]);
    expect(answer.headers.get("retry-after")).toBe("5");
    empty();
    expect(await statuses(server)).toEqual([200, 200]);
  });

  onDisk("finds out by itself after a failure, with one attempt a second", async () => {
    const { folder, fill, empty } = disk();
    const server = await start({ folder });
    fill(0);
    // The last page of the journal may have room for a few.
    while (server.counters.failures === 0) await registerClient(server).catch(() => undefined);
    const { failures } = server.counters;
    for (let count = 0; count < 10; count++) expect((await statuses(server))[1]).toBe(503);
    expect(server.counters.failures).toBe(failures + 1);
    empty();
    expect((await statuses(server))[1]).toBe(503);
    server.clock.advance(2);
    expect((await statuses(server))[1]).toBe(200);
    const { writes } = server.counters;
    expect((await statuses(server))[1]).toBe(200);
    expect(server.counters).toMatchObject({ writes, failuresInRow: 0 });
  });
});
