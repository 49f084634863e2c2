// Forms given to browsers: a hidden field that carries what the form is about, bound to the browser that got it, and the
// check that a POST came from our own page. The server keeps nothing for a form that nobody has sent yet.
import type { Deps } from "../deps.ts";
import { OAuthError } from "../errors.ts";
import { equal, hmac, seconds } from "../primitives.ts";

/** What a sealed field is for: one kind of form never passes for another. */
export type Purpose = "login" | "consent" | "setup" | "logout" | "account";

const MINUTE = 60;
/** Seconds that a form stays usable; what only a session can send, as long as one that nobody uses. */
const formTtl: Readonly<Record<Purpose, number>> = {
  login: 10 * MINUTE,
  consent: 10 * MINUTE,
  setup: 10 * MINUTE,
  logout: 12 * 60 * MINUTE,
  account: 12 * 60 * MINUTE,
};

const mac = (deps: Deps, purpose: Purpose, binding: string, body: string): string =>
  hmac(deps.formKey, `postern form 1\0${purpose}\0${binding}\0${body}`);

/** `content` for a hidden field: readable, but not changeable, not usable in another browser, form or later. */
export function seal(deps: Deps, purpose: Purpose, binding: string, content: string): string {
  const expiresAt = seconds(deps.now()) + formTtl[purpose];
  const body = `${Buffer.from(content).toString("base64url")}.${expiresAt}`;
  return `${body}.${mac(deps, purpose, binding, body)}`;
}

/** The content of a sealed field; undefined when it is not ours, not for this form or browser, or too old. */
export function unseal(
  deps: Deps,
  purpose: Purpose,
  binding: string,
  field: string | undefined,
): string | undefined {
  const match = /^([A-Za-z0-9_-]*)\.(\d{1,12})\.([A-Za-z0-9_-]{43})$/.exec(field ?? "");
  const [, content, expiresAt, tag] = match ?? [];
  if (content === undefined || expiresAt === undefined || tag === undefined) return undefined;
  if (!equal(tag, mac(deps, purpose, binding, `${content}.${expiresAt}`))) return undefined;
  if (Number(expiresAt) <= seconds(deps.now())) return undefined;
  return Buffer.from(content, "base64url").toString("utf8");
}

/** What a field claims to be about, whoever made it: for nothing but what anybody may ask of us by a link as well. */
export function claimedContent(field: string | undefined): string | undefined {
  const content = /^([A-Za-z0-9_-]*)\./.exec(field ?? "")?.[1];
  const text = content === undefined ? undefined : Buffer.from(content, "base64url").toString();
  return text !== undefined && /^[\x21-\x7e]*$/.test(text) ? text : undefined;
}

/**
 * Refuses a form POST that another site caused. Sec-Fetch-Site cannot be set by scripts; browsers without it send the
 * Origin of the page, which is one of ours.
 * @throws {OAuthError} access_denied 403
 */
export function requireOwnPage(request: Request, deps: Deps): void {
  const site = request.headers.get("sec-fetch-site");
  const origin = request.headers.get("origin");
  const own = origin !== null && isOwnOrigin(origin, deps);
  if (site === null ? own : site === "same-origin" && (own || origin === null)) return;
  throw new OAuthError("access_denied", "this form was not sent from a page of this server", {
    title: "This form came from somewhere else",
    detail: `sec-fetch-site ${site ?? "absent"}, origin ${origin ?? "absent"}`,
    facts: {
      sent: [`Origin: ${origin ?? "none"}`, `Sec-Fetch-Site: ${site ?? "none"}`],
      expected: [`Origin: ${deps.config.origin}`],
    },
    advice:
      "Nothing was done. If another site sent you here, close this page.\n" +
      `Else open ${deps.config.issuer}/ and go on from there; a client starts from its own window.`,
    next: { path: "/", text: "Home page" },
  });
}

/** Our public origin and, for a loopback public URL, the other names of loopback on the same port. */
function isOwnOrigin(origin: string, deps: Deps): boolean {
  const { config } = deps;
  if (origin === config.origin) return true;
  if (!config.loopback) return false;
  const { protocol, port } = new URL(config.origin);
  const suffix = port === "" ? "" : `:${port}`;
  return ["localhost", "127.0.0.1", "[::1]"].some(
    (host) => origin === `${protocol}//${host}${suffix}`,
  );
}
