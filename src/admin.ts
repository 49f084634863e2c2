// The admin API: what an owner can do, as JSON over HTTP. The table below is all of it; the same verbs stand behind
// data/admin.sock, the command line without a server, and the owner's browser. Whoever reaches `admin` has proved to be
// the owner.
import {
  addClient,
  listClients,
  purgeClients,
  removeClient,
  renameClient,
  showClient,
} from "./admin/clients.ts";
import type { Asked } from "./admin/asked.ts";
import { listAttempts } from "./admin/attempts.ts";
import { beginCheckup, endCheckup } from "./admin/checkup.ts";
import {
  listGrants,
  narrowGrant,
  purgeGrants,
  renameGrant,
  revokeGrant,
  revokeGrants,
  showGrant,
} from "./admin/grants.ts";
import { addKey, listKeys, purgeKeys, renameKey, revokeKey, showKey } from "./admin/keys.ts";
import { revokeAll, setPassword } from "./admin/owner.ts";
import {
  endSession,
  listCodes,
  listSessions,
  purgeCodes,
  purgeSessions,
  revokeCode,
  showCode,
  showSession,
} from "./admin/sessions.ts";
import { listAudit } from "./admin/trail.ts";
import { listWarnings, seeWarnings } from "./admin/warnings.ts";
import { showServer } from "./admin/server.ts";
import { listServers } from "./admin/servers.ts";
import { recordError } from "./audit.ts";
import type { Deps } from "./deps.ts";
import { OAuthError, errorResponse } from "./errors.ts";
import { readJsonObject } from "./form.ts";

export const ADMIN_PATH = "/admin/api";

type Verb = (asked: Asked, deps: Deps) => Promise<unknown>;

export interface AdminRoute {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** Under ADMIN_PATH; `{id}` is one segment. */
  readonly path: string;
  readonly verb: Verb;
}

// prettier-ignore
export const adminRoutes: readonly AdminRoute[] = [
  { method: "GET",    path: "/server",         verb: showServer },
  { method: "GET",    path: "/servers",        verb: listServers },
  { method: "GET",    path: "/clients",        verb: listClients },
  { method: "POST",   path: "/clients",        verb: addClient },
  { method: "POST",   path: "/clients/purge",  verb: purgeClients },
  { method: "GET",    path: "/clients/{id}",   verb: showClient },
  { method: "PATCH",  path: "/clients/{id}",   verb: renameClient },
  { method: "DELETE", path: "/clients/{id}",   verb: removeClient },
  { method: "GET",    path: "/grants",         verb: listGrants },
  { method: "POST",   path: "/grants/revoke",  verb: revokeGrants },
  { method: "POST",   path: "/grants/purge",   verb: purgeGrants },
  { method: "GET",    path: "/grants/{id}",    verb: showGrant },
  { method: "PATCH",  path: "/grants/{id}",    verb: renameGrant },
  { method: "PUT",    path: "/grants/{id}/tools", verb: narrowGrant },
  { method: "DELETE", path: "/grants/{id}",    verb: revokeGrant },
  { method: "GET",    path: "/keys",           verb: listKeys },
  { method: "POST",   path: "/keys",           verb: addKey },
  { method: "POST",   path: "/keys/purge",     verb: purgeKeys },
  { method: "GET",    path: "/keys/{id}",      verb: showKey },
  { method: "PATCH",  path: "/keys/{id}",      verb: renameKey },
  { method: "DELETE", path: "/keys/{id}",      verb: revokeKey },
  { method: "GET",    path: "/sessions",       verb: listSessions },
  { method: "POST",   path: "/sessions/purge", verb: purgeSessions },
  { method: "GET",    path: "/sessions/{id}",  verb: showSession },
  { method: "DELETE", path: "/sessions/{id}",  verb: endSession },
  { method: "GET",    path: "/codes",          verb: listCodes },
  { method: "POST",   path: "/codes/purge",    verb: purgeCodes },
  { method: "GET",    path: "/codes/{id}",     verb: showCode },
  { method: "DELETE", path: "/codes/{id}",     verb: revokeCode },
  { method: "POST",   path: "/checkups",       verb: beginCheckup },
  { method: "DELETE", path: "/checkups/{id}",  verb: endCheckup },
  { method: "GET",    path: "/audit",          verb: listAudit },
  { method: "GET",    path: "/warnings",       verb: listWarnings },
  { method: "POST",   path: "/warnings/seen",  verb: seeWarnings },
  { method: "GET",    path: "/attempts",       verb: listAttempts },
  { method: "POST",   path: "/revoke-all",     verb: revokeAll },
  { method: "PUT",    path: "/password",       verb: setPassword },
];

/** Whom a request comes from, as the way it came tells. */
export type Caller = Pick<Asked, "actor" | "session">;

/** Answers a request of the owner's shell: the socket's, or one of this process. */
export async function admin(request: Request, deps: Deps): Promise<Response> {
  const path = new URL(request.url).pathname;
  try {
    return await answerOwner(request, path, { actor: { via: "command" } }, deps);
  } catch (error) {
    return errorResponse(recordError(deps.audit, error, { path }));
  }
}

/**
 * Answers one request; `path` starts with ADMIN_PATH, and its segments are still encoded.
 * @throws {OAuthError}
 */
export async function answerOwner(
  request: Request,
  path: string,
  caller: Caller,
  deps: Deps,
): Promise<Response> {
  const { verb, id } = findRoute(request.method, path);
  const query = new URL(request.url).searchParams;
  const answer = await verb({ ...caller, id, query, body: await readBody(request) }, deps);
  return Response.json(answer, { headers: { "cache-control": "no-store" } });
}

/** @throws {OAuthError} 404 or 405 */
function findRoute(method: string, path: string): { verb: Verb; id: string } {
  const segments = path.slice(ADMIN_PATH.length).split("/");
  const matches = (route: AdminRoute): boolean => {
    const parts = route.path.split("/");
    return (
      path.startsWith(`${ADMIN_PATH}/`) &&
      parts.length === segments.length &&
      parts.every((part, at) => (part === "{id}" ? segments[at] !== "" : part === segments[at]))
    );
  };
  const found = adminRoutes.filter(matches);
  const route = found.find((each) => each.method === method);
  if (route) {
    const at = route.path.split("/").indexOf("{id}");
    return { verb: route.verb, id: decode(segments[at] ?? "") };
  }
  if (found.length === 0)
    throw new OAuthError("invalid_request", "there is no such verb", { status: 404 });
  const allow = found.map((each) => each.method).join(", ");
  throw new OAuthError("invalid_request", `the method ${method} is not allowed here`, {
    status: 405,
    headers: { allow },
  });
}

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch (cause) {
    throw new OAuthError("invalid_request", "the path is malformed", { cause });
  }
}

const readBody = (request: Request): Promise<Record<string, unknown>> | Record<string, unknown> =>
  request.headers.has("content-type") ? readJsonObject(request, "invalid_request") : {};
