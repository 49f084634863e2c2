// An archive of a data folder: which names may be in it, and where. The format itself is tar.ts.
import type { Files } from "./copy.ts";
import { kindOf } from "./files.ts";
import { shown, unpackArchive } from "./tar.ts";

/**
 * The files of an archive that postern backup wrote, or that tar made of a data folder.
 * @throws {Error} whose message says what in it is damaged, or has no place in a data folder
 */
export function readArchive(bytes: Buffer): Files {
  const files = new Map<string, Buffer>();
  let place: string | undefined;
  for (const { path, content } of unpackArchive(bytes)) {
    const { folder, name } = splitPath(path);
    if (kindOf(name) === "foreign") throw new Error(`${shown(path)} is no file of a data folder`);
    if (files.has(name)) throw new Error(`${shown(name)} is in it twice`);
    if (place !== undefined && place !== folder) throw new Error("it holds more than one folder");
    place = folder;
    files.set(name, content);
  }
  return files;
}

/** "./data/state.json" is state.json in "data". */
function splitPath(path: string): { folder: string; name: string } {
  const parts = path.split("/").filter((part) => part !== "" && part !== ".");
  if (path.startsWith("/") || path.includes("\\") || parts.includes("..")) {
    throw new Error(`${shown(path)} leads out of the folder`);
  }
  const name = parts.pop() ?? "";
  return { folder: parts.join("/"), name };
}
