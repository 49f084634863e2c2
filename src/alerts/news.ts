// What of the audit trail the owner is told at once, and in which words. Never a secret: names, networks, ids of grants.
import type { AuditEvent } from "../audit.ts";
import { networkOf } from "../limits.ts";
import { displayName } from "../web/text.ts";

export type NewsKind = "new_client" | "new_connection" | "token_reused" | "failed_logins";

export const titles: Readonly<Record<NewsKind, string>> = {
  new_client: "A client registered",
  new_connection: "A client was let in",
  token_reused: "A login was ended: its token came back",
  failed_logins: "Somebody guesses the password",
};

export interface News {
  readonly kind: NewsKind;
  /** Epoch milliseconds as the audit trail has it: "2026-11-21T10:31:07.000Z". */
  readonly at: string;
  /** One line for a person. */
  readonly text: string;
  readonly client_id?: string;
  readonly client_name?: string;
  /** The login that it is about: what `postern grants revoke` takes. */
  readonly grant?: string;
  readonly network?: string;
}

/** Failed logins within so many milliseconds that are news. */
const BURST = 5;
const BURST_TIME = 600_000;

/** Tells news from events. It remembers the failed logins of ten minutes, and no more than makes a burst of them. */
export function createNewsdesk(): (event: AuditEvent) => News | undefined {
  let failures: number[] = [];
  return (event) => {
    if (event.event !== "login_failed") return newsOf(event);
    const at = Date.parse(event.at);
    failures = [...failures.filter((time) => at - time < BURST_TIME), at];
    if (failures.length < BURST) return undefined;
    failures = [];
    const { network } = facts(event);
    const text = `${BURST} wrong passwords within ten minutes${from(network)}.`;
    return { kind: "failed_logins", at: event.at, text, ...(network && { network }) };
  };
}

function newsOf(event: AuditEvent): News | undefined {
  const known = facts(event);
  const named = `“${inert(displayName(known.client_name).text)}”`;
  const where = from(known.network);
  switch (event.event) {
    case "client_registered":
      if (event["by"] === "owner") return undefined;
      return {
        ...known,
        kind: "new_client",
        text: `${named} registered itself${where}. Nobody has let it in yet.`,
      };
    case "grant_created":
      return {
        ...known,
        kind: "new_connection",
        text: `${named} was let in${where}.${undo(known.grant)}`,
      };
    case "refresh_reused":
    case "code_replayed":
      return {
        ...known,
        kind: "token_reused",
        text: `A token that ${named} had used before came back${where}. It may have been stolen, so that login was ended; the client has to log in again.`,
      };
    default:
      return undefined;
  }
}

const harmless: Readonly<Record<string, string>> = {
  "<": "‹",
  ">": "›",
  "[": "(",
  "]": ")",
  "@": "(at)",
};

/** Chat programs make mentions and links of what they show; of a stranger's name there is nothing to make them of. */
const inert = (name: string): string =>
  name
    .replace(/[<>[\]@]/g, (mark) => harmless[mark] ?? mark)
    .replace(/([:.])(?=[/\p{L}])/gu, "$1 ");

const from = (network: string | undefined): string =>
  network === undefined ? "" : ` from ${network}`;

const undo = (grant: string | undefined): string =>
  grant === undefined ? "" : ` Not you? postern grants revoke ${grant}`;

function facts({ at, ...fields }: AuditEvent): Omit<News, "kind" | "text"> {
  const text = (key: string): string | undefined => {
    const value = fields[key];
    return typeof value === "string" ? value : undefined;
  };
  const [id, name, grant, address] = [
    text("client"),
    text("name"),
    text("family"),
    text("address"),
  ];
  return {
    at,
    ...(id !== undefined && { client_id: id }),
    ...(name !== undefined && { client_name: displayName(name).text }),
    ...(grant !== undefined && { grant }),
    ...(address !== undefined && { network: networkOf(address) }),
  };
}
