// When a CA is asked and when it is left in peace, with a CA that only counts and refuses.
import { afterAll, describe, expect, test } from "bun:test";
import { readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createPublicKey, generateKeyPairSync } from "node:crypto";
import { join } from "node:path";
import { type AcmeState, readAcmeState, writeAcmeState } from "../../src/tls/acme_state.ts";
import type { Certificate } from "../../src/tls/certificate.ts";
import { signingRequest } from "../../src/tls/csr.ts";
import { backOff, keepRenewed, renewalTime } from "../../src/tls/renewal.ts";
import { needs } from "../needs.ts";
import { temporaryFolder } from "../server.ts";
import { makePair, openssl, textOf } from "./pairs.ts";

const closers: (() => unknown)[] = [];
afterAll(async () => {
  for (const close of closers) await close();
});

function folder(): string {
  const made = temporaryFolder();
  closers.push(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

const HOST = "mcp.example.com";

/** A CA that answers every order as it is told, and what each request found in acme.json. */
function refusingCa(path: string, refusal: (orders: number) => Response) {
  const seen = { orders: 0, states: [] as AcmeState[] };
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: (request) => {
      const { pathname, origin } = new URL(request.url);
      const headers = { "replay-nonce": crypto.randomUUID(), location: `${origin}/account/1` };
      if (pathname === "/dir") {
        seen.states.push(readAcmeState(path));
        return Response.json({
          newNonce: `${origin}/nonce`,
          newAccount: `${origin}/new-account`,
          newOrder: `${origin}/order`,
        });
      }
      if (pathname === "/order") return refusal(++seen.orders);
      return Response.json({}, { headers });
    },
  });
  closers.push(() => server.stop(true));
  return { seen, directory: `http://127.0.0.1:${server.port}/dir` };
}

const refused = (type: string, headers = {}): Response =>
  Response.json(
    { type: `urn:ietf:params:acme:error:${type}`, detail: "no" },
    { status: 403, headers: { "content-type": "application/problem+json", ...headers } },
  );

interface Run {
  readonly failures: [why: string, retryAt: number][];
  readonly obtained: Certificate[];
  readonly unsaved: string[];
  readonly end: () => Promise<void>;
}

/** Runs until something has failed or been obtained so often. */
async function run(
  path: string,
  directory: string,
  {
    times = 1,
    now = Date.now,
    onObtained = () => undefined,
  }: { times?: number; now?: () => number; onObtained?: () => void } = {},
): Promise<Run> {
  const stop = new AbortController();
  const result: Run = {
    failures: [],
    obtained: [],
    unsaved: [],
    end: async () => {
      stop.abort();
      await done;
    },
  };
  const enough = Promise.withResolvers<void>();
  const count = (): void => {
    if (result.failures.length + result.obtained.length >= times) enough.resolve();
  };
  const done = keepRenewed({
    path,
    directory,
    contact: undefined,
    host: HOST,
    prover: { type: "http-01", put: async () => async () => undefined },
    now,
    random: () => 0.5,
    stop: stop.signal,
    asking: () => undefined,
    obtained: async (certificate) => {
      result.obtained.push(certificate);
      onObtained();
      count();
    },
    unsaved: (why) => void result.unsaved.push(why),
    failed: (why, retryAt) => {
      result.failures.push([why, retryAt]);
      count();
    },
  });
  await Promise.race([enough.promise, done, Bun.sleep(1_500)]);
  return result;
}

describe("an attempt", () => {
  test("is written down before the CA hears of it, with the key of the account", async () => {
    const path = join(folder(), "acme.json");
    const { seen, directory } = refusingCa(path, () => refused("unauthorized"));
    const { failures, end } = await run(path, directory);
    await end();
    expect(failures[0]?.[0]).toBe("no (unauthorized)");
    expect(seen.states[0]?.attempts).toHaveLength(1);
    expect(seen.states[0]?.accounts[directory]?.key.crv).toBe("P-256");
    expect(readAcmeState(path).accounts).toEqual(seen.states[0]?.accounts ?? {});
  });

  test("is not made when it cannot be written down", async () => {
    const { seen, directory } = refusingCa("/nowhere", () => refused("unauthorized"));
    const { failures, end } = await run("/nowhere/acme.json", directory);
    await end();
    expect(failures[0]?.[0]).toContain("ENOENT");
    expect(seen).toEqual({ orders: 0, states: [] });
  });

  test("waits as long as the CA orders, over starts too", async () => {
    const path = join(folder(), "acme.json");
    const { seen, directory } = refusingCa(path, () =>
      refused("rateLimited", { "retry-after": "7200" }),
    );
    const { failures, end } = await run(path, directory);
    await end();
    const [, retryAt = 0] = failures[0] ?? [];
    expect(retryAt - Date.now() / 1000).toBeGreaterThan(7_100);
    await (await run(path, directory)).end();
    expect(seen.orders).toBe(1);
    const later = await run(path, directory, { now: () => Date.now() + 7_300_000 });
    await later.end();
    expect(seen.orders).toBe(2);
  });

  test("to a CA that cannot be reached, or is none, is told and tried again later", async () => {
    const path = join(folder(), "acme.json");
    const web = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => Response.json({ a: 1 }) });
    closers.push(() => web.stop(true));
    const cases: [string, RegExp][] = [
      ["http://127.0.0.1:1/dir", /ConnectionRefused|connect/i],
      [`http://127.0.0.1:${web.port}/`, /is not the directory of an ACME server/],
    ];
    for (const [directory, why] of cases) {
      const { failures, end } = await run(path, directory);
      await end();
      expect(failures[0]?.[0]).toMatch(why);
    }
  });
});

