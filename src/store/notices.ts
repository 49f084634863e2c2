// What a start tells of a folder that it takes all the same, and postern check tells without one.
import { type DataFolder, type Notice, kindOf } from "./files.ts";
import type { Recovered } from "./recovery.ts";

/** Names that are not ours, which stay as they are; undefined when there are none. */
export function foreignNotice(folder: DataFolder, names: readonly string[]): Notice | undefined {
  const foreign = names.filter((name) => kindOf(name) === "foreign");
  if (foreign.length === 0) return undefined;
  const message = `${folder.path} holds files that are not Postern's: ${foreign.slice(0, 5).join(", ")}`;
  return { kind: "foreign-names", message };
}

/** The folder is not the one that its snapshot was written in; undefined when it is, or nothing tells. */
export function movedNotice(folder: DataFolder, { snapshot }: Recovered): Notice | undefined {
  if (!snapshot) return undefined;
  const { dev, ino, host } = snapshot.header.folder;
  if (dev === folder.dev && ino === folder.ino && host === folder.host) return undefined;
  const savedAt = new Date(snapshot.header.savedAt).toISOString();
  const where = host === "" ? "" : ` on ${host}`;
  const message = `${folder.path} was copied or restored since it was saved${where} at ${savedAt}`;
  return { kind: "copied", message };
}

export const clockDoubt: Notice = {
  kind: "clock",
  message: "the clock does not fit the times in the data folder: expired records stay for now",
};
