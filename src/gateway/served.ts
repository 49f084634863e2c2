// Which servers the settings name now: open streams outlive the settings that they began under.
import type { Config, Server } from "../config.ts";

export interface Served {
  /** Whether this server is still there as it was. */
  has(server: Server): boolean;
  /** From now on these are the servers. */
  use(config: Config): void;
}

export function createServed({ servers }: Pick<Config, "servers">): Served {
  let current: readonly Server[] = servers;
  return {
    has: (server) =>
      current.includes(server) || current.some((each) => Bun.deepEquals(each, server)),
    use: (config) => {
      current = config.servers;
    },
  };
}
