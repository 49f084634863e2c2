// acme.json in the data folder: account keys, the certificate with its key, and the attempts to get one, so that neither a
// restart nor a crash asks a CA again and again.
import { readFileSync } from "node:fs";
import { dirname } from "node:path";
import { FatalError, errorCode, reason } from "../errors.ts";
import { parseJson } from "../json.ts";
import { syncFolder } from "../store/files.ts";
import { writeSnapshot } from "../store/snapshot.ts";
import type { Account } from "./acme.ts";

export const ACME_FILE = "acme.json";

export interface AcmeState {
  readonly version: 1;
  /** By the URL of the server's directory. */
  readonly accounts: Readonly<Record<string, Account>>;
  readonly certificate?: {
    readonly directory: string;
    readonly host: string;
    /** PEM. */
    readonly chain: string;
    /** PEM. */
    readonly key: string;
  };
  /** Epoch seconds of the attempts since the last certificate, the latest last. */
  readonly attempts: readonly number[];
  /** Epoch seconds of the next one. */
  readonly retryAt: number;
  /** The server itself asked to wait until then. */
  readonly isOrdered: boolean;
}

const emptyState: AcmeState = {
  version: 1,
  accounts: {},
  attempts: [],
  retryAt: 0,
  isOrdered: false,
};

/** @throws {FatalError} exit 78: it cannot be read, which must not cost the account and the certificate in it */
export function readAcmeState(path: string): AcmeState {
  try {
    const found = parseJson(readFileSync(path, "utf8")) as AcmeState;
    if (found.version !== 1) throw new Error(`this version does not know its version`);
    return { ...emptyState, ...found };
  } catch (error) {
    if (errorCode(error) === "ENOENT") return emptyState;
    throw new FatalError(`${path} cannot be read: ${reason(error)}`, {
      exitCode: 78,
      hint: "put a copy of it back, or move it away to get a new account and certificate",
      cause: error,
    });
  }
}

/** In one step, mode 0600: the file is the old one or the new one, whatever fails. */
export async function writeAcmeState(path: string, state: AcmeState): Promise<void> {
  await writeSnapshot(path, [`${JSON.stringify(state, null, 1)}\n`]);
  syncFolder(dirname(path));
}
