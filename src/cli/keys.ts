// postern keys: API keys for clients that can only send a header.
import type { KeyRow, MadeKey } from "../admin/keys.ts";
import { type Config, readConfig } from "../config.ts";
import { FatalError, reason } from "../errors.ts";
import { duration, list } from "../values.ts";
import { networkText } from "../web/text.ts";
import { callAdmin, recordPath } from "./admin_client.ts";
import type { CommandLine } from "./command_line.ts";
import { agoText, dayText, listing, record, shortId, show, whenText } from "./print.ts";

const endText = ({ state, expires_at: at }: KeyRow): string =>
  at === undefined ? "never" : state === "ended" ? "has expired" : dayText(at);

export async function listKeys(
  config: Config,
  _words: readonly string[],
  json: boolean,
): Promise<number> {
  const rows = await callAdmin<KeyRow[]>(config, "GET", "/keys");
  return listing(rows, {
    json,
    none: "there is no API key; make one with postern keys add <name>",
    header: ["ID", "NAME", "SERVERS", "SCOPES", "CREATED", "EXPIRES", "LAST USED", "FROM"],
    cells: (row) => [
      shortId(row.id),
      row.name,
      row.servers.join(" "),
      row.scope,
      dayText(row.created_at),
      endText(row),
      row.last_used_at === undefined ? "never" : agoText(row.last_used_at),
      row.last_used_from === undefined ? "-" : networkText(row.last_used_from),
    ],
  });
}

export async function showKey(
  config: Config,
  [id = ""]: readonly string[],
  json: boolean,
): Promise<number> {
  const row = await callAdmin<KeyRow>(config, "GET", recordPath("keys", id));
  if (json) return show(JSON.stringify(row, null, 2));
  const { last_used_at: usedAt, last_used_from: from, expires_at: expiresAt } = row;
  return show(
    record([
      ["id", row.id],
      ["name", row.name],
      ["servers", row.servers.join("  ")],
      ["scopes", row.scope],
      ["created", whenText(row.created_at)],
      [
        row.state === "ended" ? "expired" : "expires",
        expiresAt === undefined ? "never" : whenText(expiresAt),
      ],
      ["last used", usedAt === undefined ? "never" : whenText(usedAt)],
      ["from", from === undefined ? undefined : networkText(from)],
    ]),
  );
}

/** `keys add <name>`, with `--server`, `--scope` and `--expires`. Resolves to the exit code. */
export async function addKey(
  { given, flags, json }: CommandLine,
  [name]: readonly string[],
): Promise<number> {
  const made = await callAdmin<MadeKey>(readConfig(given, process.env), "POST", "/keys", {
    name,
    ...(flags.server !== undefined && { servers: list(flags.server) }),
    ...(flags.scope !== undefined && { scope: list(flags.scope).join(" ") }),
    ...(flags.expires !== undefined && { expires_in: readExpiry(flags.expires) }),
  });
  if (json) return show(JSON.stringify(made, null, 2));
  const end = made.expires_at === undefined ? "never" : dayText(made.expires_at);
  return show(
    [
      record([
        ["key", made.key],
        ["opens", made.urls.join("  ")],
        ["scopes", made.scope],
        ["expires", end],
      ]),
      "",
      "It is shown this once. The client sends it with every request:",
      "",
      `  Authorization: Bearer ${made.key}`,
    ].join("\n"),
  );
}

/** Seconds; 0: for ever. @throws {FatalError} exit 2 */
function readExpiry(text: string): number {
  if (text === "never") return 0;
  try {
    return duration(text, 1);
  } catch (error) {
    throw new FatalError(`--expires is "${text}": ${reason(error)}, or never`, {
      exitCode: 2,
      cause: error,
    });
  }
}

export async function renameKey(config: Config, [id = "", name]: readonly string[]) {
  await callAdmin(config, "PATCH", recordPath("keys", id), { name });
  return show(`renamed key ${shortId(id)}`);
}

export async function revokeKey(config: Config, [id = ""]: readonly string[]): Promise<number> {
  const path = recordPath("keys", id);
  const { revoked } = await callAdmin<{ revoked: string }>(config, "DELETE", path);
  return show(`ended key ${shortId(revoked)}`);
}

export async function purgeKeys(config: Config): Promise<number> {
  const { deleted } = await callAdmin<{ deleted: number }>(config, "POST", "/keys/purge");
  return show(`took away ${deleted} keys that had expired`);
}
