// postern setup, on a real terminal and by flags alone: what it writes, what it refuses, and that a start takes it.
import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { freePort, programCommand, startPostern, stopProcesses } from "../process.ts";
import { PASSWORD, temporaryFolder } from "../server.ts";

afterAll(stopProcesses);
const folders: string[] = [];
afterAll(() => {
  for (const path of folders) rmSync(path, { recursive: true, force: true });
});

let folder: string;
beforeEach(() => {
  const made = temporaryFolder();
  folders.push(made);
  folder = join(made, "data");
});

const written = (): unknown => JSON.parse(readFileSync(join(folder, "config.json"), "utf8"));
const passwordFile = (text = PASSWORD): string => {
  const path = join(dirname(folder), "password");
  writeFileSync(path, `${text}\n`);
  return path;
};

function flags(...words: string[]): { exitCode: number; stdout: string; stderr: string } {
  const { exitCode, stdout, stderr } = Bun.spawnSync(
    [...programCommand(), "setup", "--data", folder, ...words],
    { cwd: tmpdir(), env: {}, stdin: "ignore" },
  );
  return { exitCode, stdout: stdout.toString(), stderr: stderr.toString() };
}

interface Screen {
  /** Waits for a text, and types. */
  answer(question: RegExp, keys: string): Promise<void>;
  /** Resolves to the exit code. */
  readonly exited: Promise<number>;
  text(): string;
}

/** The program on a terminal of its own. */
function terminal(...words: string[]): Screen {
  let shown = "";
  const decoder = new TextDecoder();
  const child = Bun.spawn([...programCommand(), "setup", "--data", folder, ...words], {
    cwd: tmpdir(),
    env: { LANG: "C.UTF-8", TERM: "xterm" },
    terminal: {
      cols: 100,
      rows: 40,
      data: (_terminal, bytes) => void (shown += decoder.decode(bytes, { stream: true })),
    },
  });
  return {
    answer: async (question, keys) => {
      for (let tries = 0; !question.test(shown); tries++) {
        if (tries > 2000) throw new Error(`no ${question}: ${shown}`);
        await Bun.sleep(5);
      }
      child.terminal?.write(keys);
    },
    exited: child.exited,
    text: () => shown,
  };
}
const DOWN = "\u001b[B";

describe("on a terminal", () => {
  test("asks for all of it, writes it, and says what comes next", async () => {
    const screen = terminal();
    await screen.answer(/Which clients shall reach it\?/, `${DOWN}\r`);
    await screen.answer(/Its public address/, "mcp.example.com\r");
    await screen.answer(/Which MCP server shall it guard\?/, `${DOWN}\r`);
    await screen.answer(/Its URL/, "http://127.0.0.1:3000/mcp\r");
    await screen.answer(/Your password/, `${PASSWORD}\r`);
    await screen.answer(/The same again/, `${PASSWORD}\r`);
    await screen.answer(/Which clients do you use\?/, `${DOWN} \r`);
    expect(await screen.exited).toBe(0);
    expect(written()).toEqual({
      url: "https://mcp.example.com",
      upstream: "http://127.0.0.1:3000/mcp",
    });
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    expect(statSync(join(folder, "config.json")).mode & 0o777).toBe(0o600);
    const text = screen.text();
    expect(text).not.toContain(PASSWORD);
    expect(text).toMatch(/the password is set/);
    expect(text).toContain(`postern serve --data ${folder}`);
    expect(text).toContain(`postern doctor --data ${folder}`);
    expect(text).toContain(
      "claude mcp add --scope user --transport http postern https://mcp.example.com/mcp",
    );
    const port = String(await freePort());
    const started = await startPostern({
      settings: { data: folder, port, url: `http://localhost:${port}` },
      owner: false,
    });
    expect((await started.browser.signIn()).status).toBe(303);
    expect(started.stdout()).toContain("http://127.0.0.1:3000/mcp");
    await started.kill();
  });

  test("says on the spot what is wrong with an answer", async () => {
    const screen = terminal("--upstream", "http://127.0.0.1:3000/mcp", "--clients", "codex");
    await screen.answer(/Which clients shall reach it\?/, `${DOWN}\r`);
    await screen.answer(/Its public address/, "\u0015http://mcp.example.com\r");
    await screen.answer(/clients refuse plain http/, "\u0015https://mcp.example.com\r");
    await screen.answer(/Your password/, "short\r");
    await screen.answer(/at least 8 characters/, `\u0015${PASSWORD}\r`);
    await screen.answer(/The same again/, "something else\r");
    await screen.answer(/The two passwords differ/, `\u0015${PASSWORD}\r`);
    expect(await screen.exited).toBe(0);
    expect(screen.text()).toContain("codex mcp add postern --url https://mcp.example.com/mcp");
    expect(screen.text()).not.toContain("Which MCP server");
  });

  test("leaving it changes nothing", async () => {
    const screen = terminal();
    await screen.answer(/Which clients shall reach it\?/, "\r");
    await screen.answer(/Which MCP server shall it guard\?/, "\u0003");
    expect(await screen.exited).toBe(130);
    expect(screen.text()).toContain("Nothing was changed.");
    expect(existsSync(folder)).toBe(false);
  });
});

