// The ways on which the owner is told: a webhook, an ntfy topic, a command. Each delivers one message within its time or
// fails with a reason that names no address: those of webhooks are secrets.
import type { Config } from "../config.ts";
import { type News, titles } from "./news.ts";

/** What one message says: several news of one kind when many came at once. */
export interface Message {
  /** The oldest first, a few of them. */
  readonly news: readonly [News, ...News[]];
  /** How many there were in all. */
  readonly count: number;
  readonly issuer: string;
}

export interface Way {
  readonly name: "webhook" | "ntfy" | "command";
  /** @throws {Error} */
  readonly deliver: (message: Message, signal: AbortSignal) => Promise<void>;
}

type Targets = Pick<Config, "alertWebhook" | "alertNtfy" | "alertCommand">;

export function waysOf({ alertWebhook, alertNtfy, alertCommand }: Targets): Way[] {
  const ways: (Way | false)[] = [
    alertWebhook !== "" && {
      name: "webhook",
      deliver: (message, signal) =>
        post(alertWebhook, jsonOf(message), { "content-type": "application/json" }, signal),
    },
    alertNtfy !== "" && {
      name: "ntfy",
      deliver: (message, signal) =>
        post(alertNtfy, sentences(message), ntfyHeaders(message), signal),
    },
    alertCommand !== "" && {
      name: "command",
      deliver: (message, signal) => run(alertCommand, message, signal),
    },
  ];
  return ways.filter((way) => way !== false);
}

function sentences({ news, count }: Message): string {
  const more = count - news.length;
  return [...news.map(({ text }) => text), ...(more > 0 ? [`And ${more} more.`] : [])].join("\n");
}

/** `text` and `content` are what chat programs show. */
function jsonOf(message: Message): string {
  const { news, count, issuer } = message;
  const title = titles[news[0].kind];
  const text = `${title} (${issuer})\n${sentences(message)}`;
  return JSON.stringify({ event: news[0].kind, title, text, content: text, issuer, count, news });
}

const ntfyHeaders = ({ news: [{ kind }], issuer }: Message): Record<string, string> => ({
  title: `${titles[kind]} (${issuer})`,
  priority: kind === "token_reused" || kind === "failed_logins" ? "high" : "default",
});

/** An address in the owner's own network is fine, it is the owner's setting; where it would redirect to is not. */
async function post(
  url: string,
  body: string,
  headers: Record<string, string>,
  signal: AbortSignal,
): Promise<void> {
  let response: Response;
  try {
    response = await fetch(url, { method: "POST", body, headers, signal, redirect: "manual" });
  } catch (error) {
    // The message of a failed fetch may hold the address.
    throw new Error(signal.aborted ? "no answer in time" : `no connection (${codeOf(error)})`);
  }
  await response.body?.cancel();
  if (response.ok) return;
  const redirects = response.status >= 300 && response.status < 400;
  throw new Error(`status ${response.status}${redirects ? ", redirects are not followed" : ""}`);
}

const codeOf = (error: unknown): string =>
  error instanceof Error && "code" in error ? String(error.code) : "failed";

/** No shell and no arguments: the words of a client are in the environment and on standard input, never in a command. */
async function run(program: string, message: Message, signal: AbortSignal): Promise<void> {
  const { PATH, HOME, LANG } = process.env;
  const child = Bun.spawn([program], {
    env: {
      ...(PATH !== undefined && { PATH }),
      ...(HOME !== undefined && { HOME }),
      ...(LANG !== undefined && { LANG }),
      ALERT_EVENT: message.news[0].kind,
      ALERT_TITLE: titles[message.news[0].kind],
      ALERT_TEXT: sentences(message),
      ALERT_COUNT: String(message.count),
      ALERT_ISSUER: message.issuer,
    },
    stdin: new Blob([jsonOf(message)]),
    stdout: "ignore",
    stderr: "ignore",
    killSignal: "SIGKILL",
    signal,
  });
  const code = await child.exited;
  if (signal.aborted) throw new Error("it did not end in time");
  if (code !== 0) throw new Error(`it ended with ${code}`);
}
