// What the gateway costs: one MCP call straight to an upstream, through a bare fetch in a bare Bun.serve, and through
// forward(), each in a process of its own, in turn. Ratios hold from machine to machine, absolute figures do not.
import { readFileSync } from "node:fs";
import { readConfig } from "../../src/config.ts";
import type { AuthContext, Deps } from "../../src/deps.ts";
import { createLines } from "../../src/gateway/dial.ts";
import { forward } from "../../src/gateway/proxy.ts";
import { type Load, median, runLoad } from "./load.ts";

const ROUNDS = Number(process.env["ROUNDS"] ?? 5);
const EVENTS = 20;
const result = JSON.stringify({
  jsonrpc: "2.0",
  id: 1,
  result: { content: [{ type: "text", text: "pong" }] },
});
const event = `event: message\ndata: ${result}\n\n`;

type Role = "upstream" | "bare" | "forward";
const roles: readonly Role[] = ["upstream", "bare", "forward"];

/** Milliseconds on a clock that all processes share. */
const sharedClock = (): number => performance.timeOrigin + performance.now();

/** Events 5 ms apart, each with the time it was sent. */
function pacedEvents(): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  return new ReadableStream({
    start: async (controller) => {
      for (let sent = 0; sent < EVENTS; sent++) {
        await Bun.sleep(5);
        controller.enqueue(encoder.encode(`data: ${sharedClock()}\n\n`));
      }
      controller.close();
    },
  });
}

/** Answers a call with one JSON message, or as 20 events when its text says so; a GET with paced events. */
async function answerCall(request: Request): Promise<Response> {
  if (request.method === "GET") {
    return new Response(pacedEvents(), { headers: { "content-type": "text/event-stream" } });
  }
  const body = await request.text();
  if (!body.includes('"stream"')) {
    return new Response(result, { headers: { "content-type": "application/json" } });
  }
  const encoder = new TextEncoder();
  const events = new ReadableStream({
    start: (controller) => {
      for (let sent = 0; sent < EVENTS; sent++) controller.enqueue(encoder.encode(event));
      controller.close();
    },
  });
  return new Response(events, { headers: { "content-type": "text/event-stream" } });
}

/** The least that a guard of this kind can do: the token goes, everything else streams. */
async function bareProxy(request: Request, upstream: string): Promise<Response> {
  const headers = new Headers(request.headers);
  headers.delete("authorization");
  headers.delete("host");
  const { method, body } = request;
  const answer = await fetch(upstream, { method, headers, body, decompress: false });
  return new Response(answer.body, { status: answer.status, headers: answer.headers });
}

function forwarder(
  upstream: string,
): (request: Request, server: Bun.Server<undefined>) => Promise<Response> {
  const config = readConfig({ data: "/nonexistent", upstream });
  const context: AuthContext = {
    subject: "owner",
    clientId: "client-1",
    clientName: "bench",
    scopes: ["mcp"],
    family: "family-1",
    issuedAt: 0,
    server: config.servers[0],
    stillGood: async () => true,
  };
  const deps = { config, lines: createLines() } as Deps;
  return (request, server) =>
    forward(request, context, deps, {
      path: "/mcp",
      address: "127.0.0.1",
      requestId: "request-1",
      keepOpen: () => server.timeout(request, 0),
      letIdle: () => server.timeout(request, 10),
    });
}

function serveRole(role: Role, upstream: string): void {
  const forwarded = role === "forward" ? forwarder(upstream) : undefined;
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: (request, bun) => {
      if (role === "upstream") return answerCall(request);
      return forwarded ? forwarded(request, bun) : bareProxy(request, upstream);
    },
  });
  console.log(server.port);
}

interface Peer {
  readonly role: Role;
  readonly port: number;
  readonly child: Bun.Subprocess;
}

async function startPeer(role: Role, upstream: string): Promise<Peer> {
  const child = Bun.spawn([process.execPath, import.meta.path, role, upstream], {
    stdout: "pipe",
    stderr: "inherit",
  });
  const { value } = await child.stdout.getReader().read();
  return { role, port: Number(new TextDecoder().decode(value)), child };
}

/** Microseconds of processor time that a process has used; NaN where there is no /proc. */
function cpuTime(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return (Number(fields[11]) + Number(fields[12])) * 10_000;
  } catch {
    return Number.NaN;
  }
}

