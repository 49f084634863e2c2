// A start as whoever starts it sees it: what it says, where it listens, how it can be stopped before it is done.
import { afterAll, describe, expect, test } from "bun:test";
import { freePort, launch, printed, startPostern, stopProcesses } from "../process.ts";

afterAll(stopProcesses);

describe("stopped while it waits for the folder", () => {
  test.each(["SIGTERM", "SIGINT"] as const)("%s: exit 0, the other stays", async (signal) => {
    const holder = await startPostern({ owner: false });
    const second = launch({ data: holder.folder, port: String(await freePort()) });
    await printed(second, /waiting for pid \d+/);
    expect(await second.end(signal)).toBe(0);
    expect(second.stdout()).toBe("stopping\n");
    expect(second.stderr()).not.toContain("error");
    expect((await holder.fetch("/healthz")).status).toBe(200);
    expect((await holder.run("grants")).stdout).toBe("nobody is logged in\n");
    expect(await holder.kill()).toBe(0);
  });
});

describe("postern dev", () => {
  test("answers on both loopbacks, from a folder that was opened once", async () => {
    const port = String(await freePort());
    const dev = launch({ port }, "dev");
    await printed(dev, /Data folder .* \(new\)\n/);
    for (const host of ["127.0.0.1", "[::1]"]) {
      const answer = await fetch(`http://${host}:${port}/mcp`, { method: "POST" });
      expect(answer.status).toBe(401);
    }
    expect(dev.stdout().match(/password for this try/g)).toHaveLength(1);
    expect(await dev.end("SIGTERM")).toBe(0);
    expect(dev.stderr()).toBe("");
  });

  test.each([
    [{ host: "0.0.0.0" }, "for this machine alone", "postern serve --host"],
    [{ data: "x" }, "a temporary folder", "postern serve --data"],
    [{ passwordFile: "x" }, "makes up a password", "postern serve --password-file"],
  ])("refuses %p and says why", async (given, message, hint) => {
    const dev = launch(given, "dev");
    expect(await dev.exited).toBe(2);
    expect(dev.stderr()).toContain(message);
    expect(dev.stderr()).toContain(hint);
  });
});
