// postern dev: a temporary folder, a printed password, and listhen's front with a QR code. For trying things out only.
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { toNodeHandler } from "h3/node";
import { listen } from "listhen";
import { changePassword } from "../admin.ts";
import { type Reading, readSettings, resolveConfig } from "../config.ts";
import { FatalError } from "../errors.ts";
import type { GivenSettings } from "../settings.ts";
import { open } from "./open.ts";
import { type Front, serve } from "./serve.ts";
import { standardTerminal } from "./terminal.ts";

/** listhen takes Node handlers only, and its shutdown code stumbles over a socket that is gone: so the socket is pinned. */
const listhenFront: Front = async (app, config) => {
  const listener = await listen(toNodeHandler(app.h3), {
    port: config.port,
    hostname: "127.0.0.1",
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
};

/** Runs until a stop signal, then removes the folder. Resolves to the exit code. */
export async function dev(given: GivenSettings): Promise<number> {
  if (given.data !== undefined) {
    throw new FatalError("postern dev uses a temporary folder", {
      exitCode: 2,
      hint: "use postern serve --data",
    });
  }
  const folder = mkdtempSync(join(tmpdir(), "postern-dev-"));
  try {
    const reread = (): Reading => readSettings({ ...given, data: folder }, process.env);
    const terminal = standardTerminal();
    const password = randomBytes(9).toString("base64url");
    const opened = await open(resolveConfig(reread()), {
      log: () => undefined,
      warn: terminal.warn,
    });
    await changePassword(password, opened.deps);
    await opened.close();
    terminal.log(`password for this try: ${password}`);
    return await serve(reread, listhenFront, terminal);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
