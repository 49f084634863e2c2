import { afterAll, describe, expect, test } from "bun:test";
import { existsSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Postern, freePort, startPostern, stopProcesses } from "../process.ts";
import {
  type Login,
  authorizationUrl,
  callMcp,
  logIn as logInto,
  redeemCode,
  refreshWith,
  registerClient,
  startServer,
  temporaryFolder,
} from "../server.ts";

afterAll(stopProcesses);

async function logIn(server: Postern, name = "Test client"): Promise<Login> {
  const { client_id: clientId } = await registerClient(server, { client_name: name });
  const response = await server.browser.authorize(authorizationUrl(server, clientId));
  const code = new URL(response.headers.get("location") ?? "").searchParams.get("code") ?? "";
  return { clientId, tokens: await (await redeemCode(server, clientId, code)).json() };
}

const commandLine = (
  folder: string,
  words: readonly string[],
  input = "",
  environment: Record<string, string> = {},
) => {
  const { exitCode, stdout, stderr } = Bun.spawnSync(
    [process.execPath, join(import.meta.dir, "../../src/main.ts"), ...words],
    {
      cwd: folder,
      env: { POSTERN_LOG_FORMAT: "text", ...environment },
      stdin: Buffer.from(input),
    },
  );
  return { exitCode, stdout: stdout.toString(), stderr: stderr.toString() };
};

