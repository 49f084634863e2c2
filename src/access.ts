// Files of somebody else, and files that may not be read: one sentence and the command that mends it, for settings and store.
import { statSync } from "node:fs";
import { dirname } from "node:path";
import { FatalError } from "./errors.ts";

/** A path as one word of a shell, for the commands in hints. */
export const shellWord = (path: string): string =>
  /^[\w./-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`;

/** What belongs to another user is not ours to use, though root may read it. */
export const notOurs = (path: string, owner: number, user: number): FatalError =>
  new FatalError(`${path} belongs to user ${owner}, and this is user ${user}`, {
    exitCode: 77,
    hint:
      `start as that user (in a container: user: "${owner}"), ` +
      `or give it away: sudo chown -R ${user} ${shellWord(path)}`,
  });

/** What a file that may not be read says of it and of the folder that it is in. */
export function unreadable(path: string): FatalError {
  const folder = dirname(path);
  const { uid } = statSync(folder, { throwIfNoEntry: false }) ?? {};
  const user = process.geteuid?.();
  if (uid !== undefined && user !== undefined && uid !== user) return notOurs(folder, uid, user);
  const hint = `chmod 700 ${shellWord(folder)} && chmod 600 ${shellWord(path)}`;
  return new FatalError(`${path} may not be read`, { exitCode: 77, hint });
}
