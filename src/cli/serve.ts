// postern serve: opens the folder, listens, says where, and stops cleanly.
import { chmodSync, rmSync } from "node:fs";
import { join } from "node:path";
import { admin } from "../admin.ts";
import { sweepCheckups } from "../admin/checkup.ts";
import { type App, type Listener, createApp } from "../app.ts";
import { type Reading, resolveConfig } from "../config.ts";
import { oneLine } from "../audit.ts";
import type { Deps } from "../deps.ts";
import { FatalError, reason } from "../errors.ts";
import { removeSetupLink, setupLink, writeSetupLink } from "../login/setup.ts";
import { metricsResponse } from "../metrics.ts";
import { ensureFolder } from "../oauth/clients.ts";
import { seconds, wallClock } from "../primitives.ts";
import { serverOf } from "../oauth/rules.ts";
import { startAcme } from "./acme.ts";
import {
  type Certificates,
  configuredCertificate,
  createCertificates,
  nextCertificate,
} from "./certificates.ts";
import { serverFamilies } from "./families.ts";
import { type Front, bunFront } from "./front.ts";
import { type Log, openLog } from "./log.ts";
import { openMetricsPort } from "./metrics_port.ts";
import { type Opened, applyPasswordFile, open, settingFiles, withConfig } from "./open.ts";
import { type ReloadOptions, startReload } from "./reload.ts";
import { type Signals, onSignals } from "./signals.ts";
import { type Terminal, startBanner, startFacts } from "./terminal.ts";

/** Milliseconds that running requests have to end after a stop signal. */
const DRAIN = 4000;

export interface ServeOptions {
  readonly front?: Front;
  /** Sees to the owner's password before anybody is served. */
  readonly setPassword?: (deps: Deps, terminal: Terminal) => Promise<void>;
}

/**
 * Runs until a stop signal. Resolves to the exit code.
 * @param reread the settings as they are now
 * @throws {FatalError} when it cannot start
 */
export async function serve(
  reread: () => Reading,
  { front = bunFront, setPassword = applyPasswordFile }: ServeOptions = {},
): Promise<number> {
  const signals = onSignals();
  const started = reread();
  const terminal = openLog(started.values, wallClock);
  try {
    const opened = await open(resolveConfig(started), terminal, undefined, signals.asked);
    await serveUntil(signals, { opened, reread, started, front, setPassword, terminal });
    return 0;
  } catch (error) {
    if (error !== signals.asked.reason) throw error;
    terminal.log("stopping");
    return 0;
  } finally {
    signals.forget();
  }
}

interface Parts extends Required<ServeOptions> {
  readonly opened: Opened;
  readonly reread: () => Reading;
  readonly started: Reading;
  readonly terminal: Log;
}

/** What the running server goes by; a change of the settings replaces it. */
interface Live {
  deps: Deps;
}

/** @throws {FatalError} @throws the reason of `signals.asked`, which may come at any moment of the start too */
async function serveUntil(signals: Signals, parts: Parts): Promise<void> {
  const { opened, front, setPassword, terminal } = parts;
  const { deps } = opened;
  const { config } = deps;
  const live: Live = { deps };
  const lost = Promise.withResolvers<never>();
  void lost.promise.catch(() => undefined);
  const certificates = createCertificates({ ...deps, terminal, lost: lost.reject });
  const closing: (() => Promise<void> | void)[] = [certificates.stop];
  const closeLater = <L extends Listener>(listener: L): L => {
    closing.push(() => listener.close(true));
    return listener;
  };
  try {
    signals.asked.throwIfAborted();
    await setPassword(deps, terminal);
    const app = createApp(deps);
    closeLater(openAdminSocket(() => live.deps, terminal));
    closeLater(openMetricsPort(deps));
    if (config.acme === "") await certificates.use(configuredCertificate(config));
    else
      closeLater(
        await startAcme({ ...deps, ...opened, certificates, terminal, stop: signals.asked }),
      );
    const listener = closeLater(await front(app, config, certificates.current()));
    certificates.attach(listener);
    deps.metrics.collect(() => serverFamilies(live.deps));
    const files = (): string[] => settingFiles(live.deps.config);
    const apply = takeUp(live, app, certificates, terminal);
    const reload = startReload({ ...deps, ...parts, files, apply });
    closing.push(reload.stop);
    signals.onReload(reload.now);
    await sayStart(opened, terminal);
    const end = await Promise.race([aborted(signals.asked), opened.failed, lost.promise]);
    if (end instanceof FatalError) throw end;
    terminal.log("stopping");
    await drain(listener, aborted(signals.insisted));
  } finally {
    for (const close of closing.toReversed()) await close();
    removeSetupLink(deps);
    deps.audit.record("stop");
    await opened.close();
  }
}

