// postern doctor, the real program, against the real server behind real TLS proxies: what is good is left in peace, and
// what is bad is found, named, and the clients that it breaks with it. Afterwards nothing is left of the look.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type Outcome,
  type Postern,
  programCommand,
  startPostern,
  stopProcesses,
  freePort,
  launch,
} from "../process.ts";
import { certificate } from "../internet.ts";
import { callMcp, logIn, temporaryFolder } from "../server.ts";
import { type Front, type Habits, startFront } from "./front.ts";

interface Found {
  readonly id: string;
  readonly level: string;
  readonly what: string;
  readonly breaks?: string[];
  readonly fix?: string[];
}

interface Looked extends Outcome {
  readonly findings: Found[];
  /** Ids of what is not good, in order. */
  readonly wrong: string[];
}

const folders: string[] = [];
const folder = (): string => {
  const made = temporaryFolder();
  folders.push(made);
  return made;
};

/** Runs `postern doctor` to its end. */
async function run(
  words: readonly string[],
  environment: Record<string, string>,
): Promise<Outcome> {
  const child = Bun.spawn([...programCommand(), "doctor", ...words], {
    cwd: tmpdir(),
    env: environment,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [exitCode, stdout, stderr] = await Promise.all([
    child.exited,
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  return { exitCode, stdout, stderr };
}

async function look(words: readonly string[], trusted?: Front): Promise<Looked> {
  const environment: Record<string, string> = trusted
    ? { NODE_EXTRA_CA_CERTS: trusted.authority }
    : {};
  const outcome = await run([...words, "--json"], environment);
  expect(outcome.stderr).toBe("");
  expect(outcome.stdout).not.toMatch(/p(at|rt|ac|cs|cu)_/);
  const { groups, exit_code: code } = JSON.parse(outcome.stdout) as {
    groups: { findings: Found[] }[];
    exit_code: number;
  };
  const findings = groups.flatMap((group) => group.findings);
  const wrong = findings.filter(({ level }) => level === "bad" || level === "attention");
  expect(code).toBe(outcome.exitCode);
  expect(outcome.exitCode).toBe(wrong.length > 0 ? 1 : 0);
  for (const each of wrong) expect(each.fix?.join()).toMatch(/\w{3}/);
  return { ...outcome, findings, wrong: wrong.map(({ id }) => id) };
}

/** A server behind a proxy; what is looked at there waits for its turn. */
interface Stage {
  readonly front: Front;
  readonly postern: Postern;
  turn: Promise<unknown>;
}

const startBehind = (port: number): Promise<Postern> =>
  startPostern({ settings: { url: `https://localhost:${port}` }, owner: false });

async function startStage(): Promise<Stage> {
  const front = startFront();
  const postern = await startBehind(front.port);
  const child = Bun.spawn([...programCommand(), "password", "--data", postern.folder], {
    stdin: Buffer.from("correct horse battery\n"),
    env: {},
    stdout: "ignore",
  });
  expect(await child.exited).toBe(0);
  return { front, postern, turn: Promise.resolve() };
}

const stages: Stage[] = [];
beforeAll(async () => {
  stages.push(...(await Promise.all([startStage(), startStage(), startStage()])));
});
afterAll(async () => {
  await stopProcesses();
  for (const { front } of stages) await front.stop();
  for (const path of folders) rmSync(path, { recursive: true, force: true });
});

let last = 0;
/** Runs `work` on a stage of its own. */
function onStage<T>(work: (stage: Stage) => Promise<T>): Promise<T> {
  const stage = stages[++last % stages.length];
  if (!stage) throw new Error("no stage");
  const done = stage.turn.then(() => work(stage));
  stage.turn = done.catch(() => undefined);
  return done;
}

/** Looks at a server behind a proxy with these habits, and sees to it that nothing is left of the look. */
const lookThrough = (habits: Habits, ...words: string[]): Promise<Looked> =>
  onStage(async ({ front, postern }) => {
    front.use(postern.config.port, habits);
    const found = await look([...words, "--data", postern.folder], front);
    const rows = async (path: string): Promise<unknown> =>
      (await postern.admin("GET", path)).json();
    const left = await Promise.all(["/clients", "/grants", "/sessions", "/attempts"].map(rows));
    expect(left).toEqual([[], [], [], []]);
    return found;
  });

describe.concurrent("a good proxy", () => {
  test("nothing is wrong, and nothing is left behind", async () => {
    const { findings, exitCode } = await lookThrough({});
    expect(exitCode).toBe(0);
    expect(findings.map(({ id }) => id)).toEqual([
      "url",
      "folder",
      "folder-disk",
      "running",
      "port",
      "port",
      "name",
      "certificate",
      "reached",
      "passage",
      "hop",
      "stream",
      "documents",
      "challenge",
      "cors",
      "agents",
      "login",
    ]);
  });

  test("every client gets in, in its own way", async () => {
    const { findings, wrong } = await lookThrough({}, "--as", "all");
    expect(wrong).toEqual([]);
    const logins = findings.filter(({ id }) => id === "login").map(({ what }) => what);
    expect(logins.map((what) => what.split(" gets in: ")[0])).toEqual([
      "Claude.ai",
      "Claude Code",
      "ChatGPT",
      "Cursor",
      "VS Code",
      "Copilot CLI",
      "Codex",
      "Gemini CLI",
      "mcp-remote",
      "Inspector",
      "opencode",
      "mcporter",
    ]);
    for (const what of logins) expect(what).toEndWith("a call (1 tool), refresh, revocation");
  });

  test("a person reads groups, marks and a verdict; a pipe gets no colours", async () => {
    const { stdout } = await onStage(({ front, postern }) => {
      front.use(postern.config.port);
      return run(["--data", postern.folder], {
        NODE_EXTRA_CA_CERTS: front.authority,
        LANG: "C.UTF-8",
      });
    });
    expect(stdout).toMatch(
      /^Settings\n {2}✓ the public URL is https:\/\/localhost:\d+\n\nData folder\n/,
    );
    expect(stdout).toEndWith("\n✓ everything is well\n");
    expect(stdout).not.toContain("\u001b");
    expect(Math.max(...stdout.split("\n").map((line) => line.length))).toBeLessThanOrEqual(80);
  });
});

const strip =
  (...names: string[]) =>
  (headers: Headers): void => {
    for (const name of names) headers.delete(name);
  };
const html = (status: number, server = "cloudflare"): Response =>
  new Response("<h1>Attention required</h1>", {
    status,
    headers: { server, "content-type": "text/html" },
  });
const at = (request: Request, pattern: RegExp): boolean =>
  pattern.test(new URL(request.url).pathname);
const by = (request: Request, pattern: RegExp): boolean =>
  pattern.test(request.headers.get("user-agent") ?? "");

interface Bad {
  readonly name: string;
  readonly habits: Habits;
  readonly wrong: readonly string[];
  readonly breaks?: readonly string[];
}

/** What lets everything through that comes after it: the whole list is told. */
const bads: readonly Bad[] = [
  {
    name: "holds streams back, passes forged addresses on, hides the challenge from pages",
    habits: {
      buffers: true,
      forwardedFor: "pass",
      response: strip("access-control-expose-headers"),
    },
    wrong: ["hop-forged", "stream-held-back", "cors-exposed"],
  },
  {
    name: "strips headers both ways, rewrites bodies, hides where clients come from",
    habits: {
      request: (_url, headers) => strip("mcp-session-id", "mcp-name", "last-event-id")(headers),
      response: strip("mcp-session-id"),
      body: (text) => text.replace('"tools/list"', '"tools\\/list"'),
      forwardedFor: "none",
    },
    wrong: ["headers-lost", "body-changed", "answer-headers-lost", "hop-missing"],
  },
  {
    name: "takes WWW-Authenticate away and adds its own CORS",
    habits: {
      response: (headers) => {
        headers.delete("www-authenticate");
        headers.append("access-control-allow-origin", "*");
      },
    },
    wrong: [
      "challenge-lost",
      "challenge-get-lost",
      "challenge-head-lost",
      "challenge-slash-lost",
      "cors-origin",
    ],
    breaks: ["Gemini CLI", "Codex", "VS Code", "Inspector"],
  },
  {
    name: "redirects slashes, knows no HEAD and no OPTIONS",
    habits: {
      answer: (request) =>
        request.url.endsWith("/mcp/")
          ? new Response(null, { status: 308, headers: { location: request.url.slice(0, -1) } })
          : request.method === "OPTIONS" || request.method === "HEAD"
            ? html(405, "nginx")
            : undefined,
    },
    wrong: [
      "document-redirected",
      "challenge-head-refused",
      "challenge-slash-redirected",
      "cors-preflight",
    ],
    breaks: ["Gemini CLI", "VS Code", "Inspector"],
  },
  {
    name: "answers for /.well-known with pages of its own",
    habits: {
      answer: (request) => (at(request, /^\/\.well-known/) ? html(200, "nginx") : undefined),
    },
    wrong: ["document-missing", "document-extra", "login-metadata"],
  },
  {
    name: "asks for a login at /.well-known",
    habits: { answer: (request) => (at(request, /^\/\.well-known/) ? html(403) : undefined) },
    wrong: ["document-blocked", "document-extra", "agents-no-login", "login-metadata"],
  },
  {
    name: "serves old metadata from its cache",
    habits: {
      answer: (request) =>
        at(request, /oauth-authorization-server$/)
          ? Response.json({ issuer: "http://inner:7676" })
          : undefined,
    },
    wrong: ["document-changed", "login-metadata"],
  },
  {
    name: "lets logins through and calls of bots not",
    habits: {
      answer: (request) =>
        at(request, /^\/mcp/) && by(request, /Claude-User|openai/) ? html(403) : undefined,
    },
    wrong: ["agents-split"],
    breaks: ["Claude.ai", "ChatGPT"],
  },
  {
    name: "lets no library in",
    habits: { answer: (request) => (by(request, /python|aiohttp/) ? html(403) : undefined) },
    wrong: ["agents-blocked", "agents-no-login"],
    breaks: ["Claude.ai", "ChatGPT", "clients built on such libraries"],
  },
  {
    name: "keeps cookies to itself",
    habits: { request: (_url, headers) => strip("cookie")(headers) },
    wrong: ["login-consent"],
  },
];

describe.concurrent("a proxy that", () => {
  test.each([...bads])("$name", async ({ habits, wrong, breaks }) => {
    const found = await lookThrough(habits);
    expect(found.wrong).toEqual([...wrong]);
    const named = found.findings.flatMap((each) => each.breaks ?? []);
    for (const client of breaks ?? []) expect(named).toContain(client);
  });
});

/** What stops at the door: the first thing that is wrong is told as what it is. */
const closed: readonly (readonly [name: string, habits: Habits, id: string])[] = [
  [
    "asks for another host",
    { request: (_url, headers) => headers.set("host", "inner:80") },
    "host-changed",
  ],
  [
    "takes Authorization away",
    { request: (_url, headers) => strip("authorization")(headers) },
    "authorization-lost",
  ],
  [
    "asks for another path",
    { request: (url) => void (url.pathname = `/app${url.pathname}`) },
    "path-changed",
  ],
  [
    "redirects to another host",
    {
      answer: (request) =>
        Response.redirect(request.url.replace("localhost", "www.localhost"), 301),
    },
    "redirected",
  ],
  ["refuses whatever is no browser", { answer: () => html(403) }, "blocked"],
  ["shows another site", { answer: () => html(200, "nginx") }, "other-program"],
];

describe.concurrent("a proxy in the way, which", () => {
  test.each([...closed])("%s", async (_name, habits, id) => {
    const { wrong, findings } = await lookThrough(habits);
    expect(wrong[0]).toBe(id);
    expect(findings.find((each) => each.id === id)?.breaks).toEqual(["every client"]);
    expect(findings.find((each) => each.id === "login")?.level).toBe("skipped");
  });

  test("answers as the server would gets no login of the doctor", async () => {
    const cookies: (string | null)[] = [];
    const arrived = { proof: "x".repeat(43), peer: "127.0.0.1", address: "127.0.0.1", headers: {} };
    const { wrong } = await lookThrough({
      answer: (request) => {
        cookies.push(request.headers.get("cookie"));
        return at(request, /^\/mcp/) ? Response.json(arrived) : undefined;
      },
    });
    expect(wrong[0]).toBe("other-program");
    expect(cookies.length).toBeGreaterThan(0);
    expect(cookies.filter((cookie) => cookie !== null)).toEqual([]);
  });

  test("leads nowhere", async () => {
    const { wrong } = await onStage(({ front, postern }) => {
      front.use(9);
      return look(["--data", postern.folder], front);
    });
    expect(wrong[0]).toBe("proxy-lost");
  });

  test("leads to another Postern of the same name", async () => {
    const { wrong } = await onStage(async ({ front, postern }) => {
      const other = await startBehind(front.port);
      front.use(other.config.port);
      const found = await look(["--data", postern.folder], front);
      await other.kill();
      return found;
    });
    expect(wrong[0]).toBe("other-process");
  });
});

describe.concurrent("names and certificates", () => {
  test("a certificate that nobody trusts", async () => {
    const { wrong, findings } = await onStage(({ front, postern }) => {
      front.use(postern.config.port);
      return look(["--data", postern.folder]);
    });
    expect(wrong).toContain("certificate-untrusted");
    expect(findings.find(({ id }) => id === "certificate-untrusted")?.fix?.join()).toContain(
      "fullchain",
    );
  });

  test("a certificate for another host, seen from elsewhere", async () => {
    const odd = startFront("other.example");
    const { wrong } = await look([`https://localhost:${odd.port}`, "--data", folder()], odd);
    expect(wrong).toContain("certificate-name");
    await odd.stop();
  });

  test("a name that leads nowhere", async () => {
    const { wrong, findings } = await look(["no-such-host.invalid", "--data", folder()]);
    expect(wrong).toEqual(["name-unknown"]);
    expect(findings[0]?.what).toMatch(/no-such-host\.invalid leads nowhere/);
  });

  test("a port that nobody answers on", async () => {
    const { wrong } = await look(["https://localhost:9", "--data", folder()]);
    expect(wrong).toEqual(["port-closed"]);
  });
});

describe.concurrent("from elsewhere", () => {
  test("the URL alone says whether a client would find its way", async () => {
    const front = startFront();
    const server = await startBehind(front.port);
    front.use(server.config.port);
    const { wrong, findings } = await look([server.url, "--data", folder()], front);
    expect(wrong).toEqual([]);
    await front.stop();
    expect(findings.map(({ id }) => id)).toContain("metadata");
  });

  test("a server that calls itself by another name is found out", async () => {
    const second = startFront();
    const server = await startPostern({ settings: { url: "https://localhost:1" } });
    second.use(server.config.port, {
      request: (_url, headers) => headers.set("host", "localhost:1"),
    });
    const { wrong, findings } = await look(
      [`localhost:${second.port}`, "--data", folder()],
      second,
    );
    expect(wrong).toContain("resource-differs");
    const found = findings.find(({ id }) => id === "resource-differs");
    expect(found?.breaks).toContain("Gemini CLI");
    expect(found?.what).toContain("https://localhost:1/mcp");
    await second.stop();
  });
});

describe.concurrent("the server itself", () => {
  test("is not there: the folder is looked at, and how to start it is said", async () => {
    const path = folder();
    const { wrong, findings } = await look(["--data", path]);
    expect(wrong).toEqual(["not-running"]);
    expect(findings.at(-1)?.fix?.[0]).toContain(`postern serve --data ${path}`);
  });

  test("has no owner yet", async () => {
    const bare = await startPostern({ owner: false });
    const { wrong, findings } = await look(["--data", bare.folder]);
    expect(wrong).toEqual(["no-owner"]);
    expect(findings.at(-1)).toMatchObject({ id: "login", level: "skipped" });
    expect(findings.map(({ id }) => id)).toContain("url-loopback");
    await bare.kill();
  });

  test("has an MCP server behind that does not answer", async () => {
    const lost = await startPostern({ settings: { upstream: "http://127.0.0.1:9/mcp" } });
    const { wrong, findings } = await look(["--data", lost.folder]);
    expect(wrong).toEqual(["login-call"]);
    expect(findings.at(-1)?.fix?.join()).toContain("--upstream");
    await lost.kill();
  });

  test.each(["closed", "token"])(
    "takes no registration of strangers (%s): the login works all the same",
    async (how) => {
      const tokenFile = join(folder(), "token");
      writeFileSync(tokenFile, "x".repeat(32));
      const settings =
        how === "closed" ? { registration: "closed" } : { registrationTokenFile: tokenFile };
      const shut = await startPostern({ settings });
      expect((await look(["--data", shut.folder])).wrong).toEqual([]);
      expect(await (await shut.admin("GET", "/clients")).json()).toEqual([]);
      await shut.kill();
    },
  );

  test("serves https itself", async () => {
    const path = folder();
    const { ca, cert, key } = certificate(["localhost"]);
    for (const [name, text] of Object.entries({ ca, cert, key })) {
      writeFileSync(join(path, name), text, { mode: 0o600 });
    }
    const port = String(await freePort());
    const data = join(path, "data");
    const server = launch({
      data,
      port,
      url: `https://localhost:${port}`,
      tlsCert: join(path, "cert"),
      tlsKey: join(path, "key"),
    });
    while (!existsSync(join(data, "setup-link"))) await Bun.sleep(10);
    const outcome = await run(["--data", data, "--json"], {
      NODE_EXTRA_CA_CERTS: join(path, "ca"),
    });
    expect(outcome.stdout.match(/"id": "[^"]*",\s*"level": "(bad|attention)"/g)).toEqual([
      expect.stringContaining("no-owner"),
    ]);
    expect(outcome.stdout).toContain("it answers on 127.0.0.1");
    await server.end("SIGTERM");
  });

  test.each([
    ["198.51.100.7", "10.0.0.9", "hop-untrusted", "attention"],
    ["198.51.100.7", "auto", "hop", "good"],
    ["198.51.100.7, 198.51.100.8", "auto", "hop-several", "note"],
  ])("hears of clients at %s and trusts %s: %s", async (forwarded, trusted, id, level) => {
    const front = startFront();
    const server = await startPostern({
      settings: { url: `https://localhost:${front.port}`, trustedProxies: trusted },
      owner: false,
    });
    front.use(server.config.port, {
      request: (_url, headers) => headers.set("x-forwarded-for", forwarded),
    });
    const { findings } = await look(["--data", server.folder], front);
    expect(findings.find((each) => each.id.startsWith("hop"))).toMatchObject({ id, level });
    await server.kill();
    await front.stop();
  });

  test("goes on serving its clients meanwhile, under a path of its own", async () => {
    const based = await startPostern({ base: "/base" });
    const { tokens } = await logIn(based);
    const [{ wrong }, answer] = await Promise.all([
      look(["--data", based.folder]),
      callMcp(based, tokens.access_token),
    ]);
    expect(wrong).toEqual([]);
    expect(answer.status).toBe(200);
    expect(await (await based.admin("GET", "/grants")).json()).toHaveLength(1);
    expect(readFileSync(join(based.folder, "audit.jsonl"), "utf8")).not.toMatch(/pcu_/);
    await based.kill();
  });
});

describe.concurrent("settings and folder", () => {
  test("settings that no start would take", async () => {
    const path = folder();
    writeFileSync(join(path, "config.json"), '{"url": "http://mcp.example.com"}', { mode: 0o600 });
    const { wrong, findings } = await look(["--data", path]);
    expect(wrong).toEqual(["settings", "not-running"]);
    expect(findings[0]?.what).toMatch(/plain http/);
  });

  test("modes that let others read, and a folder that is synced", async () => {
    const path = join(folder(), "Dropbox", "postern");
    mkdirSync(path, { recursive: true });
    const server = await startPostern({ settings: { data: path } });
    await server.kill();
    chmodSync(join(path, "state.json"), 0o644);
    chmodSync(path, 0o755);
    const { wrong } = await look(["--data", path]);
    expect(wrong).toEqual([
      "folder-loose-modes",
      "folder-synced-folder",
      "folder-loose-modes",
      "not-running",
    ]);
  });

  test("a state that no start can read", async () => {
    const path = folder();
    const server = await startPostern({ settings: { data: path } });
    await server.kill();
    writeFileSync(join(path, "state.json"), "{}");
    // They would tell everything.
    for (const name of readdirSync(path).filter((each) => each.startsWith("journal.")))
      rmSync(join(path, name));
    const { wrong, findings } = await look(["--data", path]);
    expect(wrong).toEqual(["folder-refused", "not-running"]);
    expect(findings.find(({ id }) => id === "folder-refused")?.what).toContain("state.json");
  });
});

describe.concurrent("mistakes of the command line", () => {
  test.each([
    [["--as", "claud"], /there is no client claud/, /did you mean claude\?/],
    [["::"], /:: is not a URL/, /such as https/],
    [["https://a.example", "b"], /takes \[URL\]/, /--help/],
  ])("%p", async (words, message, hint) => {
    const { exitCode, stderr } = await run([...words, "--data", folder()], {});
    expect(exitCode).toBe(2);
    expect(stderr).toMatch(message);
    expect(stderr).toMatch(hint);
  });
});

test("a doctor that is stopped leaves nothing", () =>
  onStage(async ({ front, postern }) => {
    front.use(postern.config.port);
    const child = Bun.spawn([...programCommand(), "doctor", "--data", postern.folder], {
      env: { NODE_EXTRA_CA_CERTS: front.authority },
      stdio: ["ignore", "pipe", "ignore"],
    });
    const rows = async (path: string): Promise<unknown[]> =>
      (await postern.admin("GET", path)).json();
    while ((await rows("/sessions")).length === 0) await Bun.sleep(5);
    child.kill("SIGINT");
    expect(await child.exited).toBe(130);
    expect(await Promise.all(["/clients", "/grants", "/sessions"].map(rows))).toEqual([[], [], []]);
  }));

test("docs/doctor.md explains every finding", () => {
  const folder = join(import.meta.dir, "../../src/cli/doctor");
  const source = [...new Bun.Glob("*.ts").scanSync(folder)]
    .map((name) => readFileSync(join(folder, name), "utf8"))
    .join("\n");
  const text = readFileSync(join(import.meta.dir, "../../docs/doctor.md"), "utf8");
  const explained = [...text.matchAll(/`([a-z]+(?:-[a-z]+)*)`(?=[^|]*\|[^|]*\|$)/gm)].map(
    ([, id = ""]) => id,
  );
  const simple = [...source.matchAll(/\b(?:bad|attention)\(\s*"([a-z-]+)"/g)].map(
    ([, id = ""]) => id,
  );
  const steps = [...source.matchAll(/stopAt\(\s*"([a-z]+)"/g)].map(([, step]) => `login-${step}`);
  expect(simple.length).toBeGreaterThan(30);
  expect(steps.length).toBeGreaterThan(5);
  expect([...simple, ...steps].filter((id) => !explained.includes(id))).toEqual([]);
  const told = [...bads.flatMap(({ wrong }) => wrong), ...closed.map(([, , id]) => id)];
  const family = (id: string): string => id.replace(/^challenge-(get|head|slash)-/, "challenge-");
  expect(told.map(family).filter((id) => !explained.includes(id))).toEqual([]);
});
