// One guarded MCP endpoint: guard, then the server behind it, by HTTP or stdio, or the built-in one.
import { originOf } from "../attempts/sights.ts";
import type { Server } from "../config.ts";
import type { Call, Deps } from "../deps.ts";
import { OAuthError } from "../errors.ts";
import { answerCheckup } from "./checkup.ts";
import { guard } from "./guard.ts";
import { forward } from "./proxy.ts";
import { whoami } from "./whoami.ts";

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
    return await (command
      ? deps.stdio.handle(request, context, call)
      : forward(request, context, deps, call));
  } catch (error) {
    if (error instanceof OAuthError) {
      deps.attempts.see(
        { step: "call", family: context.family, error },
        originOf(request, call, deps),
      );
    }
    throw error;
  }
}
