// One connection of a client program to an MCP server, whichever SDK makes it, and the way to it through a login.
import type { Program } from "./program.ts";

export interface ProgressSeen {
  readonly progress: number;
}

export interface Connection {
  connect(): Promise<void>;
  /** With what the browser brought back; `connect` of a new connection comes next. */
  finishLogin(answer: URLSearchParams): Promise<void>;
  /** Resolves to the structured content of the tool's answer. @throws the SDK's error, or one for an answer with isError */
  call(
    tool: string,
    parameters?: Record<string, unknown>,
    onProgress?: (seen: ProgressSeen) => void,
  ): Promise<Record<string, unknown>>;
  /** The names of the server's tools. */
  tools(): Promise<string[]>;
  /** Messages that came in by log notifications, as they come. */
  readonly messages: unknown[];
  /** undefined without a session. */
  sessionId(): string | undefined;
  /** The protocol revision that was agreed on. */
  revision(): string | undefined;
  endSession(): Promise<void>;
  close(): Promise<void>;
}

export interface Sdk {
  readonly name: string;
  /** Revision that it agrees on with the newest server; undefined: it does not tell. */
  readonly revision: string | undefined;
  /** What its person types behind the URL of the MCP server. */
  readonly endpoint?: string;
  /**
   * Resolves to the URL of an MCP server that it can speak to, when the built-in one is too new.
   * @param base path of the public URL
   */
  readonly startUpstream?: (base: string) => Promise<string>;
  /** Steps of the story that it cannot take, and why. */
  readonly lacks?: {
    /** To go on with a connection after the server was restarted. */
    readonly lastingSession?: string;
    /** To register anew when the server has lost its registration. */
    readonly recovery?: string;
  };
  /** @param headers sent with every MCP request */
  open(url: string, program: Program, headers?: Record<string, string>): Connection;
  /** Whether the error says that a person has to log in. */
  asksForLogin(error: unknown): boolean;
  /** The HTTP status that an error tells of. */
  statusOf(error: unknown): number | undefined;
}

/** Connects as a program does at its start: with what it remembers, through a login when the server wants one. */
export async function connect(
  sdk: Sdk,
  url: string,
  program: Program,
  headers?: Record<string, string>,
): Promise<Connection> {
  const first = sdk.open(url, program, headers);
  try {
    await first.connect();
    return first;
  } catch (error) {
    if (!sdk.asksForLogin(error)) throw error;
  }
  await finish(first, program);
  const second = sdk.open(url, program, headers);
  await second.connect();
  return second;
}

/** Hands the last answer that the browser brought to the connection that asked for it. */
export async function finish(connection: Connection, program: Program): Promise<void> {
  const answer = program.answers.at(-1);
  if (!answer) throw new Error("nobody was asked to log in");
  await connection.finishLogin(answer);
  await connection.close();
}
