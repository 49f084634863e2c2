// What kind of file system the data folder is on: network shares are refused; memory, the layer of a container and synced
// folders are told about.
import { existsSync, statfsSync } from "node:fs";
import { dirname, join } from "node:path";
import { FatalError } from "../errors.ts";
import type { DataFolder, Notice } from "./files.ts";

/** f_type of statfs(2) on Linux. */
const networks: ReadonlyMap<number, string> = new Map([
  [0x6969, "NFS"],
  [0x517b, "SMB"],
  [0xff534d42, "CIFS"],
  [0xfe534d42, "SMB"],
]);
const memories: ReadonlyMap<number, string> = new Map([
  [0x01021994, "tmpfs"],
  [0x858458f6, "ramfs"],
]);
/** What a container writes to where it has no volume. */
const layers: ReadonlyMap<number, string> = new Map([[0x794c7630, "overlayfs"]]);

/** Those that a start says nothing about, and a person may want to know of. */
const others: ReadonlyMap<number, string> = new Map([
  [0x65735546, "FUSE"],
  [0x01021997, "9p"],
  [0xef53, "ext4"],
  [0x58465342, "XFS"],
  [0x9123683e, "Btrfs"],
  [0x2fc12fc1, "ZFS"],
]);

/** What a file system is called; undefined for the less common ones. */
export const fileSystemName = (type: number): string | undefined =>
  [networks, memories, layers, others].map((names) => names.get(type >>> 0)).find(Boolean);

const syncers: readonly [string, RegExp][] = [
  ["iCloud", /[/\\](Mobile Documents|iCloud ?Drive)([/\\]|$)/i],
  ["Dropbox", /[/\\]Dropbox( \([^/\\]+\))?([/\\]|$)/i],
  ["OneDrive", /[/\\]OneDrive( - [^/\\]+|-[^/\\]+)?([/\\]|$)/i],
];

export interface FileSystemOptions {
  readonly unsafeFolder?: boolean;
  readonly notice: (notice: Notice) => void;
}

/**
 * @param type f_type of the folder's file system
 * @throws {FatalError} exit code 78 on a network share, unless `unsafeFolder`
 */
export function checkFileSystem(
  path: string,
  type: number,
  { unsafeFolder = false, notice }: FileSystemOptions,
): void {
  const network = networks.get(type >>> 0);
  if (network !== undefined && !unsafeFolder) {
    throw new FatalError(`${path} is on ${network}, where locks and syncs cannot be relied on`, {
      exitCode: 78,
      hint: "put the data folder on a local disk, or pass --unsafe-folder",
    });
  }
  if (network !== undefined) {
    notice({ kind: "network-folder", message: `${path} is on ${network}: data may be lost` });
  }
  const memory = memories.get(type >>> 0);
  if (memory !== undefined) {
    const message = `${path} is in memory (${memory}): all of it is gone after a reboot`;
    notice({ kind: "tmpfs", message });
  }
  const layer = layers.get(type >>> 0);
  if (layer !== undefined) {
    const message = `${path} is on no volume (${layer}): all of it is gone with the container`;
    notice({ kind: "container", message });
  }
  const syncer = findSyncer(path);
  if (syncer !== undefined) {
    const message = `${path} is synced by ${syncer}, which may put back old files while running`;
    notice({ kind: "synced-folder", message });
  }
}

/** The magic number of statfs(2); 0 where it tells nothing. */
export function fileSystemType(folder: DataFolder): number {
  return process.platform === "linux" ? statfsSync(folder.path).type : 0;
}

function findSyncer(path: string): string | undefined {
  const named = syncers.find(([, pattern]) => pattern.test(path))?.[0];
  if (named !== undefined) return named;
  // Syncthing's folders may have any name; it marks them.
  for (let folder = path; ; folder = dirname(folder)) {
    if (existsSync(join(folder, ".stfolder"))) return "Syncthing";
    if (folder === dirname(folder)) return undefined;
  }
}
