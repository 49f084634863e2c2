// What the owner should have seen: events of the audit trail that mean a copy of something is about, until the owner says
// that they were read.
import type { AuditEvent } from "../audit.ts";
import type { EventName } from "../audit/events.ts";
import { readTrail } from "../audit/trail.ts";
import type { Deps } from "../deps.ts";
import { OAuthError } from "../errors.ts";
import { seconds } from "../primitives.ts";
import { type Asked, actorFields } from "./asked.ts";

const serious = new Set<EventName>([
  "refresh_reused",
  "code_replayed",
  "refresh_moved_forward",
  "folder",
]);
/** Seconds after which a warning nobody read is no news any more. */
const KEPT = 30 * 86_400;
const MOST = 20;

/** The newest first, one of each kind and connection. */
export async function warningRows(deps: Deps): Promise<AuditEvent[]> {
  const owner = await deps.store.owner.get("owner");
  const since = Math.max(seconds(deps.now()) - KEPT, owner?.warnings_seen_at ?? 0);
  const { events } = await readTrail(deps.config.data, {
    limit: MOST,
    level: "warn",
    since: new Date(Math.round(since * 1000)).toISOString(),
    events: serious,
  });
  const about = ({ event, family, message }: AuditEvent): string =>
    `${event} ${String(family ?? message)}`;
  return [
    ...new Map(events.toReversed().map((event) => [about(event), event])).values(),
  ].toReversed();
}

export const listWarnings = (_asked: Asked, deps: Deps): Promise<AuditEvent[]> => warningRows(deps);

/** `{until}`: the owner has read what happened before this time, ISO 8601; what came since is still to be read. */
export async function seeWarnings(
  { body, actor }: Asked,
  deps: Deps,
): Promise<{ seen_at: number }> {
  const until = typeof body["until"] === "string" ? Date.parse(body["until"]) : Number.NaN;
  if (!(until <= deps.now()))
    throw new OAuthError("invalid_request", "until must be a time that has passed");
  const seenAt = (until + 1) / 1000;
  await deps.store.owner.update(
    "owner",
    (owner) =>
      owner && {
        ...owner,
        warnings_seen_at: Math.max(owner.warnings_seen_at ?? 0, seenAt),
      },
  );
  deps.audit.record("warnings_seen", actorFields(actor));
  return { seen_at: seenAt };
}
