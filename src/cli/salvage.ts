// postern check --salvage: what can be saved of a damaged data folder, written into a new one. Never touches the damaged one.
import { resolve } from "node:path";
import { readDataFolder } from "../config.ts";
import { FatalError, reason } from "../errors.ts";
import type { GivenSettings } from "../settings.ts";
import {
  type Files,
  assertApart,
  assertFree,
  copyFiles,
  createFolder,
  folderFiles,
  unwritable,
} from "../store/copy.ts";
import type { FolderFiles } from "../store/files.ts";
import { lookInto, readAtOnce } from "../store/hot_read.ts";
import { type TableName, tableNames } from "../store/records.ts";
import { recover } from "../store/recovery.ts";
import { afterRestore } from "../store/restore.ts";
import { type Salvaged, salvage } from "../store/salvage.ts";
import { nextCommand } from "./terminal.ts";

/** Resolves to the exit code: 1 when something is lost. */
export async function salvageFolder(given: GivenSettings, target: string): Promise<number> {
  const path = resolve(target);
  assertFree(path);
  const data = readDataFolder(given, process.env);
  const { salvaged, files } = await lookInto(data, (folder) => {
    assertApart(folder, path);
    return readAtOnce(folder, saveAll, (found) => found.salvaged.losses.length === 0);
  });
  if (tableNames.every((name) => salvaged.tables[name].size === 0)) {
    throw new FatalError(`there is nothing to save in ${data}`, {
      hint: "restore a backup with postern restore",
    });
  }
  try {
    createFolder(path, files, { verify: (copy) => void recover(folderFiles(copy)) });
  } catch (error) {
    throw unwritable(path, error);
  }
  process.stdout.write(`${salvageText(salvaged, path)}\n`);
  return salvaged.losses.length === 0 ? 0 : 1;
}

function saveAll(there: FolderFiles): { salvaged: Salvaged; files: Files } {
  const { files: known, losses } = finished(there);
  const salvaged = salvage(known);
  const { files, unread } = copyFiles({ ...salvaged, savedAt: salvaged.newest }, known);
  return { salvaged: { ...salvaged, losses: [...losses, ...salvaged.losses, ...unread] }, files };
}

/** A restore that cannot be finished is one more thing that is lost. */
function finished(files: FolderFiles): { files: FolderFiles; losses: string[] } {
  try {
    return { files: afterRestore(files), losses: [] };
  } catch (error) {
    return { files, losses: [`what was to be restored: ${reason(error)}`] };
  }
}

const labels: Readonly<Record<TableName, string>> = {
  clients: "clients",
  refresh_tokens: "logins",
  owner: "owner",
  folder: "the folder's own key",
  api_keys: "API keys",
};

function salvageText(salvaged: Salvaged, path: string): string {
  const { tables, unproven, unreadable, losses } = salvaged;
  // Most folders have no keys, and nobody looks for any there.
  const told = tableNames.filter(
    (name) => name !== "api_keys" || tables[name].size + unreadable[name] > 0,
  );
  const rows = told.map((name) => {
    const doubtful = unproven[name] > 0 ? `, ${unproven[name]} of them from a damaged file` : "";
    const lost = unreadable[name] > 0 ? `; ${unreadable[name]} lines cannot be read` : "";
    return `  ${labels[name]}: ${tables[name].size} saved${doubtful}${lost}`;
  });
  const warning =
    "logins that were ended, and refresh tokens that were superseded, in what is lost may work again:\n" +
    `  ${nextCommand("revoke-all", path)} ends every login`;
  return [
    `saved into ${path}`,
    ...rows,
    ...(losses.length === 0 ? ["nothing is lost"] : ["lost", ...losses.map((each) => `  ${each}`)]),
    ...(losses.length === 0 ? [] : [warning]),
    ...(tables.owner.size === 0 ? ["there is no owner: the next start prints a setup link"] : []),
    `next: ${nextCommand("", path)}`,
  ].join("\n");
}
