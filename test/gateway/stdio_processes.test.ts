// The processes of a stdio server: how they start, crash, come back and end, and that nothing of them is left.
import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readConfig } from "../../src/config.ts";
import { readCredentials } from "../../src/gateway/credentials.ts";
import { needs } from "../needs.ts";
import { until } from "./stage.ts";
import {
  type StdioStage,
  initialize,
  listen,
  messageOf,
  messagesOf,
  odd,
  patient,
  request,
  runs,
  startStdioStage,
  stateless,
  closeStdioStages,
} from "./stdio_stage.ts";

afterAll(closeStdioStages);

const pidOf = async (stage: StdioStage, headers: Record<string, string>): Promise<number> =>
  Number((await messageOf(await stage.post(request("pid", "x"), headers))).result?.["pid"]);

describe("a process that is killed", () => {
  test("in the middle of calls is an error to each of them, and comes back in the same session", async () => {
    const stage = startStdioStage(odd("told"));
    const headers = await stage.open();
    const calls = [1, 2, 3].map((id) => stage.post(request(id, "tell", { wait: true }), headers));
    await until(() => stage.state().running === 1);
    await Bun.sleep(50);
    process.kill(stage.pid(), "SIGKILL");
    for (const [index, call] of calls.entries()) {
      expect(await messageOf(await call)).toEqual({
        jsonrpc: "2.0",
        id: index + 1,
        error: { code: -32_603, message: expect.stringContaining("was ended by SIGKILL") },
      } as object);
    }
    expect(await messageOf(await stage.post(request(4, "tell"), headers))).toMatchObject({
      id: 4,
      result: { method: "tell" },
    });
    expect(stage.state()).toMatchObject({ running: 1, started: 2, crashed: 1, sessions: 1 });
    // The handshake of the session was repeated.
    expect(stage.log.filter((line) => line.includes("notifications/initialized"))).toHaveLength(2);
  });

  test("between two calls is noticed by nobody", async () => {
    const stage = startStdioStage(odd("plain"));
    const headers = await stage.open();
    const first = await pidOf(stage, headers);
    process.kill(first, "SIGKILL");
    await until(() => stage.state().running === 0);
    const [second, third] = await Promise.all([pidOf(stage, headers), pidOf2(stage, headers)]);
    expect(second).not.toBe(first);
    expect(third).toBe(second);
    expect(stage.state().started).toBe(2);
  });

  const pidOf2 = async (stage: StdioStage, headers: Record<string, string>): Promise<number> =>
    Number((await messageOf(await stage.post(request("pid2", "x"), headers))).result?.["pid"]);

  test("in the middle of a stream ends that with the error", async () => {
    const stage = startStdioStage(odd("stateless-told"));
    const say = [{ jsonrpc: "2.0", method: "notifications/message", params: { data: "x" } }];
    const _meta = { "io.modelcontextprotocol/logLevel": "info" };
    const [message, headers] = stateless(1, "tell", { wait: true, say, _meta });
    const stream = await listen(stage, headers, message);
    await until(() => stream.messages().length === 1);
    process.kill(stage.pid(), "SIGKILL");
    expect(await stream.ended).toBe("end");
    expect(stream.messages().at(-1)).toMatchObject({ id: 1, error: { code: -32_603 } });
    expect((await stage.post(...stateless(2, "tell"))).status).toBe(200);
    expect(stage.state().started).toBe(2);
  });

  needs("linux")("takes what it started with it", async () => {
    const stage = startStdioStage(odd("parent"));
    const headers = await stage.open();
    const { result } = await messageOf(await stage.post(request(1, "x"), headers));
    const child = Number(result?.["child"]);
    expect(runs(child)).toBe(true);
    process.kill(Number(result?.["pid"]), "SIGKILL");
    await until(() => !runs(child));
  });
});

