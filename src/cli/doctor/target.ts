// What the doctor looks at: one MCP server under its public URL, and the check-up that its server began, when it is ours.
import type { BegunCheckup } from "../../admin/checkup.ts";
import { randomToken } from "../../primitives.ts";
import type { Answer, Ask, Question } from "./ask.ts";

export interface Target {
  readonly ask: Ask;
  readonly origin: string;
  /** The URL that people paste. */
  readonly resource: string;
  /** Of the running server on this machine; absent when it is looked at from elsewhere. */
  readonly checkup: BegunCheckup | undefined;
}

export const aTool = (method: string): string =>
  JSON.stringify({ jsonrpc: "2.0", id: 1, method, params: {} });

/** Headers of an MCP call, each with a value that tells whether it arrived whole. */
export const callHeaders = {
  accept: "application/json, text/event-stream",
  "content-type": "application/json",
  "mcp-protocol-version": "2025-11-25",
  "mcp-method": "tools/call",
  "mcp-name": "postern-doctor",
  "last-event-id": "postern-doctor",
} as const;

/** Calls the MCP endpoint with the bearer of the check-up, as a client with a token does. */
export const probe = (
  { ask, resource }: Target,
  { key }: BegunCheckup,
  what: "seen" | "stream",
  question: Question = {},
): Promise<Answer> =>
  ask(resource, {
    method: "POST",
    body: aTool("tools/list"),
    ...question,
    headers: { authorization: `Bearer pcu_${key}.${what}`, ...callHeaders, ...question.headers },
  });

/** A session id that no server has. */
export const newSessionId = (): string => randomToken(12);
