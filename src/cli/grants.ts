// postern grants: who is logged in, since when and from where, and the end of it.
import type { GrantRow } from "../admin/grants.ts";
import type { Config } from "../config.ts";
import { leashText } from "../web/leash_fields.ts";
import { counted, networkText } from "../web/text.ts";
import { callAdmin, recordPath } from "./admin_client.ts";
import { clientName } from "./clients.ts";
import { agoText, dayText, listing, record, shortId, show, whenText } from "./print.ts";

interface AccessRow {
  readonly scope: string;
  readonly expires_at: number;
}

/** Late, or from another network than the request before them. */
const replaysText = ({ count, last_at: at, networks }: NonNullable<GrantRow["replays"]>): string =>
  `${count}, the last ${agoText(at)}, from ${networks.map(networkText).join(", ")}`;

export async function listGrants(
  config: Config,
  _words: readonly string[],
  json: boolean,
): Promise<number> {
  const rows = await callAdmin<GrantRow[]>(config, "GET", "/grants");
  return listing(rows, {
    json,
    none: "nobody is logged in; see postern connect",
    header: ["ID", "CLIENT", "GOES TO", "SCOPES", "SINCE", "LAST USED", "FROM"],
    cells: (row) => [
      shortId(row.id),
      clientName(row),
      row.redirect_host ?? "-",
      row.scope,
      dayText(row.created_at),
      row.state === "live" ? agoText(row.last_used_at) : row.state,
      networkText(row.network),
    ],
  });
}

export async function showGrant(
  config: Config,
  [id = ""]: readonly string[],
  json: boolean,
): Promise<number> {
  const path = recordPath("grants", id);
  const row = await callAdmin<GrantRow & { access_tokens: AccessRow[] }>(config, "GET", path);
  if (json) return show(JSON.stringify(row, null, 2));
  return show(
    record([
      ["id", row.id],
      ["client", clientName(row)],
      ["client id", row.client_id],
      ["verified", row.verified_host ?? (row.added ? "added by you" : "no")],
      ["goes to", row.redirect_host],
      ["server", row.resource],
      ["scopes", row.scope],
      ["tools", leashText(row.leash)],
      ["state", row.state],
      ["since", whenText(row.created_at)],
      ["last used", whenText(row.last_used_at)],
      ["from", networkText(row.network)],
      ["ends unused", whenText(row.idle_at)],
      ["ends", whenText(row.expires_at)],
      ["refreshed", `${row.generation - 1} times`],
      ["odd retries", row.replays && replaysText(row.replays)],
      ["access tokens", `${row.access_tokens.length} live`],
    ]),
  );
}

export async function renameGrant(config: Config, [id = "", name]: readonly string[]) {
  await callAdmin(config, "PATCH", recordPath("grants", id), { name });
  return show(`renamed login ${shortId(id)}`);
}

/** "all", "read-only", or names of tools separated by commas. */
export async function narrowGrant(config: Config, [id = "", choice = ""]: readonly string[]) {
  const isWord = choice === "all" || choice === "read-only";
  const tools = isWord ? choice : choice.split(",").filter(Boolean);
  await callAdmin(config, "PUT", `${recordPath("grants", id)}/tools`, { tools });
  return show(`login ${shortId(id)} may call ${isWord ? `${choice} tools` : tools}`);
}

export async function revokeGrant(config: Config, [id = ""]: readonly string[]): Promise<number> {
  const path = recordPath("grants", id);
  const { revoked } = await callAdmin<{ revoked: string }>(config, "DELETE", path);
  return show(`ended login ${shortId(revoked)}`);
}

export async function purgeGrants(config: Config): Promise<number> {
  const { deleted } = await callAdmin<{ deleted: number }>(config, "POST", "/grants/purge");
  return show(`took away ${counted(deleted, "login")} that had ended`);
}