describe.each(["beside the running server", "with no server running"])(
  "owner's commands %s",
  (mode) => {
    const prepared = async (): Promise<{ server: Postern; login: Login }> => {
      const server = await startPostern();
      const login = await logIn(server);
      if (mode.startsWith("with no")) await server.kill("SIGTERM");
      return { server, login };
    };
    const running = async (server: Postern): Promise<void> => {
      if (mode.startsWith("with no")) await server.restart();
    };

    test("clients and grants are listed, for people and as JSON", async () => {
      const { server, login } = await prepared();
      const clients = await server.run("clients");
      expect([clients.exitCode, clients.stderr]).toEqual([0, ""]);
      expect(clients.stdout).toMatch(
        /^ID +NAME +VERIFIED +REDIRECT +REGISTERED +LOGINS +LAST USED\n.{12} +Test client +no +http:\/\/127/,
      );
      const [row] = JSON.parse((await server.run("clients", "--json")).stdout);
      expect(row).toMatchObject({
        client_id: login.clientId,
        client_name: "Test client",
        grants: 1,
      });
      const grants = await server.run("grants", "list");
      expect(grants.stdout).toMatch(
        /^ID +CLIENT +GOES TO +SCOPES +SINCE +LAST USED +FROM\n.{12} +Test client +localhost +mcp +2\d{3}-\d\d-\d\d +less than a minute ago +this machine\n$/,
      );
      const text = (await server.run("grants", "--json")).stdout;
      expect(JSON.parse(text)).toMatchObject([
        { client_id: login.clientId, resource: server.url, generation: 1 },
      ]);
      expect(text).not.toContain("hash");
      expect(text).not.toContain("tag_key");
    });

    test("what a client calls itself does not steer the terminal", async () => {
      const server = await startPostern();
      const name = "\u001b[2J\u001b]0;x\u0007Claude\u202e\u009b31m\r\n\u200b日本語";
      const { clientId } = await logIn(server, name);
      if (mode.startsWith("with no")) await server.kill("SIGTERM");
      const outputs = [
        await server.run("clients"),
        await server.run("clients", "show", clientId),
        await server.run("grants"),
      ];
      for (const { exitCode, stdout } of outputs) {
        expect(exitCode).toBe(0);
        expect(stdout).toContain("Claude");
        expect(stdout).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u200b\u202e]/);
      }
      const [, header = "", row = ""] = /^(.*)\n(.*)\n$/.exec(outputs[0]?.stdout ?? "") ?? [];
      const until = (line: string, word: string): number =>
        Bun.stringWidth(line.slice(0, line.indexOf(word)));
      expect(until(row, "http://")).toBe(until(header, "REDIRECT"));
    });

    test("a name of the owner's own is shown instead of the client's", async () => {
      const { server, login } = await prepared();
      const id = login.tokens.refresh_token.slice(4, 12);
      expect((await server.run("grants", "rename", id, "the laptop")).stdout).toBe(
        `renamed login ${id}\n`,
      );
      expect((await server.run("grants")).stdout).toContain("the laptop");
      expect((await server.run("grants", "show", id)).stdout).toMatch(/^client +the laptop$/m);
    });

    test("an API key is made, opens the door, is listed and ended", async () => {
      const { server } = await prepared();
      const made = await server.run("keys", "add", "Home Assistant", "--expires", "30d");
      expect([made.exitCode, made.stderr]).toEqual([0, ""]);
      const key = /^key +(pak_\S+)$/m.exec(made.stdout)?.[1] ?? "";
      expect(made.stdout).toContain(`  Authorization: Bearer ${key}\n`);
      const listed = await server.run("keys");
      expect(listed.stdout).toMatch(/^ID +NAME [\s\S]*\n\S{12} +Home Assistant +\/mcp +mcp /);
      expect(listed.stdout).not.toContain(key.slice(5, 40));
      await running(server);
      expect((await callMcp(server, key)).status).toBe(200);
      if (mode.startsWith("with no")) await server.kill("SIGTERM");
      const [row] = JSON.parse((await server.run("keys", "--json")).stdout);
      expect(row).toMatchObject({ name: "Home Assistant", last_used_at: expect.any(Number) });
      const id = String(row.id);
      expect((await server.run("keys", "revoke", id)).stdout).toBe(
        `ended key ${id.slice(0, 12)}\n`,
      );
      await running(server);
      expect((await callMcp(server, key)).status).toBe(401);
    });

    test("a revoked grant is dead at once, and after a restart", async () => {
      const { server, login } = await prepared();
      const id = login.tokens.refresh_token.slice(4, 26);
      expect(await server.run("grants", "revoke", id.slice(0, 8))).toMatchObject({
        exitCode: 0,
        stdout: `ended login ${id.slice(0, 12)}\n`,
      });
      await running(server);
      expect((await callMcp(server, login.tokens.access_token)).status).toBe(401);
      expect((await refreshWith(server, login.clientId, login.tokens.refresh_token)).status).toBe(
        400,
      );
      await server.restart({ signal: "SIGKILL" });
      expect((await callMcp(server, login.tokens.access_token)).status).toBe(401);
    });

    test("a removed client is unknown, its logins are over", async () => {
      const { server, login } = await prepared();
      expect((await server.run("clients", "remove", login.clientId)).exitCode).toBe(0);
      await running(server);
      expect((await callMcp(server, login.tokens.access_token)).status).toBe(401);
      expect((await refreshWith(server, login.clientId, login.tokens.refresh_token)).status).toBe(
        401,
      );
    });

    test("revoke-all ends logins and browser sessions, and nothing else", async () => {
      const { server, login } = await prepared();
      expect((await server.run("revoke-all")).stdout).toBe(
        "ended 1 login and all browser sessions\n",
      );
      await running(server);
      expect((await callMcp(server, login.tokens.access_token)).status).toBe(401);
      expect((await server.browser.get("/connect")).status).toBe(303);
      expect((await callMcp(server, (await logIn(server)).tokens.access_token)).status).toBe(200);
    });

    test("a new password ends every login; the old one is refused, the new one works", async () => {
      const { server, login } = await prepared();
      const result = commandLine(
        server.folder,
        ["password", "--data", server.folder],
        "a new long password\n",
      );
      expect([result.exitCode, result.stdout]).toEqual([
        0,
        "password changed; ended 1 login and all browser sessions\n",
      ]);
      await running(server);
      expect((await callMcp(server, login.tokens.access_token)).status).toBe(401);
      expect((await server.browser.signIn()).status).toBe(403);
      expect((await server.browser.signIn(undefined, "a new long password")).status).toBe(303);
    });

    test.each([
      [["grants", "revoke", "nothere"], "there is no grant nothere"],
      [["clients", "remove", "nothere"], "there is no client nothere"],
      [["grants", "revoke", "abc"], "there is no grant abc"],
    ])("%p: %s", async (words, message) => {
      const { server } = await prepared();
      expect(await server.run(...words)).toEqual({
        exitCode: 1,
        stdout: "",
        stderr: `postern: error: ${message}\n`,
      });
    });
  },
);

