// postern audit: the audit trail, straight from its files, so that it can be read whether a server runs or not.
import { existsSync } from "node:fs";
import type { AuditEvent } from "../audit.ts";
import { factsOf } from "../audit/events.ts";
import { followTrail, matcher, readTrail } from "../audit/trail.ts";
import { readTrailQuery } from "../admin/trail.ts";
import { readDataFolder } from "../config.ts";
import { FatalError, reason } from "../errors.ts";
import type { CommandLine } from "./command_line.ts";
import { fieldsText } from "./terminal.ts";

/** Lines that come before those of --follow when none are asked for. */
const BEFORE_FOLLOWING = "20";

/** The oldest first, as in the file. Resolves to the exit code. */
export async function audit({ given, flags, json }: CommandLine): Promise<number> {
  const folder = readDataFolder(given, process.env);
  if (!existsSync(folder)) {
    throw new FatalError(`there is no data folder ${folder}`, { hint: "name it with --data" });
  }
  const following = flags.follow !== undefined;
  const query = readQuery({ limit: following ? BEFORE_FOLLOWING : "", ...flags });
  const print = (event: AuditEvent): void =>
    void process.stdout.write(`${json ? JSON.stringify(event) : trailLine(event)}\n`);
  const printPast = async (end?: number): Promise<void> => {
    const { events } = await readTrail(folder, query, end);
    for (const event of events.toReversed()) print(event);
  };
  if (following) await follow(folder, printPast, matcher(query), print);
  else await printPast();
  return 0;
}

/** Prints what was there, then what comes, in this order and each once, until a signal or a closed pipe. */
async function follow(
  folder: string,
  printPast: (end: number) => Promise<void>,
  matches: (event: AuditEvent) => boolean,
  print: (event: AuditEvent) => void,
): Promise<void> {
  const stop = new AbortController();
  const end = (): void => stop.abort();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, end);
  process.stdout.on("error", end);
  const tell = (event: AuditEvent): void => {
    if (matches(event)) print(event);
  };
  await followTrail(folder, tell, stop.signal, printPast);
}

/** @throws {FatalError} exit 2 */
function readQuery({ limit = "", level = "", event = "", about = "" }: CommandLine["flags"]) {
  try {
    return readTrailQuery(new URLSearchParams({ limit, level, event, about }));
  } catch (error) {
    throw new FatalError(`--${reason(error)}`, { exitCode: 2, cause: error });
  }
}

/** "2026-11-21 10:31:07 warn  login failed  address=127.0.0.1" */
function trailLine({ at, event, ...fields }: AuditEvent): string {
  const level = (factsOf(event)?.level ?? "-").padEnd(5);
  const time = at.slice(0, 19).replace("T", " ");
  return [time, level, event.replaceAll("_", " "), fieldsText(fields)].join(" ").trimEnd();
}
