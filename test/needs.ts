// Parts of the machine that some tests need: without its part a test is skipped with a message, or fails where skipping is forbidden.
import { existsSync, readFileSync } from "node:fs";
import { test } from "bun:test";
import { canLimitProcessor } from "./faults/control_group.ts";
import { fakeTimeLibrary } from "./faults/faketime.ts";
import { engines } from "../package.json";
import { canLoop } from "./faults/loop_disk.ts";

interface Part {
  readonly present: () => boolean;
  /** How to get it, for the message. */
  readonly remedy: string;
}

/** The browser's executable; undefined when the machine has none. */
export const chromiumPath = (): string | undefined =>
  Bun.which("chromium") ?? Bun.which("chromium-browser") ?? Bun.which("google-chrome") ?? undefined;

/**
 * A command prefix that runs what follows with a folder mounted noexec, and that folder.
 * Root or a user namespace makes one at `folder`; else a mount that the machine already has is taken.
 */
export function noexecFolder(folder: string): { prefix: string[]; folder: string } | undefined {
  const script = `mount -t tmpfs -o noexec,mode=1777 none "$0" && exec "$@"`;
  for (const namespace of [
    ["unshare", "--mount"],
    ["unshare", "--mount", "--map-root-user"],
  ]) {
    const prefix = [...namespace, "sh", "-c", script, folder];
    if (Bun.which("unshare") && runs([...prefix, "true"])) return { prefix, folder };
  }
  const mounted = existsSync("/proc/mounts") ? readFileSync("/proc/mounts", "utf8") : "";
  const found = mounted
    .split("\n")
    .map((line) => line.split(" "))
    .find(([, path, , options]) => path === "/dev/shm" && options?.split(",").includes("noexec"));
  return found?.[1] ? { prefix: [], folder: found[1] } : undefined;
}

/** npm's way to this project's Bun, for machines that have Node alone. */
export const npxBun = ["npx", "-y", `bun@${engines.bun.replace(/[^\d.]/g, "")}`];

const runs = (command: string[]): boolean =>
  Bun.spawnSync(command, { stdout: "ignore", stderr: "ignore" }).success;

const parts = {
  chromium: { present: () => chromiumPath() !== undefined, remedy: "install chromium" },
  strace: { present: () => Bun.which("strace") !== null, remedy: "install strace" },
  git: { present: () => Bun.which("git") !== null, remedy: "install git" },
  rsync: { present: () => Bun.which("rsync") !== null, remedy: "install rsync" },
  prlimit: { present: () => Bun.which("prlimit") !== null, remedy: "install util-linux" },
  pebble: { present: () => Bun.which("pebble") !== null, remedy: "install pebble" },
  nginx: { present: () => Bun.which("nginx") !== null, remedy: "install nginx-light" },
  caddy: { present: () => Bun.which("caddy") !== null, remedy: "install caddy" },
  shellcheck: { present: () => Bun.which("shellcheck") !== null, remedy: "install shellcheck" },
  systemd: { present: () => Bun.which("systemd-analyze") !== null, remedy: "install systemd" },
  openssl: { present: () => Bun.which("openssl") !== null, remedy: "install openssl" },
  script: { present: () => Bun.which("script") !== null, remedy: "install bsdutils" },
  "processor groups": {
    present: canLimitProcessor,
    remedy: "run as root, where control groups can be made",
  },
  linux: { present: () => process.platform === "linux", remedy: "run on Linux" },
  faketime: { present: () => fakeTimeLibrary() !== undefined, remedy: "install faketime" },
  ext4: { present: () => canLoop("ext4"), remedy: "as root, install e2fsprogs, allow loop mounts" },
  xfs: { present: () => canLoop("xfs"), remedy: "as root, install xfsprogs, allow loop mounts" },
  xz: { present: () => Bun.which("xz") !== null, remedy: "install xz-utils" },
  zip: {
    present: () => Bun.which("zip") !== null && Bun.which("unzip") !== null,
    remedy: "install zip and unzip",
  },
  clone: {
    present: () => runs(["git", "rev-parse", "HEAD"]),
    remedy: "install git, and run in a clone of the repository",
  },
  npx: {
    present: () => Bun.which("npx") !== null && runs([...npxBun, "--version"]),
    remedy: "install Node, and let npm reach a registry",
  },
  root: { present: () => process.getuid?.() === 0, remedy: "run as root" },
  noexec: {
    present: () => noexecFolder("/tmp") !== undefined,
    remedy: "run as root, or allow user namespaces",
  },
} satisfies Record<string, Part>;
export type PartName = keyof typeof parts;

/** The parts that this machine lacks, each with how to get it. */
export const missingParts = (names: readonly PartName[]): string[] =>
  names
    .filter((name) => !parts[name].present())
    .map((name) => `${name} is missing (${parts[name].remedy})`);

/**
 * `test`, or `test.skip` with a message when a part is missing.
 * @throws {Error} for a missing part when TEST_NO_SKIP is 1, so that a complete machine tests everything
 */
export function needs(...names: PartName[]): typeof test | typeof test.skip {
  const missing = missingParts(names);
  if (missing.length === 0) return test;
  const message = missing.join(", ");
  if (process.env["TEST_NO_SKIP"] === "1") throw new Error(`${message}, and TEST_NO_SKIP is 1`);
  console.warn(`skipped: ${message}`);
  return test.skip;
}