describe("words that make no sense end with one line and exit 2", () => {
  test.each<[string[], string]>([
    [
      ["sevre"],
      "postern: error: unknown command sevre\npostern: hint: did you mean postern serve?\n",
    ],
    [
      ["grants", "revok", "x"],
      "postern: error: postern grants takes no more words\npostern: hint: did you mean postern grants revoke?\n",
    ],
    [
      ["xyzzyx"],
      'postern: error: unknown command xyzzyx\npostern: hint: see postern --help; an MCP server to start goes behind "serve --", such as: serve -- npx -y some-server\n',
    ],
    [
      ["grants", "revoke"],
      "postern: error: postern grants revoke takes <id>\npostern: hint: see postern --help\n",
    ],
    [
      ["revoke-all", "now"],
      "postern: error: postern revoke-all takes no more words\npostern: hint: see postern --help\n",
    ],
    [
      ["--porrt", "1"],
      "postern: error: unknown flag --porrt\npostern: hint: did you mean --port?\n",
    ],
    [["--port", "x"], 'postern: error: --port is "x": expected a whole number from 1 to 65535\n'],
    [
      ["grants", "revoke", "-Xy2"],
      'postern: error: unknown flag -Xy2\npostern: hint: an id that begins with "-" goes last, behind "--": -- -Xy2\n',
    ],
  ])("%p", (words, stderr) => {
    const folder = temporaryFolder();
    expect(commandLine(folder, words)).toEqual({ exitCode: 2, stdout: "", stderr });
    expect(readdirSync(folder)).toEqual([]);
  });

  test("a short password is refused and changes nothing", async () => {
    const server = await startPostern();
    const login = await logIn(server);
    const result = commandLine(server.folder, ["password", "--data", server.folder], "short\n");
    expect([result.exitCode, result.stderr]).toEqual([
      1,
      "postern: error: Choose a password of at least 8 characters.\n",
    ]);
    expect((await callMcp(server, login.tokens.access_token)).status).toBe(200);
  });

  test.each([[["grants", "revoke"]], [["clients", "remove"]]])(
    "%p takes an older id that begins with a dash behind --",
    async (words) => {
      const folder = temporaryFolder();
      const server = await startServer({ folder });
      const { clientId, tokens } = await logInto(server);
      const family = tokens.refresh_token.slice(4, 26);
      const id = `-${"x".repeat(21)}`;
      await server.deps.store.update((draft) => {
        const [client, grant] = [
          draft.get("clients", clientId),
          draft.get("refresh_tokens", family),
        ];
        if (!client || !grant) throw new Error("nobody is logged in");
        draft.put("clients", id, client);
        draft.put("refresh_tokens", id, { ...grant, client_id: id });
      });
      await server.close();
      const result = commandLine(folder, [...words, "--data", folder, "--", "-xxxx"]);
      expect([result.exitCode, result.stderr]).toEqual([0, ""]);
      const { deps, close } = await startServer({ folder });
      expect(await deps.store.refresh_tokens.get(id)).toBeUndefined();
      expect((await deps.store.clients.get(id)) === undefined).toBe(words[0] === "clients");
      expect(await deps.store.refresh_tokens.get(family)).toBeDefined();
      await close();
      rmSync(folder, { recursive: true });
    },
  );

  test("without a data folder there is nothing to list, and none is made", () => {
    const folder = temporaryFolder();
    const result = commandLine(folder, ["grants", "--data", join(folder, "gone")]);
    expect([result.exitCode, result.stderr]).toEqual([
      1,
      `postern: error: there is no data folder ${join(folder, "gone")}\npostern: hint: name it with --data\n`,
    ]);
    expect(existsSync(join(folder, "gone"))).toBe(false);
  });
});