describe("by flags", () => {
  test("does the same without a word", async () => {
    const file = passwordFile();
    const { exitCode, stdout, stderr } = flags(
      "--url",
      "https://mcp.example.com/",
      "--upstream",
      "http://127.0.0.1:3000/mcp",
      "--port",
      "8080",
      "--password-file",
      file,
      "--clients",
      "claude,gemini",
    );
    expect([exitCode, stderr]).toEqual([0, ""]);
    expect(written()).toEqual({
      url: "https://mcp.example.com/",
      upstream: "http://127.0.0.1:3000/mcp",
      port: "8080",
    });
    expect(stdout).toContain("lead https://mcp.example.com to port 8080");
    expect(stdout).toContain("claude.ai/customize/connectors");
    expect(stdout).toContain("gemini mcp add");
    expect(stdout + readFileSync(join(folder, "config.json"), "utf8")).not.toContain(PASSWORD);
  });

  test.each([
    [[], /setup needs --url and --password-file/],
    [["--url", "http://localhost:7676"], /setup needs --password-file/],
    [["--password-file", "here"], /setup needs --url|cannot read the password file/],
  ])("names what is missing: %p", (words, message) => {
    const { exitCode, stderr } = flags(...words);
    expect(exitCode).toBe(2);
    expect(stderr).toMatch(message);
    expect(existsSync(folder)).toBe(false);
  });

  test.each([
    ["a public URL in plain http", ["--url", "http://mcp.example.com"], /plain http/],
    [
      "a client that nobody knows",
      ["--url", "https://a.example", "--clients", "claud"],
      /did you mean claude/,
    ],
    [
      "two servers at once",
      ["--url", "https://a.example", "--upstream", "http://127.0.0.1:1/", "--command", "x"],
      /upstream/,
    ],
  ])("writes nothing for %s", (_name, words, message) => {
    const { exitCode, stderr } = flags(...words, "--password-file", passwordFile());
    expect(exitCode).toBe(2);
    expect(stderr).toMatch(message);
    expect(existsSync(folder)).toBe(false);
  });

  test("a password that is too short", () => {
    const { exitCode, stderr } = flags(
      "--url",
      "https://a.example",
      "--password-file",
      passwordFile("short"),
    );
    expect(exitCode).toBe(2);
    expect(stderr).toMatch(/at least 8 characters/);
    expect(stderr).not.toContain("short\n");
  });
});

describe("a second time", () => {
  test("keeps what it was not asked about, and the owner's password", async () => {
    flags("--url", "https://a.example", "--scopes", "notes", "--password-file", passwordFile());
    const again = flags(
      "--url",
      "https://b.example",
      "--password-file",
      passwordFile("another password"),
    );
    expect([again.exitCode, again.stderr]).toEqual([0, ""]);
    expect(again.stdout).toContain("the password stays as it is");
    expect(written()).toEqual({ url: "https://b.example", scopes: "notes" });
    const port = String(await freePort());
    const started = await startPostern({
      settings: { data: folder, port, url: `http://localhost:${port}` },
      owner: false,
    });
    expect((await started.browser.signIn()).status).toBe(303);
    await started.kill();
  });

  test("a running server takes it up, or is to be restarted", async () => {
    const running = await startPostern({ settings: { data: folder } });
    const name = flags("--url", running.config.issuer, "--name", "Notes");
    expect([name.exitCode, name.stderr]).toEqual([0, ""]);
    expect(name.stdout).toContain("restart the server");
    while (!running.stdout().includes("settings taken up: name")) await Bun.sleep(10);
    await running.kill();
  });

  test("leaves a list of servers alone", () => {
    flags("--url", "https://a.example", "--password-file", passwordFile());
    const servers = [{ path: "/notes", upstream: "http://127.0.0.1:3000/mcp" }];
    writeFileSync(join(folder, "config.json"), JSON.stringify({ servers }));
    const refused = flags("--url", "https://a.example", "--upstream", "http://127.0.0.1:1/");
    expect([refused.exitCode, refused.stderr]).toEqual([
      2,
      expect.stringMatching(/lists its servers/),
    ]);
    expect(flags("--url", "https://a.example").exitCode).toBe(0);
    expect(written()).toEqual({ servers, url: "https://a.example" });
  });
});