/** Takes up all that changed settings say, or throws and changes nothing; names what has changed besides settings. */
const takeUp =
  (live: Live, app: App, certificates: Certificates, terminal: Log): ReloadOptions["apply"] =>
  async (config) => {
    const { deps } = live;
    const certificate = nextCertificate(config, certificates.current(), seconds(deps.now()));
    const next = await withConfig(deps, config);
    app.reload(next);
    terminal.use(config);
    live.deps = next;
    const isNewToken = next.initialAccessTokenHash !== deps.initialAccessTokenHash;
    const isNewCertificate = await certificates.use(certificate);
    const gone = await namesAsleep(
      next,
      (resource) => serverOf(deps.config, resource) !== undefined,
    );
    if (gone.length > 0) {
      terminal.warn(`no longer served; get back in when their server returns: ${gone.join(", ")}`);
    }
    return [
      ...(isNewToken ? ["the registration token"] : []),
      ...(isNewCertificate ? ["the certificate"] : []),
    ];
  };

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });

async function drain(listener: Listener, insisted: Promise<unknown>): Promise<void> {
  const timeout = Promise.withResolvers<void>();
  const timer = setTimeout(timeout.resolve, DRAIN);
  await Promise.race([listener.close(false), timeout.promise, insisted]);
  clearTimeout(timer);
}

const ownersAnswer = (request: Request, deps: Deps): Promise<Response> =>
  new URL(request.url).pathname === "/metrics"
    ? metricsResponse(deps.metrics)
    : admin(request, deps);

/** data/admin.sock, 0600: who may open the file may do what the owner may. */
function openAdminSocket(deps: () => Deps, terminal: Terminal): Listener {
  const path = join(deps().config.data, "admin.sock");
  let server: ReturnType<typeof Bun.serve> | undefined;
  try {
    rmSync(path, { force: true });
    server = Bun.serve({ unix: path, fetch: (request) => ownersAnswer(request, deps()) });
    chmodSync(path, 0o600);
  } catch (error) {
    void server?.stop(true);
    terminal.warn(
      `no admin socket (${reason(error)}): stop the server to use postern clients, grants and password`,
    );
    return { close: async () => undefined };
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
  const setup = owner ? undefined : setupLink(deps);
  terminal.log(startBanner(config, isNew, setup), startFacts(config, isNew, setup));
  await sayMoved(deps, terminal);
  deps.audit.record("start", { issuer: config.issuer });
  // Remembered in the background: a full disk must not stop a start, and registration does the same.
  store
    .update((draft) => void ensureFolder(draft, config.issuer))
    .then(() => sweepCheckups(deps))
    .catch((error: unknown) => {
      terminal.warn(
        `cannot write to ${config.data} (${reason(error)}): no new login is possible until this ends`,
      );
    });
}

/** Clients with a login for something that is served no more. @param wasServed leaves out others */
async function namesAsleep(
  { config, store }: Deps,
  wasServed: (resource: string) => boolean = () => true,
): Promise<string[]> {
  const asleep = (await store.refresh_tokens.list())
    .map(([, grant]) => grant)
    .filter(({ resource }) => !serverOf(config, resource) && wasServed(resource));
  return [
    ...new Set(asleep.map(({ client_name: name = "a client without a name" }) => oneLine(name))),
  ];
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
  const names = await namesAsleep(deps);
  terminal.warn(
    `the public URL was ${before} and is now ${config.issuer}` +
      (names.length > 0
        ? `; must connect again, or get back in when the URL returns: ${names.join(", ")}`
        : ""),
  );
}
