// /metrics as Prometheus gets it from the real program: over the owner's socket and on a port of its own.
import { afterAll, expect, test } from "bun:test";
import { join } from "node:path";
import { readExposition } from "../exposition.ts";
import { freePort, launch, ownFolder, startPostern, stopProcesses } from "../process.ts";
import { callMcp, logIn } from "../server.ts";

afterAll(stopProcesses);

test("the socket and the port serve the same, and nobody else does", async () => {
  const metricsPort = String(await freePort());
  const server = await startPostern({ settings: { metricsPort } });
  const { tokens } = await logIn(server, {}, server.browser);
  const scrape = (path = "/metrics", init: RequestInit = {}): Promise<Response> =>
    fetch(`http://127.0.0.1:${metricsPort}${path}`, init);
  const answer = await scrape();
  expect(answer.status).toBe(200);
  expect(answer.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
  const text = await answer.text();
  const families = readExposition(text);
  const unix = join(server.folder, "admin.sock");
  const overSocket = await (await fetch("http://postern/metrics", { unix })).text();
  expect([...readExposition(overSocket).keys()]).toEqual([...families.keys()]);
  const requests = families.get("postern_http_requests_total")?.samples ?? [];
  expect(requests).toContainEqual({
    name: "postern_http_requests_total",
    labels: { method: "POST", route: "/token", code: "200" },
    value: 1,
  });
  expect(families.get("process_start_time_seconds")?.samples[0]?.value).toBeCloseTo(
    Date.now() / 1000,
    -2,
  );
  for (const secret of [tokens.access_token, tokens.refresh_token, server.folder]) {
    expect(text).not.toContain(secret);
  }
  expect((await server.fetch("/metrics")).status).toBe(404);
  expect((await scrape("/")).status).toBe(404);
  expect((await scrape("/metrics", { method: "POST" })).status).toBe(405);
  // A page of another site whose name was made to lead here.
  for (const host of ["evil.example", "127.0.0.1.evil.example", "evil.example@127.0.0.1", "x/y"]) {
    expect((await scrape("/metrics", { headers: { host } })).status).toBe(404);
  }
  expect(server.stderr()).toBe("");
});

test("servers behind are told by path: one that does not answer, one that was started", async () => {
  const servers = [
    { path: "/gone", upstream: "http://127.0.0.1:1/mcp" },
    { path: "/child", command: ["sh", "-c", "exit 3"] },
  ];
  const folder = ownFolder();
  await Bun.write(join(folder, "config.json"), JSON.stringify({ servers }));
  const server = await startPostern({ settings: { data: folder } });
  const { tokens } = await logIn(server, {}, server.browser);
  const unix = join(folder, "admin.sock");
  const values = async (name: string): Promise<Record<string, number>> => {
    const text = await (await fetch("http://postern/metrics", { unix })).text();
    const samples = readExposition(text).get(name)?.samples ?? [];
    return Object.fromEntries(samples.map(({ labels, value }) => [labels["server"] ?? "", value]));
  };
  expect(await values("postern_server_failing")).toEqual({ "/gone": 0 });
  expect(await values("postern_server_starts_total")).toEqual({ "/child": 0 });
  expect((await callMcp(server, tokens.access_token)).status).toBe(502);
  expect(await values("postern_server_failing")).toEqual({ "/gone": 1 });
  await Bun.write(join(folder, "config.json"), JSON.stringify({ servers: servers.slice(1) }));
  process.kill(server.pid, "SIGHUP");
  while (Object.keys(await values("postern_server_failing")).length > 0) await Bun.sleep(5);
});

test("a refused change of the settings shows, a good one puts it right", async () => {
  const server = await startPostern();
  const unix = join(server.folder, "admin.sock");
  const value = async (name: string): Promise<number | undefined> =>
    readExposition(await (await fetch("http://postern/metrics", { unix })).text()).get(name)
      ?.samples[0]?.value;
  const name = "postern_settings_last_reload_successful";
  const becomes = async (wanted: number): Promise<void> => {
    process.kill(server.pid, "SIGHUP");
    while ((await value(name)) !== wanted) await Bun.sleep(5);
  };
  expect(await value(name)).toBe(1);
  await Bun.write(join(server.folder, "config.json"), "{");
  await becomes(0);
  await Bun.write(join(server.folder, "config.json"), "{}");
  await becomes(1);
});

test("a taken metrics port is one line with the fix, and nothing stays open", async () => {
  const metricsPort = String(await freePort());
  const first = await startPostern({ settings: { metricsPort }, owner: false });
  const port = String(await freePort());
  const second = launch({ data: join(first.folder, "second"), port, metricsPort });
  expect(await second.exited).toBe(1);
  expect(second.stderr()).toBe(
    `postern: error: port ${metricsPort} is taken\npostern: hint: stop the other program, or choose another port with --metrics-port\n`,
  );
});
