// What handlers are given. Types only: the values are built once, in cli/open.ts.
import type { Alerts } from "./alerts/bell.ts";
import type { Attempts } from "./attempts/trail.ts";
import type { Audit } from "./audit.ts";
import type { Checkups } from "./checkup.ts";
import type { Config, Server } from "./config.ts";
import type { Lines } from "./gateway/dial.ts";
import type { ServerCredentials } from "./gateway/credentials.ts";
import type { Served } from "./gateway/served.ts";
import type { Upstreams } from "./gateway/sights.ts";
import type { Stdio } from "./gateway/stdio.ts";
import type { Tools } from "./gateway/tools.ts";
import type { Limits } from "./limits.ts";
import type { Metrics } from "./metrics.ts";
import type { DocumentCache } from "./oauth/cimd.ts";
import type { KeyFetches } from "./oauth/jwt.ts";
import type { FetchSlots, Internet } from "./oauth/outbound.ts";
import type { Uses } from "./oauth/uses.ts";
import type { Passwords } from "./login/owner.ts";
import type { Leash } from "./store/records.ts";
import type { Store } from "./store/table.ts";

/** Built once per server and passed to every handler; two servers in one process share nothing. */
export interface Deps {
  readonly config: Config;
  readonly store: Store;
  readonly audit: Audit;
  readonly limits: Limits;
  readonly metrics: Metrics;
  readonly passwords: Passwords;
  /** Epoch milliseconds. */
  readonly now: () => number;
  /** Monotonic milliseconds. */
  readonly monotonic: () => number;
  /** Whether changes can be saved at the moment. */
  readonly isReady: () => Promise<boolean>;
  /** Where client documents come from. */
  readonly internet: Internet;
  readonly documents: DocumentCache;
  readonly fetchSlots: FetchSlots;
  readonly keyFetches: KeyFetches;
  readonly uses: Uses;
  /** Ways to the servers behind. */
  readonly lines: Lines;
  /** SHA-256 of the initial access token that registration asks for (RFC 7591 §3); undefined: none. */
  readonly initialAccessTokenHash: string | undefined;
  /** Key of the MACs in forms given to browsers; new at every start. */
  readonly formKey: string;
  /** Opens the setup page while there is no owner; new at every start. */
  readonly setupToken: string;
  /** The owner's, for the servers behind. */
  readonly credentials: ServerCredentials;
  /** The servers behind that are commands. */
  readonly stdio: Stdio;
  /** Those that the settings name now. */
  readonly served: Served;
  /** What is known of their tools. */
  readonly tools: Tools;
  /** What was seen of those that speak HTTP. */
  readonly upstreams: Upstreams;
  /** Clients on their way in, as far as they came. */
  readonly attempts: Attempts;
  /** Check-ups of `postern doctor` that run. */
  readonly checkups: Checkups;
  /** Tells the owner at once. */
  readonly alerts: Alerts;
}

/** What app.ts found out about one request. */
export interface Call {
  /** Canonical path: decoded, without dot segments; decisions and forwarding use this and nothing else. */
  readonly path: string;
  /** Address of the client, behind trusted proxies. */
  readonly address: string;
  readonly requestId: string;
  /** Lifts the idle limit of this connection, for answers that stream. */
  readonly keepOpen: () => void;
  /** Puts it back. Before the last byte: Bun takes none after it. */
  readonly letIdle: () => void;
}

/** A request made with a good bearer token (RFC 6750), as gateway/guard.ts found it. */
export interface AuthContext {
  readonly subject: string;
  readonly clientId: string;
  readonly clientName: string | undefined;
  readonly scopes: readonly string[];
  /** What the owner narrowed the connection to. */
  readonly leash?: Leash;
  /** The grant behind the token. */
  readonly family: string;
  /** When that login was made, epoch seconds. */
  readonly issuedAt: number;
  readonly server: Server;
  /** Whether the credential is still good, and the server still there; open streams ask every 30 s. */
  readonly stillGood: () => Promise<boolean>;
}

export type Handler = (request: Request, deps: Deps, call: Call) => Promise<Response> | Response;
