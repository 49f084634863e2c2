// What can be told of a real client: the shape of the entries of shapes.ts.

/** What a client sends before it knows anything, without a token. */
export interface Probe {
  readonly method: "GET" | "HEAD" | "POST";
  readonly message?: "initialize" | "server/discover";
  readonly headers?: Readonly<Record<string, string>>;
}

export interface Registration {
  readonly by: "registration";
  /** RFC 7591; PORT stands for a port of the client's own. */
  readonly metadata: Readonly<Record<string, unknown>>;
  /** How many times it registers for one login. */
  readonly times?: number;
}

export interface PublishedDocument {
  readonly by: "document";
  readonly host: string;
  readonly path: string;
  /** Without client_id. */
  readonly document: Readonly<Record<string, unknown>>;
  /** Path of the keys that its assertions (RFC 7523) are signed with. */
  readonly keys?: string;
}

export interface ClientShape {
  readonly name: string;
  /** What its person calls it; several ways of one client to make itself known share it. */
  readonly word: string;
  /** It runs at its maker's and reaches nothing on loopback. */
  readonly hosted: boolean;
  /** What its person typed behind the public URL. */
  readonly typed: "/mcp" | "/mcp/";
  readonly identity: Registration | PublishedDocument;
  readonly probes: readonly Probe[];
  /** Revision that it speaks when it is in. */
  readonly revision: "2025-06-18" | "2025-11-25" | "2026-07-28";
  /** Well-known documents in the order it asks for them. */
  readonly discovery: readonly string[];
  /** What else it asks for where those are missing. */
  readonly fallbacks: readonly string[];
  /** Refuses metadata whose `resource` is not the URL that was typed. */
  readonly comparesResource?: boolean;
  /** Of the authorization request; PORT is another one at every login. */
  readonly redirectUri: string;
  /** What it asks for: the challenge's scope, what the server's metadata list, `words`, or nothing. */
  readonly scope: "challenge" | "supported" | "words" | "none";
  readonly words?: string;
  readonly prompt?: "consent";
  /** GETs the authorization URL by itself before it opens the browser. */
  readonly asksBeforeBrowser?: boolean;
  /** Whether `resource` is in the requests for tokens too. */
  readonly resourceForTokens: boolean;
  readonly refresh: {
    /** Seconds before the end of the access token, by its own clock; absent: only when it is refused. */
    readonly ahead?: number;
    /** Whether a 401 to a token that it believes in makes it refresh. */
    readonly when401: boolean;
    readonly scope?: boolean;
    /** Sends the same request twice within a few milliseconds, and throws its login away unless both succeed. */
    readonly twice?: boolean;
  };
  /** After 401 invalid_client: registers by itself, when its person logs in, or keeps the id until its person makes it forget. */
  readonly whenUnknown: "registers" | "waits" | "keeps";
  /** Of requests for tokens, and of MCP requests. */
  readonly agents?: readonly [string, string];
  /** Origin of the page that a client in a browser is; all it does is fetch. */
  readonly origin?: string;
}
