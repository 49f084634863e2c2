// Changed settings in a running server, with the real program: by SIGHUP, by the file alone, good and bad ones.
import { afterAll, describe, expect, test } from "bun:test";
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { needs } from "../needs.ts";
import { type Postern, freePort, programCommand, startPostern, stopProcesses } from "../process.ts";
import { callMcp, logIn, registerClient, temporaryFolder } from "../server.ts";

afterAll(stopProcesses);

const folders: string[] = [];
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

interface Configured extends Postern {
  /** Path of config.json. */
  readonly file: string;
}

/** A Postern whose settings stand in config.json. */
async function startConfigured(content: object): Promise<Configured> {
  const folder = temporaryFolder();
  folders.push(folder);
  const file = join(folder, "config.json");
  writeFileSync(file, JSON.stringify(content));
  return Object.assign(await startPostern({ settings: { data: folder } }), { file });
}

/** Waits until `look` gives something. */
async function until<T>(look: () => T, server?: Postern): Promise<T> {
  for (const deadline = performance.now() + 10_000; performance.now() < deadline;) {
    const found = look();
    if (found) return found;
    await Bun.sleep(10);
  }
  throw new Error(`it did not come: ${server?.stdout()}${server?.stderr()}`);
}

const count = (text: string, part: string): number => text.split(part).length - 1;
const said = (server: Postern, part: string): number =>
  count(server.stdout() + server.stderr(), part);

/** Asks for the settings to be read again, and waits for the answer. */
async function hangUp(server: Postern): Promise<void> {
  const before = said(server, "settings ");
  process.kill(server.pid, "SIGHUP");
  await until(() => said(server, "settings ") > before, server);
}

const status = async (server: Postern, path: string): Promise<number> =>
  (await server.fetch(path, { method: "POST" })).status;

const write = (server: Configured, content: unknown): void =>
  writeFileSync(server.file, typeof content === "string" ? content : JSON.stringify(content));

describe("SIGHUP", () => {
  test("takes up servers; the login that they share goes on", async () => {
    const servers = [{ path: "/mcp" }, { path: "/old" }];
    const server = await startConfigured({ servers });
    const { tokens } = await logIn(server, {}, server.browser);
    expect([await status(server, "/old"), await status(server, "/new")]).toEqual([401, 404]);
    write(server, { servers: [{ path: "/mcp" }, { path: "/new", scopes: "read write" }] });
    await hangUp(server);
    expect(server.stdout()).toContain("settings taken up: servers\n");
    expect([await status(server, "/old"), await status(server, "/new")]).toEqual([404, 401]);
    expect((await callMcp(server, tokens.access_token)).status).toBe(200);
    const document = await server.fetch("/.well-known/oauth-protected-resource/new");
    expect(await document.json()).toMatchObject({ scopes_supported: ["read", "write"] });
    expect(await (await server.admin("GET", "/clients")).json()).toHaveLength(1);
    const added = { client_name: "Elsewhere", resource_server: server.url.replace("/mcp", "/new") };
    expect((await server.admin("POST", "/clients", added)).status).toBe(200);
    expect(readFileSync(join(server.folder, "audit.jsonl"), "utf8")).toContain(
      '"event":"settings_changed","changed":"servers","restart":""',
    );
  });

  test("tells whose server is gone, and lets them back in when it returns", async () => {
    const server = await startConfigured({ servers: [{ path: "/mcp" }, { path: "/other" }] });
    const { tokens } = await logIn(server, { client_name: "Cursor" }, server.browser);
    write(server, { servers: [{ path: "/other" }] });
    await hangUp(server);
    expect(server.stderr()).toContain(
      "no longer served; get back in when their server returns: Cursor\n",
    );
    expect((await callMcp(server, tokens.access_token)).status).toBe(404);
    write(server, { servers: [{ path: "/other" }, { path: "/mcp" }] });
    await hangUp(server);
    expect((await callMcp(server, tokens.access_token)).status).toBe(200);
    expect(said(server, "no longer served")).toBe(1);
  });

  test("what is read at start only waits, the rest is taken up", async () => {
    const server = await startConfigured({ accessTokenTtl: "1h" });
    write(server, { accessTokenTtl: "10m", host: "127.0.0.1", url: "http://localhost:1" });
    await hangUp(server);
    expect(server.stdout()).toContain("settings taken up: accessTokenTtl\n");
    expect(server.stderr()).toContain("needs a restart: url, host\n");
    expect((await logIn(server, {}, server.browser)).tokens).toMatchObject({ expires_in: 600 });
    write(server, { accessTokenTtl: "10m" });
    await hangUp(server);
    expect(server.stdout()).toContain("settings read again: nothing to take up\n");
    expect(said(server, "needs a restart")).toBe(1);
  });

  test("a flag stands above the file as it did at start", async () => {
    const folder = temporaryFolder();
    folders.push(folder);
    const server = await startPostern({ settings: { data: folder, path: "/flag" } });
    writeFileSync(join(folder, "config.json"), '{"path": "/file"}');
    await hangUp(server);
    expect(server.stdout()).toContain("settings read again: nothing to take up\n");
    expect([await status(server, "/flag"), await status(server, "/file")]).toEqual([401, 404]);
  });

  test("a new registration token counts, though the name of its file is the same", async () => {
    const folder = temporaryFolder();
    folders.push(folder);
    const registrationTokenFile = join(folder, "token");
    writeFileSync(registrationTokenFile, "first-registration-token");
    const server = await startConfigured({ registrationTokenFile });
    const register = async (token: string): Promise<number> => {
      const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
      const body = JSON.stringify({ redirect_uris: ["http://127.0.0.1/callback"] });
      return (await server.fetch("/register", { method: "POST", headers, body })).status;
    };
    expect(await register("first-registration-token")).toBe(201);
    writeFileSync(registrationTokenFile, "short");
    await hangUp(server);
    expect(server.stderr()).toContain("settings stay as they were: the registration token in");
    expect(await register("first-registration-token")).toBe(201);
    writeFileSync(registrationTokenFile, "second-registration-token");
    await hangUp(server);
    expect(server.stdout()).toContain("settings taken up: the registration token\n");
    expect(await register("first-registration-token")).toBe(401);
    expect(await register("second-registration-token")).toBe(201);
    expect(server.stdout() + server.stderr()).not.toContain("second-registration-token");
  });
});

