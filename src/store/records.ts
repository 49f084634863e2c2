// The shape of every record, durable and in memory. Member names of clients are those of RFC 7591 §2.
// Times ending in `_at` are epoch seconds. No record holds a usable secret: tokens and secrets are stored as SHA-256.

/** A registered client, by client_id. */
export interface Client {
  readonly client_name?: string;
  readonly redirect_uris: readonly string[];
  readonly grant_types: readonly string[];
  readonly response_types: readonly string[];
  readonly token_endpoint_auth_method:
    | "none"
    | "client_secret_basic"
    | "client_secret_post"
    | "private_key_jwt";
  readonly scope: string;
  readonly client_uri?: string;
  readonly client_id_issued_at: number;
  /** Network (/24 or /48) that it registered itself from (RFC 7591). */
  readonly registered_from?: string;
  /** What the owner calls it. */
  readonly label?: string;
  /** SHA-256 of the client secret; absent for public clients. */
  readonly secret_hash?: string;
  /** It never asked to be confidential, or offers to be public too: authentication is checked when tried, not demanded. */
  readonly auth_optional?: boolean;
  /** Public keys of private_key_jwt (RFC 7517), as last seen. */
  readonly jwks?: readonly PublicKey[];
  readonly jwks_uri?: string;
  /** The resource of the MCP server that this client is: it may introspect tokens for it, and nothing else. */
  readonly resource_server?: string;
  readonly source: "dcr" | "static" | "cimd";
  /** Taken in again by the owner after its record was lost: its other redirect URIs are not known. */
  readonly readmitted?: boolean;
  /** When a person first let it in; absent: never used, dropped after 24 h. */
  readonly first_grant_at?: number;
  /** When its last grant ended; meaningful only while it has none. */
  readonly last_grant_ended_at?: number;
}

/** A JSON Web Key without its secret members. */
export type PublicKey = Readonly<Record<string, string>>;

/** One live access token of a grant. The token itself is nowhere but in the answer and in the client. */
export interface AccessEntry {
  readonly generation: number;
  readonly scope: string;
  /** SHA-256 of the token's proof. */
  readonly hash: string;
  readonly expires_at: number;
}

/** What the owner left of the tools to a connection. */
export type Leash =
  | { readonly kind: "read-only" }
  | { readonly kind: "tools"; readonly tools: readonly string[] };

/** One login by one client (a refresh-token family), by family id. */
export interface Grant {
  readonly client_id: string;
  readonly client_name?: string;
  /** What the owner calls this connection. */
  readonly label?: string;
  /** Absent: all that its scopes allow. */
  readonly leash?: Leash;
  /** Where the code went, as `redirectHost` tells it. */
  readonly redirect_host?: string;
  readonly subject: string;
  readonly scope: string;
  readonly resource: string;
  readonly secret_hash: string;
  readonly tag_key: string;
  readonly generation: number;
  readonly used_generation: number;
  readonly rotated_at: number;
  /** Network (/24 or /48) of the request that made the present generation. */
  readonly rotated_from: string;
  /** The lowest generation whose retry gets the present one; absent: the one before. */
  readonly follows?: number;
  readonly access: readonly AccessEntry[];
  /** Retries that came late, or from another network than the request before them. */
  readonly replays?: Replays;
  /** Access tokens up to this generation were revoked (RFC 7009) and are not handed out again. */
  readonly revoked_generation?: number;
  readonly created_at: number;
  readonly last_used_at: number;
  /** The absolute end. The sliding, idle end is last_used_at plus the setting. */
  readonly expires_at: number;
}

export interface Replays {
  readonly count: number;
  readonly last_at: number;
  /** Of the last ones, the newest last. */
  readonly networks: readonly string[];
}

/** The one owner, by the id "owner". */
export interface Owner {
  /** argon2id, PHC string format. */
  readonly password_hash: string;
  /** Sessions and codes carry the epoch they were made in; raising it ends them all in one commit. */
  readonly epoch: number;
  readonly created_at: number;
  readonly password_changed_at: number;
  /** Until when the warnings on the account page were read, to the millisecond. */
  readonly warnings_seen_at?: number;
}

/** What the folder knows of itself, by the id "self". */
export interface Folder {
  /** Key of the MAC inside the client ids that this folder issues. */
  readonly client_id_key: string;
  /** The public URL that the grants were made under. */
  readonly issuer: string;
  /** Clients that the owner removed, the newest last; a bounded number of them. */
  readonly removed_clients?: readonly RemovedClient[];
}

export interface RemovedClient {
  /** SHA-256 of the client_id. */
  readonly id_hash: string;
  readonly removed_at: number;
  readonly client_name?: string;
}

