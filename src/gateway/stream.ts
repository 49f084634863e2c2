// Relays one open-ended answer to the client: keeps event streams audible, ends them when the credential ends, cuts the
// client off when the upstream was cut. Status and headers are proxy.ts's.

const LF = 10;
const CR = 13;
const keepAlive = new TextEncoder().encode(": keep-alive\n\n");

export interface RelayOptions {
  /** Whether the bytes are an uncompressed event stream, into which comments may be put. */
  readonly events: boolean;
  readonly stillGood: () => Promise<boolean>;
  /** Stops the request behind. */
  readonly stop: () => void;
  /** Called once the answer behind has been read or given up; perhaps again. */
  readonly ended: () => void;
  /** Lifts the idle limit of the client's connection. */
  readonly keepOpen: () => void;
  /** Puts it back, for what may come on that connection after the stream. */
  readonly letIdle: () => void;
  /**
   * Milliseconds after which an answer counts as a stream. If it has no event yet, a comment opens it: Bun sends the
   * head of an answer with its first byte only, and a client waits for the head.
   */
  readonly opening: number;
  /** Milliseconds of silence between events before a comment is sent. */
  readonly silence: number;
  /** Milliseconds between two looks at the credential. */
  readonly recheck: number;
}

/** WHATWG HTML §9.2.6: events end with an empty line; line ends are CRLF, LF or CR, and chunks may split them anywhere. */
export function eventBoundary(): {
  see: (chunk: Uint8Array) => void;
  /** Whether the stream stands between two events: what was seen ends with an empty line, or nothing was seen. */
  between: () => boolean;
} {
  let [third, second, last] = [LF, LF, LF];
  return {
    see: (chunk) => {
      for (const byte of chunk.subarray(-3)) [third, second, last] = [second, last, byte];
    },
    between: () =>
      last === LF
        ? second === LF || (second === CR && (third === LF || third === CR))
        : // After CR LF CR the LF of the empty line may still be on its way.
          last === CR && second === CR,
  };
}

interface Watch {
  /** False once the stream has ended, from whichever side. */
  readonly open: () => boolean;
  readonly heard: (chunk: Uint8Array) => void;
  readonly end: () => void;
}

/** Looks after one open stream until it ends: its credential, its silences. */
function startWatch(
  controller: ReadableStreamDefaultController<Uint8Array>,
  options: RelayOptions,
): Watch {
  const { events, stillGood, stop } = options;
  const boundary = eventBoundary();
  let open = true;
  const check = async (): Promise<void> => {
    const good = await stillGood().catch(() => false);
    if (good || !open) return;
    end();
    stop();
    // The end of an event stream loses nothing; any other body would look complete.
    if (events) controller.close();
    else controller.error();
  };
  const comment = (): void => {
    // A client that takes nothing needs no sign of life.
    if (boundary.between() && (controller.desiredSize ?? 0) > 0) controller.enqueue(keepAlive);
  };
  let heard = false;
  let isLifted = false;
  let checking: Timer | undefined;
  let listening: Timer | undefined;
  // Most streams are over before they need looking after.
  const opening = setTimeout(() => {
    isLifted = true;
    options.keepOpen();
    checking = setInterval(check, options.recheck);
    checking.unref();
    if (!events) return;
    listening = setInterval(comment, options.silence);
    listening.unref();
    if (!heard) comment();
  }, options.opening);
  opening.unref();
  const end = (): void => {
    open = false;
    clearTimeout(opening);
    clearInterval(checking);
    clearInterval(listening);
    if (isLifted) options.letIdle();
    options.ended();
  };
  return {
    open: () => open,
    heard: (chunk) => {
      heard = true;
      boundary.see(chunk);
      listening?.refresh();
    },
    end,
  };
}

/** The same bytes, with comments between events while the upstream is silent; backpressure reaches the upstream. */
export function relay(
  source: ReadableStream<Uint8Array>,
  options: RelayOptions,
): ReadableStream<Uint8Array> {
  const reader = source.getReader();
  let watch: Watch | undefined;
  return new ReadableStream({
    start: (controller) => {
      watch = startWatch(controller, options);
    },
    pull: async (controller) => {
      try {
        const { done, value } = await reader.read();
        if (!watch?.open()) return;
        if (done) {
          watch.end();
          controller.close();
          return;
        }
        watch.heard(value);
        controller.enqueue(value);
      } catch {
        // An error, not a close: the client must see that the answer is incomplete. Without a value Bun prints nothing.
        if (watch?.open()) controller.error();
        watch?.end();
      }
    },
    cancel: () => {
      watch?.end();
      options.stop();
    },
  });
}
