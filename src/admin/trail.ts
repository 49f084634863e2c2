// The audit trail as its owner reads it. What is written there, and how, is audit.ts.
import { type Kind, eventNames, kinds } from "../audit/events.ts";
import { type TrailPage, type TrailQuery, readTrail } from "../audit/trail.ts";
import type { Deps } from "../deps.ts";
import { OAuthError } from "../errors.ts";
import { type Level, levels, oneOf, wholeNumber } from "../values.ts";
import type { Asked } from "./asked.ts";

const USUAL = 100;
const MOST = 1000;

/** What a query asks of the trail. @throws {OAuthError} invalid_request */
export function readTrailQuery(query: URLSearchParams): TrailQuery {
  const get = <T>(name: string, parse: (text: string) => T): T | undefined => {
    const text = query.get(name);
    if (text === null || text === "") return undefined;
    try {
      return parse(text);
    } catch (cause) {
      const message = cause instanceof Error ? cause.message : String(cause);
      throw new OAuthError("invalid_request", `${name}: ${message}`, { cause });
    }
  };
  const found = {
    before: get("before", readTime),
    level: get("level", (text): Level => oneOf(text, levels)),
    kind: get("kind", (text): Kind => oneOf(text, Object.keys(kinds) as Kind[])),
    event: get("event", (text) => oneOf(text, eventNames)),
    about: get("about", (text) => text.slice(0, 200)),
  };
  const given = Object.fromEntries(Object.entries(found).filter(([, value]) => value));
  return { limit: get("limit", (text) => wholeNumber(text, 1, MOST)) ?? USUAL, ...given };
}

function readTime(text: string): string {
  const time = new Date(text);
  if (Number.isNaN(time.getTime())) throw new Error("expected a time such as 2026-11-21T10:31:07Z");
  return time.toISOString();
}

/** The newest events first. */
export const listAudit = ({ query }: Asked, deps: Deps): Promise<TrailPage> =>
  readTrail(deps.config.data, readTrailQuery(query));
