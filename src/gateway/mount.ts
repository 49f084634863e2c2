// One guarded MCP endpoint: guard, then the server behind it or the built-in one.
import type { Server } from "../config.ts";
import type { Call, Deps } from "../deps.ts";
import { guard } from "./guard.ts";
import { forward } from "./proxy.ts";
import { whoami } from "./whoami.ts";

export async function gateway(
  request: Request,
  server: Server,
  deps: Deps,
  call: Call,
): Promise<Response> {
  const context = await guard(request, server, deps, call);
  return server.upstream === undefined
    ? whoami(request, context, deps, call)
    : forward(request, context, deps, call);
}
