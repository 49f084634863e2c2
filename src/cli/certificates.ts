// The certificate that the running server presents: takes up another one, tells when it will not last. Where certificates
// come from is tls/'s.
import type { Config } from "../config.ts";
import { FatalError } from "../errors.ts";
import type { Family, Metrics } from "../metrics.ts";
import { seconds } from "../primitives.ts";
import { type Certificate, expiryDoubt, readCertificate } from "../tls/certificate.ts";
import type { FrontListener } from "./front.ts";
import type { Terminal } from "./terminal.ts";

export interface Certificates {
  /** The one to present now; undefined: plain http. */
  current(): Certificate | undefined;
  /** New connections get this one, or none. Resolves to whether it is another one than before. */
  use(certificate: Certificate | undefined): Promise<boolean>;
  /** Who presents it from now on. */
  attach(listener: FrontListener): void;
  stop(): void;
}

export interface CertificatesOptions {
  readonly terminal: Terminal;
  readonly metrics: Metrics;
  /** Epoch milliseconds. */
  readonly now: () => number;
  /** The port was lost while another certificate was put in place. */
  readonly lost: (error: unknown) => void;
}

/** Milliseconds between two looks at how long it lasts. */
const LOOK = 12 * 3_600_000;

export function createCertificates(options: CertificatesOptions): Certificates {
  const { terminal, metrics, now } = options;
  let current: Certificate | undefined;
  let presenter: FrontListener | undefined;
  const look = (): void => {
    const doubt = current && expiryDoubt(current, seconds(now()));
    if (doubt !== undefined) terminal.warn(`the certificate: ${doubt}`);
  };
  const timer = setInterval(look, LOOK);
  timer.unref();
  metrics.collect(() => expiryFamily(current));
  return {
    current: () => current,
    use: async (certificate) => {
      if (current?.chain === certificate?.chain && current?.key === certificate?.key) return false;
      try {
        await presenter?.present?.(certificate);
      } catch (error) {
        options.lost(error);
        throw error;
      }
      current = certificate;
      for (const doubt of certificate?.doubts ?? []) terminal.warn(`the certificate: ${doubt}`);
      look();
      return true;
    },
    attach: (listener) => {
      presenter = listener;
    },
    stop: () => clearInterval(timer),
  };
}

/** The pair of files that the settings name; undefined when they name none. @throws {FatalError} */
export function configuredCertificate(config: Config): Certificate | undefined {
  if (config.tlsCert === "") return undefined;
  return readCertificate(config, new URL(config.origin).hostname);
}

/** As it is for a server that runs: it keeps a good certificate rather than taking one that has expired. @throws {FatalError} */
export function nextCertificate(
  config: Config,
  current: Certificate | undefined,
  now: number,
): Certificate | undefined {
  if (config.acme !== "") return current;
  const next = configuredCertificate(config);
  const isWorse = next && current && next.expiresAt <= now && current.expiresAt > now;
  if (!isWorse) return next;
  throw new FatalError(`the certificate in ${config.tlsCert} has expired`, {
    exitCode: 2,
    hint: "put one there that lasts; the one that was read before is still presented",
  });
}

function expiryFamily(certificate: Certificate | undefined): Family[] {
  return [
    {
      name: "postern_certificate_expiry_timestamp_seconds",
      type: "gauge",
      help: "When the certificate expires, in seconds since 1970.",
      samples: certificate === undefined ? [] : [{ value: certificate.expiresAt }],
    },
  ];
}
