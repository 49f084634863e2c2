// What the hot paths cost in this process, without sockets: microseconds of CPU a call, syncs a grant.
import { Browser, callMcp, logIn, refreshWith, startServer } from "../server.ts";

const server = await startServer();
const browser = new Browser(server);
await browser.signIn();

async function measure(
  name: string,
  calls: number,
  parallel: number,
  work: (lane: number) => Promise<void>,
): Promise<void> {
  for (let lane = 0; lane < parallel; lane++) await work(lane);
  const cpu = process.cpuUsage();
  const started = performance.now();
  const syncs = server.counters.syncs;
  await Promise.all(
    Array.from({ length: parallel }, async (_, lane) => {
      for (let count = 0; count < calls / parallel; count++) await work(lane);
    }),
  );
  const spent = performance.now() - started;
  const { user, system } = process.cpuUsage(cpu);
  const row = [
    name.padEnd(28),
    `${Math.round((calls / spent) * 1000)}/s`.padStart(10),
    `${((user + system) / calls).toFixed(1)} us CPU`.padStart(14),
    `${((server.counters.syncs - syncs) / calls).toFixed(3)} syncs`.padStart(14),
  ];
  process.stdout.write(`${row.join(" ")}\n`);
}

const lanes = await Promise.all(Array.from({ length: 64 }, () => logIn(server, {}, browser)));
const tokens = lanes.map(({ tokens: { refresh_token: token } }) => token);
await measure("GET /healthz", 20_000, 16, async () => void (await server.fetch("/healthz")));
await measure(
  "GET metadata",
  20_000,
  16,
  async () => void (await server.fetch("/.well-known/oauth-authorization-server")),
);
await measure(
  "401 at /mcp",
  20_000,
  16,
  async () => void (await server.fetch("/mcp", { method: "POST" })),
);
await measure(
  "whoami tools/list",
  4000,
  16,
  async (lane) => void (await callMcp(server, lanes[lane]?.tokens.access_token ?? "")),
);
for (const parallel of [1, 16, 64]) {
  await measure(`refresh, ${parallel} at once`, 16_000, parallel, async (lane) => {
    const response = await refreshWith(server, lanes[lane]?.clientId ?? "", tokens[lane] ?? "");
    tokens[lane] = ((await response.json()) as { refresh_token: string }).refresh_token;
  });
}
await server.close();
