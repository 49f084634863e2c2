// Clients that this folder issued an id to and does not know any more, and those that the owner removed: what is remembered
// of them, and when the owner may be asked to let them in again. Nothing is stored before the owner agrees.
import { registerAnew } from "../clients/forgetting.ts";
import type { Deps } from "../deps.ts";
import { OAuthError } from "../errors.ts";
import { seconds, sha256 } from "../primitives.ts";
import type { Client, RemovedClient } from "../store/records.ts";
import type { Draft } from "../store/table.ts";
import { type FoundClient, ensureFolder, ownIdKind } from "./clients.ts";
import { grantTypes, responseTypes } from "./metadata.ts";
import { checkRedirectUri, matchRedirectUri } from "./rules.ts";

/** Removed clients that are remembered, the newest of them, and for how many seconds. */
const REMEMBERED = 64;
const REMEMBERED_FOR = 365 * 86_400;

/** Why a client is asked about before it is let in again. */
export type Lost =
  /** The owner removed it then, epoch seconds. */
  | { readonly kind: "removed"; readonly at: number }
  /** Removed long ago, expired, or an older copy of the folder is in use. */
  | { readonly kind: "unknown" }
  /** It was let in again before, with another of its redirect URIs. */
  | { readonly kind: "moved" };

interface LostClient extends FoundClient {
  readonly lost: Lost;
}

/**
 * A public client in place of a record that is gone, or of a readmitted one that comes with another of its redirect URIs:
 * when our own MAC proves that the id was issued here.
 * @throws {OAuthError} for an id that was issued with a secret: what the secret was is lost as well
 */
export async function findLostClient(
  id: string,
  redirectUri: string | undefined,
  known: Client | undefined,
  deps: Deps,
): Promise<LostClient | undefined> {
  if (redirectUri === undefined || !checkRedirectUri(redirectUri).ok) return undefined;
  if (known && matchRedirectUri(known.redirect_uris, redirectUri)) return undefined;
  const folder = await deps.store.folder.get("self");
  const kind = folder && ownIdKind(id, folder.client_id_key);
  if (kind === undefined || !deps.config.registration) return undefined;
  if (kind === "with a secret") throw secretLost(id, redirectUri);
  const removed = known ? undefined : await findRemoved(id, deps);
  const name = removed?.client_name;
  return {
    id,
    lost: known ? { kind: "moved" } : reasonOf(removed),
    client: {
      ...(name !== undefined && { client_name: name }),
      redirect_uris: [...(known?.redirect_uris ?? []), redirectUri],
      grant_types: [...grantTypes],
      response_types: [...responseTypes],
      token_endpoint_auth_method: "none",
      scope: deps.config.scopes.join(" "),
      client_id_issued_at: known?.client_id_issued_at ?? seconds(deps.now()),
      source: "dcr",
      readmitted: true,
      ...(known?.first_grant_at !== undefined && { first_grant_at: known.first_grant_at }),
    },
  };
}

const reasonOf = (removed: RemovedClient | undefined): Lost =>
  removed ? { kind: "removed", at: removed.removed_at } : { kind: "unknown" };

/** That the owner removed a client; undefined when it is not remembered. */
export async function findRemoved(id: string, deps: Deps): Promise<RemovedClient | undefined> {
  const folder = await deps.store.folder.get("self");
  const hash = sha256(id);
  const oldest = seconds(deps.now()) - REMEMBERED_FOR;
  return folder?.removed_clients?.find(
    (removed) => removed.id_hash === hash && removed.removed_at > oldest,
  );
}

/** Remembers that the owner removed a client, so that it is not let in again by mistake. */
export function rememberRemoved(
  draft: Draft,
  removed: readonly (readonly [id: string, client: Client])[],
  { config, now: time }: Pick<Deps, "config" | "now">,
): void {
  if (removed.length === 0) return;
  // A command line without the server's settings must not rename the folder.
  const folder = draft.get("folder", "self") ?? ensureFolder(draft, config.issuer);
  const now = seconds(time());
  const added = removed.map(([id, { client_name: name }]) => ({
    id_hash: sha256(id),
    removed_at: now,
    ...(name !== undefined && { client_name: [...name].slice(0, 80).join("") }),
  }));
  const again = new Set(added.map(({ id_hash: hash }) => hash));
  const kept = (folder.removed_clients ?? []).filter(
    ({ id_hash: hash, removed_at: at }) => !again.has(hash) && at > now - REMEMBERED_FOR,
  );
  const all = [...kept, ...added].slice(-REMEMBERED);
  draft.put("folder", "self", { ...folder, removed_clients: all });
}

/** The owner let it in again. */
export function forgetRemoved(draft: Draft, id: string): void {
  const folder = draft.get("folder", "self");
  const hash = sha256(id);
  const kept = folder?.removed_clients?.filter((removed) => removed.id_hash !== hash) ?? [];
  if (!folder || kept.length === (folder.removed_clients?.length ?? 0)) return;
  draft.put("folder", "self", { ...folder, removed_clients: kept });
}

const secretLost = (id: string, redirectUri: string): OAuthError =>
  new OAuthError(
    "invalid_client",
    "The client got its id here together with a secret, and neither is known here any more.",
    {
      status: 400,
      title: "This client has to be added again",
      detail: `lost client ${id} with a secret`,
      facts: {
        cause: "it was removed, its registration expired, or an older copy of the data is in use",
        sent: [`client_id=${id}`, `redirect_uri=${redirectUri}`],
        expected: ["a client_id and a secret that are registered here"],
      },
      advice: `${registerAnew([redirectUri])}\nYou typed the id and the secret in there? \`postern clients add --for <client>\` makes new ones.`,
    },
  );
