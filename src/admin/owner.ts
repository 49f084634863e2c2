// The owner's password, and the end of everything that was ever let in. Signing in is login/.
import type { Deps } from "../deps.ts";
import { OAuthError } from "../errors.ts";
import { newOwner, passwordProblem } from "../login/owner.ts";
import { removeSetupLink } from "../login/setup.ts";
import { type Ended, endEverything } from "../oauth/grants.ts";
import { seconds } from "../primitives.ts";
import { type Actor, type Asked, actorFields } from "./asked.ts";

/** Ends every connection, API key, code and browser session, that of the caller too. */
export async function revokeAll({ actor }: Asked, deps: Deps): Promise<Revoked> {
  const ended = await deps.store.revoke((draft) => endEverything(draft, seconds(deps.now())));
  deps.audit.record("grants_revoked", { ...ended, ...actorFields(actor) });
  return revoked(ended);
}

/** What ended, besides every code and browser session. */
export interface Revoked {
  readonly revoked: number;
  readonly keys: number;
}

const revoked = ({ grants, keys }: Ended): Revoked => ({ revoked: grants, keys });

export interface PasswordChange extends Revoked {
  readonly owner: "created" | "changed";
  /** The file that says at every start what the password is, when the server was told of one. */
  readonly password_file?: string;
}

/** `{password}`, first or new. A new one ends everything that was let in with the old one. */
export async function setPassword({ body, actor }: Asked, deps: Deps): Promise<PasswordChange> {
  const { password } = body;
  if (typeof password !== "string")
    throw new OAuthError("invalid_request", "password must be a string");
  const { passwordFile } = deps.config;
  const change = await changePassword(password, deps, actor);
  return { ...change, ...(passwordFile !== "" && { password_file: passwordFile }) };
}

export async function changePassword(
  password: string,
  deps: Deps,
  actor: Actor = { via: "command" },
): Promise<PasswordChange> {
  const problem = passwordProblem(password);
  if (problem) throw new OAuthError("invalid_request", problem);
  const hash = await deps.passwords.hash(password);
  const now = seconds(deps.now());
  const result = await deps.store.revoke((draft): PasswordChange => {
    if (draft.get("owner", "owner"))
      return { owner: "changed", ...revoked(endEverything(draft, now, hash)) };
    draft.put("owner", "owner", newOwner(hash, now));
    return { owner: "created", revoked: 0, keys: 0 };
  });
  removeSetupLink(deps);
  const { owner, revoked: grants, keys } = result;
  if (owner === "created") deps.audit.record("setup", actorFields(actor));
  else deps.audit.record("password_changed", { grants, keys, ...actorFields(actor) });
  return result;
}