describe("a process that does not work", () => {
  test("one that ends at once is a clear error, and is not started again and again", async () => {
    const stage = startStdioStage(odd("exit"), {
      bounds: { ...patient, backOff: 60_000, shortWait: 10 },
    });
    const first = await stage.post(initialize("2025-11-25"));
    expect(first.headers.has("mcp-session-id")).toBe(false);
    expect((await messageOf(first)).error).toEqual({
      code: -32_603,
      message: expect.stringContaining("ended with exit code 3"),
    });
    for (let tries = 0; tries < 5; tries++) {
      const again = await messageOf(await stage.post(initialize("2025-11-25")));
      expect(again.error?.message).toMatch(/exit code 3; Postern tries again in \d+ s/);
    }
    expect(stage.state()).toMatchObject({ started: 1, crashed: 1, running: 0, sessions: 0 });
    expect(stage.log).toContain("no such thing as a config");
  });

  test("the wait doubles with each failed start, and ends with one that works", async () => {
    const folder = mkdtempSync(join(tmpdir(), "postern-flag-"));
    const flag = join(folder, "works");
    const script = `test -e ${flag} && exec "$0" "$@" || exit 5`;
    const command = JSON.stringify(["sh", "-c", script, ...(JSON.parse(odd("plain")) as string[])]);
    const stage = startStdioStage(command, { bounds: { backOff: 20, shortWait: 60_000 } });
    const begun = performance.now();
    for (let tries = 0; tries < 4; tries++) await stage.post(initialize("2025-11-25"));
    // 20 + 40 + 80
    expect(performance.now() - begun).toBeGreaterThanOrEqual(140);
    writeFileSync(flag, "");
    await stage.open();
    expect(stage.state()).toMatchObject({ crashed: 4, running: 1 });
    rmSync(folder, { recursive: true });
  });

  test.each([
    ["no such program", JSON.stringify(["/nonexistent/program"]), {}],
    ["no such folder", odd("plain"), { workingFolder: "/nonexistent" }],
  ])("%s", async (_name, command, settings) => {
    const stage = startStdioStage(command, { settings });
    const { error } = await messageOf(await stage.post(initialize("2025-11-25")));
    expect(error?.message).toContain("cannot be started");
    expect(stage.events).toEqual([expect.stringContaining("child_failed")]);
  });

  test("one that crashes at every call comes back with ever longer waits", async () => {
    const stage = startStdioStage(odd("late-exit"), { bounds: { backOff: 60_000, shortWait: 10 } });
    const headers = await stage.open();
    const call = async (): Promise<string | undefined> =>
      (await messageOf(await stage.post(request(1, "x"), headers))).error?.message;
    expect(await call()).toContain("ended with exit code 4");
    expect(await call()).toContain("ended with exit code 4");
    expect(await call()).toContain("tries again in");
  });

  test("one that never answers leaves its client waiting, and no other", async () => {
    const stage = startStdioStage(odd("silent"), { bounds: { opening: 20 } });
    const stream = await listen(stage, {}, initialize("2025-11-25"));
    expect(stream.status).toBe(200);
    expect(stream.messages()).toEqual([]);
    stream.hangUp();
    // Nobody comes back: the request is given up.
    await until(() => stage.state().sessions === 1);
  });

  test("one that does not read is an error as soon as too much waits for it", async () => {
    const stage = startStdioStage(odd("deaf"), { bounds: { backlog: 1_000_000, opening: 20 } });
    const headers = await stage.open();
    const abort = new AbortController();
    const body = { x: "x".repeat(600_000) };
    const waiting = [1, 2].map((id) =>
      stage.post(request(id, "x", body), headers, abort.signal).catch(() => undefined),
    );
    await Bun.sleep(100);
    const { error } = await messageOf(await stage.post(request(3, "x", body), headers));
    expect(error?.message).toContain("does not read");
    const notified = await stage.post({ jsonrpc: "2.0", method: "x", params: body }, headers);
    expect(notified.status).toBe(503);
    expect(notified.headers.get("retry-after")).toBe("5");
    abort.abort();
    await Promise.all(waiting);
  });

  test("one that closes its output and stays is ended", async () => {
    const script = "read -r line; exec 1>&-; exec sleep 60";
    const bounds = { patience: 50 };
    const stage = startStdioStage(JSON.stringify(["sh", "-c", script]), { bounds });
    const { error } = await messageOf(await stage.post(initialize("2025-11-25")));
    expect(error?.message).toContain("closed its output");
    expect(stage.events.at(-1)).toBe("child_crashed closed its output");
    await until(() => !runs(stage.pid()));
  });

  test("lines that are no messages are left out, and told a few times", async () => {
    const stage = startStdioStage(odd("garbage"));
    const headers = await stage.open();
    for (let id = 1; id <= 5; id++) {
      expect(await messageOf(await stage.post(request(id, "x"), headers))).toMatchObject({ id });
    }
    const told = stage.log.filter((line) => line.includes("no message"));
    expect(told).toHaveLength(4);
    expect(told[0]).toContain("npm warn deprecated");
  });

  test("large messages pass; one above the bound ends the process with a clear error", async () => {
    const stage = startStdioStage(odd("huge"), { bounds: { line: 3_000_000 } });
    const headers = await stage.open();
    const bytes = 2_500_000;
    const { result } = await messageOf(await stage.post(request(1, "x", { bytes }), headers));
    expect(String(result?.["text"])).toHaveLength(bytes);
    const over = await messageOf(await stage.post(request(2, "x", { bytes: 4_000_000 }), headers));
    expect(over.error?.message).toContain("wrote a message of more than 3000000 bytes");
    expect((await stage.post(request(3, "x", { bytes: 1 }), headers)).status).toBe(200);
  });
});

