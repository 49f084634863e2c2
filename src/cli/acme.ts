// The certificate that comes by itself: joins the renewal with the running server, and tells how it goes.
import { join } from "node:path";
import type { Listener } from "../app.ts";
import { type Audit, redact } from "../audit.ts";
import type { Config } from "../config.ts";
import type { FatalError } from "../errors.ts";
import type { Prover } from "../tls/acme.ts";
import { ACME_FILE } from "../tls/acme_state.ts";
import { dnsProver } from "../tls/dns_hook.ts";
import { keepRenewed } from "../tls/renewal.ts";
import type { Certificates } from "./certificates.ts";
import { openHttpPort } from "./http_port.ts";
import type { Terminal } from "./terminal.ts";
import { timeText } from "./terminal.ts";

export interface AcmeOptions {
  readonly config: Config;
  readonly certificates: Certificates;
  readonly terminal: Terminal;
  readonly audit: Audit;
  /** Epoch milliseconds. */
  readonly now: () => number;
  /** Ends the wait for a first certificate. */
  readonly stop: AbortSignal;
  /** The store cannot go on. */
  readonly failed: Promise<FatalError>;
}

/**
 * Resolves as soon as there is a certificate: at once when acme.json has one that is still valid.
 * @throws {FatalError} @throws the reason of `stop`
 */
export async function startAcme(options: AcmeOptions): Promise<Listener> {
  const { config, stop } = options;
  const host = new URL(config.origin).hostname;
  const end = new AbortController();
  const port = config.acmeDns === "" ? await openHttpPort(config) : undefined;
  const renewal: Listener = {
    close: async (force) => {
      end.abort();
      await port?.close(force);
    },
  };
  const first = Promise.withResolvers<void>();
  const prover = port?.prover ?? dnsProver(config.acmeDns, host, end.signal);
  void runRenewal(options, { host, prover, stop: end.signal, ready: first.resolve }).catch(
    first.reject,
  );
  const stopped = new Promise<void>((resolve) => stop.addEventListener("abort", () => resolve()));
  try {
    const failure = await Promise.race([first.promise, stopped, options.failed]);
    if (failure) throw failure;
    stop.throwIfAborted();
    return renewal;
  } catch (error) {
    await renewal.close(true);
    throw error;
  }
}

interface Renewal {
  readonly host: string;
  readonly prover: Prover;
  readonly stop: AbortSignal;
  readonly ready: () => void;
}

function runRenewal(options: AcmeOptions, { host, prover, stop, ready }: Renewal): Promise<void> {
  const { config, certificates, terminal, audit, now } = options;
  return keepRenewed({
    path: join(config.data, ACME_FILE),
    directory: config.acmeDirectory,
    contact: config.acme === "on" ? undefined : config.acme,
    host,
    prover,
    now,
    random: Math.random,
    stop,
    asking: () => terminal.log(`asking ${caOf(config)} for a certificate of ${host}`),
    obtained: async (certificate, isNew) => {
      if (isNew) {
        const until = timeText(certificate.expiresAt * 1000);
        terminal.log(`certificate of ${host} from ${caOf(config)}, valid until ${until}`);
        audit.record("certificate_obtained", { host, until });
      }
      await certificates.use(certificate);
      ready();
    },
    unsaved: (why) =>
      terminal.warn(`the certificate of ${host} cannot be saved, and goes on in memory: ${why}`),
    failed: (why, retryAt) => {
      const next = timeText(retryAt * 1000);
      terminal.warn(
        `no certificate of ${host}: ${redact(why)}; next attempt at ${next}\npostern: hint: ${hint(prover, host)}`,
      );
      audit.record("certificate_failed", { host, reason: why, next });
    },
  });
}

const caOf = ({ acmeDirectory }: Config): string => new URL(acmeDirectory).host;

const hint = ({ type }: Prover, host: string): string =>
  type === "http-01"
    ? `http://${host}/ must lead to this machine from the internet, port 80 to --http-port`
    : `the program of --acme-dns must put the TXT record _acme-challenge.${host}, and wait until it can be seen`;