/** A key for a client that can only send a header, by its id, which is part of its text. */
export interface ApiKey {
  /** What the owner calls it; no two have the same. */
  readonly name: string;
  /** SHA-256 of its secret. */
  readonly secret_hash: string;
  /** Paths of the servers that it opens, under the public URL, so that a new one changes nothing: "/mcp". */
  readonly servers: readonly string[];
  readonly scope: string;
  readonly created_at: number;
  /** Absent: never. */
  readonly expires_at?: number;
  /** To ten minutes, with the network (/24 or /48) that it came from; absent: never used. */
  readonly last_used_at?: number;
  readonly last_used_from?: string;
}

/** Durable tables, by their names on disk. */
export interface Tables {
  clients: Client;
  refresh_tokens: Grant;
  owner: Owner;
  folder: Folder;
  api_keys: ApiKey;
}
export type TableName = keyof Tables;
export const tableNames: readonly TableName[] = [
  "clients",
  "refresh_tokens",
  "owner",
  "folder",
  "api_keys",
];

/** An authorization code, in memory, by the SHA-256 of its text. */
export interface Code {
  readonly client_id: string;
  readonly client_name?: string;
  readonly redirect_uri: string;
  readonly code_challenge: string;
  readonly scope: string;
  readonly resource: string;
  readonly leash?: Leash;
  readonly subject: string;
  /** Owner epoch of the session that consented. */
  readonly epoch: number;
  readonly expires_at: number;
  /** Set by the redemption: the family that the code became. */
  readonly family?: string;
}

/** A client assertion that was used, in memory, by the SHA-256 of client and jti. */
export interface UsedAssertion {
  readonly expires_at: number;
}

/** Where a consent led to. */
export interface Answered {
  readonly location: string;
  /** Id of the code in the codes table; absent when consent was denied. */
  readonly code?: string;
}

/** A browser session of the owner, in memory, by the SHA-256 of the cookie. */
export interface Session {
  readonly subject: string;
  readonly epoch: number;
  /** Network (/24 or /48) of the login. */
  readonly network: string;
  /** In words, as the browser calls itself: "Firefox on Linux". */
  readonly browser: string;
  readonly created_at: number;
  readonly last_used_at: number;
  /** The idle end, never past the absolute one. */
  readonly expires_at: number;
  /** Consents answered lately, by form nonce: a double click must not mint a second code. */
  readonly answered: ReadonlyMap<string, Answered>;
}

const DAY = 86_400;
/** Expired records stay this long before load or save removes them, should the clock have been wrong. */
const EXPIRED_KEPT = 7 * DAY;
const UNUSED_CLIENT_TTL = DAY;
const IDLE_CLIENT_TTL = 30 * DAY;

/** When a client that nobody let in, or whose last grant is long over, is gone; undefined while it lives. Needs `granted`. */
export function clientExpiresAt(client: Client, granted: boolean): number | undefined {
  if (client.source === "static" || granted) return undefined;
  if (client.first_grant_at === undefined) return client.client_id_issued_at + UNUSED_CLIENT_TTL;
  return (client.last_grant_ended_at ?? client.first_grant_at) + IDLE_CLIENT_TTL;
}

/** All durable records, by table and id. */
export type TableMaps = { readonly [N in TableName]: Map<string, Tables[N]> };

export const emptyTables = (): TableMaps => ({
  clients: new Map(),
  refresh_tokens: new Map(),
  owner: new Map(),
  folder: new Map(),
  api_keys: new Map(),
});

/**
 * Freezes a record with everything in it; returns it. What was loaded is frozen when it is first handed out: at once it
 * would take a third of the time and of the memory of a large load.
 */
export function deepFreeze<T>(value: T): T {
  if (typeof value !== "object" || value === null || Object.isFrozen(value)) return value;
  for (const member of Object.values(value)) deepFreeze(member);
  return Object.freeze(value);
}

/**
 * Removes what expired over a week ago, in place. A function of the data and the time alone, so a load that repeats it
 * after a crash comes to the same tables. `now` is in epoch seconds. Returns how many records went.
 */
export function sweepExpired(tables: TableMaps, now: number): number {
  let removed = 0;
  const granted = new Set<string>();
  for (const [id, grant] of tables.refresh_tokens) {
    if (grant.expires_at + EXPIRED_KEPT > now) {
      granted.add(grant.client_id);
      continue;
    }
    tables.refresh_tokens.delete(id);
    removed++;
    const client = tables.clients.get(grant.client_id);
    if (client && (client.last_grant_ended_at ?? 0) < grant.expires_at) {
      tables.clients.set(
        grant.client_id,
        deepFreeze({ ...client, last_grant_ended_at: grant.expires_at }),
      );
    }
  }
  for (const [id, { expires_at: expiresAt = Number.POSITIVE_INFINITY }] of tables.api_keys) {
    if (expiresAt + EXPIRED_KEPT > now) continue;
    tables.api_keys.delete(id);
    removed++;
  }
  for (const [id, client] of tables.clients) {
    const expiresAt = clientExpiresAt(client, granted.has(id));
    if (expiresAt === undefined || expiresAt + EXPIRED_KEPT > now) continue;
    tables.clients.delete(id);
    removed++;
  }
  return removed;
}
