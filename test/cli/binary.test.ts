// The compiled executable as people run it: alone, unprivileged, without this checkout and without its environment.
import { afterAll, afterEach, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { version } from "../../package.json";
import { needs, noexecFolder } from "../needs.ts";
import {
  type Launch,
  type Running,
  buildExecutable,
  freePort,
  ownFile,
  ownFolder,
  runExecutable,
  startExecutable,
  untilReady,
} from "./executable.ts";

const executable = buildExecutable();
const alive: Running[] = [];
afterEach(() => {
  for (const running of alive.splice(0)) running.kill("SIGKILL");
});
afterAll(() => executable.remove());

const password = "a long enough password";

interface Server extends Running {
  readonly url: string;
  readonly data: string;
}

async function start(
  folder: string,
  options: Partial<Launch> & { port?: number } = {},
): Promise<Server> {
  const port = options.port ?? freePort();
  const flags = options.flags ?? ["--port", String(port)];
  const running = startExecutable(executable.path, { ...options, folder, flags });
  alive.push(running);
  await untilReady(running, port);
  return { ...running, url: `http://localhost:${port}`, data: join(folder, "data") };
}

let folders = 0;
const emptyFolder = (): string => ownFolder(join(executable.folder, `run-${++folders}`));

/** Gets a page, sends its form with the fields as found, the password and what is given; the cookie is the session's. */
async function sendForm(
  url: string,
  given: Readonly<Record<string, string>> = {},
  cookie = "",
): Promise<Response> {
  const page = await fetch(url, { headers: { cookie } });
  const html = await page.text();
  const form = new URLSearchParams();
  for (const [tag] of html.matchAll(/<input\b[^>]*>/g)) {
    const name = attribute(tag, "name");
    if (name === undefined) continue;
    form.set(
      name,
      attribute(tag, "type") === "password" ? password : (attribute(tag, "value") ?? ""),
    );
  }
  for (const [name, value] of Object.entries(given)) form.set(name, value);
  const action = attribute(/<form\b[^>]*>/.exec(html)?.[0] ?? "", "action") ?? "";
  const { origin } = new URL(url);
  const headers = { origin, cookie };
  return fetch(new URL(action, url), { method: "POST", body: form, headers, redirect: "manual" });
}

const attribute = (tag: string, name: string): string | undefined =>
  new RegExp(`\\b${name}="([^"]*)"`).exec(tag)?.[1];

/** Opens the printed link and sends its form. */
async function setUp(server: Server): Promise<Response> {
  while (!/\/setup\?token=/.test(server.output())) await Bun.sleep(2);
  return sendForm(/http\S+\/setup\?token=\S+/.exec(server.output())?.[0] ?? "");
}

async function readJson(url: string, init?: RequestInit): Promise<Record<string, unknown>> {
  const answer = await fetch(url, init);
  return (await answer.json()) as Record<string, unknown>;
}

/** The built-in server's answer to a call of its tool. */
async function whoami(server: Server, token: string): Promise<string> {
  const answer = await fetch(`${server.url}/mcp`, {
    method: "POST",
    headers: {
      authorization: `Bearer ${token}`,
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
    },
    body: JSON.stringify({
      jsonrpc: "2.0",
      id: 1,
      method: "tools/call",
      params: { name: "whoami", arguments: {} },
    }),
  });
  return answer.text();
}

const sessionCookie = (answer: Response): string =>
  answer.headers.getSetCookie()[0]?.split(";")[0] ?? "";

/** Registers a client, allows it in the session and swaps its code: an access token. */
async function connectClient(server: Server, cookie: string): Promise<string> {
  const redirect = "http://127.0.0.1:9/callback";
  const registered = await readJson(`${server.url}/register`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ redirect_uris: [redirect], token_endpoint_auth_method: "none" }),
  });
  const verifier = "v".repeat(64);
  const request = new URLSearchParams({
    response_type: "code",
    client_id: String(registered["client_id"]),
    redirect_uri: redirect,
    code_challenge: createHash("sha256").update(verifier).digest("base64url"),
    code_challenge_method: "S256",
    resource: `${server.url}/mcp`,
  });
  const authorize = `${server.url}/authorize?${request}`;
  const allowed = await sendForm(authorize, { decision: "allow" }, cookie);
  const code = new URL(allowed.headers.get("location") ?? "").searchParams.get("code") ?? "";
  const tokens = await readJson(`${server.url}/token`, {
    method: "POST",
    body: new URLSearchParams({
      grant_type: "authorization_code",
      client_id: String(registered["client_id"]),
      code,
      redirect_uri: redirect,
      code_verifier: verifier,
    }),
  });
  return String(tokens["access_token"]);
}

