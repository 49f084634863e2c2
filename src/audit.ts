// The audit trail: the only writer of events and the only redaction. An event that cannot be written is counted, never
// a reason to refuse a request.
import { closeSync, fstatSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { EventName } from "./audit/events.ts";
import type { Call } from "./deps.ts";
import { type OAuthError, StoreUnavailable, asOAuthError } from "./errors.ts";
import { networkOf } from "./limits.ts";
import { createRation } from "./ration.ts";

export type Fields = Readonly<Record<string, string | number | boolean | undefined>>;

export interface AuditEvent extends Fields {
  readonly at: string;
  readonly event: EventName;
}

export interface Audit {
  record(event: EventName, fields?: Fields): void;
  close(): void;
}

export interface AuditOptions {
  /** Folder of audit.jsonl; undefined: events are only handed to `print`. */
  readonly folder?: string;
  readonly now: () => number;
  /** Size in bytes at which audit.jsonl becomes audit.jsonl.1. */
  readonly rotateAt?: number;
  /** Receives each redacted event, for the terminal. */
  readonly print?: (event: AuditEvent) => void;
}

// What anybody can cause, as often as they like.
const rationed = new Set<EventName>(["request_refused", "server_error"]);

// Everything that we issue has one of these prefixes; what stands behind it never reaches a log.
// A word begins after an encoded character too: "%20pat_".
const secret = /(?:\b|(?<=%[0-9A-Fa-f]{2}))(p(?:at|rt|ac|dc|ak|cs|cu)_)[A-Za-z0-9_.~-]+/g;
const bearer = /\b(bearer|basic)\s+[A-Za-z0-9+/=_.~-]+/gi;

/** Text of strangers for a terminal or a log: nothing in it ends the line, moves the cursor or changes the direction. */
export const oneLine = (text: string): string =>
  text.replace(/[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g, "\ufffd");

/** Text with the tokens in it blanked out. */
export const withoutSecrets = (text: string): string =>
  text.replace(secret, "$1[redacted]").replace(bearer, "$1 [redacted]");

/** Text as it may be logged: no token, on one line, at most 500 characters. */
export const redact = (text: string): string => oneLine(withoutSecrets(text).slice(0, 500));

/** What every event that a request caused tells of it: who sent it, and the id that its answer carries. */
export const sentBy = ({ requestId, address }: Pick<Call, "requestId" | "address">): Fields => ({
  request: requestId,
  address,
});

/**
 * What is told of an error that becomes an answer: every failure of ours, and refusals that have a reason, or all of them.
 * @param where request, path and the like
 * @returns the error to answer with
 */
export function recordError(
  audit: Audit,
  thrown: unknown,
  where: Fields,
  allRefusals = false,
): OAuthError {
  const error = asOAuthError(thrown);
  if (error.code === "server_error" || error instanceof StoreUnavailable) {
    const cause = error.cause ?? error;
    audit.record("server_error", {
      ...where,
      error: error.detail ?? String(cause),
      ...(error !== thrown && cause instanceof Error && { stack: cause.stack }),
    });
  } else if (error.detail !== undefined || allRefusals) {
    const { code, detail = error.message } = error;
    audit.record("request_refused", { ...where, code, detail });
  }
  return error;
}

interface LogFile {
  write(line: string): void;
  close(): void;
}

/** A file that is added to, and turned over when it is full. */
function openLogFile(path: string, rotateAt: number): LogFile {
  let file: number | undefined;
  let size = 0;
  const open = (): number => {
    file ??= openSync(path, "a", 0o600);
    size = fstatSync(file).size;
    return file;
  };
  const close = (): void => {
    if (file !== undefined) closeSync(file);
    file = undefined;
  };
  return {
    write: (line) => {
      let descriptor = file ?? open();
      if (size > rotateAt) {
        close();
        // Measured: a rename over an existing file makes ext4 write the new one out, and every request waits for it.
        rmSync(`${path}.1`, { force: true });
        renameSync(path, `${path}.1`);
        descriptor = open();
      }
      const length = writeSync(descriptor, line);
      size += length;
    },
    close,
  };
}

export function openAudit(options: AuditOptions): Audit {
  const { folder, now, print, rotateAt = 8 * 1024 * 1024 } = options;
  const file =
    folder === undefined ? undefined : openLogFile(join(folder, "audit.jsonl"), rotateAt);
  const ration = createRation(now);
  const tell = (event: EventName, fields: Fields): void => {
    const entry: Record<string, string | number | boolean | undefined> = {};
    for (const [key, value] of Object.entries(fields)) {
      entry[key] = typeof value === "string" ? redact(value) : value;
    }
    const complete: AuditEvent = { at: new Date(now()).toISOString(), event, ...entry };
    print?.(complete);
    try {
      file?.write(`${JSON.stringify(complete)}\n`);
    } catch {
      // A full disk must not turn a refusal or a login into an error; the next event tries a fresh handle.
      file?.close();
    }
  };
  const tellLeftOut = (anyway?: boolean): void => {
    for (const [network, lines] of ration.leftOut(anyway)) {
      tell("requests_refused", { network, lines });
    }
  };

  return {
    record: (event, fields = {}) => {
      tellLeftOut();
      const { address } = fields;
      const isRationed = rationed.has(event) && typeof address === "string";
      if (!isRationed || ration.admit(networkOf(address))) tell(event, fields);
    },
    close: () => {
      tellLeftOut(true);
      file?.close();
    },
  };
}
