// How commands reach the admin API: over data/admin.sock, or in this process with the folder's lock when no server runs.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { ADMIN_PATH, admin } from "../admin.ts";
import type { Config, Server } from "../config.ts";
import { FatalError, errorCode, reason } from "../errors.ts";
import { open } from "./open.ts";
import { warn } from "./terminal.ts";

/** Calls one admin verb in the running server, or, with the folder's lock, in this process. */
export async function callAdmin<T>(
  config: Config,
  method: string,
  path: string,
  body?: unknown,
): Promise<T> {
  const request = requestOf(method, path, body);
  return resultOf((await viaSocket(config, ...request)) ?? (await inProcess(config, ...request)));
}

/** The same of a server that runs; undefined when none does. */
export async function callRunning<T>(
  config: Pick<Config, "data">,
  method: string,
  path: string,
  body?: unknown,
): Promise<T | undefined> {
  const response = await viaSocket(config, ...requestOf(method, path, body));
  return response && resultOf(response);
}

const requestOf = (method: string, path: string, body?: unknown): [string, RequestInit] => [
  `http://postern${ADMIN_PATH}${path}`,
  {
    method,
    ...(body !== undefined && {
      body: JSON.stringify(body),
      headers: { "content-type": "application/json" },
    }),
  },
];

async function resultOf<T>(response: Response): Promise<T> {
  const answer: unknown = await response.json();
  if (response.ok) return answer as T;
  const { error_description: description } = answer as { error_description?: string };
  throw new FatalError(description ?? `the server answered ${response.status}`);
}

async function viaSocket(
  config: Pick<Config, "data">,
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
        `${reason(error)} ${errorCode(error)}`,
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
    event: () => undefined,
    warn,
  };
  const opened = await open(withoutSecrets(config), quiet);
  try {
    return await admin(new Request(url, init), opened.deps);
  } finally {
    await opened.close();
  }
}

/** No verb asks a server behind anything, so what only the server's user may read is not needed. */
function withoutSecrets(config: Config): Config {
  const bare = (server: Server): Server => ({ ...server, headers: {}, env: {} });
  const [first, ...rest] = config.servers;
  return { ...config, registrationTokenFile: "", servers: [bare(first), ...rest.map(bare)] };
}

/** The path of one record: what was typed may hold anything. */
export const recordPath = (kind: "clients" | "grants" | "keys" | "sessions", id: string): string =>
  `/${kind}/${encodeURIComponent(id)}`;