describe("--help and --version", () => {
  test("go to stdout and change nothing", () => {
    const folder = temporaryFolder();
    const help = commandLine(folder, ["--help"]);
    expect([help.exitCode, help.stderr]).toEqual([0, ""]);
    expect(help.stdout).toContain("usage: postern [command] [settings]");
    expect(help.stdout.split("\n").every((line) => !line.includes("undefined"))).toBe(true);
    expect(commandLine(folder, ["--version"]).stdout).toMatch(/^postern \d+\.\d+\.\d+\n$/);
    expect(readdirSync(folder)).toEqual([]);
  });

  test("a variable that is no setting is named", () => {
    const folder = temporaryFolder();
    const { stderr } = commandLine(folder, ["grants", "--data", join(folder, "x")], "", {
      POSTERN_PROT: "1",
    });
    expect(stderr).toStartWith("postern: warning: the variable POSTERN_PROT is not a setting\n");
  });
});

describe("the running server", () => {
  test("keeps its files to itself: folder 0700, everything in it 0600 or a 0700 folder", async () => {
    const server = await startPostern();
    await logIn(server);
    expect(statSync(server.folder).mode & 0o777).toBe(0o700);
    for (const name of readdirSync(server.folder)) {
      const stat = statSync(join(server.folder, name));
      expect([name, stat.mode & 0o777]).toEqual([name, stat.isDirectory() ? 0o700 : 0o600]);
    }
  });

  test("the setup link is in the folder until there is an owner, and works once", async () => {
    const server = await startPostern({ owner: false });
    const link = await server.setupLink();
    expect(readFileSync(join(server.folder, "setup-link"), "utf8")).toBe(`${link}\n`);
    await server.browser.signIn().catch(() => undefined);
    const { pathname, search, searchParams } = new URL(link);
    const fields = {
      token: searchParams.get("token") ?? "",
      password: "long enough",
      password_again: "long enough",
    };
    const [one, two] = await Promise.all([
      server.browser.post(pathname, fields),
      server.browser.post(pathname, fields),
    ]);
    expect([one.status, two.status].toSorted()).toEqual([303, 410]);
    expect(existsSync(join(server.folder, "setup-link"))).toBe(false);
    expect((await server.fetch(pathname + search)).status).toBe(410);
  });

  test("a second process on the folder says whom it waits for, and exits 75", async () => {
    const server = await startPostern();
    const login = await logIn(server);
    const second = commandLine(server.folder, ["--data", server.folder, "--port", "1"]);
    expect(second.exitCode).toBe(75);
    expect(second.stderr).toStartWith(`postern: warning: waiting for pid ${server.pid} on host `);
    expect((await callMcp(server, login.tokens.access_token)).status).toBe(200);
  }, 20_000);

  test("a taken port is one line with the fix", async () => {
    const server = await startPostern();
    const folder = temporaryFolder();
    const { port } = new URL(server.url);
    const second = commandLine(folder, ["--data", join(folder, "d"), "--port", port]);
    expect([second.exitCode, second.stderr]).toEqual([
      1,
      `postern: error: port ${port} is taken\npostern: hint: stop the other program, or choose another port with --port\n`,
    ]);
  });

  test.each(["SIGTERM", "SIGINT"] as const)(
    "%s: exit 0, snapshot written, lock and socket gone",
    async (signal) => {
      const server = await startPostern();
      const login = await logIn(server);
      expect(await server.kill(signal)).toBe(0);
      expect(
        readdirSync(server.folder).filter((name) =>
          /^(\.lock|\.lock\.json|admin\.sock|setup-link)$/.test(name),
        ),
      ).toEqual([]);
      expect(readFileSync(join(server.folder, "state.json"), "utf8")).toContain(login.clientId);
      await server.restart();
      expect((await callMcp(server, login.tokens.access_token)).status).toBe(200);
    },
  );

  test("a stop lets a running request end and cuts an endless one, within 6 s", async () => {
    const upstream = Bun.serve({
      port: 0,
      idleTimeout: 0,
      fetch: async (request) => {
        if (request.method === "GET")
          return new Response(
            new ReadableStream({ start: (stream) => stream.enqueue("data: 1\n\n") }),
            { headers: { "content-type": "text/event-stream" } },
          );
        await Bun.sleep(1500);
        return Response.json({ done: true });
      },
    });
    const server = await startPostern({ settings: { upstream: upstream.url.href } });
    const { tokens } = await logIn(server);
    const endless = await server.fetch("/mcp", {
      headers: { authorization: `Bearer ${tokens.access_token}` },
    });
    const slow = callMcp(server, tokens.access_token);
    await Bun.sleep(300);
    const stopped = server.kill("SIGTERM");
    expect(await (await slow).json()).toEqual({ done: true });
    await endless.text().catch(() => undefined);
    expect(await stopped).toBe(0);
    await upstream.stop(true);
  }, 15_000);

  test("a closed stdout does not stop it", async () => {
    const folder = temporaryFolder();
    const port = await freePort();
    const words = ["--data", join(folder, "d"), "--port", String(port)];
    const child = Bun.spawn(
      [process.execPath, join(import.meta.dir, "../../src/main.ts"), ...words],
      {
        cwd: folder,
        env: { POSTERN_LOG_FORMAT: "text" },
        stdout: "pipe",
        stderr: "ignore",
      },
    );
    const reader = child.stdout.getReader();
    await reader.read();
    await reader.cancel();
    const url = `http://127.0.0.1:${port}/register`;
    for (let count = 0; count < 5; count++) {
      const response = await fetch(url, {
        method: "POST",
        body: JSON.stringify({ redirect_uris: ["http://localhost/cb"] }),
        headers: { "content-type": "application/json" },
      });
      expect(response.status).toBe(201);
    }
    child.kill("SIGTERM");
    expect(await child.exited).toBe(0);
  });

  test("a password file makes the owner without a browser, and changes the password when it changes", async () => {
    const folder = temporaryFolder();
    const file = join(folder, "password");
    writeFileSync(file, "from the file\n");
    const server = await startPostern({ owner: false, settings: { passwordFile: file } });
    expect(existsSync(join(server.folder, "setup-link"))).toBe(false);
    expect((await server.browser.signIn(undefined, "from the file")).status).toBe(303);
    await server.restart();
    expect((await server.browser.signIn(undefined, "from the file")).status).toBe(303);
    writeFileSync(file, "another one");
    await server.restart();
    expect((await server.browser.signIn(undefined, "from the file")).status).toBe(403);
    expect((await server.browser.signIn(undefined, "another one")).status).toBe(303);
    const words = ["password", "--data", server.folder];
    const changed = commandLine(folder, words, "a third password\n");
    expect(changed.exitCode).toBe(0);
    expect(changed.stderr).toStartWith(
      `postern: warning: each start takes the password from ${file}: write the new one there too`,
    );
    await server.restart();
    expect((await server.browser.signIn(undefined, "another one")).status).toBe(303);
  });
});

