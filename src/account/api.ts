// The admin API for the owner's browser: the same verbs as on the socket, behind a session and its proof.
import { answerOwner } from "../admin.ts";
import type { Call, Deps } from "../deps.ts";
import { askedBy, requireHeader } from "./proof.ts";

/** Any method, /admin/api/** */
export async function adminApi(request: Request, deps: Deps, call: Call): Promise<Response> {
  const session = await requireHeader(request, deps);
  const path = call.path.slice(deps.config.basePath.length);
  return answerOwner(request, path, askedBy(session, call), deps);
}
