// What the owner leaves of the tools to a connection: reading the choice of a form or of the admin API. Who is held by it is
// gateway/govern.ts.
import type { Deps } from "../deps.ts";
import { OAuthError } from "../errors.ts";
import type { Parameters } from "../form.ts";
import type { Leash } from "../store/records.ts";

/** Tools that one leash may name, and characters of the longest name. */
const MOST = 1000;
const LONGEST = 200;

/** The fields of web/leash_fields.ts. @throws {OAuthError} invalid_request */
export function leashOf(form: Parameters): Leash | undefined {
  const kind = form.get("leash");
  return readLeash(kind === "tools" ? form.all("tool") : kind);
}

/**
 * "all" or nothing, "read-only", or the names of tools.
 * @throws {OAuthError} invalid_request
 */
export function readLeash(choice: unknown): Leash | undefined {
  if (choice === undefined || choice === "all") return undefined;
  if (choice === "read-only") return { kind: "read-only" };
  const isName = (name: unknown): name is string =>
    typeof name === "string" && name !== "" && name.length <= LONGEST;
  if (Array.isArray(choice) && choice.length <= MOST && choice.every(isName)) {
    return { kind: "tools", tools: [...new Set(choice)] };
  }
  throw new OAuthError("invalid_request", "tools must be all, read-only, or a list of their names");
}

/** The leash of a client's newest connection to a server: what is widened is widened by choice. */
export async function formerLeash(
  clientId: string,
  resource: string,
  deps: Deps,
): Promise<Leash | undefined> {
  const grants = await deps.store.refresh_tokens.list();
  return grants
    .map(([, grant]) => grant)
    .filter((grant) => grant.client_id === clientId && grant.resource === resource)
    .toSorted((a, b) => b.created_at - a.created_at)[0]?.leash;
}
