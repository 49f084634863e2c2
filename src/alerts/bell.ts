// Tells the owner at once: hears every event of the audit trail, keeps what is news, and rings on each way. Bounded in
// every direction: news of one kind that come together become one message, few wait, each has its time. No request ever
// waits for it.
import type { AuditEvent } from "../audit.ts";
import type { Config } from "../config.ts";
import { reason } from "../errors.ts";
import { type News, type NewsKind, createNewsdesk } from "./news.ts";
import { type Message, type Way, waysOf } from "./ways.ts";

/** All in milliseconds. */
export interface BellTiming {
  /** After a message, the next one of its kind waits so long and takes along what came meanwhile. */
  readonly quiet: Readonly<Record<NewsKind, number>>;
  /** For one delivery. */
  readonly patience: number;
  /** Until a failed delivery is tried once more. */
  readonly again: number;
}
const usual: BellTiming = {
  quiet: {
    new_client: 600_000,
    new_connection: 60_000,
    token_reused: 60_000,
    failed_logins: 600_000,
  },
  patience: 10_000,
  again: 15_000,
};

/** News that one message spells out. */
const SPELLED = 5;
/** Messages that wait on one way. */
const WAITING = 8;
/** Milliseconds for what is on its way when the server stops. */
const FAREWELL = 2000;

export interface Alerts {
  hear(event: AuditEvent): void;
  /** From now on tells on the ways of these settings. */
  use(config: Config): void;
  /** Sends what waits, for two seconds at most. */
  close(): Promise<void>;
}

interface Held {
  readonly news: News[];
  count: number;
  readonly timer: ReturnType<typeof setTimeout>;
}

/** @param failed told when a message cannot be delivered */
export function createAlerts(
  config: Config,
  failed: (way: Way["name"], why: string) => void,
  timing = usual,
): Alerts {
  const newsdesk = createNewsdesk();
  const held = new Map<NewsKind, Held>();
  const stop = new AbortController();
  const open = (settings: Config): Line[] =>
    waysOf(settings).map((way) => openLine(way, timing, stop.signal, failed));
  let { issuer } = config;
  let lines = open(config);
  const ring = (news: readonly News[], count: number): void => {
    const [first, ...others] = news;
    if (!first) return;
    for (const line of lines) line.send({ news: [first, ...others], count, issuer });
  };
  const release = (kind: NewsKind): void => {
    const waiting = held.get(kind);
    held.delete(kind);
    if (!waiting || waiting.count === 0) return;
    hush(kind);
    ring(waiting.news, waiting.count);
  };
  const hush = (kind: NewsKind): void => {
    const timer = setTimeout(() => release(kind), timing.quiet[kind]);
    timer.unref();
    held.set(kind, { news: [], count: 0, timer });
  };
  return {
    hear: (event) => {
      if (lines.length === 0) return;
      const news = newsdesk(event);
      if (!news) return;
      const waiting = held.get(news.kind);
      if (!waiting) {
        hush(news.kind);
        ring([news], 1);
        return;
      }
      waiting.count++;
      if (waiting.news.length < SPELLED) waiting.news.push(news);
    },
    use: (settings) => {
      ({ issuer } = settings);
      lines = open(settings);
    },
    close: async () => {
      for (const [kind, { timer, news, count }] of held) {
        clearTimeout(timer);
        held.delete(kind);
        ring(news, count);
      }
      const end = Promise.withResolvers<void>();
      const timer = setTimeout(end.resolve, FAREWELL);
      await Promise.race([Promise.all(lines.map((line) => line.idle())), end.promise]);
      clearTimeout(timer);
      stop.abort();
    },
  };
}

interface Line {
  readonly send: (message: Message) => void;
  /** Resolves when nothing waits. */
  readonly idle: () => Promise<void>;
}

/** One message after the other; when too many wait, the oldest is given up. */
function openLine(
  way: Way,
  timing: BellTiming,
  stopped: AbortSignal,
  failed: (way: Way["name"], why: string) => void,
): Line {
  const waiting: Message[] = [];
  let running: Promise<void> | undefined;
  const once = (message: Message): Promise<void> =>
    way.deliver(message, AbortSignal.any([stopped, AbortSignal.timeout(timing.patience)]));
  const deliver = async (message: Message): Promise<void> => {
    try {
      await once(message);
    } catch {
      await sleep(timing.again, stopped);
      if (!stopped.aborted) await once(message);
    }
  };
  const work = async (): Promise<void> => {
    for (let next = waiting.shift(); next && !stopped.aborted; next = waiting.shift()) {
      await deliver(next).catch((error: unknown) => failed(way.name, reason(error)));
    }
    running = undefined;
  };
  return {
    send: (message) => {
      if (waiting.push(message) > WAITING) {
        waiting.shift();
        failed(way.name, "too many messages wait, the oldest was given up");
      }
      running ??= work();
    },
    idle: async () => running,
  };
}

async function sleep(milliseconds: number, stopped: AbortSignal): Promise<void> {
  if (stopped.aborted) return;
  const end = Promise.withResolvers<void>();
  const timer = setTimeout(end.resolve, milliseconds);
  timer.unref();
  stopped.addEventListener("abort", () => end.resolve(), { once: true });
  await end.promise;
  clearTimeout(timer);
}
