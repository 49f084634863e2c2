// All streams of one session, and what a client that was cut off can still get of them (MCP 2025-11-25 "Resumability and
// Redelivery").
import { type EventStream, openEvents } from "./events.ts";

/** The stream of what belongs to no request. */
export const STANDALONE = "0";

interface Kept {
  readonly stream: string;
  readonly number: number;
  readonly line: string;
}

export interface Outbox {
  /** Makes a stream that messages go to until `finish`. */
  begin(stream: string, onChange: (isHeard: boolean) => void): void;
  /** Sends, and keeps for a client that comes back. */
  send(stream: string, line: string): void;
  /** Connects a client: from the event with this id on, else from what nobody was connected for. */
  attach(stream: string, seen?: string): EventStream;
  finish(stream: string): void;
  /** Whether a client is connected to the standalone stream. */
  isHeard(): boolean;
  /** Resolves when no client is behind, or is cut off for being so; undefined: nobody is. */
  room(): Promise<unknown> | undefined;
  /** Ends the standalone stream; the others end with their answers. */
  close(): void;
}

export interface OutboxOptions {
  /** Characters that are kept in all. */
  readonly most: number;
  /** Bytes that should wait for a slow client at most. */
  readonly waiting: number;
  /** Milliseconds that the others wait for a client that is behind, before it is cut off. */
  readonly stall: number;
  /** Whether the client understands an event without data, which is what a stream then begins with. */
  readonly primes: () => boolean;
}

/** The stream that an event id names, and the event's number on it. */
export function readEventId(id: string): { stream: string; number: number } | undefined {
  const match = /^(\d{1,9})-(\d{1,15})$/.exec(id);
  return match?.[1] ? { stream: match[1], number: Number(match[2]) } : undefined;
}

interface Stream {
  readonly onChange: (isHeard: boolean) => void;
  /** The client that is connected. */
  client: EventStream | undefined;
}

interface State extends OutboxOptions {
  /** Those that are not finished. */
  readonly streams: Map<string, Stream>;
  kept: Kept[];
  size: number;
  /** The number of the newest event. */
  count: number;
  /** The last event of the standalone stream that somebody was connected for. */
  heard: number;
}

export function openOutbox(options: OutboxOptions): Outbox {
  const streams = new Map<string, Stream>();
  streams.set(STANDALONE, { client: undefined, onChange: () => undefined });
  const state: State = { ...options, streams, kept: [], size: 0, count: 0, heard: 0 };
  return {
    begin: (stream, onChange) => void streams.set(stream, { client: undefined, onChange }),
    send: (stream, line) => send(state, stream, line),
    attach: (stream, seen) => attach(state, stream, seen),
    finish: (stream) => finish(state, stream),
    isHeard: () => streams.get(STANDALONE)?.client !== undefined,
    room: () => room(state),
    close: () => finish(state, STANDALONE),
  };
}

function send(state: State, stream: string, line: string): void {
  const open = state.streams.get(stream);
  if (!open) return;
  const number = ++state.count;
  state.kept.push({ stream, number, line });
  state.size += line.length;
  forget(state);
  if (open.client && stream === STANDALONE) state.heard = number;
  open.client?.send(line, `${stream}-${number}`);
}

function finish({ streams }: State, stream: string): void {
  streams.get(stream)?.client?.end();
  streams.delete(stream);
}

function forget(state: State): void {
  const { kept } = state;
  if (state.size <= state.most) return;
  let from = 0;
  // Down to half of it, so that a flood does not move everything for each message.
  while (state.size > state.most / 2 && from < kept.length - 1) {
    state.size -= kept[from++]?.line.length ?? 0;
  }
  state.kept = kept.slice(from);
}

function attach(state: State, stream: string, seen: string | undefined): EventStream {
  const open = state.streams.get(stream);
  const isAlone = stream === STANDALONE;
  const after = readEventId(seen ?? "")?.number ?? (isAlone ? state.heard : 0);
  const client = openEvents(state.waiting, () => {
    if (open?.client !== client) return;
    open.client = undefined;
    open.onChange(false);
  });
  client.open(state.primes() ? `${stream}-${after}` : undefined);
  for (const each of state.kept) {
    if (each.stream !== stream || each.number <= after) continue;
    client.send(each.line, `${stream}-${each.number}`);
  }
  if (isAlone) state.heard = state.count;
  if (!open) client.end();
  else {
    // A client that comes back has lost the connection that is still open here.
    open.client?.end();
    open.client = client;
    open.onChange(true);
  }
  return client;
}

function room({ streams, stall }: State): Promise<unknown> | undefined {
  const behind = [...streams.values()].flatMap(({ client }) => {
    const until = client?.room();
    return client && until ? [{ client, until }] : [];
  });
  if (behind.length === 0) return undefined;
  const timer = setTimeout(() => {
    for (const { client } of behind) if (client.room()) client.cut();
  }, stall);
  return Promise.all(behind.map(({ until }) => until)).finally(() => clearTimeout(timer));
}
