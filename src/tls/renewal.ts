// When a certificate is asked for: early enough, spread, and less and less often while it fails. What is asked is acme.ts,
// what is remembered acme_state.ts.
import { reason } from "../errors.ts";
import { seconds } from "../primitives.ts";
import { AcmeError, type Obtained, type Prover, newAccount, obtain } from "./acme.ts";
import { type AcmeState, readAcmeState, writeAcmeState } from "./acme_state.ts";
import { type Certificate, checkCertificate } from "./certificate.ts";

export interface RenewalOptions {
  /** Of acme.json. */
  readonly path: string;
  /** URL of the server's directory. */
  readonly directory: string;
  readonly contact: string | undefined;
  readonly host: string;
  readonly prover: Prover;
  /** Epoch milliseconds. */
  readonly now: () => number;
  /** From 0 to 1. */
  readonly random: () => number;
  readonly stop: AbortSignal;
  readonly asking: () => void;
  /** A certificate that counts from now on, the one of acme.json first. */
  readonly obtained: (certificate: Certificate, isNew: boolean) => Promise<unknown>;
  /** @param retryAt epoch seconds */
  readonly failed: (why: string, retryAt: number) => void;
  /** The disk does not take acme.json: what is there works on, and another start asks again. Told once until it does. */
  readonly unsaved: (why: string) => void;
}

const MINUTE = 60;
const HOUR = 3_600;
const DAY = 86_400;
/** Seconds between two looks at the clock, which may jump. */
const LOOK = 10 * MINUTE;
/** Attempts in an hour after which a start waits as well; Let's Encrypt blocks a name after five failures. */
const HASTY = 4;

interface Running {
  readonly options: RenewalOptions;
  state: AcmeState;
  /** What acme.json holds. */
  saved: AcmeState;
  /** That it lags behind was told. */
  isToldUnsaved: boolean;
  certificate: Certificate | undefined;
  /** Epoch seconds from which on another one is due. */
  renewAt: number;
}

/**
 * Keeps a certificate at hand until `stop`. Never rejects.
 * @throws {FatalError} before the first step: acme.json is damaged
 */
export async function keepRenewed(options: RenewalOptions): Promise<void> {
  const state = readAcmeState(options.path);
  const running: Running = {
    options,
    state,
    saved: state,
    isToldUnsaved: false,
    certificate: undefined,
    renewAt: 0,
  };
  const usable = usableCertificate(running);
  if (usable) await adopt(running, usable, false);
  forgiveOld(running);
  const { retryAt } = running.state;
  if (!usable && retryAt > seconds(options.now())) {
    const { isOrdered } = running.state;
    const why = isOrdered ? "the CA asked to wait" : "it was asked for too often in the last hour";
    options.failed(why, retryAt);
  }
  while (!options.stop.aborted) {
    if (running.state !== running.saved) await saveOrTell(running);
    const wait = Math.max(running.renewAt, running.state.retryAt) - seconds(options.now());
    if (wait <= 0) await attempt(running);
    else await pause(Math.min(wait, LOOK), options.stop);
  }
}

function usableCertificate({ options, state }: Running): Certificate | undefined {
  const { host, directory, now } = options;
  const { certificate: known } = state;
  if (known?.host !== host || known.directory !== directory) return undefined;
  try {
    const certificate = checkCertificate(known.chain, known.key, host);
    return certificate.expiresAt > seconds(now()) ? certificate : undefined;
  } catch {
    return undefined;
  }
}

/** Whoever starts has perhaps put right what failed: unless that happens too often, it counts. */
function forgiveOld(running: Running): void {
  const { attempts, isOrdered } = running.state;
  const hourAgo = seconds(running.options.now()) - HOUR;
  const recent = attempts.filter((at) => at > hourAgo);
  if (!isOrdered && recent.length < HASTY) running.state = { ...running.state, retryAt: 0 };
}

/** Epoch seconds: when a third of its life is left, of a short life half; not all at the same moment. */
export function renewalTime({ issuedAt, expiresAt }: Certificate, random: number): number {
  const life = expiresAt - issuedAt;
  const share = life > 10 * DAY ? 2 / 3 : 1 / 2;
  return Math.floor(issuedAt + life * (share - random / 30));
}

/** Seconds until the next attempt after so many that failed: 5 min, 10 min, 20 min, up to a day, a fifth more or less. */
export const backOff = (failures: number, random: number): number =>
  Math.round(Math.min(5 * MINUTE * 2 ** (failures - 1), DAY) * (0.8 + 0.4 * random));

async function attempt(running: Running): Promise<void> {
  const { options } = running;
  const { directory, now, random, stop } = options;
  const begun = seconds(now());
  const attempts = [...running.state.attempts, begun].slice(-20);
  const account = running.state.accounts[directory] ?? newAccount();
  running.state = {
    ...running.state,
    accounts: { ...running.state.accounts, [directory]: account },
    attempts,
    retryAt: begun + backOff(attempts.length, random()),
    isOrdered: false,
  };
  try {
    // First, so that a crash in the middle counts and the key of the account is not lost.
    await save(running);
    options.asking();
    await settle(running, await obtain({ ...options, account }));
  } catch (error) {
    if (stop.aborted) return;
    const wait = error instanceof AcmeError ? error.retryAfter : 0;
    const until = seconds(now()) + wait;
    if (until > running.state.retryAt) {
      running.state = { ...running.state, retryAt: until, isOrdered: true };
    }
    options.failed(reason(error), running.state.retryAt);
  }
}

async function settle(running: Running, { chain, key, account }: Obtained): Promise<void> {
  const { directory, host } = running.options;
  const certificate = checkCertificate(chain, key, host);
  running.state = {
    ...running.state,
    accounts: { ...running.state.accounts, [directory]: account },
    certificate: { directory, host, chain, key },
    attempts: [],
    retryAt: 0,
  };
  // One that cannot be saved is used all the same, and saved later: another order would cost the CA's patience.
  await saveOrTell(running);
  await adopt(running, certificate, true);
}

async function adopt(running: Running, certificate: Certificate, isNew: boolean): Promise<void> {
  running.certificate = certificate;
  running.renewAt = renewalTime(certificate, running.options.random());
  await running.options.obtained(certificate, isNew);
}

async function save(running: Running): Promise<void> {
  const { state } = running;
  await writeAcmeState(running.options.path, state);
  running.saved = state;
}

async function saveOrTell(running: Running): Promise<void> {
  try {
    await save(running);
    running.isToldUnsaved = false;
  } catch (error) {
    if (!running.isToldUnsaved) running.options.unsaved(reason(error));
    running.isToldUnsaved = true;
  }
}

/** Resolves after `length` seconds or when `stop` says so; keeps no process alive. */
function pause(length: number, stop: AbortSignal): Promise<void> {
  if (stop.aborted) return Promise.resolve();
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, length * 1000);
  timer.unref();
  stop.addEventListener("abort", () => resolve(), { once: true });
  return promise.finally(() => clearTimeout(timer));
}
