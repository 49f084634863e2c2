// Takes up changed settings while the server runs: when config.json or a file that it names has changed, and on SIGHUP.
// Bad ones change nothing. What a change does is apply's; which settings are read at start only is settings.ts's.
import { join } from "node:path";
import type { Audit } from "../audit.ts";
import { CONFIG_FILE, type Config, type Reading, resolveConfig } from "../config.ts";
import { FatalError, reason } from "../errors.ts";
import type { Family, Metrics } from "../metrics.ts";
import { settingKeys, settings } from "../settings.ts";
import type { Terminal } from "./terminal.ts";
import { watchFiles } from "./watch.ts";

export interface ReloadOptions {
  /** @throws {FatalError} what is wrong with the settings */
  readonly reread: () => Reading;
  /** What the server was started with. */
  readonly started: Reading;
  /** Takes all of it up, or throws and takes up nothing. Resolves to what has changed besides settings. */
  readonly apply: (config: Config) => Promise<readonly string[]>;
  /** Files that belong to the settings of the running server. */
  readonly files: () => readonly string[];
  readonly terminal: Terminal;
  readonly audit: Audit;
  readonly metrics: Metrics;
  readonly now: () => number;
}

export interface Reload {
  /** Reads the settings again, after whoever is doing so now. Never rejects. */
  now(): Promise<void>;
  stop(): void;
}

export function startReload(options: ReloadOptions): Reload {
  const path = join(options.started.values.data, CONFIG_FILE);
  let running = options.started;
  let queue = Promise.resolve();
  let isStopped = false;
  let last = { isGood: 1, at: options.now() };
  options.metrics.collect(() => reloadFamilies(last));
  const watch = watchFiles({
    paths: () => [path, ...options.files()],
    changed: () => void reload.now(),
    now: options.now,
  });
  const step = async (): Promise<void> => {
    if (isStopped) return;
    // Before it is read: what changes from here on is told again.
    watch.know();
    try {
      running = await takeUp(running, options);
      last = { isGood: 1, at: options.now() };
    } catch (error) {
      last = { ...last, isGood: 0 };
      tellRefusal(error, options);
    }
  };
  const reload: Reload = {
    now: () => (queue = queue.then(step)),
    stop: () => {
      isStopped = true;
      watch.stop();
    },
  };
  // What changed while the folder was being opened came before the first look.
  if (differs(options)) void reload.now();
  return reload;
}

/** @param last whether the last reading was good, and when the last good one was, epoch milliseconds */
function reloadFamilies(last: { isGood: number; at: number }): Family[] {
  return [
    {
      name: "postern_settings_last_reload_successful",
      type: "gauge",
      help: "1 when the settings were good at the last look, 0 when they were refused.",
      samples: [{ value: last.isGood }],
    },
    {
      name: "postern_settings_last_reload_success_timestamp_seconds",
      type: "gauge",
      help: "When good settings were last read, in seconds since 1970.",
      samples: [{ value: last.at / 1000 }],
    },
  ];
}

function differs({ started, reread }: ReloadOptions): boolean {
  try {
    const { changed, waiting } = compareReadings(started, reread());
    return changed.length + waiting.length > 0;
  } catch {
    return true;
  }
}

/** What runs from now on. @throws when the settings are bad: everything stays as it was */
async function takeUp(running: Reading, options: ReloadOptions): Promise<Reading> {
  const { reread, apply, terminal, audit } = options;
  const found = reread();
  if (running.hasFile && !found.hasFile) {
    throw new FatalError(`${CONFIG_FILE} is gone`, {
      hint: "put it back, or write {} into it to go back to the defaults",
    });
  }
  const { next, changed, waiting } = compareReadings(running, found);
  const also = await apply(resolveConfig(next));
  const all = [...changed, ...also];
  terminal.log(
    all.length > 0
      ? `settings taken up: ${all.join(", ")}`
      : "settings read again: nothing to take up",
  );
  if (waiting.length > 0) terminal.warn(`needs a restart: ${waiting.join(", ")}`);
  if (all.length + waiting.length > 0) {
    audit.record("settings_changed", { changed: all.join(" "), restart: waiting.join(" ") });
  }
  return next;
}

/** What can be taken up of `found`, and what has to wait for a restart. */
function compareReadings(
  running: Reading,
  found: Reading,
): { next: Reading; changed: string[]; waiting: string[] } {
  const differing = settingKeys.filter(
    (key) => !Bun.deepEquals(found.values[key], running.values[key]),
  );
  const waiting = differing.filter((key) => settings[key].atStart);
  const kept = Object.fromEntries(waiting.map((key) => [key, running.values[key]]));
  const changed: string[] = differing.filter((key) => !settings[key].atStart);
  if (!Bun.deepEquals(found.servers, running.servers)) changed.push("servers");
  return { next: { ...found, values: { ...found.values, ...kept } }, changed, waiting };
}

function tellRefusal(error: unknown, { terminal, audit }: ReloadOptions): void {
  const hint = error instanceof FatalError ? error.hint : undefined;
  terminal.warn(
    `settings stay as they were: ${reason(error)}${hint === undefined ? "" : `\npostern: hint: ${hint}`}`,
  );
  audit.record("settings_refused", { reason: reason(error) });
}