describe("acme.json", () => {
  const withCertificate = (path: string, directory: string, expired?: true): Promise<void> => {
    const made = makePair(folder(), "pair", { hosts: [HOST], ...(expired && { expired }) });
    const certificate = {
      directory,
      host: HOST,
      chain: textOf(made.tlsCert),
      key: textOf(made.tlsKey),
    };
    return writeAcmeState(path, {
      version: 1,
      accounts: {},
      attempts: [],
      retryAt: 0,
      isOrdered: false,
      certificate,
    });
  };

  needs("openssl")("that cannot be saved any more is told, and serves on", async () => {
    const gone = folder();
    const path = join(gone, "acme.json");
    const { seen, directory } = refusingCa(path, () => refused("unauthorized"));
    await withCertificate(path, directory);
    const onObtained = (): void => rmSync(gone, { recursive: true });
    const { obtained, unsaved, failures, end } = await run(path, directory, { onObtained });
    for (let tries = 0; unsaved.length === 0 && tries < 100; tries++) await Bun.sleep(10);
    await end();
    expect(unsaved).toEqual([expect.stringContaining("ENOENT")]);
    expect([obtained.length, failures.length, seen.states.length]).toEqual([1, 0, 0]);
  });

  needs("openssl")("with a certificate that is valid asks nobody", async () => {
    const path = join(folder(), "acme.json");
    const { seen, directory } = refusingCa(path, () => refused("unauthorized"));
    await withCertificate(path, directory);
    const { obtained, failures, end } = await run(path, directory);
    await Bun.sleep(20);
    await end();
    expect([obtained.length, failures.length, seen.states.length]).toEqual([1, 0, 0]);
  });

  needs("openssl")("with one that is due, refused or not, presents it all the same", async () => {
    const path = join(folder(), "acme.json");
    const { seen, directory } = refusingCa(path, () => refused("unauthorized"));
    await withCertificate(path, directory);
    const now = (): number => Date.now() + 70 * 86_400_000;
    const { obtained, failures, end } = await run(path, directory, { times: 2, now });
    await end();
    expect([obtained.length, failures.length, seen.orders]).toEqual([1, 1, 1]);
    expect(readAcmeState(path).certificate?.chain).toBe(obtained[0]?.chain ?? "");
  });

  needs("openssl")(
    "with one that has expired, or is for another CA, asks for another",
    async () => {
      for (const of of ["expired", "another CA"]) {
        const path = join(folder(), "acme.json");
        const { seen, directory } = refusingCa(path, () => refused("unauthorized"));
        if (of === "expired") await withCertificate(path, directory, true);
        else await withCertificate(path, "https://ca.example/dir");
        const { obtained, end } = await run(path, directory);
        await end();
        expect([obtained.length, seen.orders]).toEqual([0, 1]);
      }
    },
  );

  test("that is damaged ends the start with what to do, and is left as it is", () => {
    const path = join(folder(), "acme.json");
    writeFileSync(path, '{"version": 1,');
    expect(() => readAcmeState(path)).toThrow(
      `${path} cannot be read: line 1: the file ends too early`,
    );
    writeFileSync(path, '{"version": 2}');
    expect(() => readAcmeState(path)).toThrow("does not know its version");
    expect(readFileSync(path, "utf8")).toBe('{"version": 2}');
  });

  test("is for the owner alone, and the last of many writers wins", async () => {
    const path = join(folder(), "acme.json");
    const state = readAcmeState(path);
    await Promise.all(
      Array.from({ length: 20 }, (_, index) => writeAcmeState(path, { ...state, retryAt: index })),
    );
    expect(readAcmeState(path).retryAt).toBe(19);
    expect(statSync(path).mode & 0o077).toBe(0);
  });
});

describe("times", () => {
  const DAY = 86_400;
  const lasting = (days: number): Certificate => ({
    chain: "",
    key: "",
    issuedAt: 0,
    expiresAt: days * DAY,
    doubts: [],
  });

  test.each([
    [90, 57, 60],
    [47, 29, 32],
    [6, 2.8, 3],
  ])("a certificate of %p days is renewed between day %p and day %p", (days, from, to) => {
    for (const random of [0, 0.3, 0.999]) {
      const day = renewalTime(lasting(days), random) / DAY;
      expect(day).toBeGreaterThanOrEqual(from);
      expect(day).toBeLessThanOrEqual(to);
    }
    expect(renewalTime(lasting(days), 0)).not.toBe(renewalTime(lasting(days), 1));
  });

  test("attempts that fail come less and less often, up to one a day, never at one moment", () => {
    const minutes = [1, 2, 3, 4, 9, 10, 40].map((failures) => backOff(failures, 0.5) / 60);
    expect(minutes).toEqual([5, 10, 20, 40, 1280, 1440, 1440]);
    expect([backOff(1, 0), backOff(1, 1)]).toEqual([240, 360]);
  });
});

needs("openssl")("RFC 2986: the request is for the one name, signed by its own key", () => {
  for (const host of ["a.example", `${"long-label.".repeat(20)}example.com`]) {
    const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const path = join(folder(), "request.der");
    writeFileSync(path, signingRequest(host, privateKey));
    const text = openssl("req", "-inform", "DER", "-in", path, "-verify", "-text", "-noout");
    expect(text).toContain(`DNS:${host}\n`);
    expect(text).toMatch(/Subject: *\n/);
    const key = openssl("req", "-inform", "DER", "-in", path, "-pubkey", "-noout");
    expect(key).toBe(
      createPublicKey(privateKey).export({ type: "spki", format: "pem" }).toString(),
    );
  }
});
