// RFC 7523 §3: client assertions (private_key_jwt). Asymmetric signatures only, each assertion once. The JOSE work is
// jose's; it is loaded at the first assertion.
import type { Deps } from "../deps.ts";
import { OAuthError, reason } from "../errors.ts";
import { isObject } from "../json.ts";
import { seconds, sha256 } from "../primitives.ts";
import type { PublicKey } from "../store/records.ts";
import type { FoundClient } from "./clients.ts";
import { assertionAlgorithms } from "./metadata.ts";
import { createFetchSlots, fetchJson } from "./outbound.ts";

export const ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/** Seconds between the clocks of client and server. */
const LEEWAY = 60;
/** Seconds that an assertion may be good for at the most. */
const LONGEST = 600;
/** Milliseconds between two fetches of a client's keys. */
const KEYS_KEPT = 30_000;

// RFC 7517 §4, RFC 7518 §6: the public members of the key types that we verify with.
const members = ["kty", "use", "alg", "kid", "crv", "x", "y", "n", "e"] as const;
const secretMembers = ["d", "p", "q", "dp", "dq", "qi", "k", "oth"];

/** The public keys of a JWK Set. @throws {OAuthError} invalid_client */
export function readJwks(value: unknown): PublicKey[] {
  const keys = isObject(value) ? value["keys"] : undefined;
  if (!Array.isArray(keys) || keys.length === 0 || keys.length > 20)
    throw unusable("it has no usable jwks");
  return keys.map((key: unknown) => {
    if (!isObject(key)) throw unusable("a key of its jwks is no object");
    if (secretMembers.some((name) => name in key)) throw unusable("its jwks holds a secret key");
    const entries = Object.entries(key).filter(
      ([name, member]) => members.some((known) => known === name) && typeof member === "string",
    );
    return Object.fromEntries(entries) as PublicKey;
  });
}

const unusable = (detail: string): OAuthError =>
  new OAuthError("invalid_client", "The keys of this client could not be used.", {
    status: 400,
    detail,
    facts: { cause: detail },
    advice: "Only the publisher of the keys can mend them: tell them what stands above.",
  });

const refused = (detail: string, cause?: unknown): OAuthError =>
  new OAuthError("invalid_client", "the client assertion is not valid", { detail, cause });

/** The client_id that an assertion claims, before anything of it is believed. */
export function claimedClient(assertion: string): string | undefined {
  try {
    const payload: unknown = JSON.parse(
      Buffer.from(assertion.split(".")[1] ?? "", "base64url").toString("utf8"),
    );
    const subject = isObject(payload) ? payload["sub"] : undefined;
    return typeof subject === "string" ? subject : undefined;
  } catch {
    return undefined;
  }
}

/** @throws {OAuthError} invalid_client 401 */
export async function verifyAssertion(
  assertion: string,
  { id, client }: FoundClient,
  deps: Deps,
): Promise<void> {
  const jose = await import("jose");
  const verify = (keys: readonly PublicKey[]) =>
    jose.jwtVerify(assertion, jose.createLocalJWKSet({ keys: [...keys] }), {
      algorithms: [...assertionAlgorithms],
      issuer: id,
      subject: id,
      // RFC 7523 §3: the issuer or the token endpoint.
      audience: [deps.config.issuer, `${deps.config.issuer}/token`],
      requiredClaims: ["exp", "jti"],
      clockTolerance: LEEWAY,
      currentDate: new Date(deps.now()),
    });
  const verified = await verify(client.jwks ?? [])
    .catch(async (error: unknown) => {
      const isUnknownKey = error instanceof jose.errors.JWKSNoMatchingKey;
      if (!isUnknownKey || client.jwks_uri === undefined) throw error;
      return verify(await rotatedKeys(id, client.jwks_uri, deps));
    })
    .catch((error: unknown) => {
      throw error instanceof OAuthError ? error : refused(reason(error), error);
    });
  const { exp = 0, jti } = verified.payload;
  const now = seconds(deps.now());
  if (exp > now + LONGEST + LEEWAY) throw refused("it is good for too long");
  if (typeof jti !== "string" || jti.length > 512) throw refused("its jti is no short string");
  await useOnce(sha256(`${id}\0${jti}`), exp + LEEWAY, deps);
}

/** RFC 7523 §3: the jti of an assertion that is still good does not come twice. */
async function useOnce(key: string, expiresAt: number, deps: Deps): Promise<void> {
  let seen = false;
  await deps.store.assertions.update(key, (known) => {
    seen = known !== undefined;
    return known ?? { expires_at: expiresAt };
  });
  if (seen) throw refused("its jti was used before");
}

/** What an unknown `kid` made us fetch. Whoever knows a client's id can send one, and so ask for this. */
export interface KeyFetches {
  /** Of one client one fetch at a time; what it led to holds for 30 s, whoever asks in between. */
  run(client: string, fetch: () => Promise<PublicKey[]>): Promise<PublicKey[]>;
}

/** @param monotonic milliseconds that no clock change moves */
export function createKeyFetches(monotonic: () => number): KeyFetches {
  const fetches = new Map<string, { readonly at: number; readonly keys: Promise<PublicKey[]> }>();
  const slots = createFetchSlots();
  return {
    run: async (client, fetch) => {
      const now = monotonic();
      for (const [known, { at }] of fetches) {
        if (now - at >= KEYS_KEPT) fetches.delete(known);
      }
      const known = fetches.get(client);
      if (known) return known.keys;
      const giveBack = slots.take();
      if (!giveBack) throw unfetched("the keys of too many clients are being fetched");
      const keys = fetch().finally(giveBack);
      fetches.set(client, { at: now, keys });
      return keys;
    },
  };
}

/** 503: a 401 would make a client whose keys cannot be fetched log in anew. */
const unfetched = (detail: string | undefined, cause?: unknown): OAuthError =>
  new OAuthError(
    "temporarily_unavailable",
    "the keys of the client cannot be fetched at the moment",
    { headers: { "retry-after": "30" }, ...(detail !== undefined && { detail }), cause },
  );

/**
 * The keys at jwks_uri when an assertion names one that is not known; they replace the stored.
 * @throws {OAuthError} temporarily_unavailable
 */
const rotatedKeys = (id: string, uri: string, deps: Deps): Promise<PublicKey[]> =>
  deps.keyFetches.run(`${id}\0${uri}`, async () => {
    const jwks = await fetchJson(uri, deps)
      .then(({ content }) => readJwks(content))
      .catch((error: unknown) => {
        throw unfetched(error instanceof OAuthError ? error.detail : reason(error), error);
      });
    await deps.store.update((draft) => {
      const current = draft.get("clients", id);
      if (current?.jwks_uri === uri) draft.put("clients", id, { ...current, jwks });
    });
    return jwks;
  });
