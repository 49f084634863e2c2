// Opens the data folder and builds what handlers are given, with the secrets that files hold. Who listens is serve.ts.
import { lookup } from "node:dns/promises";
import { readFile } from "node:fs/promises";
import { isPublicAddress } from "../addresses.ts";
import { changePassword } from "../admin/owner.ts";
import { createAlerts } from "../alerts/bell.ts";
import { createAttempts } from "../attempts/trail.ts";
import { type Audit, openAudit, redact } from "../audit.ts";
import { type Checkup, isOfCheckup } from "../checkup.ts";
import type { Config } from "../config.ts";
import type { Deps } from "../deps.ts";
import { FatalError, reason } from "../errors.ts";
import { readiness } from "../health.ts";
import { credentialFiles, readCredentials } from "../gateway/credentials.ts";
import { createLines } from "../gateway/dial.ts";
import { createServed } from "../gateway/served.ts";
import { createUpstreams } from "../gateway/sights.ts";
import { type Stdio, openStdio } from "../gateway/stdio.ts";
import { createTools } from "../gateway/tools.ts";
import { createLimits } from "../limits.ts";
import { createPasswords, passwordProblem, verifyOwner } from "../login/owner.ts";
import { createDocumentCache } from "../oauth/cimd.ts";
import { createKeyFetches } from "../oauth/jwt.ts";
import { createFetchSlots } from "../oauth/outbound.ts";
import { createUses } from "../oauth/uses.ts";
import { monotonicClock, randomToken, sha256, wallClock } from "../primitives.ts";
import { type Notice, type OpenStore, openStore } from "../store/folder.ts";
import { counted } from "../web/text.ts";
import { serverMetrics } from "./families.ts";
import { type Terminal, serverLine } from "./terminal.ts";

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

/**
 * Opens the data folder and builds what handlers are given.
 * @param stop ends the wait for another process that has the folder
 * @throws {FatalError}
 * @throws the reason of `stop`
 */
export async function open(
  config: Config,
  terminal: Terminal,
  clock: Clock = systemClock,
  stop?: AbortSignal,
): Promise<Opened> {
  const secrets = await readSecrets(config);
  const failed = Promise.withResolvers<FatalError>();
  const notices = folderNotices(terminal);
  const store = await openStore({
    path: config.data,
    issuer: config.issuer,
    ...clock,
    stop,
    unsafeFolder: config.unsafeFolder,
    notice: notices.hear,
    fatal: failed.resolve,
  });
  const alerts = createAlerts(config, (way, why) =>
    audit.record("alert_failed", { way, reason: why }),
  );
  const memory = emptyMemory(config, store, clock);
  const metrics = serverMetrics(store, clock);
  const audit = openAudit({
    folder: config.data,
    now: store.now,
    print: (event) => {
      metrics.event(event.event);
      terminal.event(event);
      if (!isOfCheckup(event, memory.checkups)) alerts.hear(event);
    },
  });
  notices.tellTo(audit);
  const stdio = openServers({ ...secrets, config, store, audit, clock, terminal });
  const deps: Deps = {
    config,
    ...secrets,
    stdio,
    store,
    audit,
    limits: createLimits(config.rateLimits, clock.monotonic),
    metrics,
    passwords: createPasswords(),
    now: store.now,
    monotonic: clock.monotonic,
    isReady: readiness({ ...clock, store, path: config.data, issuer: config.issuer }),
    internet: { resolve: resolveHost, isAllowed: isPublicAddress },
    ...memory,
    alerts,
  };
  return {
    deps,
    isNew: store.isNew,
    counters: store.counters,
    failed: failed.promise,
    close: async () => {
      await Promise.all([store.close(), stdio.close(), alerts.close()]);
      audit.close();
    },
  };
}

interface ServerParts extends Pick<Deps, "config" | "credentials" | "audit"> {
  readonly store: OpenStore;
  readonly clock: Clock;
  readonly terminal: Terminal;
}

/** The servers that are commands. Should Postern end in the middle, they end with it. */
function openServers({ config, credentials, ...parts }: ServerParts): Stdio {
  const { store, audit, clock, terminal } = parts;
  const stdio = openStdio({
    monotonic: clock.monotonic,
    now: store.now,
    environment: process.env,
    isAlive: async (id) =>
      ((await store.refresh_tokens.get(id)) ?? (await store.api_keys.get(id))) !== undefined,
    log: ({ name }, line) =>
      terminal.log(serverLine(name, line, store.now()), { server: name, line: redact(line) }),
    tell: (event, { path }, facts) => audit.record(event, { server: path, ...facts }),
  });
  stdio.serve(config, credentials);
  process.on("exit", stdio.kill);
  const close = async (): Promise<void> => {
    process.off("exit", stdio.kill);
    await stdio.close();
  };
  return { ...stdio, close };
}

/** Of the folder, what nobody has to do anything about. */
const usual = new Set(["new", "torn-tail", "foreign-names", "waiting", "lock-sign"]);

/** What is found out about the folder: said at once, and told to the audit trail as soon as there is one. */
function folderNotices(terminal: Terminal) {
  const early: Notice[] = [];
  let tell = (notice: Notice): void => void early.push(notice);
  return {
    hear: (notice: Notice): void => {
      tell(notice);
      if (notice.kind !== "new") terminal.warn(notice.message);
    },
    tellTo: (audit: Audit): void => {
      tell = ({ kind, message }) =>
        audit.record(usual.has(kind) ? "folder_noted" : "folder", { kind, message });
      early.forEach(tell);
    },
  };
}

/** What a server remembers until it stops, and the secrets that end with it. */
const emptyMemory = (config: Config, store: OpenStore, { monotonic }: Clock) => ({
  documents: createDocumentCache(),
  fetchSlots: createFetchSlots(),
  keyFetches: createKeyFetches(monotonic),
  uses: createUses(),
  lines: createLines(),
  served: createServed(config),
  upstreams: createUpstreams(store.now),
  tools: createTools(monotonic),
  attempts: createAttempts(store.now),
  checkups: new Map<string, Checkup>(),
  formKey: randomToken(),
  setupToken: randomToken(),
});

/** The same server under changed settings: what lasts, and what is remembered, stays. @throws {FatalError} */
export async function withConfig(deps: Deps, config: Config): Promise<Deps> {
  const secrets = await readSecrets(config);
  // Nothing can fail any more.
  deps.stdio.serve(config, secrets.credentials);
  deps.alerts.use(config);
  deps.served.use(config);
  const isSame = config.rateLimits === deps.config.rateLimits;
  return {
    ...deps,
    ...secrets,
    config,
    limits: isSame ? deps.limits : createLimits(config.rateLimits, deps.monotonic),
  };
}

/** What stands in files and variables that settings name. @throws {FatalError} exit 2 */
async function readSecrets(
  config: Config,
): Promise<Pick<Deps, "credentials" | "initialAccessTokenHash">> {
  return {
    credentials: readCredentials(config, process.env),
    initialAccessTokenHash: await initialAccessTokenHash(config),
  };
}

/** Files whose content counts as a setting. */
export const settingFiles = (config: Config): string[] => [
  ...[config.registrationTokenFile, config.tlsCert, config.tlsKey].filter((path) => path !== ""),
  ...credentialFiles(config),
];

const resolveHost = async (host: string): Promise<string[]> =>
  (await lookup(host, { all: true })).map(({ address }) => address);

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
export async function applyPasswordFile(deps: Deps, terminal: Terminal): Promise<void> {
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
      : `password changed by the password file; ended ${counted(revoked, "login")}`,
  );
}