describe("the end of a process", () => {
  needs("linux")(
    "is certain: also of one that ignores it, with what it has started in another session",
    async () => {
      const stage = startStdioStage(odd("stubborn"));
      const { result } = await messageOf(await stage.post(request(1, "x"), await stage.open()));
      const pids = [Number(result?.["pid"]), Number(result?.["child"])];
      expect(pids.map(runs)).toEqual([true, true]);
      await stage.stdio.close();
      await until(() => !pids.some(runs));
      expect(stage.log).toContain("SIGTERM? No.");
    },
  );

  test("comes with its closed input for one that behaves", async () => {
    const stage = startStdioStage(odd("plain"), { bounds: { patience: 60_000 } });
    const pid = await pidOf(stage, await stage.open());
    await stage.stdio.close();
    expect(runs(pid)).toBe(false);
    expect(stage.events).toEqual(["child_started", "child_ended ended with exit code 0"]);
    expect(stage.state().crashed).toBe(0);
  });

  test("comes when nobody uses it; its session goes on with another one", async () => {
    const stage = startStdioStage(odd("plain"), { bounds: { idle: 60 } });
    const headers = await stage.open();
    await until(() => stage.state().running === 0);
    expect(stage.state()).toMatchObject({ sessions: 1, crashed: 0 });
    expect(await pidOf(stage, headers)).toBeGreaterThan(0);
    expect(stage.state().started).toBeGreaterThan(1);
  });

  test("does not come while somebody listens, or waits for an answer", async () => {
    const stage = startStdioStage(odd("told"), { bounds: { idle: 60 } });
    const headers = await stage.open();
    const stream = await listen(stage, headers);
    await Bun.sleep(200);
    expect(stage.state().running).toBe(1);
    const call = await listen(stage, headers, request(1, "tell", { wait: true }));
    stream.hangUp();
    await Bun.sleep(200);
    expect(stage.state().running).toBe(1);
    call.hangUp();
    await until(() => stage.state().running === 0);
  });

  test("a server that was replaced by one of another revision ends its old sessions", async () => {
    const folder = mkdtempSync(join(tmpdir(), "postern-flag-"));
    const flag = join(folder, "new");
    const words = JSON.parse(odd("plain")) as string[];
    const script = `test -e ${flag} && exec "$1" "$2" stateless || exec "$1" "$2" plain`;
    const command = JSON.stringify(["sh", "-c", script, "sh", ...words.slice(0, 2)]);
    const stage = startStdioStage(command, { bounds: { idle: 60 } });
    const headers = await stage.open();
    writeFileSync(flag, "");
    await until(() => stage.state().running === 0);
    const { error } = await messageOf(await stage.post(request(1, "x"), headers));
    expect(error?.message).toContain("connect again");
    expect((await stage.post(request(2, "x"), headers)).status).toBe(404);
    rmSync(folder, { recursive: true });
  });
});