function callRequest(method: "tools/call" | "stream", port: number): string {
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params: { name: "ping" } });
  return [
    "POST /mcp HTTP/1.1",
    `Host: localhost:${port}`,
    "Content-Type: application/json",
    "Accept: application/json, text/event-stream",
    `Authorization: Bearer pat_${"x".repeat(90)}`,
    "User-Agent: bench/1",
    "Mcp-Protocol-Version: 2025-11-25",
    "Mcp-Session-Id: 0123456789abcdef",
    `Content-Length: ${body.length}`,
    "",
    body,
  ].join("\r\n");
}

async function measure(peers: readonly Peer[], method: "tools/call" | "stream"): Promise<void> {
  console.log(
    `\n${method === "stream" ? `${EVENTS} events` : "one JSON message"}, ${ROUNDS} rounds`,
  );
  console.log("connections  through   requests/s  of bare  p50 ms  added  p99 ms  cpu us");
  for (const connections of [1, 16, 64]) {
    const loads = new Map<Role, (Load & { cpu: number })[]>(peers.map(({ role }) => [role, []]));
    for (let round = 0; round < ROUNDS; round++) {
      for (const { role, port, child } of round % 2 === 0 ? peers : peers.toReversed()) {
        const requests = connections === 1 ? 2_000 : 6_000;
        const before = cpuTime(child.pid);
        const request = callRequest(method, port);
        const load = await runLoad({ port, request, connections, requests, warmUp: 200 });
        const cpu = (cpuTime(child.pid) - before) / (requests + 200);
        loads.get(role)?.push({ ...load, cpu });
      }
    }
    const of = (role: Role, key: keyof Load | "cpu"): number =>
      median((loads.get(role) ?? []).map((load) => load[key]));
    for (const { role } of peers) {
      console.log(
        String(connections).padStart(11),
        role.padEnd(9),
        of(role, "rate").toFixed(0).padStart(10),
        (of(role, "rate") / of("bare", "rate")).toFixed(2).padStart(8),
        of(role, "p50").toFixed(3).padStart(7),
        (of(role, "p50") - of("upstream", "p50")).toFixed(3).padStart(6),
        of(role, "p99").toFixed(2).padStart(7),
        of(role, "cpu").toFixed(0).padStart(7),
      );
    }
  }
}

/** How much later than straight from the upstream an event arrives. */
async function measureDelay(peers: readonly Peer[]): Promise<void> {
  console.log("\ndelay of one event, ms\nthrough        p50    p99");
  const quantiles = new Map<Role, [p50: number, p99: number]>();
  for (const { role, port } of peers) {
    const delays: number[] = [];
    for (let stream = 0; stream < 30; stream++) {
      const response = await fetch(`http://127.0.0.1:${port}/mcp`);
      for await (const chunk of response.body ?? []) {
        const now = sharedClock();
        const sentAt = /data: ([\d.]+)/.exec(new TextDecoder().decode(chunk))?.[1];
        if (sentAt !== undefined) delays.push(now - Number(sentAt));
      }
    }
    delays.sort((a, b) => a - b);
    const at = (part: number): number => delays[Math.floor(delays.length * part)] ?? Number.NaN;
    quantiles.set(role, [at(0.5), at(0.99)]);
  }
  for (const [role, [p50, p99]] of quantiles) {
    const [base50 = 0, base99 = 0] = quantiles.get("upstream") ?? [];
    const added = (value: number, base: number): string => (value - base).toFixed(3).padStart(6);
    console.log(role.padEnd(9), "added", added(p50, base50), added(p99, base99));
  }
}

async function main(): Promise<void> {
  const upstream = await startPeer("upstream", "");
  const url = `http://127.0.0.1:${upstream.port}/mcp`;
  const peers = [upstream, await startPeer("bare", url), await startPeer("forward", url)];
  try {
    await measure(peers, "tools/call");
    await measure(peers, "stream");
    await measureDelay(peers);
  } finally {
    for (const { child } of peers) child.kill("SIGKILL");
  }
}

const [role, upstream = ""] = process.argv.slice(2);
const known = roles.find((name) => name === role);
if (known) serveRole(known, upstream);
else await main();
