// One event stream (WHATWG HTML §9.2) to one client, within bounds. What a client that was cut off can still get is
// outbox.ts's, keeping a stream audible stream.ts's.

const encoder = new TextEncoder();
/** Bytes that may come in one go, before anybody could wait for room. */
const SLACK = 1024 * 1024;

export interface EventStream {
  readonly body: ReadableStream<Uint8Array>;
  send(line: string, id?: string): void;
  /** First bytes, so that the client gets the head of the answer: an event to come back from, or a comment. */
  open(id?: string): void;
  end(): void;
  /** The client is gone. */
  cut(): void;
  /** Resolves when no more waits than should; undefined: that is so now. */
  room(): Promise<void> | undefined;
}

/**
 * @param most bytes that should wait for a slow client at most; well above them it is cut off
 * @param onGone called once, when the client is gone before the end
 */
export function openEvents(most: number, onGone: () => void): EventStream {
  let controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  let isOpen = true;
  let full: PromiseWithResolvers<void> | undefined;
  const left = (): number => (isOpen ? (controller?.desiredSize ?? 0) : most);
  const makeRoom = (): void => {
    full?.resolve();
    full = undefined;
  };
  const cut = (): void => {
    if (!isOpen) return;
    isOpen = false;
    controller?.error();
    makeRoom();
    onGone();
  };
  const body = new ReadableStream<Uint8Array>(
    { start: (own) => void (controller = own), pull: makeRoom, cancel: cut },
    new ByteLengthQueuingStrategy({ highWaterMark: most }),
  );
  const write = (text: string): void => {
    if (!isOpen) return;
    // One message may be larger than all that may wait.
    if (left() <= -SLACK) cut();
    else controller?.enqueue(encoder.encode(text));
  };
  return {
    body,
    send: (line, id) =>
      write(`event: message\n${id === undefined ? "" : `id: ${id}\n`}data: ${line}\n\n`),
    open: (id) => write(id === undefined ? ": open\n\n" : `id: ${id}\ndata: \n\n`),
    end: () => {
      if (!isOpen) return;
      isOpen = false;
      controller?.close();
      makeRoom();
    },
    cut,
    room: () => {
      if (left() > 0) return undefined;
      full ??= Promise.withResolvers();
      return full.promise;
    },
  };
}
