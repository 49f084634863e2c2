// The MCP server behind: gone, silent, or cut off in the middle of an answer. Whoever waits for it is told, everybody else goes on
// as if nothing were wrong, and nobody loses a login by it.
import { type Server, type Socket, createServer } from "node:net";
import { rmSync } from "node:fs";
import { callMcp, temporaryFolder } from "../../server.ts";
import { judge } from "../judge.ts";
import { type World, createWorld, logIn, processEnded, refresh } from "../model.ts";
import { type Program, start, startAgain } from "../program.ts";
import type { FaultCase, Report } from "../report.ts";
import { sizes } from "../sizes.ts";

/** Milliseconds in which whoever is told anything is told it. */
const PATIENCE = 10_000;
/** Calls at a time, more than there are answers. */
const CALLS = 40;

interface Fault {
  readonly name: string;
  /** What it does with a call; absent: it does not listen. */
  readonly answer?: (socket: Socket) => void;
  /** What a call comes to; 0: the answer breaks off, or none comes for as long as the client waits. */
  readonly comesTo: readonly number[];
}

const HEAD =
  "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
/** 1 KB of an event stream. */
const EVENT = `400\r\ndata: ${"x".repeat(1_016)}\n\n\r\n`;

const faults: readonly Fault[] = [
  { name: "down", comesTo: [502] },
  { name: "hanging", answer: () => undefined, comesTo: [0] },
  { name: "cut before its answer", answer: (socket) => socket.destroy(), comesTo: [502] },
  {
    name: "cut in its answer",
    answer: (socket) => void socket.write(HEAD + EVENT.slice(0, 99), () => socket.destroy()),
    comesTo: [0, 502],
  },
  {
    name: "answering without an end",
    answer(socket) {
      socket.write(HEAD);
      const more = setInterval(() => socket.write(EVENT), 5);
      socket.on("close", () => clearInterval(more));
    },
    comesTo: [0],
  },
];

export const cases: readonly FaultCase[] = [
  {
    name: "the MCP server behind down, hanging or cut",
    sizes: sizes["upstreams"],
    needs: [],
    async run(size, report) {
      for (let round = 0; round < size; round++) {
        for (const fault of faults) await fail(fault, report);
      }
    },
  },
];

async function fail({ name, answer, comesTo }: Fault, report: Report): Promise<void> {
  report.tried(name);
  const open = new Set<Socket>();
  const behind = createServer((socket) => {
    open.add(socket.on("close", () => open.delete(socket)).on("error", () => undefined));
    socket.once("data", () => answer?.(socket));
  });
  const url = await listening(behind);
  if (!answer) behind.close();
  const folder = temporaryFolder();
  const program = await start({ folder, settings: { upstream: url } });
  const world = await createWorld(program, 3);
  const calls = waitingCalls(program, world);
  await goOn(program, world, report);
  const statuses = await calls.answers();
  const odd = statuses.filter((status) => !comesTo.includes(status));
  if (odd.length > 0) report.find("wrong", `calls are answered ${odd.join(", ")}`);
  for (let waited = 0; waited < PATIENCE && open.size > 0; waited += 10) await Bun.sleep(10);
  if (open.size > 0) report.find("wrong", `${open.size} requests behind outlive their clients`);
  await program.kill();
  behind.close();
  processEnded(world);
  const again = await startAgain(program, { settings: {} });
  await judge(again, world, report);
  await again.kill();
  rmSync(folder, { recursive: true });
}

async function listening(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("it does not listen");
  return `http://127.0.0.1:${address.port}/mcp`;
}

/** Calls that are made now, and given up once somebody asks what came of them. */
function waitingCalls(program: Program, { clients }: World): { answers(): Promise<number[]> } {
  const over = new AbortController();
  const impatient: Program = {
    ...program,
    fetch: (path, init, from) => program.fetch(path, { ...init, signal: over.signal }, from),
  };
  const made = Array.from({ length: CALLS }, async (_, index) => {
    const token = clients[index % clients.length]?.tokens.access_token ?? "";
    try {
      const response = await callMcp(impatient, token);
      await response.arrayBuffer();
      return response.status;
    } catch {
      return 0;
    }
  });
  return {
    answers() {
      over.abort();
      return Promise.all(made);
    },
  };
}

async function goOn(program: Program, world: World, report: Report): Promise<void> {
  for (const client of world.clients) {
    const status = await refresh(program, client);
    if (status !== 200) report.find("lost", `meanwhile a refresh is answered ${status}`);
  }
  await logIn(program, world);
  await Bun.sleep(100);
}
