// What a message needs to be let through: scopes by server, capability and name, and what the owner's leash leaves of the
// tools. Decides, and changes nothing; govern.ts applies it.
import type { AuthContext } from "../deps.ts";
import type { Leash } from "../store/records.ts";
import type { Policy } from "../values.ts";
import { type Fields, type Message, isFields, paramsOf } from "./jsonrpc.ts";

export type Capability = "tools" | "prompts" | "resources";

/** One thing that a message asks for; without a name, the capability as such. */
export interface Wanted {
  readonly capability: Capability;
  readonly name: string | undefined;
}

const text = (value: unknown): string | undefined =>
  typeof value === "string" ? value : undefined;

/** What a message asks for by name. Lists are open to everybody: what may not be used is left out of them. */
export function wantedBy(message: Message): Wanted[] {
  if (message.kind === "response") return [];
  const params = paramsOf(message);
  switch (message.method) {
    case "tools/call":
      return [{ capability: "tools", name: text(params["name"]) }];
    case "prompts/get":
      return [{ capability: "prompts", name: text(params["name"]) }];
    case "resources/read":
    case "resources/subscribe":
    case "resources/unsubscribe":
      return [{ capability: "resources", name: text(params["uri"]) }];
    case "completion/complete":
      return completed(params["ref"]);
    case "subscriptions/listen":
      return listened(params["notifications"]);
    default:
      return [];
  }
}

function completed(ref: unknown): Wanted[] {
  if (!isFields(ref)) return [];
  return ref["type"] === "ref/prompt"
    ? [{ capability: "prompts", name: text(ref["name"]) }]
    : [{ capability: "resources", name: text(ref["uri"]) }];
}

function listened(filter: unknown): Wanted[] {
  const uris = isFields(filter) ? filter["resourceSubscriptions"] : undefined;
  if (!Array.isArray(uris)) return [];
  return uris.map((uri): Wanted => ({ capability: "resources", name: text(uri) }));
}

/**
 * The scopes that one thing needs: those of the most exact entry alone. "tools/delete_note" before "tools/delete_*", the
 * longest of those first, before "tools", before "*".
 */
export function scopesFor(policy: Policy, wanted?: Wanted): readonly string[] {
  const own = (key: string): readonly string[] | undefined =>
    Object.hasOwn(policy, key) ? policy[key] : undefined;
  const general = own("*") ?? [];
  if (!wanted) return general;
  const { capability, name } = wanted;
  const byCapability = own(capability) ?? general;
  if (name === undefined) return byCapability;
  const full = `${capability}/${name}`;
  const prefixes = Object.keys(policy).filter(
    (key) => key.includes("/") && key.endsWith("*") && full.startsWith(key.slice(0, -1)),
  );
  const longest = prefixes.toSorted((a, b) => b.length - a.length)[0];
  return own(full) ?? (longest === undefined ? undefined : own(longest)) ?? byCapability;
}

/** All scopes that these messages need. */
export function scopesOf(policy: Policy, messages: readonly Message[]): string[] {
  const needed = messages.flatMap((message) => {
    const wanted = wantedBy(message);
    return wanted.length === 0
      ? scopesFor(policy)
      : wanted.flatMap((each) => scopesFor(policy, each));
  });
  return [...new Set(needed)];
}

/** Whether a tool only reads, as its server says of it: MCP "Tool Annotations". */
export const readsOnly = ({ annotations }: Fields): boolean =>
  isFields(annotations) && annotations["readOnlyHint"] === true;

/** Whether a leash leaves a tool, of which this is known. */
export function leaves(leash: Leash | undefined, name: string, isReadOnly: boolean): boolean {
  if (!leash) return true;
  return leash.kind === "read-only" ? isReadOnly : leash.tools.includes(name);
}

const listed = [
  ["tools", "name"],
  ["prompts", "name"],
  ["resources", "uri"],
] as const;

/** A list of the server without what this connection may not use; the same value when nothing is left out. */
export function narrowed(answer: Fields, context: AuthContext): Fields {
  const { result } = answer;
  if (!isFields(result)) return answer;
  const { policy } = context.server;
  let changed = result;
  for (const [capability, member] of listed) {
    const entries = result[capability];
    if (!Array.isArray(entries)) continue;
    const kept = entries.filter((entry: unknown) => {
      const name = isFields(entry) ? text(entry[member]) : undefined;
      if (!isFields(entry) || name === undefined) return false;
      const needed = scopesFor(policy, { capability, name });
      const leashed = capability === "tools" ? context.leash : undefined;
      return holds(context, needed) && leaves(leashed, name, readsOnly(entry));
    });
    if (kept.length < entries.length) changed = { ...changed, [capability]: kept };
  }
  return changed === result ? answer : { ...answer, result: changed };
}

export const holds = ({ scopes }: AuthContext, needed: readonly string[]): boolean =>
  needed.every((scope) => scopes.includes(scope));
