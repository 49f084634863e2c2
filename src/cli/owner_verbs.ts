// The owner's password, the end of everything, and signed-in browsers.
import { createInterface } from "node:readline";
import type { PasswordChange, Revoked } from "../admin/owner.ts";
import type { SessionRow } from "../admin/sessions.ts";
import type { Config } from "../config.ts";
import { FatalError } from "../errors.ts";
import { networkText } from "../web/text.ts";
import { callAdmin, recordPath } from "./admin_client.ts";
import { agoText, dayText, listing, shortId, show } from "./print.ts";
import { endedText, warn } from "./terminal.ts";

export async function listSessions(
  config: Config,
  _words: readonly string[],
  json: boolean,
): Promise<number> {
  const rows = await callAdmin<SessionRow[]>(config, "GET", "/sessions");
  return listing(rows, {
    json,
    none: "no browser is signed in",
    header: ["ID", "BROWSER", "SIGNED IN", "LAST USED", "FROM"],
    cells: (row) => [
      shortId(row.id),
      row.browser,
      dayText(row.created_at),
      agoText(row.last_used_at),
      networkText(row.network),
    ],
  });
}

export async function endSession(config: Config, [id = ""]: readonly string[]): Promise<number> {
  const path = recordPath("sessions", id);
  const { revoked } = await callAdmin<{ revoked: string }>(config, "DELETE", path);
  return show(`signed out ${shortId(revoked)}`);
}

export async function purgeSessions(config: Config): Promise<number> {
  const { revoked } = await callAdmin<{ revoked: number }>(config, "POST", "/sessions/purge");
  return show(`signed out ${revoked} browsers`);
}

export async function revokeAll(config: Config): Promise<number> {
  const { revoked, keys } = await callAdmin<Revoked>(config, "POST", "/revoke-all");
  return show(endedText(revoked, keys));
}

export async function setPassword(config: Config): Promise<number> {
  const password = await readPassword("New password: ");
  if (process.stdin.isTTY && password !== (await readPassword("Again: "))) {
    throw new FatalError("the two passwords differ, nothing was changed");
  }
  const change = await callAdmin<PasswordChange>(config, "PUT", "/password", { password });
  const { owner, revoked, keys, password_file: file } = change;
  if (file !== undefined) {
    warn(
      `each start takes the password from ${file}: write the new one there too, ` +
        "or the next start goes back to the old one and ends every login",
    );
  }
  return show(
    owner === "created" ? "password set" : `password changed; ${endedText(revoked, keys)}`,
  );
}

/** One line from the terminal, not echoed, or the first line of a pipe. */
async function readPassword(prompt: string): Promise<string> {
  const tty = process.stdin.isTTY;
  if (tty) process.stderr.write(prompt);
  const lines = createInterface({ input: process.stdin, terminal: tty });
  // readline echoes what is typed to its output; it is given none.
  const { promise, resolve } = Promise.withResolvers<string>();
  lines.once("line", resolve);
  lines.once("close", () => resolve(""));
  const line = await promise;
  lines.close();
  if (tty) process.stderr.write("\n");
  return line;
}
