// Measures the executable as a newcomer meets it: time from start to the first 200 in an empty data folder, memory when idle, size.
import { readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import {
  buildExecutable,
  freePort,
  ownFolder,
  startExecutable,
  untilReady,
} from "../cli/executable.ts";

const STARTS = 10;
/** Milliseconds without requests before memory is read. */
const IDLE = 2000;

interface Sample {
  /** Milliseconds to the first 200 of /healthz. */
  readonly ready: number;
  /** MB; NaN where there is no /proc. */
  readonly resident: number;
  readonly anonymous: number;
}

async function measure(path: string, folder: string, idle: number): Promise<Sample> {
  const port = freePort();
  const startedAt = performance.now();
  const running = startExecutable(path, { folder, flags: ["--port", String(port)] });
  await untilReady(running, port);
  const ready = performance.now() - startedAt;
  await Bun.sleep(idle);
  const sample = {
    ready,
    resident: statusMegabytes(running.pid, "VmRSS"),
    anonymous: statusMegabytes(running.pid, "RssAnon"),
  };
  running.kill("SIGKILL");
  await running.exited;
  return sample;
}

function statusMegabytes(pid: number, field: string): number {
  if (process.platform !== "linux") return Number.NaN;
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const kilobytes = new RegExp(`^${field}:\\s+(\\d+) kB$`, "m").exec(status)?.[1];
  return Number(kilobytes) / 1024;
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  return ((sorted[Math.ceil(middle) - 1] ?? 0) + (sorted[Math.floor(middle)] ?? 0)) / 2;
}

const executable = buildExecutable();
try {
  const samples: Sample[] = [];
  for (let start = 0; start <= STARTS; start++) {
    const folder = ownFolder(join(executable.folder, `start-${start}`));
    const sample = await measure(executable.path, folder, start === STARTS ? IDLE : 0);
    samples.push(sample);
    rmSync(folder, { recursive: true });
  }
  const starts = samples.slice(0, STARTS).map(({ ready }) => ready);
  const idle = samples[STARTS];
  const range = `${Math.min(...starts).toFixed(0)}-${Math.max(...starts).toFixed(0)}`;
  const rows: [string, string][] = [
    [
      `start to first 200, median of ${STARTS} (range)`,
      `${median(starts).toFixed(1)} ms (${range})`,
    ],
    [`resident memory after ${IDLE / 1000} s idle`, `${idle?.resident.toFixed(1)} MB`],
    ["of it anonymous", `${idle?.anonymous.toFixed(1)} MB`],
    ["size of the executable", `${(statSync(executable.path).size / 1e6).toFixed(1)} MB`],
  ];
  for (const [name, value] of rows) console.log(`${name.padEnd(44)}${value}`);
} finally {
  executable.remove();
}
