// What the process holds in memory for the owner: signed-in browsers, and codes that wait to be redeemed. Of both only
// what says whose they are; the id shown is part of a hash.
import type { Deps } from "../deps.ts";
import type { Code, Session } from "../store/records.ts";
import { type Asked, actorFields, resolveId } from "./asked.ts";

export interface SessionRow extends Pick<
  Session,
  "network" | "browser" | "created_at" | "last_used_at" | "expires_at"
> {
  readonly id: string;
  /** The one that asks. */
  readonly own: boolean;
}

export interface CodeRow extends Pick<
  Code,
  "client_id" | "client_name" | "redirect_uri" | "scope" | "resource" | "expires_at"
> {
  readonly id: string;
  /** Whether it has become a connection. */
  readonly redeemed: boolean;
}

/** Hashes may begin like a flag, and nobody types 43 characters. */
const shortId = (letter: "s" | "c", id: string): string => `${letter}_${id.slice(0, 20)}`;

/** The one used last first. Those of an earlier password have ended, though they are still there. */
export async function sessionRows(deps: Deps, own?: string): Promise<SessionRow[]> {
  const owner = await deps.store.owner.get("owner");
  return (await deps.store.sessions.list())
    .filter(([, { epoch }]) => epoch === owner?.epoch)
    .map(([id, { network, browser, created_at, last_used_at, expires_at }]) => ({
      id: shortId("s", id),
      network,
      browser,
      created_at,
      last_used_at,
      expires_at,
      own: id === own,
    }))
    .toSorted((a, b) => b.last_used_at - a.last_used_at);
}

export const listSessions = ({ session }: Asked, deps: Deps): Promise<SessionRow[]> =>
  sessionRows(deps, session);

const showRow = <R extends { readonly id: string }>(
  typed: string,
  rows: readonly R[],
  kind: string,
): R | undefined => {
  const ids = rows.map(({ id }) => id);
  return rows.find(({ id }) => id === resolveId(typed, ids, kind));
};

export const showSession = async ({ id, session }: Asked, deps: Deps): Promise<unknown> =>
  showRow(id, await sessionRows(deps, session), "session");

export const showCode = async (asked: Asked, deps: Deps): Promise<unknown> =>
  showRow(asked.id, await listCodes(asked, deps), "code");

/** The whole id of a record by what was typed of its short one. */
function findId(
  typed: string,
  letter: "s" | "c",
  records: readonly (readonly [string, unknown])[],
  kind: string,
): string {
  const ids = new Map(records.map(([id]) => [shortId(letter, id), id]));
  return ids.get(resolveId(typed, [...ids.keys()], kind)) ?? "";
}

export async function endSession({ id: typed, actor }: Asked, deps: Deps): Promise<unknown> {
  const id = findId(typed, "s", await deps.store.sessions.list(), "session");
  await deps.store.sessions.delete(id);
  deps.audit.record("session_ended", { session: shortId("s", id), ...actorFields(actor) });
  return { revoked: shortId("s", id) };
}

/** Signs out every browser but the one that asks. */
export async function purgeSessions(
  { session, actor }: Asked,
  deps: Deps,
): Promise<{ revoked: number }> {
  const ids = (await deps.store.sessions.list()).map(([id]) => id).filter((id) => id !== session);
  for (const id of ids) await deps.store.sessions.delete(id);
  deps.audit.record("sessions_ended", { sessions: ids.length, ...actorFields(actor) });
  return { revoked: ids.length };
}

/** Those of an earlier password have ended, though they are still there. */
async function liveCodes(deps: Deps): Promise<(readonly [string, Code])[]> {
  const owner = await deps.store.owner.get("owner");
  return (await deps.store.codes.list()).filter(([, { epoch }]) => epoch === owner?.epoch);
}

export const listCodes = async (_asked: Asked, deps: Deps): Promise<CodeRow[]> =>
  (await liveCodes(deps)).map(([id, code]) => ({
    id: shortId("c", id),
    client_id: code.client_id,
    ...(code.client_name !== undefined && { client_name: code.client_name }),
    redirect_uri: code.redirect_uri,
    scope: code.scope,
    resource: code.resource,
    expires_at: code.expires_at,
    redeemed: code.family !== undefined,
  }));

/** A redeemed one stays known until its end, so that who redeems it again is noticed. */
export async function revokeCode({ id: typed, actor }: Asked, deps: Deps): Promise<unknown> {
  const waiting = (await liveCodes(deps)).filter(([, { family }]) => family === undefined);
  const id = findId(typed, "c", waiting, "waiting code");
  await takeBack(id, deps);
  deps.audit.record("code_revoked", { code: shortId("c", id), ...actorFields(actor) });
  return { revoked: shortId("c", id) };
}

const takeBack = (id: string, deps: Deps): Promise<unknown> =>
  deps.store.codes.update(id, (code) => (code?.family === undefined ? undefined : code));

/** Takes back every code that waits. */
export async function purgeCodes({ actor }: Asked, deps: Deps): Promise<unknown> {
  const waiting = (await liveCodes(deps)).filter(([, { family }]) => family === undefined);
  for (const [id] of waiting) await takeBack(id, deps);
  deps.audit.record("codes_revoked", { codes: waiting.length, ...actorFields(actor) });
  return { revoked: waiting.length };
}
