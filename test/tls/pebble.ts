// A real ACME server (RFC 8555) on this machine: Pebble, strict, with a DNS of its own in which every name leads here.
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { freePort } from "../process.ts";
import { temporaryFolder } from "../server.ts";
import { makePair } from "./pairs.ts";

export interface PebbleOptions {
  /** Where http-01 challenges are looked for. */
  readonly httpPort: number;
  /** Seconds that a certificate lasts. */
  readonly validity?: number;
  /** Names that are refused. */
  readonly blocked?: readonly string[];
  /** Percent of good nonces that are refused. */
  readonly refusedNonces?: number;
}

export interface Pebble {
  /** URL of the directory. */
  readonly directory: string;
  /** Variables with which a program trusts it. */
  readonly environment: Readonly<Record<string, string>>;
  /** URL of the DNS server's own API. */
  readonly dns: string;
  /** How often something stands in its log. */
  count(part: string): number;
  log(): string;
  stop(): Promise<void>;
}

const stops = new Set<() => Promise<void>>();
export const stopPebbles = async (): Promise<void> => {
  await Promise.all([...stops].map((stop) => stop()));
};

export async function startPebble(options: PebbleOptions): Promise<Pebble> {
  const folder = temporaryFolder();
  const { tlsCert, tlsKey } = makePair(folder, "pebble", { hosts: ["127.0.0.1", "localhost"] });
  const port = await freePort();
  const config = join(folder, "config.json");
  const pebble = {
    listenAddress: `127.0.0.1:${port}`,
    managementListenAddress: `127.0.0.1:${await freePort()}`,
    certificate: tlsCert,
    privateKey: tlsKey,
    httpPort: options.httpPort,
    tlsPort: await freePort(),
    ocspResponderURL: "",
    externalAccountBindingRequired: false,
    domainBlocklist: options.blocked ?? [],
    certificateValidityPeriod: options.validity ?? 90 * 86_400,
  };
  writeFileSync(config, JSON.stringify({ pebble }));
  const resolver = `127.0.0.1:${await freePort()}`;
  const dns = `127.0.0.1:${await freePort()}`;
  const none = ["-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", ""];
  const names = run(["pebble-challtestsrv", "-dns01", resolver, "-management", dns, ...none], {});
  const server = run(["pebble", "-strict", "-config", config, "-dnsserver", resolver], {
    PEBBLE_VA_NOSLEEP: "1",
    PEBBLE_WFE_NONCEREJECT: String(options.refusedNonces ?? 5),
  });
  const stop = async (): Promise<void> => {
    stops.delete(stop);
    await Promise.all([names.end(), server.end()]);
    rmSync(folder, { recursive: true, force: true });
  };
  stops.add(stop);
  for (let tries = 0; !server.log().includes("ACME directory available"); tries++) {
    if (tries > 1_000) throw new Error(server.log());
    await Bun.sleep(10);
  }
  return {
    directory: `https://127.0.0.1:${port}/dir`,
    environment: { NODE_EXTRA_CA_CERTS: tlsCert },
    dns: `http://${dns}`,
    count: (part) => server.log().split(part).length - 1,
    log: server.log,
    stop,
  };
}

function run(command: string[], environment: Record<string, string>) {
  const child = Bun.spawn(command, { env: environment, stdio: ["ignore", "pipe", "pipe"] });
  let text = "";
  const read = async (stream: ReadableStream<Uint8Array>): Promise<void> => {
    const decoder = new TextDecoder();
    for await (const chunk of stream) text += decoder.decode(chunk, { stream: true });
  };
  void read(child.stdout);
  void read(child.stderr);
  return {
    log: () => text,
    end: async () => {
      child.kill("SIGKILL");
      await child.exited;
    },
  };
}
