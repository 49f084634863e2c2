// postern serve: opens the folder, listens, says where, and stops cleanly.
import { randomBytes } from "node:crypto";
import { chmodSync, rmSync } from "node:fs";
import { lookup } from "node:dns/promises";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { isPublicAddress } from "../addresses.ts";
import { admin, changePassword } from "../admin.ts";
import { type App, type Listener, createApp, listen } from "../app.ts";
import { openAudit } from "../audit.ts";
import type { Config } from "../config.ts";
import type { Deps } from "../deps.ts";
import { FatalError, reason } from "../errors.ts";
import { createLimits } from "../limits.ts";
import { createPasswords, passwordProblem, verifyOwner } from "../login/owner.ts";
import { removeSetupLink, setupLink, writeSetupLink } from "../login/setup.ts";
import { ensureFolder } from "../oauth/clients.ts";
import { serverOf } from "../oauth/rules.ts";
import { monotonicClock, randomToken, sha256, wallClock } from "../primitives.ts";
import { type Notice, type OpenStore, openStore } from "../store/folder.ts";
import { type Terminal, eventLine, startBanner } from "./terminal.ts";

/** Milliseconds that running requests have to end after a stop signal. */
const DRAIN = 4000;

export interface Opened {
  readonly deps: Deps;
  readonly isNew: boolean;
  /** Work that the store has done. */
  readonly counters: OpenStore["counters"];
  /** Resolves when the store cannot go on. */
  readonly failed: Promise<FatalError>;
  close(): Promise<void>;
}

export interface Clock {
  /** Epoch milliseconds. */
  readonly now: () => number;
  /** Milliseconds that no clock change moves. */
  readonly monotonic: () => number;
}
const systemClock: Clock = { now: wallClock, monotonic: monotonicClock };

/** Opens the data folder and builds what handlers are given. @throws {FatalError} */
export async function open(
  config: Config,
  terminal: Terminal,
  clock: Clock = systemClock,
): Promise<Opened> {
  const initialAccessToken = await initialAccessTokenHash(config);
  const failed = Promise.withResolvers<FatalError>();
  const notices: Notice[] = [];
  const store = await openStore({
    path: config.data,
    issuer: config.issuer,
    ...clock,
    unsafeFolder: config.unsafeFolder,
    notice: (notice) => {
      notices.push(notice);
      if (notice.kind !== "new") terminal.warn(notice.message);
    },
    fatal: failed.resolve,
  });
  const audit = openAudit({
    folder: config.data,
    now: store.now,
    print: (event) => {
      const line = eventLine(event);
      if (line !== undefined) terminal.log(line);
    },
  });
  for (const { kind, message } of notices) audit.record("folder", { kind, message });
  const deps: Deps = {
    config,
    store,
    audit,
    limits: createLimits(config.rateLimits, clock.monotonic),
    passwords: createPasswords(),
    now: store.now,
    monotonic: clock.monotonic,
    internet: { resolve: resolveHost, isAllowed: isPublicAddress },
    documents: new Map(),
    fetching: new Set(),
    initialAccessTokenHash: initialAccessToken,
    formKey: randomToken(),
    setupToken: randomToken(),
    usePending: new Set(),
  };
  return {
    deps,
    isNew: store.isNew,
    counters: store.counters,
    failed: failed.promise,
    close: async () => {
      await store.close();
      audit.close();
    },
  };
}

const resolveHost = async (host: string): Promise<string[]> =>
  (await lookup(host, { all: true })).map(({ address }) => address);

/** What serves requests for one app; `dev` has its own. */
export type Front = (app: App, config: Config) => Promise<Listener>;

const bunFront: Front = async (app, { hosts, port }) => {
  const listeners: Listener[] = [];
  try {
    for (const host of hosts) {
      try {
        listeners.push(listen(app, host, port));
      } catch (error) {
        // A machine without IPv6 serves on 127.0.0.1 alone.
        const optional = host === "::1" && /EADDRNOTAVAIL|EAFNOSUPPORT/.test(errorCode(error));
        if (!optional) throw error;
      }
    }
  } catch (error) {
    await Promise.all(listeners.map((listener) => listener.close(true)));
    throw portError(error, port);
  }
  return {
    close: async (force) => void (await Promise.all(listeners.map((each) => each.close(force)))),
  };
};

const errorCode = (error: unknown): string =>
  error instanceof Error && "code" in error ? String(error.code) : "";

function portError(error: unknown, port: number): FatalError {
  const taken = errorCode(error) === "EADDRINUSE";
  return new FatalError(
    taken ? `port ${port} is taken` : `cannot listen on port ${port}: ${reason(error)}`,
    {
      exitCode: 1,
      hint: taken
        ? "stop the other program, or choose another port with --port"
        : "choose another address with --host or --port",
      cause: error,
    },
  );
}

/** Runs until a stop signal. Resolves to the exit code. @throws {FatalError} when it cannot start */
export async function serve(
  config: Config,
  front: Front = bunFront,
  terminal = standardTerminal(),
): Promise<number> {
  const stop = stopSignal();
  const opened = await open(config, terminal);
  const { deps } = opened;
  let listener: Listener | undefined;
  let socket: Listener | undefined;
  try {
    await applyPasswordFile(deps, terminal);
    listener = await front(createApp(deps), config);
    socket = openAdminSocket(deps, terminal);
    await sayStart(opened, terminal);
    const end = await Promise.race([stop.asked, opened.failed]);
    if (end instanceof FatalError) throw end;
    terminal.log("stopping");
    await drain(listener, stop.insisted);
    return 0;
  } finally {
    await listener?.close(true);
    await socket?.close(true);
    removeSetupLink(deps);
    deps.audit.record("stop");
    await opened.close();
    stop.forget();
  }
}

