// The one way to the server behind, whichever kind it is: HTTP, a command, or the built-in one.
import type { AuthContext, Call, Deps } from "../deps.ts";
import { forward } from "./proxy.ts";
import { whoami } from "./whoami.ts";

/** Hands a request on that may pass. @throws {OAuthError} server_error 502, 504: no usable answer */
export async function behind(
  request: Request,
  context: AuthContext,
  deps: Deps,
  call: Call,
): Promise<Response> {
  const { server } = context;
  if (server.command) return deps.stdio.handle(request, context, call);
  if (server.upstream === undefined) return whoami(request, context, deps, call);
  const answer = await forward(request, context, deps, call);
  deps.upstreams.answered(server, request, answer.status);
  return answer;
}
