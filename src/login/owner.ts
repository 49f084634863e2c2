// The owner and the password: argon2id, a few hashes at a time, never more than a bounded queue.
import type { Deps } from "../deps.ts";
import { OAuthError } from "../errors.ts";
import { seconds } from "../primitives.ts";
import type { Owner } from "../store/records.ts";

// OWASP's argon2id parameters: 19 MiB, two passes; about 15 ms here.
const cost = { memoryCost: 19_456, timeCost: 2 };
const PARALLEL = 2;
const QUEUE = 32;
export const PASSWORD_MIN = 8;
/** Bytes. */
const PASSWORD_MAX = 1024;

export interface Passwords {
  hash(password: string): Promise<string>;
  verify(encoded: string, password: string): Promise<boolean>;
}

/** Loaded at the first use: start-up does not pay for it, and a system that cannot map the addon falls back to Bun's own. */
async function loadArgon2(): Promise<Passwords> {
  // The addon's loader would map whatever file this variable names.
  delete process.env["NAPI_RS_NATIVE_LIBRARY_PATH"];
  try {
    const argon2 = await import("@node-rs/argon2");
    return { hash: (password) => argon2.hash(password, cost), verify: argon2.verify };
  } catch {
    return {
      hash: (password) => Bun.password.hash(password, { algorithm: "argon2id", ...cost }),
      verify: (encoded, password) => Bun.password.verify(password, encoded),
    };
  }
}

/** Password hashing for one server: two at a time, the rest in a queue of 32. */
export function createPasswords(): Passwords {
  let loaded: Promise<Passwords> | undefined;
  let running = 0;
  const waiting: (() => void)[] = [];
  const inTurn = async <T>(work: (argon2: Passwords) => Promise<T>): Promise<T> => {
    if (running >= PARALLEL) {
      if (waiting.length >= QUEUE) {
        throw new OAuthError("temporarily_unavailable", "too many logins at once, try again soon", {
          headers: { "retry-after": "2" },
        });
      }
      await new Promise<void>((resolve) => waiting.push(resolve));
    } else {
      running++;
    }
    try {
      return await work(await (loaded ??= loadArgon2()));
    } finally {
      const next = waiting.shift();
      if (next) next();
      else running--;
    }
  };
  return {
    hash: (password) => inTurn((argon2) => argon2.hash(password)),
    verify: (encoded, password) => inTurn((argon2) => argon2.verify(encoded, password)),
  };
}

/** What is wrong with a new password, in words for the person who chose it. */
export function passwordProblem(password: string): string | undefined {
  if ([...password].length < PASSWORD_MIN)
    return `Choose a password of at least ${PASSWORD_MIN} characters.`;
  if (Buffer.byteLength(password) > PASSWORD_MAX)
    return `Choose a password of at most ${PASSWORD_MAX} bytes.`;
  return undefined;
}

/** @param now epoch seconds */
export const newOwner = (passwordHash: string, now: number): Owner => ({
  password_hash: passwordHash,
  epoch: 1,
  created_at: now,
  password_changed_at: now,
});

/** Makes the owner, once. Returns undefined when there is one already: of two setups at once, one wins. */
export async function createOwner(password: string, deps: Deps): Promise<Owner | undefined> {
  const passwordHash = await deps.passwords.hash(password);
  const now = seconds(deps.now());
  return deps.store.update((draft) => {
    if (draft.get("owner", "owner")) return undefined;
    const owner = newOwner(passwordHash, now);
    draft.put("owner", "owner", owner);
    return owner;
  });
}

/** @throws {OAuthError} temporarily_unavailable while nobody has chosen a password */
export async function requireOwner(deps: Deps): Promise<void> {
  if (await deps.store.owner.get("owner")) return;
  throw new OAuthError(
    "temporarily_unavailable",
    "Nobody has chosen a password here: there is no owner yet.",
    {
      title: "This server has no owner yet",
      headers: { "retry-after": "60" },
      advice: [
        "Open the setup link that the server printed in the terminal when it started.",
        "The same link is in the file `setup-link` in the data folder.",
        "Then connect again from your client.",
      ].join("\n"),
    },
  );
}

/** The owner, when the password is right. */
export async function verifyOwner(password: string, deps: Deps): Promise<Owner | undefined> {
  const owner = await deps.store.owner.get("owner");
  if (!owner || password === "" || Buffer.byteLength(password) > PASSWORD_MAX) return undefined;
  return (await deps.passwords.verify(owner.password_hash, password)) ? owner : undefined;
}
