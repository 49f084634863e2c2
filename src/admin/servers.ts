// The servers behind, as they are: whether they answer or run, since when not, and why.
import type { Server } from "../config.ts";
import type { Deps } from "../deps.ts";
import { type UpstreamState, isReachable } from "../gateway/sights.ts";
import type { StdioState } from "../gateway/stdio.ts";
import type { Asked } from "./asked.ts";

/** Holds nothing that only the configuration may know: no upstream, no command. */
export type ServerState = Pick<Server, "name" | "resource" | "scopes"> &
  (
    | { readonly kind: "built-in" }
    | ({ readonly kind: "http"; readonly reachable: boolean } & UpstreamState)
    | ({ readonly kind: "stdio"; readonly processes: Server["processes"] } & StdioState)
  );

/** Servers that speak HTTP are asked, without a credential. */
export const listServers = (
  _asked: Asked,
  { config, stdio, upstreams }: Deps,
): Promise<ServerState[]> =>
  Promise.all(
    config.servers.map(async (server): Promise<ServerState> => {
      const { name, resource, scopes, processes, upstream } = server;
      const common = { name, resource, scopes };
      const children = stdio.state(server);
      if (children) return { ...common, kind: "stdio", processes, ...children };
      if (upstream === undefined) return { ...common, kind: "built-in" };
      const reachable = await isReachable(upstream);
      return { ...common, kind: "http", reachable, ...upstreams.state(server) };
    }),
  );
