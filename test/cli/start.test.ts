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
