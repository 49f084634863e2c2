// postern clients: who registered here. Adding one is add_client.ts.
import type { ClientRow } from "../admin/clients.ts";
import type { GrantRow } from "../admin/grants.ts";
import type { Config } from "../config.ts";
import { counted, displayName } from "../web/text.ts";
import { callAdmin, recordPath } from "./admin_client.ts";
import { agoText, dayText, listing, record, shortId, show, whenText } from "./print.ts";

const sources = { cimd: "its own document", dcr: "itself", static: "the owner" } as const;

export const clientName = (row: Pick<ClientRow, "label" | "client_name">): string =>
  row.label ?? displayName(row.client_name).text;

const when = (at: number | undefined): string | undefined =>
  at === undefined ? undefined : whenText(at);

export async function listClients(
  config: Config,
  _words: readonly string[],
  json: boolean,
): Promise<number> {
  const rows = await callAdmin<ClientRow[]>(config, "GET", "/clients");
  return listing(rows, {
    json,
    none: "no client is registered; see postern connect",
    header: ["ID", "NAME", "VERIFIED", "REDIRECT", "REGISTERED", "LOGINS", "LAST USED"],
    cells: (row) => [
      shortId(row.id),
      clientName(row),
      row.verified_host ?? (row.source === "static" ? "by you" : "no"),
      row.resource_server === undefined ? (row.redirect_uris[0] ?? "-") : "resource server",
      dayText(row.client_id_issued_at),
      String(row.grants),
      row.last_used_at === undefined ? "-" : agoText(row.last_used_at),
    ],
  });
}

export async function showClient(
  config: Config,
  [id = ""]: readonly string[],
  json: boolean,
): Promise<number> {
  const path = recordPath("clients", id);
  const row = await callAdmin<ClientRow & { connections: GrantRow[] }>(config, "GET", path);
  if (json) return show(JSON.stringify(row, null, 2));
  const name = displayName(row.client_name);
  return show(
    record([
      ["client id", row.client_id],
      ["your name for it", row.label],
      ["calls itself", name.text],
      ["about the name", name.note],
      ["registered by", sources[row.source]],
      ["verified", row.verified_host ?? "no"],
      ["redirects to", row.redirect_uris.join("  ") || undefined],
      ["resource server of", row.resource_server],
      ["registered", whenText(row.client_id_issued_at)],
      ["first let in", when(row.first_grant_at)],
      ["last used", when(row.last_used_at)],
      ["goes by itself", when(row.expires_at)],
      ["logins", row.connections.map((each) => shortId(each.id)).join("  ") || "none"],
    ]),
  );
}

export async function renameClient(config: Config, [id = "", name]: readonly string[]) {
  await callAdmin(config, "PATCH", recordPath("clients", id), { name });
  return show(`renamed client ${shortId(id)}`);
}

export async function removeClient(config: Config, [id = ""]: readonly string[]): Promise<number> {
  const path = recordPath("clients", id);
  const { deleted } = await callAdmin<{ deleted: string }>(config, "DELETE", path);
  return show(`removed client ${shortId(deleted)} and ended its logins`);
}

export async function purgeClients(config: Config): Promise<number> {
  const { deleted } = await callAdmin<{ deleted: number }>(config, "POST", "/clients/purge");
  return show(`removed ${counted(deleted, "client")} without a login`);
}
