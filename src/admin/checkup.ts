// Beginning and ending the check-ups of `postern doctor`: a key, a signed-in session, and afterwards nothing of either,
// nor of the clients that were registered meanwhile. Also after a doctor that was killed: each ends by itself.
import { type Checkup, checkupIdOf } from "../checkup.ts";
import type { Deps } from "../deps.ts";
import { OAuthError } from "../errors.ts";
import { startSession } from "../login/session.ts";
import { deleteClient } from "../oauth/grants.ts";
import { metadataDocuments } from "../oauth/metadata.ts";
import { randomToken } from "../primitives.ts";
import type { Asked } from "./asked.ts";
import { version } from "../../package.json";

/** Milliseconds after which one ends by itself. */
const LONGEST = 300_000;
const AT_ONCE = 4;

/** What the doctor is given to work with. */
export interface BegunCheckup {
  readonly id: string;
  readonly key: string;
  /** "name=value" of a signed-in owner's session; absent while there is no owner. */
  readonly cookie?: string;
  readonly version: string;
  readonly pid: number;
  readonly data: string;
  readonly issuer: string;
  readonly hosts: readonly string[];
  readonly port: number;
  readonly registration: "open" | "with a token" | "closed";
  /** Whether it serves https itself. */
  readonly tls: boolean;
  readonly servers: readonly {
    readonly path: string;
    readonly resource: string;
    readonly scopes: readonly string[];
  }[];
  /** The metadata documents by path. */
  readonly documents: Readonly<Record<string, unknown>>;
}

/** @throws {OAuthError} 403 to a browser: what it gives is for the shell alone; 429 */
export async function beginCheckup({ actor }: Asked, deps: Deps): Promise<BegunCheckup> {
  if (actor.via !== "command") {
    throw new OAuthError("access_denied", "check-ups are begun by postern doctor alone");
  }
  if (deps.checkups.size >= AT_ONCE) {
    throw new OAuthError("temporarily_unavailable", "other check-ups run, try again later");
  }
  const owner = await deps.store.owner.get("owner");
  const session =
    owner && (await startSession(owner.epoch, { network: "", browser: "Postern doctor" }, deps));
  const checkup: Checkup = {
    id: randomToken(8),
    ...(session && { sessionId: session.id }),
  };
  const key = randomToken(16);
  deps.checkups.set(key, checkup);
  setTimeout(() => void end(key, deps).catch(() => undefined), LONGEST).unref();
  deps.audit.record("checkup", { id: checkup.id });
  return {
    id: checkup.id,
    key,
    ...(session && { cookie: session.cookie.split(";", 1)[0] ?? "" }),
    version,
    pid: process.pid,
    ...surroundings(deps),
  };
}

function surroundings({
  config,
  initialAccessTokenHash,
}: Deps): Pick<
  BegunCheckup,
  "data" | "issuer" | "hosts" | "port" | "registration" | "tls" | "servers" | "documents"
> {
  const { data, issuer, hosts, port, servers, tlsCert, acme } = config;
  const open = initialAccessTokenHash === undefined ? "open" : "with a token";
  const documents = [...metadataDocuments(config)].map(([path, document]): [string, unknown] => [
    path,
    JSON.parse(new TextDecoder().decode(document)),
  ]);
  return {
    data,
    issuer,
    hosts,
    port,
    registration: config.registration ? open : "closed",
    tls: tlsCert !== "" || acme !== "",
    servers: servers.map(({ path, resource, scopes }) => ({ path, resource, scopes })),
    documents: Object.fromEntries(documents),
  };
}

/** Ends the check-up whose key it is; one that ended before leaves nothing to do. */
export async function endCheckup({ id: key }: Asked, deps: Deps): Promise<{ removed: number }> {
  return { removed: await end(key, deps) };
}

async function end(key: string, deps: Deps): Promise<number> {
  const checkup = deps.checkups.get(key);
  if (!checkup) return 0;
  if (checkup.sessionId !== undefined) await deps.store.sessions.delete(checkup.sessionId);
  deps.checkups.delete(key);
  // What a header that did not come through could not hide.
  deps.attempts.forget(({ client_name: name }) => checkupIdOf(name) === checkup.id);
  return sweepCheckups(deps);
}

/** Removes the clients of check-ups that do not run any more, those of a killed server too. */
export async function sweepCheckups(deps: Deps): Promise<number> {
  const running = new Set([...deps.checkups.values()].map(({ id }) => id));
  const isLeft = (name: string | undefined): boolean => {
    const id = checkupIdOf(name);
    return id !== undefined && !running.has(id);
  };
  const left = (await deps.store.clients.list()).filter(([, { client_name: name }]) =>
    isLeft(name),
  );
  if (left.length === 0) return 0;
  await deps.store.revoke((draft) => {
    for (const [id] of left) deleteClient(draft, id);
  });
  return left.length;
}
