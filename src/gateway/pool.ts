// Children that several clients share: one for each key, started when first needed, anew when it is gone, and the handshake
// that Postern does with them itself.
import { STANDALONE } from "./outbox.ts";
import { type Bridge, ask, clientInfo, notification } from "./bridge.ts";
import { type Fields, isFields } from "./jsonrpc.ts";
import { refuseQuestion } from "./link.ts";
import {
  CAPABILITIES_KEY,
  CLIENT_KEY,
  type MirroredParameter,
  STATELESS,
  VERSION_KEY,
  isStateless,
} from "./revision.ts";
import type { Session } from "./session.ts";
import { type Role, type Running, Unavailable } from "./supervisor.ts";

export interface Pooled {
  readonly running: Running;
  /** What the child answered to our `initialize`; absent at stateless ones. */
  readonly initialized?: Fields;
  /** Stateless revisions that the child speaks. */
  readonly revisions?: readonly string[];
  /** Parameters of its tools that headers repeat, by tool; absent until somebody has listed them. */
  mirrored?: ReadonlyMap<string, readonly MirroredParameter[]>;
}

async function pooled(
  bridge: Bridge,
  key: string,
  make: (onEnd: () => void) => Promise<Pooled>,
): Promise<Pooled> {
  const { pool } = bridge;
  const known = pool.get(key);
  const found = await known;
  if (found && !found.running.isGone()) return found;
  // Another request may have been first to see that it is gone.
  if (pool.get(key) !== known) return pooled(bridge, key, make);
  const forget = (): void => {
    if (pool.get(key) === made) pool.delete(key);
  };
  const made = make(forget);
  pool.set(key, made);
  // A failed start is told to those who wait for it; the next request tries again.
  made.catch(forget);
  return made;
}

/** The child that sessions of one revision share. @throws {Unavailable} */
export function sharedByRevision(bridge: Bridge, revision: string): Promise<Pooled> {
  return pooled(bridge, `session ${revision}`, async (onEnd) => {
    const members = (): Session[] =>
      [...bridge.sessions.values()].filter((session) => session.running === running);
    const running: Running = await bridge.supervisor.start({
      shared: true,
      identity: {},
      // No client waits for another one that is slow.
      room: () => undefined,
      onEnd,
      isHeard: () => members().some(({ outbox }) => outbox.isHeard()),
      stray: (message, line) => {
        const refusal = refuseQuestion(message);
        if (refusal !== undefined) running.send(refusal);
        else for (const { outbox } of members()) outbox.send(STANDALONE, line);
      },
    });
    // Nobody can be asked for all of them, so the client of this child can do nothing.
    const params = { protocolVersion: revision, capabilities: {}, clientInfo };
    const initialized = await ask(running, "initialize", params, bridge.bounds.handshake);
    if (isFields(initialized["result"])) running.send(notification("notifications/initialized"));
    return { running, initialized };
  });
}

/**
 * The child for stateless requests.
 *
 * @param key what those who share it have in common
 * @param identity variables that tell it for whom it runs
 * @throws {Unavailable} it cannot be started, or speaks session revisions only
 */
export function stateless(
  bridge: Bridge,
  key: string,
  identity: Role["identity"],
): Promise<Pooled> {
  return pooled(bridge, `stateless ${key}`, async (onEnd) => {
    const running: Running = await bridge.supervisor.start({
      shared: true,
      identity,
      room: () => undefined,
      onEnd,
      isHeard: () => false,
      stray: (message) => {
        const refusal = refuseQuestion(message);
        if (refusal !== undefined) running.send(refusal);
      },
    });
    const revisions = await statelessRevisions(bridge, running);
    if (revisions.length > 0) return { running, revisions };
    void running.stop();
    throw new SessionsOnly("this MCP server speaks revisions with sessions: begin with initialize");
  });
}

/** The child answers `initialize` alone. */
export class SessionsOnly extends Error {
  override readonly name = "SessionsOnly";
}

const HOUR = 3_600_000;
const MINUTE = 60_000;

/** What a client of the stateless revision says about itself with every request. */
export const envelope = {
  [VERSION_KEY]: STATELESS,
  [CLIENT_KEY]: clientInfo,
  [CAPABILITIES_KEY]: {},
};

/** MCP 2026-07-28 "stdio", "Backward Compatibility": any answer but a modern one, and none at all, is an older server's. */
async function statelessRevisions(bridge: Bridge, running: Running): Promise<string[]> {
  const { bounds, monotonic } = bridge;
  const none = (time: number): [] => {
    bridge.sessionsOnlyUntil = monotonic() + time;
    return [];
  };
  try {
    const { result, error } = await ask(
      running,
      "server/discover",
      { _meta: envelope },
      bounds.probe,
    );
    const said = isFields(result) ? result["supportedVersions"] : supportedIn(error);
    const revisions = (Array.isArray(said) ? said : []).filter(
      (each: unknown) => typeof each === "string" && isStateless(each),
    );
    return revisions.length > 0 ? revisions : none(HOUR);
  } catch (error) {
    // Slow starts look alike: soon again.
    if (error instanceof Unavailable) return none(MINUTE);
    throw error;
  }
}

const supportedIn = (error: unknown): unknown =>
  isFields(error) && isFields(error["data"]) ? error["data"]["supported"] : undefined;
