// The text of every token: how it is made, read and checked. Who may have one is decided elsewhere.
//
//   refresh  prt_<family>.<generation>.<secret>.<tag>   secret: 256 random bits, the same for the life of the family
//            tag = HMAC-SHA-256(tag_key, "postern refresh 1" NUL family NUL generation)
//   access   pat_<family>.<generation>.<proof>
//            proof = HMAC-SHA-256(secret, "postern access 1" NUL family NUL generation NUL scope)
//
// Who reads the folder has tag_key and no secret; who holds an old token cannot tag a later generation.
import { equal, hmac, randomId, randomToken, sha256 } from "../primitives.ts";
import type { AccessEntry, Grant } from "../store/records.ts";

export interface RefreshToken {
  readonly family: string;
  readonly generation: number;
  readonly secret: string;
  readonly tag: string;
}

const GRAMMAR_LIMIT = 512;
const refreshGrammar =
  /^prt_([A-Za-z0-9_-]{22})\.([1-9][0-9]{0,9})\.([A-Za-z0-9_-]{43})\.([A-Za-z0-9_-]{43})$/;
const accessGrammar = /^pat_([A-Za-z0-9_-]{22})\.([1-9][0-9]{0,9})\.([A-Za-z0-9_-]{43})$/;

export const newFamily = (): string => randomId();
export const newCode = (): string => `pac_${randomToken()}`;
export const newClientSecret = (): string => `pcs_${randomToken()}`;
export const isCode = (text: string): boolean => /^pac_[A-Za-z0-9_-]{43}$/.test(text);

/**
 * The bearer token of an Authorization header (RFC 6750 §2.1); "" for a malformed one. undefined without a header and for
 * another scheme: RFC 6750 §3.1 counts an unsupported way to authenticate as no authentication at all.
 */
export function readBearer(headers: Headers): string | undefined {
  const header = headers.get("authorization") ?? "";
  if (!/^bearer(?: |$)/i.test(header)) return undefined;
  return /^bearer +(\S+) *$/i.exec(header)?.[1] ?? "";
}

/** The parts of a refresh token; undefined for a text of any other form. Nothing of it is believed yet: `isGenuine`. */
export function parseRefreshToken(text: string): RefreshToken | undefined {
  const match = text.length <= GRAMMAR_LIMIT ? refreshGrammar.exec(text) : null;
  const [, family, generation, secret, tag] = match ?? [];
  if (!family || !generation || !secret || !tag) return undefined;
  return { family, generation: Number(generation), secret, tag };
}

/** The parts of an access token; undefined for a text of any other form. Nothing of it is believed yet: `findAccessEntry`. */
export function parseAccessToken(
  text: string,
): { family: string; generation: number; proof: string } | undefined {
  const match = text.length <= GRAMMAR_LIMIT ? accessGrammar.exec(text) : null;
  const [, family, generation, proof] = match ?? [];
  if (!family || !generation || !proof) return undefined;
  return { family, generation: Number(generation), proof };
}

const refreshTag = (tagKey: string, family: string, generation: number): string =>
  hmac(tagKey, `postern refresh 1\0${family}\0${generation}`);

/** The refresh token of a generation: the same inputs give the same bytes. */
export function refreshToken(
  grant: Pick<Grant, "tag_key">,
  family: string,
  generation: number,
  secret: string,
): string {
  return `prt_${family}.${generation}.${secret}.${refreshTag(grant.tag_key, family, generation)}`;
}

/** Whether we issued this refresh token, of whatever generation. */
export function isGenuine(token: RefreshToken, grant: Grant): boolean {
  const known = equal(sha256(token.secret), grant.secret_hash);
  return equal(token.tag, refreshTag(grant.tag_key, token.family, token.generation)) && known;
}

export interface AccessToken {
  readonly text: string;
  readonly entry: AccessEntry;
}

/** The access token of a generation: the same inputs give the same bytes. */
export function accessToken(
  family: string,
  secret: string,
  entry: Omit<AccessEntry, "hash">,
): AccessToken {
  const { generation, scope } = entry;
  const proof = hmac(secret, `postern access 1\0${family}\0${generation}\0${scope}`);
  return { text: `pat_${family}.${generation}.${proof}`, entry: { ...entry, hash: sha256(proof) } };
}

/** The one of these entries that an access token proves, if any. */
export function findAccessEntry(
  entries: readonly AccessEntry[],
  generation: number,
  proof: string,
): AccessEntry | undefined {
  const hash = sha256(proof);
  return entries.find((entry) => entry.generation === generation && equal(entry.hash, hash));
}
