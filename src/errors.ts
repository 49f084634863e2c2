// The one error type of every protocol answer, and its JSON rendering. Pages are rendered by app.ts from the same fields.

/** Error codes of RFC 6749 §4.1.2.1 and §5.2, RFC 6750 §3.1, RFC 7591 §3.2.2, RFC 8707 §2, OpenID Connect Core §3.1.2.6. */
export type ErrorCode =
  | "access_denied"
  | "consent_required"
  | "insufficient_scope"
  | "invalid_client"
  | "invalid_client_metadata"
  | "invalid_grant"
  | "invalid_redirect_uri"
  | "invalid_request"
  | "invalid_scope"
  | "invalid_target"
  | "invalid_token"
  | "request_not_supported"
  | "request_uri_not_supported"
  | "server_error"
  | "temporarily_unavailable"
  | "unauthorized_client"
  | "unsupported_grant_type"
  | "unsupported_response_type";

/** Where an authorization error may be sent: only ever a client and redirect URI that were found good (RFC 6749 §4.1.2.1). */
export interface RedirectTarget {
  readonly uri: string;
  /** Of the client, as it gave it: for the page on the way back. */
  readonly clientName: string | undefined;
  readonly state: string | undefined;
}

/** What an error page shows of the refused request, so that its sender can be put right. For people: never in JSON. */
export interface ErrorFacts {
  /** As the client gave it. */
  readonly clientName?: string | undefined;
  /** What came, as it came: a line each. */
  readonly sent?: readonly string[];
  /** What would have been right: one entry for each possibility. */
  readonly expected?: readonly string[];
  /** The cause, in words that the owner may read. */
  readonly cause?: string;
}

export interface NextStep {
  readonly path: `/${string}`;
  readonly text: string;
}

export interface ErrorOptions {
  /** HTTP status; the code's own status when absent. */
  readonly status?: number;
  /** The reason for the operator: goes to the audit trail, never to the wire. */
  readonly detail?: string;
  /** Heading of the page; the status has one of its own. */
  readonly title?: string;
  /** What the person in front of the page can do now: one step a line, `commands` in backticks. */
  readonly advice?: string;
  /** The button of the page: a path of ours under the public URL. */
  readonly next?: NextStep;
  readonly facts?: ErrorFacts;
  readonly headers?: Readonly<Record<string, string>>;
  readonly redirect?: RedirectTarget;
  readonly cause?: unknown;
}

const statusOf: Partial<Record<ErrorCode, number>> = {
  access_denied: 403,
  insufficient_scope: 403,
  invalid_client: 401,
  invalid_token: 401,
  server_error: 500,
  temporarily_unavailable: 503,
};

/** A refusal in the words of OAuth. `message` is the public sentence: no secret, no hint at what exists. */
export class OAuthError extends Error {
  readonly code: ErrorCode;
  readonly status: number;
  readonly detail: string | undefined;
  readonly title: string | undefined;
  readonly advice: string | undefined;
  readonly next: NextStep | undefined;
  readonly facts: ErrorFacts;
  readonly headers: Readonly<Record<string, string>>;
  readonly redirect: RedirectTarget | undefined;

  constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(message, { cause: options.cause });
    this.name = "OAuthError";
    this.code = code;
    this.status = options.status ?? statusOf[code] ?? 400;
    this.detail = options.detail;
    this.title = options.title;
    this.advice = options.advice;
    this.next = options.next;
    this.facts = options.facts ?? {};
    this.headers = options.headers ?? {};
    this.redirect = options.redirect;
  }
}

/** The disk did not take the change; nothing was rotated or issued. */
export class StoreUnavailable extends OAuthError {
  constructor(detail: string, cause?: unknown) {
    super(
      "temporarily_unavailable",
      "the server cannot save changes at the moment, try again soon",
      {
        detail,
        cause,
        headers: { "retry-after": "5" },
      },
    );
    this.name = "StoreUnavailable";
  }
}

/** RFC 6585 §4: it may be tried again in `wait` seconds. */
export const tooManyRequests = (
  message: string,
  wait: number,
  forPeople: Pick<ErrorOptions, "advice" | "facts" | "next"> = {},
): OAuthError =>
  new OAuthError("temporarily_unavailable", message, {
    ...forPeople,
    status: 429,
    headers: { "retry-after": String(wait) },
  });

/** What nobody expected, in our own words. */
export const asOAuthError = (thrown: unknown): OAuthError =>
  thrown instanceof OAuthError
    ? thrown
    : new OAuthError("server_error", "something went wrong in the server", { cause: thrown });

/** A start or a command that cannot go on: one line for a person, and the exit code of sysexits(3). */
export class FatalError extends Error {
  readonly exitCode: number;
  readonly hint: string | undefined;

  constructor(
    message: string,
    options: { exitCode?: number; hint?: string; cause?: unknown } = {},
  ) {
    super(message, { cause: options.cause });
    this.name = "FatalError";
    this.exitCode = options.exitCode ?? 1;
    this.hint = options.hint;
  }
}

/** RFC 6749 §5.2: the JSON form of an error; never cached, never null members. */
export function errorResponse(error: OAuthError): Response {
  return Response.json(
    { error: error.code, error_description: error.message },
    { status: error.status, headers: { "cache-control": "no-store", ...error.headers } },
  );
}

/** What a person may read of any thrown value. */
export function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The `code` of a system error ("ENOENT"), or "". */
export function errorCode(error: unknown): string {
  return error instanceof Error && "code" in error && typeof error.code === "string"
    ? error.code
    : "";
}
