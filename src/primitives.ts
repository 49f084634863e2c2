// Time, randomness, hashing and comparison: the only place that touches any of them.
import { randomBytes, timingSafeEqual } from "node:crypto";

/** Epoch milliseconds. */
export const wallClock = (): number => Date.now();

/** Milliseconds since an arbitrary start; no clock change moves it. */
export const monotonicClock = (): number => performance.now();

/** Epoch seconds (RFC 7519 NumericDate) of an epoch time in milliseconds. */
export const seconds = (milliseconds: number): number => Math.floor(milliseconds / 1000);

/** `bytes` random bytes as base64url: 32 bytes are 43 characters, 16 are 22. */
export function randomToken(bytes = 32): string {
  return randomBytes(bytes).toString("base64url");
}

/** 16 random bytes as 22 characters, for an id that people type: it never begins like a flag of a command line. */
export function randomId(): string {
  const id = randomToken(16);
  return /^[A-Za-z0-9]/.test(id) ? id : randomId();
}

/** SHA-256 as 43 characters of base64url. */
export function sha256(text: string): string {
  return Bun.CryptoHasher.hash("sha256", text, "base64url");
}

/** HMAC-SHA-256 as 43 characters of base64url. Callers separate parts by NUL, so that no two inputs read alike. */
export function hmac(key: string, text: string): string {
  return new Bun.CryptoHasher("sha256", key).update(text).digest("base64url");
}

export interface Checksum {
  add(part: string | Uint8Array): Checksum;
  /** The first 16 hex digits of the SHA-256 of all parts; the checksum takes no part after it. */
  end(): string;
}

/** Tells damage, not malice: nothing secret goes in, anybody can make one. */
export function checksum(): Checksum {
  const hasher = new Bun.CryptoHasher("sha256");
  const sum: Checksum = {
    add(part) {
      hasher.update(part);
      return sum;
    },
    end: () => hasher.digest("hex").slice(0, 16),
  };
  return sum;
}

/** Compares in time that depends on the lengths only. */
export function equal(a: string, b: string): boolean {
  const left = Buffer.from(a);
  const right = Buffer.from(b);
  return left.length === right.length && timingSafeEqual(left, right);
}
