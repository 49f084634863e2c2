// Listens on the addresses of the settings, and tells which port is the trouble. Which certificate is presented is
// certificates.ts's.
import { type App, type Listener, listen } from "../app.ts";
import type { Config } from "../config.ts";
import { FatalError, errorCode, reason } from "../errors.ts";
import type { Certificate } from "../tls/certificate.ts";

/** What serves requests for one app; `dev` has its own, without TLS. */
export type Front = (
  app: App,
  config: Config,
  certificate: Certificate | undefined,
) => Promise<FrontListener>;

export interface FrontListener extends Listener {
  /** New connections get this certificate; open ones go on. @throws {FatalError} nobody is served any more */
  present?(certificate: Certificate | undefined): Promise<void>;
}

export const bunFront: Front = (app, config, certificate) =>
  listenOn(config, "port", async (host) => listenReplaceably(app, host, config.port, certificate));

/**
 * Listens on every address, or on none.
 * @param flag the setting of the port
 * @throws {FatalError}
 */
export async function listenOn(
  { hosts, port }: Pick<Config, "hosts" | "port">,
  flag: string,
  one: (host: string) => Promise<FrontListener>,
): Promise<FrontListener> {
  const listeners: FrontListener[] = [];
  try {
    for (const host of hosts) {
      try {
        listeners.push(await one(host));
      } catch (error) {
        // A machine without IPv6 serves on 127.0.0.1 alone.
        const optional = host === "::1" && /EADDRNOTAVAIL|EAFNOSUPPORT/.test(errorCode(error));
        if (!optional) throw error;
      }
    }
  } catch (error) {
    await Promise.all(listeners.map((listener) => listener.close(true)));
    throw portError(error, port, flag);
  }
  return {
    close: async (force) => void (await Promise.all(listeners.map((each) => each.close(force)))),
    present: async (certificate) =>
      void (await Promise.all(listeners.map((each) => each.present?.(certificate)))),
  };
}

/** Tries for a port that somebody took in between, with milliseconds between two. */
const TRIES = 50;
const PAUSE = 100;

/**
 * One address whose certificate can be replaced. Bun gives no open server another one, so the old server stops to accept
 * and a new one takes its place in the same turn; what the old one has open it serves to the end.
 */
function listenReplaceably(
  app: App,
  hostname: string,
  port: number,
  first: Certificate | undefined,
): FrontListener {
  const open = (certificate: Certificate | undefined): Listener =>
    listen(app, {
      hostname,
      port,
      tls: certificate && { cert: certificate.chain, key: certificate.key },
    });
  const listeners = new Set([open(first)]);
  let isOpen = true;
  return {
    close: async (force) => {
      isOpen = false;
      await Promise.all([...listeners].map((each) => each.close(force)));
    },
    present: async (certificate) => {
      for (const old of listeners) void old.close(false).then(() => listeners.delete(old));
      for (let tries = 1; isOpen; tries++) {
        try {
          listeners.add(open(certificate));
          return;
        } catch (error) {
          if (tries === TRIES) throw portError(error, port, "port");
        }
        await Bun.sleep(PAUSE);
      }
    },
  };
}

export function portError(error: unknown, port: number, flag: string): FatalError {
  const taken = errorCode(error) === "EADDRINUSE";
  const isForbidden = errorCode(error) === "EACCES" && port < 1024;
  return new FatalError(
    taken ? `port ${port} is taken` : `cannot listen on port ${port}: ${reason(error)}`,
    {
      exitCode: 1,
      hint: taken
        ? `stop the other program, or choose another port with --${flag}`
        : isForbidden
          ? "ports below 1024 are for root, or for who was given CAP_NET_BIND_SERVICE; docs/deploy.md has both"
          : `choose another address with --host or --${flag}`,
      cause: error,
    },
  );
}