describe("many sessions", () => {
  test("have a bounded number of processes; the one unused longest makes way and comes back", async () => {
    const stage = startStdioStage(odd("plain"), { bounds: { children: 3 } });
    const sessions: Record<string, string>[] = [];
    let most = 0;
    for (let count = 0; count < 12; count++) {
      sessions.push(await stage.open());
      most = Math.max(most, stage.state().running);
    }
    expect(most).toBe(3);
    expect(stage.state()).toMatchObject({ sessions: 12, started: 12, crashed: 0 });
    for (const headers of sessions) {
      expect((await stage.post(request(1, "x"), headers)).status).toBe(200);
    }
    expect(stage.state()).toMatchObject({ running: 3, sessions: 12 });
  });

  needs("linux")("leave no process, pipe or memory behind when they are dropped", async () => {
    const reply = { protocolVersion: "2025-11-25", capabilities: {}, serverInfo: { name: "s" } };
    const answer = JSON.stringify({ jsonrpc: "2.0", id: 0, result: reply });
    const script = `while read -r line; do echo '${answer}'; done`;
    const stage = startStdioStage(JSON.stringify(["sh", "-c", script]), {
      bounds: { children: 4, sessions: 50 },
    });
    const open = async (): Promise<void> => {
      const dropped = await stage.post(initialize("2025-11-25"));
      expect((await messageOf(dropped)).id).toBe(0);
    };
    const children = (): number =>
      readFileSync(`/proc/self/task/${process.pid}/children`, "utf8").split(" ").length - 1;
    const files = (): number => readdirSync("/proc/self/fd").length;
    const before = [children(), files()];
    for (let count = 0; count < 20; count++) await open();
    const [, early = 0] = [children(), files()];
    for (let count = 0; count < 150; count++) await open();
    expect(stage.state()).toMatchObject({ running: 4, sessions: 50, started: 170, crashed: 0 });
    expect(files()).toBeLessThanOrEqual(early + 2);
    await stage.stdio.close();
    expect(children()).toBe(before[0] ?? 0);
    await until(() => files() <= (before[1] ?? 0) + 3);
  });

  test("are refused with a clear error when every process is busy", async () => {
    const stage = startStdioStage(odd("told"), { bounds: { children: 1 } });
    const headers = await stage.open();
    const busy = await listen(stage, headers, request(1, "tell", { wait: true }));
    const { error } = await messageOf(await stage.post(initialize("2025-11-25")));
    expect(error?.message).toContain("are busy");
    busy.hangUp();
  });

  test("are bounded themselves", async () => {
    const stage = startStdioStage(odd("plain"), { bounds: { sessions: 2 } });
    const first = await stage.open();
    await stage.open();
    await stage.open();
    expect(stage.state().sessions).toBe(2);
    expect((await stage.post(request(1, "x"), first)).status).toBe(404);
    await until(() => stage.state().running === 2);
  });

  test("two requests at once after a crash start one process", async () => {
    const stage = startStdioStage(odd("plain"));
    const headers = await stage.open();
    process.kill(stage.pid(), "SIGKILL");
    await until(() => stage.state().running === 0);
    const answers = await Promise.all(
      [1, 2, 3, 4].map((id) => stage.post(request(id, "x"), headers).then(messageOf)),
    );
    expect(new Set(answers.map(({ result }) => result?.["pid"])).size).toBe(1);
  });
});

