// postern dev: a temporary folder, a printed password, and listhen's front with a QR code. For trying things out only.
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { toNodeHandler } from "h3/node";
import { listen } from "listhen";
import { changePassword } from "../admin/owner.ts";
import type { App, Listener } from "../app.ts";
import { type Config, type Reading, readSettings } from "../config.ts";
import type { Deps } from "../deps.ts";
import { FatalError } from "../errors.ts";
import { type GivenSettings, type SettingKey, settings } from "../settings.ts";
import { type Front, listenOn } from "./front.ts";
import { serve } from "./serve.ts";
import type { Terminal } from "./terminal.ts";

/** listhen takes Node handlers only, and its shutdown code stumbles over a socket that is gone: so the socket is pinned. */
const listhenFront: Front = (app, config) =>
  listenOn(config, "port", (host) => listenOnce(app, config, host));

async function listenOnce(app: App, config: Config, hostname: string): Promise<Listener> {
  const listener = await listen(toNodeHandler(app.h3), {
    port: config.port,
    hostname,
    // One list of URLs for both addresses.
    showURL: hostname === config.hosts[0],
    // Otherwise it moves to another port, where the public URL would be wrong, and ends the process by itself.
    isProd: true,
    autoClose: false,
    publicURL: config.servers[0].resource,
    qr: true,
    clipboard: false,
    open: false,
  });
  listener.server.prependListener("request", (request: { socket: Socket }) => {
    const { socket } = request;
    Object.defineProperty(request, "socket", { configurable: true, get: () => socket });
  });
  return { close: () => listener.close() };
}

/** Runs until a stop signal, then removes the folder. Resolves to the exit code. */
export async function dev(given: GivenSettings): Promise<number> {
  refuse("data", given, "postern dev uses a temporary folder");
  refuse("host", given, "postern dev is for this machine alone");
  refuse("tlsCert", given, "postern dev speaks plain http to this machine alone");
  refuse("acme", given, "postern dev speaks plain http to this machine alone");
  refuse("passwordFile", given, "postern dev makes up a password");
  const folder = mkdtempSync(join(tmpdir(), "postern-dev-"));
  const environment = {
    ...process.env,
    POSTERN_HOST: "",
    POSTERN_PASSWORD_FILE: "",
    POSTERN_TLS_CERT: "",
    POSTERN_TLS_KEY: "",
  };
  // A person tries it out, and is told a password and a code to scan.
  const always = { logFormat: "text", ...given, data: folder };
  const reread = (): Reading => readSettings(always, environment);
  try {
    return await serve(reread, { front: listhenFront, setPassword });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** What contradicts the purpose is refused; variables that are meant for the server are passed over. */
function refuse(key: SettingKey, given: GivenSettings, message: string): void {
  if (given[key] === undefined) return;
  throw new FatalError(message, { exitCode: 2, hint: `use postern serve --${settings[key].flag}` });
}

async function setPassword(deps: Deps, terminal: Terminal): Promise<void> {
  const password = randomBytes(9).toString("base64url");
  await changePassword(password, deps);
  terminal.log(`password for this try: ${password}`);
}
