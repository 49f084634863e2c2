// HTTPS with the real program: the pair that is presented, another one while requests run, bad ones.
import { afterAll, describe, expect } from "bun:test";
import { copyFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { connect } from "node:tls";
import { createCertificates } from "../../src/cli/certificates.ts";
import { FatalError } from "../../src/errors.ts";
import { createMetrics } from "../../src/metrics.ts";
import { readCertificate } from "../../src/tls/certificate.ts";
import { readExposition } from "../exposition.ts";
import { needs } from "../needs.ts";
import { type Child, freePort, launch, stopProcesses } from "../process.ts";
import { temporaryFolder } from "../server.ts";
import { type Pair, makePair, shownName, textOf } from "../tls/pairs.ts";

const test = needs("openssl");
const folders: string[] = [];
const temporary = (): string => {
  const folder = temporaryFolder();
  folders.push(folder);
  return folder;
};
afterAll(async () => {
  await stopProcesses();
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

interface Secured {
  readonly child: Child;
  readonly port: number;
  readonly folder: string;
  /** The files that the settings name. */
  readonly files: Pair;
  /** Puts another pair into the files. */
  put(pair: Pair): void;
  /** Asks for the settings to be read again, and waits until they are. */
  reload(): Promise<string>;
  fetch(path: string): Promise<Response>;
}

async function startSecured(upstream?: string): Promise<Secured> {
  const folder = temporary();
  const port = await freePort();
  const files = { tlsCert: join(folder, "site.crt"), tlsKey: join(folder, "site.key") };
  const put = (pair: Pair): void => {
    copyFileSync(pair.tlsCert, files.tlsCert);
    copyFileSync(pair.tlsKey, files.tlsKey);
  };
  put(makePair(folder, "first"));
  const child = launch({
    data: join(folder, "data"),
    port: String(port),
    url: `https://localhost:${port}`,
    ...files,
    ...(upstream !== undefined && { upstream }),
  });
  const request = (path: string): Promise<Response> =>
    fetch(`https://localhost:${port}${path}`, {
      tls: { rejectUnauthorized: false },
      keepalive: false,
    });
  const all = (): string => child.stdout() + child.stderr();
  const until = async (look: () => unknown): Promise<void> => {
    for (let tries = 0; !(await look()); tries++) {
      if (tries > 500) throw new Error(all());
      await Bun.sleep(10);
    }
  };
  await until(() => request("/healthz").catch(() => false));
  return {
    child,
    port,
    folder,
    files,
    put,
    reload: async () => {
      const before = { out: child.stdout().length, error: child.stderr().length };
      const news = (): string =>
        child.stdout().slice(before.out) + child.stderr().slice(before.error);
      process.kill(child.pid, "SIGHUP");
      await until(() => /settings [\s\S]*\n/.test(news()));
      return news();
    },
    fetch: request,
  };
}

/** A request whose body is still on its way. `end` sends the rest and resolves to the answer. */
async function beginRequest(port: number): Promise<{ end: () => Promise<string> }> {
  const socket = connect({ port, rejectUnauthorized: false });
  await new Promise((resolve) => socket.once("secureConnect", resolve));
  const answer = new Promise<string>((resolve, reject) => {
    socket.once("data", (chunk: Buffer) => resolve(chunk.toString()));
    socket.once("error", reject);
    socket.once("close", () => reject(new Error("the connection was cut")));
  });
  const type = "content-type: application/x-www-form-urlencoded";
  socket.write(`POST /token HTTP/1.1\r\nhost: localhost\r\n${type}\r\ncontent-length: 4\r\n\r\na=`);
  return {
    end: () => {
      socket.write("bc");
      return answer.finally(() => socket.destroy());
    },
  };
}

describe("certificate files", () => {
  test("are presented, and another pair in their place to new connections", async () => {
    const server = await startSecured();
    expect(await shownName(server.port)).toBe("first");
    const answer = await server.fetch("/.well-known/oauth-authorization-server");
    expect(answer.headers.get("strict-transport-security")).toBe("max-age=31536000");
    server.put(makePair(server.folder, "second"));
    expect(await server.reload()).toBe("settings taken up: the certificate\n");
    expect(await shownName(server.port)).toBe("second");
    expect((await server.fetch("/healthz")).status).toBe(200);
    server.put(makePair(server.folder, "third"));
    while ((await shownName(server.port)) !== "third") await Bun.sleep(50);
    expect(server.child.stderr()).not.toContain("settings stay");
    expect(await server.child.end("SIGTERM")).toBe(0);
  });

  test("that do not fit each other change nothing", async () => {
    const server = await startSecured();
    const next = makePair(server.folder, "next");
    copyFileSync(next.tlsCert, server.files.tlsCert);
    expect(await server.reload()).toContain(
      "settings stay as they were: " +
        `${server.files.tlsCert} and ${server.files.tlsKey} cannot be used: the key belongs to another`,
    );
    expect(await shownName(server.port)).toBe("first");
    writeFileSync(server.files.tlsKey, textOf(next.tlsKey).slice(0, 50));
    expect(await server.reload()).toContain("there is no private key in the second");
    rmSync(server.files.tlsKey);
    expect(await server.reload()).toContain("cannot read the key file: ENOENT");
    server.put(makePair(server.folder, "expired", { expired: true }));
    expect(await server.reload()).toContain("has expired");
    expect(await shownName(server.port)).toBe("first");
    server.put(next);
    expect(await server.reload()).toContain("settings taken up: the certificate\n");
    expect(await shownName(server.port)).toBe("next");
  });

  test("may change again and again: open connections go on, next to none is lost", async () => {
    const server = await startSecured();
    const begun = await beginRequest(server.port);
    const count = { answered: 0, lost: 0 };
    let running = true;
    const load = Array.from({ length: 3 }, async () => {
      while (running) {
        const isFine = await server.fetch("/healthz").then(
          ({ ok }) => ok,
          () => false,
        );
        count[isFine ? "answered" : "lost"]++;
      }
    });
    const pairs = ["a", "b", "c", "d"].map((name) => makePair(server.folder, name));
    for (const pair of pairs) {
      server.put(pair);
      expect(await server.reload()).toContain("settings taken up: the certificate");
    }
    running = false;
    await Promise.all(load);
    expect(count.answered).toBeGreaterThan(2 * pairs.length);
    // What stood in the queue of the old socket is lost: at most who was just knocking.
    expect(count.lost).toBeLessThanOrEqual(3 * pairs.length);
    expect(await shownName(server.port)).toBe("d");
    expect(await begun.end()).toStartWith("HTTP/1.1 400 Bad Request");
    expect(await server.child.end("SIGTERM")).toBe(0);
  });

  test("are read only as strict TLS: old versions are refused", async () => {
    const server = await startSecured();
    const hello = (version: string): boolean =>
      Bun.spawnSync(
        [
          "openssl",
          "s_client",
          version,
          "-cipher",
          "ALL@SECLEVEL=0",
          "-connect",
          `127.0.0.1:${server.port}`,
        ],
        { stdin: "ignore" },
      ).success;
    expect([hello("-tls1_1"), hello("-tls1_2")]).toEqual([false, true]);
    const plain = await fetch(`http://127.0.0.1:${server.port}/healthz`).catch(() => "refused");
    expect(plain).toBe("refused");
  });

  test("tell metrics when they expire", async () => {
    const server = await startSecured();
    const unix = join(server.folder, "data", "admin.sock");
    const text = await (await fetch("http://postern/metrics", { unix })).text();
    const [expiry] =
      readExposition(text).get("postern_certificate_expiry_timestamp_seconds")?.samples ?? [];
    expect((expiry?.value ?? 0) - Date.now() / 1000).toBeGreaterThan(89 * 86_400);
  });
});

test("a port that is lost meanwhile ends the server: deaf it would be of no use", async () => {
  const lost: unknown[] = [];
  const certificates = createCertificates({
    terminal: { log: () => undefined, warn: () => undefined, event: () => undefined },
    metrics: createMetrics(),
    now: Date.now,
    lost: (error) => lost.push(error),
  });
  const taken = new FatalError("port 443 is taken");
  certificates.attach({ close: async () => undefined, present: () => Promise.reject(taken) });
  const pair = makePair(temporary(), "site");
  await expect(certificates.use(readCertificate(pair, "localhost"))).rejects.toBe(taken);
  expect([lost, certificates.current()]).toEqual([[taken], undefined]);
  certificates.stop();
});

describe("a start", () => {
  const start = async (settings: Record<string, string>): Promise<[number, string]> => {
    const folder = temporary();
    const child = launch({
      data: join(folder, "data"),
      port: String(await freePort()),
      ...settings,
    });
    return [await child.exited, child.stderr()];
  };

  test("without the key, without https or without the file says what to do", async () => {
    const folder = temporary();
    const pair = makePair(folder, "site");
    const url = "https://localhost";
    expect(await start({ url, tlsCert: pair.tlsCert })).toEqual([
      2,
      "postern: error: a certificate goes with its key\npostern: hint: give both --tls-cert and --tls-key\n",
    ]);
    const [plain, why] = await start({ ...pair });
    expect([plain, why]).toEqual([2, expect.stringContaining("that begins with https")]);
    const [gone, reason] = await start({ url, ...pair, tlsCert: "/nowhere" });
    expect([gone, reason]).toEqual([
      2,
      expect.stringContaining("cannot read the certificate file"),
    ]);
  });

  test("with one that is for another name, or has expired, goes on and says so", async () => {
    const folder = temporary();
    const pair = makePair(folder, "site", { hosts: ["other.example"], expired: true });
    const port = String(await freePort());
    const url = `https://localhost:${port}`;
    const child = launch({ data: join(folder, "data"), port, url, ...pair });
    while (!child.stdout().includes("Paste into your client")) await Bun.sleep(10);
    expect(child.stderr()).toContain(
      "postern: warning: the certificate: it is not for localhost\n",
    );
    expect(child.stderr()).toMatch(/the certificate: it expired at \d/);
  });
});
