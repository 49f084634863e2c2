// The metrics of a server: what a scrape asks of the store and of the process. What is counted on the way is the counters'.
import { readdirSync } from "node:fs";
import { version } from "../../package.json";
import type { Server } from "../config.ts";
import type { Deps } from "../deps.ts";
import type { UpstreamState } from "../gateway/sights.ts";
import type { StdioState } from "../gateway/stdio.ts";
import { type Family, type Metrics, type Sample, createMetrics } from "../metrics.ts";
import type { OpenStore } from "../store/folder.ts";
import { tableNames } from "../store/records.ts";

export function serverMetrics(
  store: OpenStore,
  { now, monotonic }: { now: () => number; monotonic: () => number },
): Metrics {
  const metrics = createMetrics();
  const startedAt = (now() - monotonic()) / 1000;
  metrics.collect(() => [...storeFamilies(store), ...processFamilies(startedAt)]);
  return metrics;
}

const single = (
  type: "counter" | "gauge",
  name: string,
  help: string,
  value: number,
  labels = {},
): Family => ({ name, type, help, samples: [{ labels, value }] });

// prettier-ignore
function storeFamilies({ counters, size }: OpenStore): Family[] {
  return [
    single("counter", "postern_store_commits_total", "Groups of changes that were saved.", counters.groups),
    single("counter", "postern_store_changes_total", "Changes that were saved.", counters.changes),
    single("counter", "postern_store_failures_total", "Groups of changes that could not be saved.", counters.failures),
    single("counter", "postern_store_writes_total", "Writes to journals.", counters.writes),
    single("counter", "postern_store_written_bytes_total", "Bytes written to journals.", counters.bytes),
    single("counter", "postern_store_syncs_total", "Syncs of files and of the data folder.", counters.syncs),
    single("counter", "postern_store_snapshots_total", "Snapshots made.", counters.compactions),
    single("gauge", "postern_store_failing", "1 when the last change could not be saved.", counters.failuresInRow > 0 ? 1 : 0),
    {
      name: "postern_store_records",
      type: "gauge",
      help: "Records by table.",
      samples: tableNames.map((table) => ({ labels: { table }, value: size(table) })),
    },
  ];
}

/** The servers behind, by path: as they were last seen, nobody is asked. */
export function serverFamilies({ config, stdio, upstreams }: Deps): Family[] {
  const labelled = <T>(
    values: (server: Server) => T | undefined,
    value: (found: T) => number,
  ): Sample[] =>
    config.servers.flatMap((server) => {
      const found = values(server);
      return found === undefined ? [] : [{ labels: { server: server.path }, value: value(found) }];
    });
  const children = (
    name: string,
    type: Family["type"],
    help: string,
    value: (state: StdioState) => number,
  ): Family => ({ name, type, help, samples: labelled((server) => stdio.state(server), value) });
  const upstream = (server: Server): UpstreamState | undefined =>
    server.upstream === undefined ? undefined : upstreams.state(server);
  return [
    {
      name: "postern_server_failing",
      type: "gauge",
      help: "1 when the HTTP server behind did not answer the last request.",
      samples: labelled(upstream, ({ answered_at: good = 0, failed_at: bad = 0 }) =>
        bad > good ? 1 : 0,
      ),
    },
    children("postern_server_processes", "gauge", "Processes that run.", ({ running }) => running),
    children(
      "postern_server_sessions",
      "gauge",
      "Sessions of clients.",
      ({ sessions }) => sessions,
    ),
    children(
      "postern_server_starts_total",
      "counter",
      "Processes that were started.",
      ({ started }) => started,
    ),
    children(
      "postern_server_crashes_total",
      "counter",
      "Processes that ended unasked.",
      ({ crashed }) => crashed,
    ),
  ];
}

/** Under the names that all Prometheus clients use. @param startedAt epoch seconds */
// prettier-ignore
function processFamilies(startedAt: number): Family[] {
  const { user, system } = process.cpuUsage();
  return [
    single("gauge", "postern_build_info", "Always 1; the labels say what runs.", 1, { version, bun: Bun.version }),
    single("gauge", "process_start_time_seconds", "When the process began, in seconds since 1970.", startedAt),
    single("counter", "process_cpu_seconds_total", "CPU time of user and system.", (user + system) / 1e6),
    single("gauge", "process_resident_memory_bytes", "Memory that is resident.", process.memoryUsage.rss()),
    ...openFiles().map((value) => single("gauge", "process_open_fds", "Open file descriptors.", value)),
  ];
}

/** Where the system tells. */
function openFiles(): number[] {
  try {
    return [readdirSync("/proc/self/fd").length];
  } catch {
    return [];
  }
}
