// Certificates that come by themselves: the real program and Pebble, a real ACME server.
import { afterAll, describe, expect } from "bun:test";
import { chmodSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readAcmeState } from "../../src/tls/acme_state.ts";
import { needs } from "../needs.ts";
import { type Child, freePort, launchIn, ownFolder, stopProcesses } from "../process.ts";
import { shownName } from "./pairs.ts";
import { type Pebble, type PebbleOptions, startPebble, stopPebbles } from "./pebble.ts";

const test = needs("pebble", "openssl");
afterAll(async () => {
  await stopProcesses();
  await stopPebbles();
});

const HOST = "mcp.example.com";

interface World {
  readonly pebble: Pebble;
  readonly folder: string;
  readonly port: number;
  readonly httpPort: number;
  start(settings?: Record<string, string>, environment?: Record<string, string>): Child;
  /** Waits until the program has printed it. */
  said(child: Child, part: string): Promise<void>;
  audit(): string;
}

async function world(options: Partial<PebbleOptions> = {}): Promise<World> {
  const [port, httpPort] = [await freePort(), await freePort()];
  const pebble = await startPebble({ httpPort, ...options });
  const folder = ownFolder();
  return {
    pebble,
    folder,
    port,
    httpPort,
    start: (settings = {}, environment = {}) =>
      launchIn(
        { ...pebble.environment, ...environment },
        {
          data: folder,
          port: String(port),
          httpPort: String(httpPort),
          url: `https://${HOST}:${port}`,
          acme: "owner@example.com",
          acmeDirectory: pebble.directory,
          ...settings,
        },
      ),
    said: async (child, part) => {
      for (let tries = 0; !(child.stdout() + child.stderr()).includes(part); tries++) {
        if (tries > 1_500) throw new Error(`no ${part}: ${child.stdout()}${child.stderr()}`);
        await Bun.sleep(10);
      }
    },
    audit: () => readFileSync(join(folder, "audit.jsonl"), "utf8"),
  };
}

const ready = "Paste into your client";

describe("--acme", () => {
  test("gets a certificate before it serves, keeps it, and asks nobody at the next start", async () => {
    const { pebble, folder, port, httpPort, start, said, audit } = await world();
    const first = start();
    await said(first, ready);
    expect(first.stdout()).toContain(`asking 127.0.0.1:`);
    expect(first.stdout()).toMatch(/certificate of mcp\.example\.com from .*, valid until 2/);
    expect(await shownName(port)).toBe(HOST);
    const file = join(folder, "acme.json");
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(Object.keys(readAcmeState(file).accounts)).toEqual([pebble.directory]);
    expect(audit()).toContain('"event":"certificate_obtained","host":"mcp.example.com"');
    const plain = (path: string, init: RequestInit = {}): Promise<Response> =>
      fetch(`http://127.0.0.1:${httpPort}${path}`, { redirect: "manual", ...init });
    const sent = await plain("/connect?x=1", { headers: { host: "evil.example" } });
    expect([sent.status, sent.headers.get("location")]).toEqual([
      301,
      `https://${HOST}:${port}/connect?x=1`,
    ]);
    expect((await plain("/mcp", { method: "POST" })).status).toBe(403);
    expect((await plain("/.well-known/acme-challenge/unknown")).status).toBe(301);
    expect(await first.end("SIGTERM")).toBe(0);
    const secrets = Object.values(readAcmeState(file).accounts).map(({ key }) => key.d);
    for (const secret of secrets)
      expect(first.stdout() + first.stderr() + audit()).not.toContain(secret);

    await pebble.stop();
    const second = start();
    await said(second, ready);
    expect(second.stdout()).not.toContain("asking");
    expect(await shownName(port)).toBe(HOST);
    expect(await second.end("SIGTERM")).toBe(0);
  });

  test("renews while it runs, under the same account, whatever nonces are refused", async () => {
    const { folder, port, start, said } = await world({ validity: 5, refusedNonces: 40 });
    const child = start();
    await said(child, ready);
    const { accounts, certificate } = readAcmeState(join(folder, "acme.json"));
    while (child.stdout().split("valid until").length < 3) await Bun.sleep(20);
    expect(await shownName(port)).toBe(HOST);
    const later = readAcmeState(join(folder, "acme.json"));
    expect(later.accounts).toEqual(accounts);
    expect(later.certificate?.chain).not.toBe(certificate?.chain ?? "");
    expect(later.certificate?.key).not.toBe(certificate?.key ?? "");
    expect(child.stderr()).not.toContain("no certificate of");
    expect(await child.end("SIGTERM")).toBe(0);
  });

  test("that is refused tells why and when it tries again, and can be stopped meanwhile", async () => {
    const { start, said, audit, folder } = await world({ blocked: [HOST] });
    const child = start();
    await said(child, "postern: hint:");
    expect(child.stderr()).toMatch(
      /warning: no certificate of mcp\.example\.com: .*\(rejectedIdentifier\); next attempt at 2.*\npostern: hint: http:\/\/mcp\.example\.com\/ must lead/s,
    );
    expect(
      (await fetch("http://postern/admin/api/clients", { unix: join(folder, "admin.sock") }))
        .status,
    ).toBe(200);
    expect(await child.end("SIGTERM")).toBe(0);
    expect(audit()).toContain('"event":"certificate_failed"');
    const { attempts, retryAt } = readAcmeState(join(folder, "acme.json"));
    expect(attempts).toHaveLength(1);
    expect(retryAt - (attempts[0] ?? 0)).toBeGreaterThanOrEqual(240);
  });

  test("asks a CA no more than four times an hour, however often it is started again", async () => {
    const { pebble, start, said } = await world({ blocked: [HOST] });
    for (let round = 1; round <= 4; round++) {
      const child = start();
      await said(child, "no certificate of");
      expect(await child.end("SIGKILL")).toBe(137);
    }
    const asked = pebble.count("POST /order-plz");
    expect(asked).toBe(4);
    const fifth = start();
    await said(fifth, "it was asked for too often in the last hour; next attempt at 2");
    expect(await fifth.end("SIGTERM")).toBe(0);
    expect(pebble.count("POST /order-plz")).toBe(asked);
  });

  test("proves the domain with a program that changes the DNS, and takes the record away", async () => {
    const { pebble, folder, port, start, said } = await world();
    const hook = join(folder, "..", `hook-${port}`);
    const trace = `${hook}.log`;
    writeFileSync(
      hook,
      `#!${process.execPath}
const [verb, name, value] = process.argv.slice(2);
require("node:fs").appendFileSync(${JSON.stringify(trace)}, verb + " " + name + " " + Object.keys(process.env).filter((key) => key.startsWith("POSTERN_") || key === "ZONE_KEY") + "\\n");
const body = JSON.stringify({ host: name + ".", value });
await fetch("${pebble.dns}/" + (verb === "add" ? "set" : "clear") + "-txt", { method: "POST", body });
`,
    );
    chmodSync(hook, 0o755);
    const variables = { ZONE_KEY: "for the program", POSTERN_NAME: "for us alone" };
    const child = start({ acmeDns: hook }, variables);
    await said(child, ready);
    expect(await shownName(port)).toBe(HOST);
    const record = `_acme-challenge.${HOST} ZONE_KEY`;
    expect(readFileSync(trace, "utf8")).toBe(`add ${record}\nremove ${record}\n`);
    expect(await child.end("SIGTERM")).toBe(0);
  });
});
