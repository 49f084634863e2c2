// The certificate of the public URL, as files or memory hold it: whether it is one, whether it is the right one, how long
// it lasts. Who presents it is cli/front.ts, where a new one comes from acme.ts or the owner.
import { X509Certificate, createPrivateKey, type KeyObject } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { FatalError, reason } from "../errors.ts";

/** What a TLS server needs. */
export interface Certificate {
  /** PEM: the certificate itself, then those that lead to a root. */
  readonly chain: string;
  /** PEM. */
  readonly key: string;
  /** Epoch seconds. */
  readonly issuedAt: number;
  /** Epoch seconds. */
  readonly expiresAt: number;
  /** What it covers less than it should; a person can do something about it. */
  readonly doubts: readonly string[];
}

export interface CertificateFiles {
  readonly tlsCert: string;
  readonly tlsKey: string;
}

/**
 * Reads and checks a pair of files.
 * @param host of the public URL
 * @throws {FatalError} exit 2: which file, what is wrong, how to put it right
 */
export function readCertificate({ tlsCert, tlsKey }: CertificateFiles, host: string): Certificate {
  const chain = readPem(tlsCert, "certificate");
  const key = readPem(tlsKey, "key");
  try {
    const certificate = checkCertificate(chain, key, host);
    const doubts = isReadByOthers(tlsKey)
      ? [...certificate.doubts, `other users can read its key; chmod 600 ${tlsKey}`]
      : certificate.doubts;
    return { ...certificate, doubts };
  } catch (error) {
    throw new FatalError(`${tlsCert} and ${tlsKey} cannot be used: ${reason(error)}`, {
      exitCode: 2,
      cause: error,
    });
  }
}

const isReadByOthers = (path: string): boolean =>
  process.platform !== "win32" && (statSync(path).mode & 0o004) !== 0;

function readPem(path: string, what: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new FatalError(`cannot read the ${what} file: ${reason(error)}`, {
      exitCode: 2,
      hint: "--tls-cert and --tls-key name PEM files that this user may read",
      cause: error,
    });
  }
}

/** @throws {Error} whose message says what is wrong and what to do */
export function checkCertificate(chain: string, key: string, host: string): Certificate {
  const [leaf, ...others] = readChain(chain);
  if (!leaf) throw new Error("there is no certificate in the first");
  const privateKey = readKey(key);
  if (!leaf.checkPrivateKey(privateKey)) {
    throw new Error(
      others.some((other) => other.checkPrivateKey(privateKey))
        ? "the server's own certificate must come first, before those that lead to the root"
        : "the key belongs to another certificate",
    );
  }
  return {
    chain,
    key,
    issuedAt: Math.floor(leaf.validFromDate.getTime() / 1000),
    expiresAt: Math.floor(leaf.validToDate.getTime() / 1000),
    doubts: doubtsOf(leaf, others.length, host),
  };
}

function readChain(text: string): X509Certificate[] {
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g) ?? [];
  try {
    return blocks.map((block) => new X509Certificate(block));
  } catch (cause) {
    throw new Error("a certificate in the first is damaged", { cause });
  }
}

function readKey(text: string): KeyObject {
  try {
    return createPrivateKey(text);
  } catch (cause) {
    const isLocked = /ENCRYPTED/.test(text);
    throw new Error(
      isLocked
        ? "the key has a passphrase; take it off with: openssl pkey -in <file> -out <file>"
        : "there is no private key in the second",
      { cause },
    );
  }
}

function doubtsOf(leaf: X509Certificate, others: number, host: string): string[] {
  const isAlone = others === 0 && leaf.issuer !== leaf.subject;
  return [
    ...(leaf.checkHost(host) === undefined ? [`it is not for ${host}`] : []),
    ...(isAlone ? ["the certificates of its issuer are missing; use the full chain"] : []),
  ];
}

const DAY = 86_400;

/** What to say of the time that is left, when it should be said. @param now epoch seconds */
export function expiryDoubt({ issuedAt, expiresAt }: Certificate, now: number): string | undefined {
  if (now >= expiresAt) return `it expired at ${timeOf(expiresAt)}`;
  if (now < issuedAt) return `it is not valid before ${timeOf(issuedAt)}`;
  // Whoever renews has begun to by now: the usual time is when a third is left.
  const soon = Math.min((expiresAt - issuedAt) / 5, 21 * DAY);
  if (expiresAt - now > soon) return undefined;
  return `it expires in ${Math.ceil((expiresAt - now) / DAY)} days, at ${timeOf(expiresAt)}`;
}

const timeOf = (seconds: number): string => new Date(seconds * 1000).toISOString();
