// What the two ways of talking to one server's children have in common: bounds, identity, questions of our own, children that
// several clients share.
import { version } from "../../package.json";
import type { Server } from "../config.ts";
import type { AuthContext } from "../deps.ts";
import {
  type Fields,
  type Message,
  type Request,
  idKey,
  isFields,
  lineOf,
  metaOf,
  paramsOf,
  withParams,
} from "./jsonrpc.ts";
import type { Session } from "./session.ts";
import type { Pooled } from "./pool.ts";
import { type Running, type Supervisor, type SupervisorBounds, Unavailable } from "./supervisor.ts";

export interface Bounds extends SupervisorBounds {
  /** Bytes of the largest posted message. */
  readonly message: number;
  /** Messages in one batch. */
  readonly batch: number;
  /** Bytes that may wait for a slow client. */
  readonly waiting: number;
  /** Milliseconds that a child waits for a slow client, before that is cut off. */
  readonly stall: number;
  /** Characters that are kept of a session's streams, for a client that comes back. */
  readonly kept: number;
  readonly sessions: number;
  /** Milliseconds after which a session that nobody uses is forgotten. */
  readonly forgotten: number;
  /** Milliseconds until the answer to a request becomes a stream. */
  readonly opening: number;
  /** Milliseconds that a request of a session goes on without its client. */
  readonly orphan: number;
  /** Milliseconds that a child may take for what we ask ourselves. */
  readonly handshake: number;
  /** The same for the question whether it speaks the stateless revision: older servers may not answer at all. */
  readonly probe: number;
  readonly silence: number;
  readonly recheck: number;
}

export interface Bridge {
  readonly server: Server;
  /** Variables that the owner gave its children. */
  readonly variables: Readonly<Record<string, string>>;
  /** Whether clients share children. */
  readonly shared: boolean;
  readonly supervisor: Supervisor;
  readonly bounds: Bounds;
  readonly monotonic: () => number;
  /** An error that nobody expected, for the operator. */
  readonly report: (error: unknown) => void;
  readonly sessions: Map<string, Session>;
  /** Children that several clients share, by what they have in common. */
  readonly pool: Map<string, Promise<Pooled>>;
  /** Until when the server is known to speak session revisions only; monotonic milliseconds. */
  sessionsOnlyUntil: number;
}

/** Variables of a child that runs for one client. */
export const identityVariables = ({ subject, clientId }: AuthContext): Record<string, string> => ({
  POSTERN_USER: subject,
  POSTERN_CLIENT: clientId,
});

const isOurs = (name: string): boolean => name.toLowerCase().startsWith("postern/");

/**
 * The message as the child gets it: who asks stands in the metadata of every request, and what a client says there in our
 * name is gone.
 */
export function identified<M extends Message>(message: M, context: AuthContext): M {
  if (message.kind === "response") return message;
  const { params } = message.fields;
  const isRequest = message.kind === "request";
  const meta = metaOf(message);
  if (!isRequest && !Object.keys(meta).some(isOurs)) return message;
  // By position, which MCP does not use.
  if (params !== undefined && !isFields(params)) return message;
  const kept = Object.entries(meta).filter(([name]) => !isOurs(name));
  const own = isRequest && {
    "postern/user": context.subject,
    "postern/client": context.clientId,
    "postern/scope": context.scopes.join(" "),
  };
  const _meta = { ...Object.fromEntries(kept), ...own };
  return { ...message, fields: withParams(message, { ...paramsOf(message), _meta }) };
}

export const clientInfo = { name: "postern", version } as const;

/**
 * Asks a child something of our own and resolves to its whole answer, a result or an error.
 *
 * @throws {Unavailable} it gives none in time, or is gone
 */
export async function ask(
  running: Running,
  method: string,
  params: Fields,
  patience: number,
): Promise<Fields> {
  const fields = { jsonrpc: "2.0", id: `postern-${method}`, method, params };
  const request: Request = { kind: "request", key: idKey(fields.id) ?? "", method, fields };
  const answer = Promise.withResolvers<Fields>();
  const refuse = (why = "no answer"): void => answer.reject(new Unavailable(why));
  const ticket = running.link.request(
    request,
    {},
    {
      passes: () => undefined,
      answers: (_line, whole) => answer.resolve(whole),
      fails: refuse,
    },
  );
  const timer = setTimeout(() => {
    ticket.cancel();
    refuse(`the MCP server did not answer ${method} in time`);
  }, patience);
  try {
    return await answer.promise;
  } finally {
    clearTimeout(timer);
  }
}

export const notification = (method: string): string => lineOf({ jsonrpc: "2.0", method });