describe("bad settings change nothing and say why", () => {
  let server: Configured;
  const ready = (async () => {
    server = await startConfigured({ scopes: "one", servers: [{ path: "/mcp" }] });
  })();

  test.each<[content: unknown, message: string, hint: string]>([
    ["", "is not valid JSON: line 1: ", ""],
    ['{"scopes": "two", "servers": [{"path": "/m', "is not valid JSON: line 1: ", ""],
    ["[]", "must hold one JSON object", ""],
    [{ scope: "two" }, 'unknown setting "scope"', 'hint: did you mean "scopes"?'],
    [{ scopes: "two", accessTokenTtl: "soon" }, '"accessTokenTtl" in config.json is "soon"', ""],
    [{ scopes: "two", servers: [] }, '"servers" in config.json is empty', ""],
    [{ scopes: "two", servers: [{ path: "x" }] }, '"path" of entry 1: expected a path', ""],
    [
      { scopes: "two", registrationTokenFile: "/nowhere/token" },
      "cannot read the registration",
      "",
    ],
  ])("%p", async (content, message, hint) => {
    await ready;
    write(server, content);
    const before = said(server, "settings stay as they were: ");
    await hangUp(server);
    expect(said(server, "settings stay as they were: ")).toBe(before + 1);
    const last = server.stderr().slice(server.stderr().lastIndexOf("settings stay"));
    expect(last).toContain(message);
    expect(last).toContain(hint);
    const document = await server.fetch("/.well-known/oauth-protected-resource/mcp");
    expect(await document.json()).toMatchObject({ scopes_supported: ["one"] });
  });

  test("and the next good ones count", async () => {
    write(server, { scopes: "two" });
    await hangUp(server);
    const document = await server.fetch("/.well-known/oauth-protected-resource/mcp");
    expect(await document.json()).toMatchObject({ scopes_supported: ["two"] });
  });
});

describe("config.json alone", () => {
  test.concurrent("is taken up when an editor puts another file in its place", async () => {
    const server = await startConfigured({ path: "/one" });
    writeFileSync(`${server.file}.new`, JSON.stringify({ path: "/two" }));
    renameSync(`${server.file}.new`, server.file);
    await until(() => said(server, "settings taken up: path"), server);
    expect([await status(server, "/one"), await status(server, "/two")]).toEqual([404, 401]);
    expect(said(server, "settings stay")).toBe(0);
  });

  test.concurrent("is not read while it is half written, nor while it is gone for a moment", async () => {
    const server = await startConfigured({ path: "/one" });
    write(server, '{"path": "/tw');
    await Bun.sleep(300);
    rmSync(server.file);
    await Bun.sleep(300);
    write(server, { path: "/two" });
    await until(() => said(server, "settings taken up: path"), server);
    expect(said(server, "settings stay")).toBe(0);
    expect(await status(server, "/two")).toBe(401);
  });

  test.concurrent("counts with its last content when it changes twice in a millisecond", async () => {
    const server = await startConfigured({ path: "/one" });
    write(server, { path: "/two" });
    process.kill(server.pid, "SIGHUP");
    write(server, { path: "/six" });
    await until(() => said(server, "settings taken up: path"), server);
    for (let look = 0; (await status(server, "/six")) === 404 && look < 100; look++)
      await Bun.sleep(50);
    expect([await status(server, "/two"), await status(server, "/six")]).toEqual([404, 401]);
  });

  test.concurrent("that is gone changes nothing, and comes back with what it says then", async () => {
    const server = await startConfigured({ path: "/one" });
    rmSync(server.file);
    await until(() => said(server, "settings stay as they were: config.json is gone"), server);
    expect(server.stderr()).toContain("hint: put it back, or write {} into it");
    expect(await status(server, "/one")).toBe(401);
    write(server, {});
    await until(() => said(server, "settings taken up: path"), server);
    expect([await status(server, "/one"), await status(server, "/mcp")]).toEqual([404, 401]);
  });

  test.concurrent("counts when there was none at start", async () => {
    const folder = temporaryFolder();
    folders.push(folder);
    const server = await startPostern({ settings: { data: folder } });
    writeFileSync(join(folder, "config.json"), '{"path": "/first"}');
    await until(() => said(server, "settings taken up: path"), server);
    expect(await status(server, "/first")).toBe(401);
  });
});

