// What the server prints while it runs: lines for people on a terminal, JSON lines for programs elsewhere, from a level on.
// The words themselves are terminal.ts's.
import type { AuditEvent, Fields } from "../audit.ts";
import { factsOf, isAtLeast } from "../audit/events.ts";
import type { Config } from "../config.ts";
import { type Level, levels } from "../values.ts";
import { type Terminal, eventLine, warn } from "./terminal.ts";

export type LogSettings = Pick<Config, "logFormat" | "logLevel">;

export interface Log extends Terminal {
  /** From now on prints by these settings. */
  use(settings: LogSettings): void;
}

/**
 * Results on stdout, warnings on stderr. A closed or full stdout never stops the server.
 * @param now epoch milliseconds
 */
export function openLog(given: LogSettings, now: () => number): Log {
  const ignore = (): void => undefined;
  process.stdout.on("error", ignore);
  process.stderr.on("error", ignore);
  let settings = given;
  const isText = (): boolean =>
    settings.logFormat === "text" || (settings.logFormat === "auto" && process.stdout.isTTY);
  const isLoud = (level: Level): boolean =>
    levels.indexOf(level) >= levels.indexOf(settings.logLevel);
  const line = (to: NodeJS.WriteStream, level: Level, facts: Fields): void =>
    void to.write(`${JSON.stringify({ at: new Date(now()).toISOString(), level, ...facts })}\n`);
  return {
    log: (text, facts) => {
      if (!isLoud("info")) return;
      if (isText()) process.stdout.write(`${text}\n`);
      else line(process.stdout, "info", facts ?? { message: text });
    },
    warn: (text) => {
      if (!isLoud("warn")) return;
      if (isText()) warn(text);
      else line(process.stderr, "warn", { message: text });
    },
    event: (event) => {
      if (!isAtLeast(event.event, settings.logLevel)) return;
      if (isText()) printEvent(event);
      else line(process.stdout, factsOf(event.event)?.level ?? "error", event);
    },
    use: (changed) => {
      settings = changed;
    },
  };
}

function printEvent(event: AuditEvent): void {
  const text = eventLine(event);
  if (text !== undefined) process.stdout.write(`${text}\n`);
}
