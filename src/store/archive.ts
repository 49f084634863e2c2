// An archive of a data folder: which names may be in it, and where. The format itself is tar.ts.
import type { Files } from "./copy.ts";
import { kindOf } from "./files.ts";
import { type ArchiveEntry, shown, unpackArchive } from "./tar.ts";

export interface Archive {
  readonly files: Files;
  /** Names beside them that are not ours. */
  readonly foreign: readonly string[];
}

interface Placed extends ArchiveEntry {
  /** "data/state.json" is state.json in "data". */
  readonly folder: string;
  readonly name: string;
}

/**
 * The files of an archive that postern backup wrote, or that tar made of a data folder. What is not ours is left out, as a
 * restore of the folder itself does; so is whatever lies in folders below, such as one that an earlier restore kept.
 * @throws {Error} whose message says what in it is damaged, or has no place in a data folder
 */
export function readArchive(bytes: Buffer): Archive {
  const entries = unpackArchive(bytes).map((entry) => ({ ...entry, ...splitPath(entry.path) }));
  const place = folderOf(entries);
  const files = new Map<string, Buffer>();
  const foreign = new Set<string>();
  for (const { folder, name, path, content, is } of entries) {
    if (folder !== place) {
      const below = stepBelow(place, folder);
      if (below === undefined && isFile(name)) throw new Error("it holds more than one folder");
      if (kindOf(below ?? "") === "foreign" && is !== "a folder") foreign.add(below ?? path);
      continue;
    }
    if (kindOf(name) === "foreign" && name !== "") foreign.add(name);
    if (!isFile(name) || is === "a folder") continue;
    if (!content) throw new Error(`${shown(path)} in it is ${is}`);
    if (files.has(name)) throw new Error(`${shown(name)} is in it twice`);
    files.set(name, content);
  }
  return { files, foreign: [...foreign] };
}

const isFile = (name: string): boolean => ["file", "kept", "temporary"].includes(kindOf(name));

/** The one nearest to the top that has files of ours. */
function folderOf(entries: readonly Placed[]): string {
  const depth = ({ folder }: Placed): number => (folder === "" ? 0 : folder.split("/").length);
  const ours = entries.filter(({ name, is }) => isFile(name) && is !== "a folder");
  return ours.toSorted((a, b) => depth(a) - depth(b))[0]?.folder ?? "";
}

/** What lies in `place` on the way to a folder below it; undefined: it is not below. */
function stepBelow(place: string, folder: string): string | undefined {
  if (place !== "" && !folder.startsWith(`${place}/`)) return undefined;
  return folder.slice(place === "" ? 0 : place.length + 1).split("/")[0];
}

function splitPath(path: string): Pick<Placed, "folder" | "name"> {
  const parts = path.split("/").filter((part) => part !== "" && part !== ".");
  if (path.startsWith("/") || path.includes("\\") || parts.includes("..")) {
    throw new Error(`${shown(path)} leads out of the folder`);
  }
  const name = parts.pop() ?? "";
  return { folder: parts.join("/"), name };
}
