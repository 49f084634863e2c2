// Where the folders of the property test are, and how their disk gets full.
import { existsSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** In memory where there is such a place: very many folders are made, and none is kept. */
export const memoryFolder = (): string =>
  mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "postern-test-"));

export const canFillDisk = process.platform === "linux" && Bun.which("prlimit") !== null;

const ignore = (): void => undefined;

/** Bytes that a file of this process may have: writes beyond fail, or end half way, as on a full disk. */
export function limitFiles(bytes: number | "unlimited"): void {
  // The signal that comes with it would end the process.
  process.off("SIGXFSZ", ignore).on("SIGXFSZ", ignore);
  Bun.spawnSync(["prlimit", "--pid", String(process.pid), `--fsize=${bytes}:`]);
}
