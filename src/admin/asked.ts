// One request of the owner as every verb gets it, and what verbs make of the words in it. Does nothing by itself.
import { OAuthError } from "../errors.ts";
import type { Fields } from "../audit.ts";

/** Who acts and by which way, for the audit trail. The owner's shell has no address. */
export interface Actor {
  readonly via: "command" | "account";
  readonly address?: string;
  readonly request?: string;
}

export interface Asked {
  /** The `{id}` of the path, "" where it has none. */
  readonly id: string;
  readonly query: URLSearchParams;
  /** Members of the JSON body; none when there is no body. */
  readonly body: Readonly<Record<string, unknown>>;
  readonly actor: Actor;
  /** Id of the browser session that asks; absent on the socket. */
  readonly session?: string;
}

export const actorFields = ({ via, address, request }: Actor): Fields => ({
  by: "owner",
  via,
  ...(address !== undefined && { address }),
  ...(request !== undefined && { request }),
});

/** Fewest characters of an id that stand for the whole. */
const SHORTEST = 4;

/**
 * The one id that was typed, whole or from its first four characters on.
 * @param kind what it is an id of: "grant"
 * @throws {OAuthError} 404 for none and for several
 */
export function resolveId(typed: string, ids: readonly string[], kind: string): string {
  if (ids.includes(typed)) return typed;
  const matches = typed.length < SHORTEST ? [] : ids.filter((id) => id.startsWith(typed));
  const [only, ...others] = matches;
  if (only !== undefined && others.length === 0) return only;
  throw new OAuthError(
    "invalid_request",
    others.length > 0 ? `several ${kind}s begin with ${typed}` : `there is no ${kind} ${typed}`,
    { status: 404 },
  );
}

const LONGEST_NAME = 100;

/**
 * A name that the owner gave: one line, 100 characters at most.
 * @throws {OAuthError} invalid_request
 */
export function readName(value: unknown): string {
  const name = typeof value === "string" ? value.replace(/\s+/g, " ").trim() : "";
  if (name === "") throw new OAuthError("invalid_request", "a name is needed");
  if (/[\p{Cc}\p{Cf}\p{Cs}]/u.test(name))
    throw new OAuthError("invalid_request", "the name holds characters that cannot be seen");
  if ([...name].length > LONGEST_NAME)
    throw new OAuthError("invalid_request", `the name is longer than ${LONGEST_NAME} characters`);
  return name;
}

/** @throws {OAuthError} invalid_request when it is no list of texts */
export function readTexts(value: unknown, member: string): string[] {
  if (Array.isArray(value) && value.every((each) => typeof each === "string")) return value;
  throw new OAuthError("invalid_request", `${member} must be a list of texts`);
}
