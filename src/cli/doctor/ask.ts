// One request as it goes out to the public URL, and what came back: never an exception, never more than a bounded body.
import { reason } from "../../errors.ts";
import { CHECKUP_HEADER } from "../../checkup.ts";
import { version } from "../../../package.json";

export interface Answer {
  /** 0: there was none, `failure` says why. */
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  readonly failure?: string;
}

export interface Question {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly agent?: string;
  /** Whatever certificate is shown: for this machine itself, whose certificate is for another name. */
  readonly anyCertificate?: boolean;
}

export type Ask = (url: string, question?: Question) => Promise<Answer>;

export const OWN_AGENT = `postern-doctor/${version}`;
/** Milliseconds for one answer. */
const PATIENCE = 10_000;
const LONGEST = 256 * 1024;

/** @param key of the check-up: with it no request counts as somebody's attempt to connect */
export const asker =
  (key: string | undefined): Ask =>
  async (url, question = {}) => {
    const { method = "GET", headers = {}, body, agent = OWN_AGENT, anyCertificate } = question;
    try {
      const response = await fetch(url, {
        method,
        headers: {
          "user-agent": agent,
          ...(key !== undefined && { [CHECKUP_HEADER]: key }),
          ...headers,
        },
        ...(body !== undefined && { body }),
        redirect: "manual",
        ...(anyCertificate && { tls: { rejectUnauthorized: false } }),
        signal: AbortSignal.timeout(PATIENCE),
      });
      const text = await readSome(response);
      return { status: response.status, headers: response.headers, text };
    } catch (error) {
      return { status: 0, headers: new Headers(), text: "", failure: failureOf(error) };
    }
  };

async function readSome({ body }: Response): Promise<string> {
  if (!body) return "";
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of body) {
    text += decoder.decode(chunk, { stream: true });
    // Leaving the loop cancels the rest.
    if (text.length > LONGEST) break;
  }
  return text;
}

function failureOf(error: unknown): string {
  if (error instanceof Error && error.name === "TimeoutError") {
    return `no answer within ${PATIENCE / 1000} seconds`;
  }
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  const words: Readonly<Record<string, string>> = {
    ConnectionRefused: "the connection is refused",
    ECONNREFUSED: "the connection is refused",
    ECONNRESET: "the connection is cut off",
    ConnectionClosed: "the connection is cut off",
    FailedToOpenSocket: "no connection",
  };
  return words[code] ?? reason(error).replace(/\.$/, "");
}

/** "403 from cloudflare (text/html)": an answer in a few words. */
export function inWords({ status, headers, failure }: Answer): string {
  if (failure !== undefined) return failure;
  const server = headers.get("server");
  const type = headers.get("content-type")?.split(";", 1)[0];
  const location = headers.get("location");
  const from = server === null ? "" : ` from ${server.slice(0, 40)}`;
  if (status >= 300 && status < 400 && location !== null) {
    return `${status}${from} to ${location.slice(0, 100)}`;
  }
  return `${status}${from}${type === undefined ? "" : ` (${type})`}`;
}

export const isRedirect = ({ status }: Answer): boolean => status >= 300 && status < 400;

/** The body as JSON; undefined for anything else. */
export function jsonOf({ text }: Answer): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** One member of a JSON object that may be none. */
export const memberOf = (value: unknown, name: string): unknown =>
  typeof value === "object" && value !== null
    ? Object.getOwnPropertyDescriptor(value, name)?.value
    : undefined;
