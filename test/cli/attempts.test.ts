// postern attempts beside the real server: what a person reads, and the same as JSON.
import { afterAll, expect, test } from "bun:test";
import { join } from "node:path";
import { styleOf } from "../../src/cli/style.ts";
import { type Postern, startPostern, stopProcesses } from "../process.ts";
import { callMcp, logIn } from "../server.ts";

afterAll(stopProcesses);

const under = (postern: Postern, agent: string): Postern => ({
  ...postern,
  fetch: (path, init = {}) => {
    const headers = new Headers(init.headers);
    headers.set("user-agent", agent);
    return postern.fetch(path, { ...init, headers });
  },
});

test("says who got in, who did not and why, and which request the log has", async () => {
  const postern = await startPostern();
  const nobody = await postern.run("attempts");
  expect(nobody.stdout).toBe("no client has tried to connect since the server started\n");
  const { tokens } = await logIn(under(postern, "good-client/2.0"), { client_name: "Good" });
  await callMcp(postern, tokens.access_token);
  const bad = under(postern, "bad-client/1.0");
  const refused = await bad.fetch("/register", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ client_name: "\u001b[31mBad\u202e", redirect_uris: ["javascript:1"] }),
  });
  const { exitCode, stdout, stderr } = await postern.run("attempts");
  expect([exitCode, stderr]).toEqual([0, ""]);
  expect(stdout).toMatch(/^\+ Good {2}this machine, less than a minute ago\n {2}connected$/m);
  expect(stdout).toMatch(
    /^x bad-client .*\n {2}refused at: registration\n\n {2}The client was told: “redirect/m,
  );
  expect(stdout).toMatch(/^ {4}- Update the client\.$/m);
  expect(stdout).toMatch(/\d\d:\d\d:\d\d {2}registration refused/);
  expect(stdout).toContain(`request ${refused.headers.get("x-request-id")}`);
  expect(stdout).not.toMatch(/[\u001b\u202e]/);
  const rows = JSON.parse((await postern.run("attempts", "--json")).stdout);
  expect(rows).toMatchObject([
    { agent: "bad-client/1.0", verdict: { state: "stopped", remedies: expect.any(Array) } },
    { client_name: "Good", verdict: { state: "connected" } },
  ]);
  const everything = stdout + JSON.stringify(rows);
  for (const secret of [tokens.access_token, tokens.refresh_token, "pac_"]) {
    expect(everything).not.toContain(secret);
  }
});

test("without a server there is nothing to tell", async () => {
  const postern = await startPostern();
  await postern.kill();
  const { exitCode, stderr } = await postern.run("attempts");
  expect(exitCode).toBe(1);
  expect(stderr).toMatch(/no server runs on .*\npostern: hint: start it: postern serve --data/);
});

const script = Bun.which("script");
test.skipIf(!script)("a terminal gets colours and marks", async () => {
  const postern = await startPostern();
  await logIn(postern, { client_name: "Good" });
  const command = `${process.execPath} ${join(import.meta.dir, "../../src/main.ts")} attempts --data ${postern.folder}`;
  const run = Bun.spawnSync(["script", "-qc", command, "/dev/null"], {
    env: { LANG: "C.UTF-8", TERM: "xterm" },
  });
  expect(run.stdout.toString()).toMatch(/· \u001b\[1mGood\u001b\[22m/);
});

test("lines break at words, and plain output stays plain", () => {
  const plain = styleOf({ isTTY: false, columns: 20 }, { LANG: "C.UTF-8" });
  expect(plain.mark("good")).toBe("✓");
  expect(plain.bold("x")).toBe("x");
  const narrow = styleOf({ isTTY: true, columns: 20 }, { TERM: "xterm", NO_COLOR: "1" });
  expect(narrow.mark("bad")).toBe("x");
  expect(narrow.wrap("one two three four five\u00a0six", 4, "  - ")).toBe(
    "  - one two three\n    four five six",
  );
  expect(narrow.wrap("a".repeat(50), 2)).toBe(`  ${"a".repeat(50)}`);
});
