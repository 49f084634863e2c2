// The owner's commands: clients of the admin API, over data/admin.sock, or in process when no server runs.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { ADMIN_PATH, type ClientRow, type GrantRow, admin } from "../admin.ts";
import { oneLine } from "../audit.ts";
import type { Config } from "../config.ts";
import { FatalError, reason } from "../errors.ts";
import { open } from "./open.ts";

/** Calls one admin verb in the running server, or, with the folder's lock, in this process. */
export async function callAdmin<T>(
  config: Config,
  method: string,
  path: string,
  body?: unknown,
): Promise<T> {
  const init: RequestInit = {
    method,
    ...(body !== undefined && {
      body: JSON.stringify(body),
      headers: { "content-type": "application/json" },
    }),
  };
  const url = `http://postern${ADMIN_PATH}${path}`;
  const response = (await viaSocket(config, url, init)) ?? (await inProcess(config, url, init));
  const answer: unknown = await response.json();
  if (response.ok) return answer as T;
  const { error_description: description } = answer as { error_description?: string };
  throw new FatalError(description ?? `the server answered ${response.status}`);
}

async function viaSocket(
  config: Config,
  url: string,
  init: RequestInit,
): Promise<Response | undefined> {
  const unix = join(config.data, "admin.sock");
  if (!existsSync(unix)) return undefined;
  try {
    return await fetch(url, { ...init, unix });
  } catch (error) {
    // A socket that nobody listens on was left by a killed server; the lock decides.
    if (
      /ECONNREFUSED|ENOENT|FailedToOpenSocket|ConnectionRefused/.test(
        `${reason(error)} ${(error as { code?: string }).code}`,
      )
    )
      return undefined;
    throw error;
  }
}

async function inProcess(config: Config, url: string, init: RequestInit): Promise<Response> {
  if (!existsSync(config.data)) {
    throw new FatalError(`there is no data folder ${config.data}`, { hint: "name it with --data" });
  }
  const quiet = {
    log: () => undefined,
    warn: (text: string) => void process.stderr.write(`postern: warning: ${text}\n`),
  };
  const opened = await open(config, quiet);
  try {
    return await admin(new Request(url, init), opened.deps);
  } finally {
    await opened.close();
  }
}

const show = (text: string): number => {
  process.stdout.write(`${text}\n`);
  return 0;
};

const day = (seconds: number): string =>
  new Date(seconds * 1000).toISOString().slice(0, 16).replace("T", " ");

/** Columns as wide as their widest cell; text of clients cannot move the cursor. */
function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [header, ...rows.map((row) => row.map(oneLine))];
  const widths = header.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  return all
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

export async function listClients(
  config: Config,
  _words: readonly string[],
  json: boolean,
): Promise<number> {
  const rows = await callAdmin<ClientRow[]>(config, "GET", "/clients");
  if (json) return show(JSON.stringify(rows, null, 2));
  if (rows.length === 0) return show("no client is registered");
  return show(
    table(
      ["ID", "NAME", "REDIRECT", "REGISTERED", "LOGINS"],
      rows.map((row) => [
        row.client_id.slice(0, 12),
        row.client_name ?? "-",
        row.redirect_uris[0] ?? "-",
        day(row.client_id_issued_at),
        String(row.grants),
      ]),
    ),
  );
}

export async function listGrants(
  config: Config,
  _words: readonly string[],
  json: boolean,
): Promise<number> {
  const rows = await callAdmin<GrantRow[]>(config, "GET", "/grants");
  if (json) return show(JSON.stringify(rows, null, 2));
  if (rows.length === 0) return show("nobody is logged in");
  return show(
    table(
      ["ID", "CLIENT", "SCOPES", "CREATED", "LAST USED", "FROM"],
      rows.map((row) => [
        row.id.slice(0, 12),
        row.client_name ?? row.client_id.slice(0, 12),
        row.scope,
        day(row.created_at),
        day(row.last_used_at),
        row.network,
      ]),
    ),
  );
}

export async function removeClient(config: Config, [id = ""]: readonly string[]): Promise<number> {
  const { deleted } = await callAdmin<{ deleted: string }>(
    config,
    "DELETE",
    `/clients/${encodeURIComponent(id)}`,
  );
  return show(`removed client ${deleted.slice(0, 12)} and ended its logins`);
}

export async function revokeGrant(config: Config, [id = ""]: readonly string[]): Promise<number> {
  const { revoked } = await callAdmin<{ revoked: string }>(
    config,
    "DELETE",
    `/grants/${encodeURIComponent(id)}`,
  );
  return show(`ended login ${revoked.slice(0, 12)}`);
}

export async function revokeAll(config: Config): Promise<number> {
  const { revoked } = await callAdmin<{ revoked: number }>(config, "POST", "/revoke-all");
  return show(`ended ${revoked} logins and all browser sessions`);
}

export async function setPassword(config: Config): Promise<number> {
  const password = await readPassword("New password: ");
  if (process.stdin.isTTY && password !== (await readPassword("Again: "))) {
    throw new FatalError("the two passwords differ, nothing was changed");
  }
  const { owner, revoked } = await callAdmin<{ owner: string; revoked: number }>(
    config,
    "PUT",
    "/password",
    { password },
  );
  return show(
    owner === "created"
      ? "password set"
      : `password changed; ended ${revoked} logins and all browser sessions`,
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
