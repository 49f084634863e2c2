// What a client of a session posts: requests and the answer that they wait for, and everything that has none.
import type { AuthContext } from "../deps.ts";
import { type Accepted, type Answer, type Answered, openAnswer } from "./answer.ts";
import { type Bridge, identified } from "./bridge.ts";
import { STANDALONE } from "./outbox.ts";
import { RpcError } from "./exchange.ts";
import { INTERNAL_ERROR, type Message, isFields, lineOf } from "./jsonrpc.ts";
import { Refused, type Sink, type Ticket } from "./link.ts";
import { sharedByRevision } from "./pool.ts";
import { type Session, type Speaker, askedRevision, endSession, runningOf } from "./session.ts";
import { type Running, Unavailable } from "./supervisor.ts";

/** What one POST brought, and what its client takes. */
export interface Delivery {
  readonly messages: readonly Message[];
  /** Whether they came as an array, and are answered as one. */
  readonly batch: boolean;
  readonly takes: Accepted;
  readonly context: AuthContext;
}

export interface Posted {
  readonly answered: Promise<Answered>;
  /** The client is gone before it had its answer; it may come back for it. */
  readonly abandon: () => void;
}

/** Hands the first message of a session on. A session that the server does not agree to ends with its answer. */
export function initialize(bridge: Bridge, session: Session, delivery: Delivery): Posted {
  const { handshake } = session;
  const { id } = handshake.fields;
  const waiting = openWaiting(bridge, session, delivery);
  const inner = waiting.answer.sink(id);
  const sink: Sink = {
    passes: inner.passes,
    answers: (line, fields) => {
      const { result } = fields;
      const agreed = isFields(result) ? result["protocolVersion"] : undefined;
      if (typeof agreed === "string") session.revision = agreed;
      inner.answers(line, fields);
      if (session.revision === undefined) endSession(bridge, session);
    },
    fails: (why) => {
      inner.fails(why);
      endSession(bridge, session);
    },
  };
  const begin = async (): Promise<void> => {
    const running = await runningOf(bridge, session);
    if (!bridge.shared) {
      waiting.tickets.push(running.link.request(handshake, session, sink));
      return;
    }
    const { initialized = {} } = await sharedByRevision(bridge, askedRevision(session));
    sink.answers(lineOf({ ...initialized, id }), initialized);
  };
  void begin().catch((error: unknown) => sink.fails(sentence(bridge, error)));
  return waiting;
}

/** Hands requests on, with what came along. Whatever goes wrong is the answer. */
export function postRequests(bridge: Bridge, session: Session, delivery: Delivery): Posted {
  const { messages, context } = delivery;
  const waiting = openWaiting(bridge, session, delivery);
  const rest = [...messages];
  const deliver = async (): Promise<void> => {
    const running = await runningOf(bridge, session);
    for (let message = rest[0]; message; rest.shift(), message = rest[0]) {
      const sent = identified(message, context);
      if (sent.kind !== "request") tell(bridge, session, running, sent);
      else {
        const sink = waiting.answer.sink(sent.fields["id"]);
        waiting.tickets.push(running.link.request(sent, session, sink));
      }
    }
  };
  void deliver().catch((error: unknown) => {
    const why = sentence(bridge, error);
    for (const { kind, fields } of rest) {
      if (kind === "request") waiting.answer.sink(fields["id"]).fails(why);
    }
  });
  return waiting;
}

/** Hands notifications and responses on. @throws {RpcError} 503: they cannot be */
export async function postOthers(
  bridge: Bridge,
  session: Session,
  { messages, context }: Delivery,
): Promise<void> {
  try {
    const running = await runningOf(bridge, session);
    for (const message of messages) tell(bridge, session, running, identified(message, context));
  } catch (error) {
    throw new RpcError(503, INTERNAL_ERROR, sentence(bridge, error), {
      headers: { "retry-after": "5" },
    });
  }
}

function tell(bridge: Bridge, session: Session, running: Running, message: Message): void {
  const isReady = message.kind === "notification" && message.method === "notifications/initialized";
  if (isReady) session.initialized = true;
  // The one child that sessions share was told so by us, once.
  if (isReady && bridge.shared) return;
  if (!running.link.tell(message, session)) {
    throw new Refused("the MCP server does not read what it is sent");
  }
}

/** What a client may know of an error. */
export function sentence({ report }: Bridge, error: unknown): string {
  if (error instanceof Unavailable || error instanceof Refused) return error.message;
  report(error);
  return "something went wrong in Postern";
}

interface Waiting extends Posted {
  readonly answer: Answer;
  readonly tickets: Ticket[];
}

function openWaiting(bridge: Bridge, session: Session, delivery: Delivery): Waiting {
  const { bounds } = bridge;
  const { outbox } = session;
  const stream = String(++session.posts);
  const tickets: Ticket[] = [];
  let isHeard = true;
  let timer: Timer | undefined;
  const finish = (): void => {
    clearTimeout(timer);
    session.speakers.delete(speaker);
  };
  const giveUp = (): void => {
    for (const ticket of tickets) ticket.cancel();
    outbox.finish(stream);
    finish();
  };
  const onChange = (heard: boolean): void => {
    isHeard = heard;
    clearTimeout(timer);
    // MCP 2025-11-25: a client that is gone has not cancelled. It has some time to come back.
    if (!heard) timer = setTimeout(giveUp, bounds.orphan).unref();
  };
  const requests = delivery.messages.filter(({ kind }) => kind === "request");
  const answer = openAnswer({
    ids: requests.map(({ fields }) => fields["id"]),
    batch: delivery.batch,
    takes: delivery.takes,
    opening: bounds.opening,
    openStream: () => {
      outbox.begin(stream, onChange);
      return {
        stream: outbox.attach(stream),
        send: (line) => outbox.send(stream, line),
        end: () => outbox.finish(stream),
      };
    },
    onDone: finish,
    aside: (line) => outbox.send(STANDALONE, line),
  });
  const speaker: Speaker = {
    passes: (line) => answer.sink(undefined).passes(line),
    isHeard: () => isHeard && delivery.takes.events,
  };
  session.speakers.add(speaker);
  return { answered: answer.answered, abandon: () => onChange(false), answer, tickets };
}