describe("postern dev", () => {
  test("prints a password, a QR code and the URL; leaves nothing behind", async () => {
    const folder = temporaryFolder();
    const child = Bun.spawn(
      [process.execPath, join(import.meta.dir, "../../src/main.ts"), "dev", "--port", "29872"],
      { cwd: folder, env: { TMPDIR: folder }, stdout: "pipe", stderr: "pipe" },
    );
    let text = "";
    const reading = (async () => {
      for await (const chunk of child.stdout) text += new TextDecoder().decode(chunk);
    })();
    for (
      let tries = 0;
      tries < 250 && !text.includes("data folder") && !text.includes("Data folder");
      tries++
    )
      await Bun.sleep(20);
    expect(text).toMatch(/password for this try: \S{12}/);
    expect(text).toContain("http://localhost:29872/mcp");
    expect(text).toContain("▄");
    expect((await fetch("http://127.0.0.1:29872/healthz")).status).toBe(200);
    const huge = await fetch("http://127.0.0.1:29872/token", {
      method: "POST",
      body: new ReadableStream({ pull: (stream) => stream.enqueue(new Uint8Array(65_536)) }),
      headers: { "content-type": "application/x-www-form-urlencoded" },
    }).catch(() => undefined);
    expect([undefined, 413]).toContain(huge?.status);
    expect((await fetch("http://127.0.0.1:29872/healthz")).status).toBe(200);
    child.kill("SIGTERM");
    expect(await child.exited).toBe(0);
    await reading;
    expect(readdirSync(folder).filter((name) => name.startsWith("postern-dev-"))).toEqual([]);
  }, 20_000);
});