test("requests under way end with the settings that they began with", async () => {
  const opened = Promise.withResolvers<ReadableStreamDefaultController>();
  const events = { headers: { "content-type": "text/event-stream" } };
  const first = Bun.serve({
    port: 0,
    idleTimeout: 0,
    fetch: () =>
      new Response(
        new ReadableStream({
          start: (stream) => {
            stream.enqueue("data: 1\n\n");
            opened.resolve(stream);
          },
        }),
        events,
      ),
  });
  const second = Bun.serve({ port: 0, fetch: () => new Response("data: second\n\n", events) });
  try {
    const server = await startConfigured({ upstream: first.url.href });
    const { tokens } = await logIn(server, {}, server.browser);
    const listen = (): Promise<Response> =>
      server.fetch("/mcp", { headers: { authorization: `Bearer ${tokens.access_token}` } });
    const stream = (await listen()).text();
    const source = await opened.promise;
    write(server, { upstream: second.url.href });
    await hangUp(server);
    expect(await (await listen()).text()).toContain("data: second\n\n");
    source.enqueue("data: 2\n\n");
    source.close();
    expect(await stream).toContain("data: 2\n\n");
  } finally {
    await first.stop(true);
    await second.stop(true);
  }
});

test("changes under load: every request is answered by the settings before or after", async () => {
  const server = await startConfigured({ scopes: "a" });
  await registerClient(server);
  const seen = new Set<string>();
  let loading = true;
  const load = Array.from({ length: 4 }, async () => {
    while (loading) {
      const answer = await server.fetch("/.well-known/oauth-protected-resource/mcp");
      const { scopes_supported: scopes } = (await answer.json()) as { scopes_supported: string[] };
      seen.add(`${answer.status} ${scopes.join(" ")}`);
    }
  });
  for (const scopes of ["a b", "a", "a b", "a"]) {
    write(server, { scopes });
    await hangUp(server);
  }
  loading = false;
  await Promise.all(load);
  expect([...seen].toSorted()).toEqual(["200 a", "200 a b"]);
});

describe("SIGHUP in a terminal", () => {
  /** The program in a terminal of its own, which is closed when what made it ends. */
  async function startInTerminal(folder: string) {
    const command = [...programCommand(), "--data", folder, "--port", String(await freePort())];
    const terminal = Bun.spawn(["script", "-qfec", `exec ${command.join(" ")}`, "/dev/null"], {
      env: { PATH: process.env["PATH"], SHELL: "/bin/sh" },
      stdio: ["pipe", "pipe", "ignore"],
    });
    const owner = join(folder, ".lock.json");
    await until(() => existsSync(join(folder, "admin.sock")));
    const { pid } = JSON.parse(readFileSync(owner, "utf8")) as { pid: number };
    return { terminal, pid };
  }

  needs("linux", "script")(
    "reads the settings while the terminal is open, stops when it is closed",
    async () => {
      const folder = temporaryFolder();
      folders.push(folder);
      const { terminal, pid } = await startInTerminal(folder);
      const audit = (): string => readFileSync(join(folder, "audit.jsonl"), "utf8");
      writeFileSync(join(folder, "config.json"), "{");
      process.kill(pid, "SIGHUP");
      await until(() => audit().includes('"settings_refused"'));
      expect(audit()).not.toContain('"stop"');
      terminal.kill("SIGKILL");
      await until(() => audit().includes('"stop"') && !existsSync(join(folder, ".lock.json")));
      expect(existsSync(join(folder, "admin.sock"))).toBe(false);
    },
  );
});
