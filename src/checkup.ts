// What marks the requests and clients of `postern doctor`, so that they are told from those of anybody else.
import type { AuditEvent } from "./audit.ts";
import { hmac } from "./primitives.ts";

export interface Checkup {
  /** Stands in the names of the clients that it registers. */
  readonly id: string;
  /** SHA-256 of the signed-in browser session that it was given; absent without an owner. */
  readonly sessionId?: string;
}

/** Those that run, by the key that their bearers and requests carry. Empty nearly always. */
export type Checkups = Map<string, Checkup>;

/** Shows the doctor that an answer is this server's: nothing that it sends tells the id of its check-up before it has seen this. */
export const checkupProof = (id: string, key: string): string =>
  hmac(id, `postern check-up 1\0${key}`);

/** Marks all requests of a check-up: nobody wants to hear of them as attempts of a client. */
export const CHECKUP_HEADER = "x-postern-checkup";

export const isCheckup = (request: Request, checkups: Checkups): boolean =>
  checkups.size > 0 && checkups.has(request.headers.get(CHECKUP_HEADER) ?? "");

/** What clients of check-ups call themselves. */
export const checkupName = (name: string, id: string): string => `${name} (postern doctor ${id})`;

/** The check-up that a client's name says it belongs to. */
export const checkupIdOf = (name: string | undefined): string | undefined =>
  /\(postern doctor ([A-Za-z0-9_-]{11})\)$/.exec(name ?? "")?.[1];

/** Whether an event of the audit trail is about a client of a check-up that runs. */
export function isOfCheckup(event: AuditEvent, checkups: Checkups): boolean {
  if (checkups.size === 0) return false;
  const name = event["name"];
  const id = checkupIdOf(typeof name === "string" ? name : undefined);
  return [...checkups.values()].some((each) => each.id === id);
}