async function drain(listener: Listener, insisted: Promise<unknown>): Promise<void> {
  const timeout = Promise.withResolvers<void>();
  const timer = setTimeout(timeout.resolve, DRAIN);
  await Promise.race([listener.close(false), timeout.promise, insisted]);
  clearTimeout(timer);
}

/** The first SIGTERM, SIGINT or SIGHUP asks; a second one insists. */
function stopSignal(): { asked: Promise<string>; insisted: Promise<string>; forget: () => void } {
  const asked = Promise.withResolvers<string>();
  const insisted = Promise.withResolvers<string>();
  let count = 0;
  const onSignal = (signal: string): void => (++count === 1 ? asked : insisted).resolve(signal);
  const signals = ["SIGTERM", "SIGINT", "SIGHUP"] as const;
  for (const signal of signals) process.on(signal, onSignal);
  return {
    asked: asked.promise,
    insisted: insisted.promise,
    forget: () => {
      for (const signal of signals) process.off(signal, onSignal);
    },
  };
}

/** data/admin.sock, 0600: who may open the file may do what the owner may. */
function openAdminSocket(deps: Deps, terminal: Terminal): Listener | undefined {
  const path = join(deps.config.data, "admin.sock");
  let server: ReturnType<typeof Bun.serve> | undefined;
  try {
    rmSync(path, { force: true });
    server = Bun.serve({ unix: path, fetch: (request) => admin(request, deps) });
    chmodSync(path, 0o600);
  } catch (error) {
    void server?.stop(true);
    terminal.warn(
      `no admin socket (${reason(error)}): stop the server to use postern clients, grants and password`,
    );
    return undefined;
  }
  const opened = server;
  return {
    close: async (force) => {
      await opened.stop(force);
      try {
        rmSync(path, { force: true });
      } catch {
        // The next start takes it away.
      }
    },
  };
}

async function sayStart(opened: Opened, terminal: Terminal): Promise<void> {
  const { deps, isNew } = opened;
  const { config, store } = deps;
  const owner = await store.owner.get("owner");
  if (!owner) writeSetupLink(deps, terminal.warn);
  terminal.log(startBanner(config, isNew, owner ? undefined : setupLink(deps)));
  await sayMoved(deps, terminal);
  deps.audit.record("start", { issuer: config.issuer });
  // Remembered in the background: a full disk must not stop a start, and registration does the same.
  store
    .update((draft) => void ensureFolder(draft, config.issuer))
    .catch((error: unknown) => {
      terminal.warn(
        `cannot write to ${config.data} (${reason(error)}): no new login is possible until this ends`,
      );
    });
}

/** The text of a file that a setting names, without the line end that editors leave. @throws {FatalError} exit 2 */
async function readSecretFile(path: string, what: string): Promise<string> {
  try {
    return (await readFile(path, "utf8")).replace(/\r?\n$/, "");
  } catch (error) {
    throw new FatalError(`cannot read the ${what} file: ${reason(error)}`, {
      exitCode: 2,
      cause: error,
    });
  }
}

async function initialAccessTokenHash({
  registrationTokenFile: path,
}: Config): Promise<string | undefined> {
  if (path === "") return undefined;
  const token = (await readSecretFile(path, "registration token")).trim();
  if (token.length < 16) {
    throw new FatalError(`the registration token in ${path} is too short`, {
      exitCode: 2,
      hint: "make one with: openssl rand -hex 32",
    });
  }
  return sha256(token);
}

/** POSTERN_PASSWORD_FILE says what the password is: set when there is none, changed when it differs. */
async function applyPasswordFile(deps: Deps, terminal: Terminal): Promise<void> {
  const { passwordFile } = deps.config;
  if (passwordFile === "") return;
  const password = await readSecretFile(passwordFile, "password");
  const problem = passwordProblem(password);
  if (problem !== undefined)
    throw new FatalError(`the password in ${passwordFile} cannot be used: ${problem}`, {
      exitCode: 2,
    });
  if (await verifyOwner(password, deps)) return;
  const { owner, revoked } = await changePassword(password, deps);
  terminal.log(
    owner === "created"
      ? "password set from the password file"
      : `password changed by the password file; ${revoked} logins ended`,
  );
}

/** The folder was last used under another public URL: says which clients must connect again. */
async function sayMoved(deps: Deps, terminal: Terminal): Promise<void> {
  const { config, store } = deps;
  if (/\.(trycloudflare\.com|ngrok-free\.app|loca\.lt)$/.test(new URL(config.origin).hostname)) {
    terminal.warn(
      "this public URL changes with every start of the tunnel, and every client must then connect again; use a fixed one",
    );
  }
  const before = (await store.folder.get("self"))?.issuer;
  if (before === undefined || before === config.issuer) return;
  const asleep = (await store.refresh_tokens.list()).filter(
    ([, grant]) => !serverOf(config, grant.resource),
  );
  const names = [
    ...new Set(asleep.map(([, grant]) => grant.client_name ?? "a client without a name")),
  ];
  terminal.warn(
    `the public URL was ${before} and is now ${config.issuer}` +
      (names.length > 0
        ? `; must connect again, or get back in when the URL returns: ${names.join(", ")}`
        : ""),
  );
}

export const randomPassword = (): string => randomBytes(9).toString("base64url");

/** What a person sees: results on stdout, warnings on stderr. A closed or full stdout never stops the server. */
export function standardTerminal(): Terminal {
  const ignore = (): void => undefined;
  process.stdout.on("error", ignore);
  process.stderr.on("error", ignore);
  return {
    log: (text) => void process.stdout.write(`${text}\n`),
    warn: (text) => void process.stderr.write(`postern: warning: ${text}\n`),
  };
}