/** The password hash in the newest journal of a data folder. */
function storedHash(data: string): string {
  const journals = readdirSync(data).filter((name) => name.startsWith("journal."));
  const text = journals.map((name) => readFileSync(join(data, name), "utf8")).join("");
  return /\$argon2id\$[^"]+/.exec(text)?.[0] ?? "";
}

/** Native code that the executable has unpacked and loaded. */
const mappedAddons = (server: Server): string[] =>
  readFileSync(`/proc/${server.pid}/maps`, "utf8")
    .split("\n")
    .filter((line) => / r-xp .*\.node$/.test(line));

async function expectPasswordSet(server: Server): Promise<void> {
  const answer = await setUp(server);
  expect([answer.status, answer.headers.get("location")]).toEqual([
    303,
    expect.stringMatching(/\/connect$/),
  ]);
  expect(await Bun.password.verify(password, storedHash(server.data))).toBe(true);
}

describe("alone in an empty folder with an empty environment", () => {
  test("--version and --help answer and leave nothing behind", () => {
    const folder = emptyFolder();
    const run = (flag: string) => runExecutable(executable.path, { folder, flags: [flag] });
    expect(run("--version")).toEqual({ exitCode: 0, stdout: `postern ${version}\n`, stderr: "" });
    const help = run("--help");
    expect(help).toMatchObject({ exitCode: 0, stderr: "" });
    expect(help.stdout).toContain("--upstream <http://...>");
    expect(readdirSync(folder)).toEqual([]);
  });

  test("a wrong flag ends with what was meant, exit 2", () => {
    const folder = emptyFolder();
    expect(runExecutable(executable.path, { folder, flags: ["--prt", "1"] })).toEqual({
      exitCode: 2,
      stdout: "",
      stderr: "postern: error: unknown flag --prt\npostern: hint: did you mean --port?\n",
    });
  });

  test("it serves: setup link, discovery, and no entry without a token", async () => {
    const server = await start(emptyFolder());
    expect(await readJson(`${server.url}/.well-known/oauth-authorization-server`)).toMatchObject({
      issuer: server.url,
      code_challenge_methods_supported: ["S256"],
    });
    expect(await readJson(`${server.url}/.well-known/oauth-protected-resource/mcp`)).toMatchObject({
      resource: `${server.url}/mcp`,
      authorization_servers: [server.url],
    });
    const refused = await fetch(`${server.url}/mcp`, { method: "POST", body: "{}" });
    expect(refused.status).toBe(401);
    expect(refused.headers.get("www-authenticate")).toContain("resource_metadata=");
    await expectPasswordSet(server);
    expect(server.output()).toContain(`${server.url}/mcp`);
    expect(server.output()).not.toContain(password);
  });

  test("a client registers, is allowed in and calls whoami, before and after a kill -9", async () => {
    const folder = emptyFolder();
    const port = freePort();
    const server = await start(folder, { port });
    const token = await connectClient(server, sessionCookie(await setUp(server)));
    expect(await whoami(server, token)).toContain("owner");
    server.kill("SIGKILL");
    await server.exited;
    expect(await whoami(await start(folder, { port }), token)).toContain("owner");
  });

  test("postern dev serves from a folder that is gone afterwards", async () => {
    const folder = emptyFolder();
    const TMPDIR = ownFolder(join(folder, "temporary"));
    const port = freePort();
    const flags = ["dev", "--port", String(port)];
    const server = await start(folder, { port, flags, environment: { TMPDIR } });
    while (!server.output().includes("Data folder")) await Bun.sleep(2);
    expect(server.output()).toMatch(/password for this try: \S{12}/);
    server.kill("SIGTERM");
    expect(await server.exited).toBe(0);
    expect(readdirSync(TMPDIR).filter((name) => name.startsWith("postern-dev"))).toEqual([]);
  });
});

describe("hostile files beside the executable", () => {
  test("a .env and a bunfig.toml that would work for Bun do nothing", async () => {
    const folder = emptyFolder();
    const port = freePort();
    const elsewhere = freePort();
    writeFileSync(join(folder, ".env"), `PORT=${elsewhere}\nPOSTERN_PORT=${elsewhere}\n`);
    writeFileSync(join(folder, "bunfig.toml"), 'preload = ["./hostile.ts"]\n');
    writeFileSync(
      join(folder, "hostile.ts"),
      'require("node:fs").writeFileSync("hostile-ran", String(process.env.POSTERN_PORT));\n',
    );
    const trap = join(folder, "hostile-ran");
    Bun.spawnSync([process.execPath, "-e", "0"], { cwd: folder, env: {} });
    expect(readFileSync(trap, "utf8")).toBe(String(elsewhere));
    rmSync(trap);

    // From config.json the port gives way to any POSTERN_PORT that reaches the process.
    ownFile(join(ownFolder(join(folder, "data")), "config.json"), JSON.stringify({ port }));
    const server = await start(folder, { port, flags: [] });
    await expectPasswordSet(server);
    expect(existsSync(trap)).toBe(false);
    expect(await fetch(`http://127.0.0.1:${elsewhere}/healthz`).catch(() => "closed")).toBe(
      "closed",
    );
  });
});

describe("passwords are hashed", () => {
  needs("linux")("with the addon that the executable carries", async () => {
    const folder = emptyFolder();
    const TMPDIR = ownFolder(join(folder, "temporary"));
    const server = await start(folder, { environment: { TMPDIR } });
    expect(mappedAddons(server)).toEqual([]);
    await expectPasswordSet(server);
    expect(mappedAddons(server)).not.toEqual([]);
  });

  needs("linux")("without it when the temporary folder cannot be written to", async () => {
    const folder = emptyFolder();
    const TMPDIR = ownFolder(join(folder, "temporary"));
    const { exitCode } = Bun.spawnSync(["chmod", "0555", TMPDIR]);
    expect(exitCode).toBe(0);
    const server = await start(folder, { environment: { TMPDIR } });
    await expectPasswordSet(server);
    expect(mappedAddons(server)).toEqual([]);
  });

  needs("linux", "noexec")("without it when the temporary folder is noexec", async () => {
    const folder = emptyFolder();
    const noexec = noexecFolder(ownFolder(join(folder, "temporary")));
    expect(noexec).toBeDefined();
    const server = await start(folder, {
      environment: { TMPDIR: noexec?.folder ?? "" },
      prefix: noexec?.prefix ?? [],
    });
    await expectPasswordSet(server);
    expect(mappedAddons(server)).toEqual([]);
  });
});

describe("stop and start", () => {
  test("SIGTERM ends it with 0 within 6 s, saved and unlocked", async () => {
    const server = await start(emptyFolder());
    await expectPasswordSet(server);
    server.kill("SIGTERM");
    expect(await Promise.race([server.exited, Bun.sleep(6000).then(() => "still running")])).toBe(
      0,
    );
    const names = readdirSync(server.data);
    expect(names).toContain("state.json");
    for (const gone of [".lock", "admin.sock", "setup-link"]) expect(names).not.toContain(gone);
  });

  test("after kill -9 it starts again with everything that was answered", async () => {
    const folder = emptyFolder();
    const server = await start(folder);
    await expectPasswordSet(server);
    server.kill("SIGKILL");
    await server.exited;
    const again = await start(folder);
    while (!again.output().includes("Data folder")) await Bun.sleep(2);
    expect(again.output()).not.toContain("/setup?token=");
    again.kill("SIGTERM");
    expect(await again.exited).toBe(0);
  });
});