describe("one process for all clients", () => {
  const shared = { settings: { processes: "shared" } };

  test("serves every session and answers each initialize as it answered the first", async () => {
    const stage = startStdioStage(odd("plain"), shared);
    const first = await stage.open();
    stage.context = { ...stage.context, family: "family-2" };
    const second = await stage.open();
    const answers = await Promise.all([
      stage.post(request(1, "x"), second).then(messageOf),
      stage.post(request(2, "x"), second).then(messageOf),
    ]);
    expect(answers.map(({ id }) => id)).toEqual([1, 2]);
    expect(stage.state()).toMatchObject({ running: 1, started: 1, sessions: 2 });
    expect((await stage.post(request(1, "x"), first)).status).toBe(404);
    expect(answers[0]?.result?.["environment"]).not.toHaveProperty("POSTERN_USER");
    // Told once, by us.
    expect(stage.log.filter((line) => line.includes("initialized"))).toHaveLength(1);
  });

  test("tells ids of different sessions apart; changes go to all, questions to nobody", async () => {
    const stage = startStdioStage(odd("told"), shared);
    const sessions = [await stage.open(), await stage.open()];
    const changed = { jsonrpc: "2.0", method: "notifications/tools/list_changed" };
    const question = { jsonrpc: "2.0", id: "q", method: "sampling/createMessage", params: {} };
    const heard = await Promise.all(sessions.map((headers) => listen(stage, headers)));
    const calls = await Promise.all(
      sessions.map((headers) => {
        const params = { wait: true, say: ["progress"], _meta: { progressToken: 1 } };
        return listen(stage, headers, request(1, "tell", params));
      }),
    );
    await until(() => calls.every((call) => call.messages().length === 1));
    expect(calls.map((call) => call.messages()[0]?.params)).toEqual([
      { progressToken: 1, progress: 1 },
      { progressToken: 1, progress: 1 },
    ]);
    const [own = {}] = sessions;
    const cancel = { jsonrpc: "2.0", method: "notifications/cancelled", params: { requestId: 1 } };
    await stage.post(cancel, own);
    expect(await calls[0]?.ended).toBe("end");
    await messagesOf(await stage.post(request(2, "tell", { say: [changed, question] }), own));
    await until(() => heard.every((stream) => stream.messages().length === 1));
    expect(calls[1]?.messages()).toHaveLength(1);
    await stage.post({ jsonrpc: "2.0", method: "notifications/go" }, own);
    expect(await calls[1]?.ended).toBe("end");
    expect(calls[1]?.messages().at(-1)).toMatchObject({ id: 1, result: {} });
  });

  test("sessions outlive its crash", async () => {
    const stage = startStdioStage(odd("plain"), shared);
    const sessions = [await stage.open(), await stage.open()];
    process.kill(stage.pid(), "SIGKILL");
    await until(() => stage.state().running === 0);
    for (const headers of sessions) {
      expect((await stage.post(request(1, "x"), headers)).status).toBe(200);
    }
    expect(stage.state()).toMatchObject({ running: 1, started: 2 });
  });

  test("the end of one session is not the end of another", async () => {
    const stage = startStdioStage(odd("plain"), shared);
    const [first, second] = [await stage.open(), await stage.open()];
    await fetch(stage.url, { method: "DELETE", headers: first });
    expect((await stage.post(request(1, "x"), second)).status).toBe(200);
    expect(stage.state()).toMatchObject({ running: 1, started: 1 });
  });

  test("stateless requests of all logins share it as well", async () => {
    const stage = startStdioStage(odd("stateless"), shared);
    await stage.post(...stateless(1, "x"));
    stage.context = { ...stage.context, family: "family-2" };
    await stage.post(...stateless(1, "x"));
    expect(stage.state().started).toBe(1);
  });
});

describe("what a process writes for people", () => {
  test("is kept within bounds, without the secrets that it was given", async () => {
    const script = `for i in $(seq 1 1000); do echo "line $i $TOKEN" >&2; done; cat`;
    const command = JSON.stringify(["sh", "-c", script]);
    const settings = { env: "TOKEN" };
    const environment = { TOKEN: "s3cr3t-value" };
    const stage = startStdioStage(command, { settings, environment });
    const stream = await listen(stage, {}, initialize("2025-11-25"));
    await until(() => stage.log.length >= 200);
    expect(stage.log[0]).toBe("line 1 [redacted]");
    await Bun.sleep(100);
    expect(stage.log).toHaveLength(200);
    stream.hangUp();
  });
});

describe("changed settings", () => {
  test("leave servers alone that stay as they are, and start changed ones anew", async () => {
    const stage = startStdioStage(odd("plain"));
    const headers = await stage.open();
    const pid = await pidOf(stage, headers);
    const serve = (settings: Record<string, string>): void => {
      const config = readConfig({ data: "/nonexistent", command: odd("plain"), ...settings });
      stage.stdio.serve(config, readCredentials(config, {}));
    };
    serve({});
    expect(await pidOf(stage, headers)).toBe(pid);
    serve({ alertCommand: "/bin/true", allowedOrigins: "https://app.test" });
    expect(await pidOf(stage, headers)).toBe(pid);
    serve({ env: "MODE=new" });
    expect((await stage.post(request(1, "x"), headers)).status).toBe(404);
    const { result } = await messageOf(await stage.post(request(1, "x"), await stage.open()));
    expect(result?.["environment"]).toMatchObject({ MODE: "new" });
    await until(() => !runs(pid));
  });
});
