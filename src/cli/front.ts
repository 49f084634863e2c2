// Listens on the addresses of the settings, and tells which port is the trouble.
import { type App, type Listener, listen } from "../app.ts";
import type { Config } from "../config.ts";
import { FatalError, reason } from "../errors.ts";

/** What serves requests for one app; `dev` has its own. */
export type Front = (app: App, config: Config) => Promise<Listener>;

export const bunFront: Front = (app, config) =>
  listenOn(config, async (host) => listen(app, host, config.port));

/** Listens on every address of the configuration, or on none. @throws {FatalError} */
export async function listenOn(
  { hosts, port }: Config,
  one: (host: string) => Promise<Listener>,
): Promise<Listener> {
  const listeners: Listener[] = [];
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
    throw portError(error, port);
  }
  return {
    close: async (force) => void (await Promise.all(listeners.map((each) => each.close(force)))),
  };
}

const errorCode = (error: unknown): string =>
  error instanceof Error && "code" in error ? String(error.code) : "";

export function portError(error: unknown, port: number, flag = "port"): FatalError {
  const taken = errorCode(error) === "EADDRINUSE";
  return new FatalError(
    taken ? `port ${port} is taken` : `cannot listen on port ${port}: ${reason(error)}`,
    {
      exitCode: 1,
      hint: taken
        ? `stop the other program, or choose another port with --${flag}`
        : `choose another address with --host or --${flag}`,
      cause: error,
    },
  );
}
