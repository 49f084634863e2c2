// One guarded MCP endpoint: guard, then the server behind it, by HTTP or stdio, or the built-in one.
import { originOf } from "../attempts/sights.ts";
import type { Server } from "../config.ts";
import type { Call, Deps } from "../deps.ts";
import { OAuthError } from "../errors.ts";
import { answerCheckup } from "./checkup.ts";
import { guard } from "./guard.ts";
import { UpstreamError, forward } from "./proxy.ts";
import { whoami } from "./whoami.ts";

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
  const { command, upstream } = server;
  if (!command && upstream === undefined) return whoami(request, context, deps, call);
  try {
    if (command) return await deps.stdio.handle(request, context, call);
    const answer = await forward(request, context, deps, call);
    deps.upstreams.answered(server, request, answer.status);
    return answer;
  } catch (error) {
    if (error instanceof OAuthError) {
      if (error instanceof UpstreamError) deps.upstreams.failed(server, error.what);
      deps.attempts.see(
        { step: "call", family: context.family, error },
        originOf(request, call, deps),
      );
    }
    throw error;
  }
}
