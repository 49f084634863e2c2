// postern servers: the servers behind and how they are.
import type { ServerState } from "../admin/servers.ts";
import type { Config } from "../config.ts";
import { counted } from "../web/text.ts";
import { callAdmin } from "./admin_client.ts";
import { agoText, listing } from "./print.ts";

export async function listServers(
  config: Config,
  _words: readonly string[],
  json: boolean,
): Promise<number> {
  const rows = await callAdmin<ServerState[]>(config, "GET", "/servers");
  return listing(rows, {
    json,
    none: "there is no server",
    header: ["NAME", "ADDRESS", "KIND", "STATE", "LAST ERROR", "WHEN"],
    cells: (row) => {
      const last = row.kind === "built-in" || row.failed_at === undefined ? undefined : row;
      return [
        row.name,
        row.resource,
        row.kind,
        stateText(row),
        last?.last_error ?? "-",
        last?.failed_at === undefined ? "-" : agoText(last.failed_at),
      ];
    },
  });
}

function stateText(row: ServerState): string {
  if (row.kind === "built-in") return "ready";
  if (row.kind === "http") return row.reachable ? "reachable" : "not reachable";
  return `${counted(row.running, "process", "processes")}, ${counted(row.sessions, "session")}`;
}
