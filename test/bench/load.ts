// A closed loop of HTTP/1.1 requests over raw sockets: every connection sends its next request when its answer is whole.

export interface Load {
  /** Requests a second. */
  readonly rate: number;
  /** Milliseconds. */
  readonly p50: number;
  readonly p99: number;
}

export interface LoadOptions {
  readonly port: number;
  /** The request, head and body, byte for byte. */
  readonly request: string;
  readonly connections: number;
  /** Measured requests, over all connections. */
  readonly requests: number;
  /** Requests before the measurement begins. */
  readonly warmUp: number;
}

/** Number of characters of the first whole answer in `text`; 0 while it is incomplete. */
function answerLength(text: string): number {
  const head = text.indexOf("\r\n\r\n");
  if (head < 0) return 0;
  const start = head + 4;
  const length = /\r\ncontent-length: *(\d+)/i.exec(text.slice(0, head + 2))?.[1];
  if (length !== undefined) {
    const end = start + Number(length);
    return text.length >= end ? end : 0;
  }
  const end = text.indexOf("\r\n0\r\n\r\n", head);
  return end < 0 ? 0 : end + 7;
}

/** @throws when an answer is not 200 or a connection ends early: such a run measures nothing */
export async function runLoad(options: LoadOptions): Promise<Load> {
  const { port, request, connections, requests, warmUp } = options;
  const times: number[] = [];
  const done = Promise.withResolvers<void>();
  let started = 0;
  let finished = 0;
  let begin = 0;
  const talk = (): Promise<unknown> => {
    let text = "";
    let sentAt = 0;
    const send = (socket: Bun.Socket): void => {
      if (started++ >= requests + warmUp) return void socket.end();
      sentAt = performance.now();
      socket.write(request);
    };
    return Bun.connect({
      hostname: "127.0.0.1",
      port,
      socket: {
        open: send,
        data: (socket, chunk) => {
          text += chunk.toString("latin1");
          const length = answerLength(text);
          if (length === 0) return;
          if (!text.startsWith("HTTP/1.1 200")) return done.reject(new Error(text.slice(0, 300)));
          text = text.slice(length);
          const now = performance.now();
          finished++;
          if (finished === warmUp) begin = now;
          if (finished > warmUp) times.push(now - sentAt);
          if (finished === requests + warmUp) done.resolve();
          send(socket);
        },
        close: () => {
          if (started < requests + warmUp) done.reject(new Error("a connection ended early"));
        },
        error: (_socket, error) => done.reject(error),
      },
    });
  };
  await Promise.all(Array.from({ length: connections }, talk));
  await done.promise;
  const seconds = (performance.now() - begin) / 1000;
  times.sort((a, b) => a - b);
  const quantile = (part: number): number => times[Math.floor((times.length - 1) * part)] ?? 0;
  return { rate: requests / seconds, p50: quantile(0.5), p99: quantile(0.99) };
}

export const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
