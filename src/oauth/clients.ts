// Client identifiers: making, finding, and making room for new ones. Registration itself is register.ts.
import type { Deps } from "../deps.ts";
import { equal, hmac, randomId, randomToken, seconds } from "../primitives.ts";
import { type Client, type Folder, clientExpiresAt } from "../store/records.ts";
import type { Draft } from "../store/table.ts";

export interface FoundClient {
  readonly id: string;
  readonly client: Client;
}

/** Registrations that nobody has let in yet, in all and of one network (/24, /48). */
const UNUSED_CLIENTS = 500;
const UNUSED_OF_NETWORK = 50;

/** What the folder knows of itself; made in the first commit that needs it, so that a full disk stops no start. */
export function ensureFolder(draft: Draft, issuer: string): Folder {
  const known = draft.get("folder", "self");
  if (known?.issuer === issuer) return known;
  const folder: Folder = { client_id_key: randomToken(), ...known, issuer };
  draft.put("folder", "self", folder);
  return folder;
}

/** Whether its secret is needed to use an id; told by the MAC in it, should all else be lost. */
type IdKind = "without a secret" | "with a secret";

const idMac = (folderKey: string, random: string, kind: IdKind): string =>
  hmac(folderKey, `postern client ${kind === "with a secret" ? 2 : 1}\0${random}`);

/** Of a client that it is made for. */
export const idKindOf = (
  client: Pick<Client, "token_endpoint_auth_method" | "auth_optional">,
): IdKind =>
  client.token_endpoint_auth_method === "none" || client.auth_optional
    ? "without a secret"
    : "with a secret";

/** A new client_id: 16 random bytes and their MAC under the folder's key, 65 characters of base64url. */
export function newClientId(folderKey: string, kind: IdKind): string {
  const random = randomId();
  return random + idMac(folderKey, random, kind);
}

/** What kind of id a folder with this key issued, be it known here or not; undefined: none. */
export function ownIdKind(id: string, folderKey: string): IdKind | undefined {
  if (!/^[A-Za-z0-9_-]{65}$/.test(id)) return undefined;
  const kinds = ["without a secret", "with a secret"] as const;
  return kinds.find((kind) => equal(id.slice(22), idMac(folderKey, id.slice(0, 22), kind)));
}

/** The host that vouches for a client: that of its Client ID Metadata Document, whose URL is the id. */
export const verifiedHost = (
  id: string,
  client: Pick<Client, "source"> | undefined,
): string | undefined =>
  client?.source === "cimd" ? (URL.parse(id)?.host ?? undefined) : undefined;

/** The client of an id; undefined when it was never registered or was never used and expired. */
export async function findClient(id: string, deps: Deps): Promise<FoundClient | undefined> {
  const client = await deps.store.clients.get(id);
  if (!client) return undefined;
  const neverUsed = client.first_grant_at === undefined;
  const expiresAt = neverUsed ? clientExpiresAt(client, false) : undefined;
  return expiresAt !== undefined && expiresAt <= seconds(deps.now()) ? undefined : { id, client };
}

/**
 * Makes room for one more never-used registration from `network`: its own oldest goes when it has its share, else, when there
 * are 500, the oldest of the network that has most. So nobody pushes out those of others, however often they register.
 */
export function makeRoomForClient(draft: Draft, network: string): void {
  const unused = [...draft.list("clients")].filter(
    ([, client]) => client.source === "dcr" && client.first_grant_at === undefined,
  );
  const byNetwork = Map.groupBy(unused, ([, client]) => client.registered_from);
  const own = byNetwork.get(network) ?? [];
  if (own.length >= UNUSED_OF_NETWORK) return deleteOldest(draft, own);
  if (unused.length < UNUSED_CLIENTS) return;
  const [most = []] = [...byNetwork.values()].toSorted((one, other) => other.length - one.length);
  deleteOldest(draft, most);
}

function deleteOldest(draft: Draft, clients: readonly [id: string, client: Client][]): void {
  const [oldest] = clients.toSorted(
    ([, one], [, other]) => one.client_id_issued_at - other.client_id_issued_at,
  );
  if (oldest) draft.delete("clients", oldest[0]);
}
