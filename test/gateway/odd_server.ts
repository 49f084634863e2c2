// An MCP server on stdio without any SDK, for what well-behaved ones do not do. Run as a program with a manner:
//   plain      answers `initialize`; every other request gets its own line back as result
//   stateless  speaks 2026-07-28 alone, the same way
//   exit       ends at once
//   late-exit  ends at the first request after `initialize`
//   silent     reads and never answers
//   deaf       answers `initialize` and reads no more
//   garbage    writes lines that are no messages before every answer
//   flood      writes notifications without end after `initialize`
//   huge       answers with as many bytes as `params.bytes` says
//   stubborn   outlives a closed input and SIGTERM, with a child of the same kind in a session of its own
//   parent     has a child of its own, and tells both process ids
//   ask        sends a question of its own before the answer, and tells what came back
//   batch      answers with arrays
//   told       says `params.say`, waits as `params.wait` (for notifications/go or "go") or `params.after` (ms) tell,
//              and answers with `params.error`, if there is one
//   stateless-told  both
import { spawn } from "node:child_process";

const [, , manner = "plain"] = process.argv;
const write = (value: unknown): void => void process.stdout.write(`${JSON.stringify(value)}\n`);
const notify = (method: string, params?: object): void =>
  write({ jsonrpc: "2.0", method, ...(params && { params }) });

if (manner === "exit") {
  process.stderr.write("no such thing as a config\n");
  process.exit(3);
}
if (manner === "stubborn") {
  process.on("SIGTERM", () => process.stderr.write("SIGTERM? No.\n"));
  setInterval(() => undefined, 60_000);
}

interface Line {
  readonly id?: string | number;
  readonly method?: string;
  readonly params?: Record<string, unknown>;
  readonly result?: unknown;
  readonly error?: unknown;
}

const isStateless = manner.startsWith("stateless");
const isTold = manner.endsWith("told");
const waiting: unknown[] = [];

function initialize({ id, params }: Line): void {
  const { protocolVersion } = params ?? {};
  const serverInfo = { name: manner, version: "1" };
  const pid = process.pid;
  write({ jsonrpc: "2.0", id, result: { protocolVersion, capabilities: {}, serverInfo, pid } });
  if (manner === "flood") flood();
  if (manner === "deaf") {
    process.stdin.pause();
    setInterval(() => undefined, 60_000);
  }
}

/** As fast as they are read. */
function flood(): void {
  const data = "x".repeat(1000);
  const line = JSON.stringify({
    jsonrpc: "2.0",
    method: "notifications/message",
    params: { data },
  });
  const isTaken = process.stdout.write(`${line}\n`.repeat(20));
  if (isTaken) setImmediate(flood);
  else process.stdout.once("drain", () => setImmediate(flood));
}

/** @param detached in a session of its own, where signals to our group do not reach it */
function startChild(detached: boolean): number | undefined {
  const script = "trap '' TERM; while true; do sleep 1; done";
  return spawn("sh", ["-c", script], { detached, stdio: "ignore" }).pid;
}

function answer(line: string, message: Line): void {
  const { id, method, params = {} } = message;
  const result = (content: object): void => write({ jsonrpc: "2.0", id, result: content });
  if (method === "server/discover" && isStateless) {
    return result({ resultType: "complete", supportedVersions: ["2026-07-28"], capabilities: {} });
  }
  if (method === "initialize" && !isStateless) return initialize(message);
  if (isTold && method === "go") go();
  if (isTold && method === "tools/list") return result({ tools: [mirroring] });
  if (isTold && method === "end-subscriptions") return endSubscriptions(result);
  if (isTold) return tell(message, params, result);
  if (manner === "late-exit") process.exit(4);
  if (manner === "garbage") process.stdout.write("npm warn deprecated\n{]\n[1]\n42\n\n");
  if (manner === "huge") return result({ text: "x".repeat(Number(params["bytes"])) });
  if (manner === "stubborn") return result({ pid: process.pid, child: startChild(true) });
  if (manner === "parent") return result({ pid: process.pid, child: startChild(false) });
  if (manner === "batch") {
    const progress = {
      jsonrpc: "2.0",
      method: "notifications/progress",
      params: { progressToken: id },
    };
    return write([progress, { jsonrpc: "2.0", id, result: { line } }]);
  }
  if (manner === "ask") {
    waiting.push(id);
    return write({ jsonrpc: "2.0", id: "q1", method: "sampling/createMessage", params: {} });
  }
  result({ line, pid: process.pid, environment: process.env, folder: process.cwd() });
}

const mirroring = {
  name: "query",
  inputSchema: {
    type: "object",
    properties: { at: { type: "object", properties: { region: { "x-mcp-header": "Region" } } } },
  },
};

/** What is waited with until somebody says so. */
const held: (() => void)[] = [];
const go = (): void => {
  for (const answerNow of held.splice(0)) answerNow();
};
const subscriptions: unknown[] = [];

function tell(
  { id, method }: Line,
  { say, wait, after, error, _meta: meta }: Record<string, unknown>,
  result: (content: object) => void,
): void {
  const { progressToken } = { progressToken: undefined, ...(meta as object | undefined) };
  for (const each of Array.isArray(say) ? (say as unknown[]) : []) {
    if (each === "progress") notify("notifications/progress", { progressToken, progress: 1 });
    else if (each === "listen") {
      subscriptions.push(id);
      const own = { "io.modelcontextprotocol/subscriptionId": id };
      notify("notifications/tools/list_changed", { _meta: own });
    } else write(each);
  }
  const answerNow = (): void =>
    error === undefined ? result({ method }) : write({ jsonrpc: "2.0", id, error });
  if (wait === true) held.push(answerNow);
  else if (typeof after === "number") setTimeout(answerNow, after);
  else answerNow();
}

function endSubscriptions(result: (content: object) => void): void {
  for (const requestId of subscriptions) notify("notifications/cancelled", { requestId });
  result({});
}

function read(line: string): void {
  const message = JSON.parse(line) as Line;
  if (message.method === "notifications/go") go();
  if (manner === "silent") return;
  if (message.method !== undefined && message.id !== undefined) return answer(line, message);
  if (message.method === undefined) {
    return write({ jsonrpc: "2.0", id: waiting.shift(), result: { told: message } });
  }
  process.stderr.write(`notified ${line}\n`);
}

let rest = "";
process.stdin.setEncoding("utf8");
process.stdin.on("data", (text) => {
  const lines = (rest + String(text)).split("\n");
  rest = lines.pop() ?? "";
  for (const line of lines) read(line);
});
process.stdin.on("end", () => {
  if (manner !== "stubborn") process.exit(0);
});
