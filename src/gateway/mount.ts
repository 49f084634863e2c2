// One guarded MCP endpoint: guard, then what the connection may do, then the server behind.
import { originOf } from "../attempts/sights.ts";
import type { Server } from "../config.ts";
import type { Call, Deps } from "../deps.ts";
import { OAuthError } from "../errors.ts";
import { answerCheckup } from "./checkup.ts";
import { govern } from "./govern.ts";
import { guard } from "./guard.ts";
import { UpstreamError } from "./proxy.ts";

/**
 * Any method on the path of a server, or below it.
 * @throws {OAuthError} of `guard` with a challenge (RFC 6750 §3); server_error 502 or 504 of what is behind
 */
export async function gateway(
  request: Request,
  server: Server,
  deps: Deps,
  call: Call,
): Promise<Response> {
  if (deps.checkups.size > 0) {
    const answer = await answerCheckup(request, server, deps.checkups, call);
    if (answer) return answer;
  }
  const context = await guard(request, server, deps, call);
  try {
    return await govern(request, context, deps, call);
  } catch (error) {
    const isBuiltIn = !server.command && server.upstream === undefined;
    if (error instanceof OAuthError && !isBuiltIn) {
      if (error instanceof UpstreamError) deps.upstreams.failed(server, error.what);
      deps.attempts.see(
        { step: "call", family: context.family, error },
        originOf(request, call, deps),
      );
    }
    throw error;
  }
}
