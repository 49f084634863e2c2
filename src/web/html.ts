// The html tag, the frame around every page and the headers of its answer. Owns escaping and the Content-Security-Policy;
// knows no page's content.
import { sha256 } from "../primitives.ts";
import accountStyle from "./account.css" with { type: "text" };
import style from "./style.css" with { type: "text" };

const markup = Symbol("markup");
const address = Symbol("address");

/** Text that is HTML already; made by `html` alone. */
export interface Html {
  readonly [markup]: string;
}

/** A URL that may stand in href or action; made by `href` and `local` alone. */
export interface Href {
  readonly [address]: string;
}

type Value = string | number | Html | Href | false | null | undefined | readonly Value[];

const opensAttribute = /\s([a-z-]+)\s*=\s*"[^"<>]*$/i;
const urlAttributes = new Set("action cite data formaction href ping poster src".split(" "));

/**
 * A tagged template: strings are escaped, Html and arrays of Html pass, false, null and undefined are nothing.
 * @throws {TypeError} for a value in an unquoted attribute, or a URL attribute whose value is no Href: mistakes of ours
 */
export function html(strings: TemplateStringsArray, ...values: readonly Value[]): Html {
  let text = strings[0] ?? "";
  values.forEach((value, index) => {
    const before = strings[index] ?? "";
    if (/=\s*'?$/.test(before)) throw new TypeError("attributes of html`` need double quotes");
    const attribute = opensAttribute.exec(before)?.[1]?.toLowerCase();
    if (urlAttributes.has(attribute ?? "") && !isHref(value))
      throw new TypeError(`${attribute} takes what href() or local() made`);
    text += render(value) + (strings[index + 1] ?? "");
  });
  return { [markup]: text };
}

function render(value: Value): string {
  if (value === false || value === null || value === undefined) return "";
  if (typeof value === "string" || typeof value === "number") return Bun.escapeHTML(value);
  if (markup in value) return value[markup];
  return isHref(value) ? Bun.escapeHTML(value[address]) : value.map(render).join("");
}

const isHref = (value: Value): value is Href =>
  typeof value === "object" && value !== null && address in value;

// What a browser runs, or opens with the rights of a page or of the machine: live nowhere, whoever vetted it.
const neverLive =
  /^(?:about|blob|chrome|data|file|filesystem|intent|javascript|jar|vbscript|view-source):/i;

/** A link to http(s), or to an app when its private-use scheme (RFC 8252 §7.1) was vetted and is named here. */
export function href(text: string, vettedSchemes: readonly string[] = []): Href | undefined {
  const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(text)?.[1]?.toLowerCase();
  // Browsers drop tabs, line ends and leading blanks before they read the scheme: only plain printable text is judged.
  if (scheme === undefined || !/^[\x21-\x7e]+$/.test(text) || neverLive.test(text))
    return undefined;
  if (!["http", "https", ...vettedSchemes].includes(scheme) || !URL.canParse(text))
    return undefined;
  return { [address]: text };
}

/** A path of ours, under the path of the public URL ("" or "/x"). */
export function local(base: string, path: `/${string}`): Href {
  return { [address]: base + path };
}

interface Sheet {
  readonly element: Html;
  readonly policy: string;
}

function sheet(text: string): Sheet {
  // CSP3 §2.3.1 takes the standard alphabet with padding everywhere, base64url not in every browser.
  const hash = `${sha256(text).replaceAll("-", "+").replaceAll("_", "/")}=`;
  return {
    element: { [markup]: `<style>${text}</style>` },
    policy: `default-src 'none'; style-src 'sha256-${hash}'; img-src data:; base-uri 'none'; frame-ancestors 'none'`,
  };
}

const sheets = { narrow: sheet(style), wide: sheet(style + accountStyle) };

const mark = html`<svg class="mark" viewBox="0 0 24 24" width="24" height="24" aria-hidden="true">
  <path d="M3 3h18v18h-5v-8a4 4 0 0 0-8 0v8H3z" />
  <circle cx="12" cy="17" r="1.6" />
</svg>`;
const icon =
  "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24' fill='%232f7d68'%3E" +
  "%3Cpath d='M3 3h18v18h-5v-8a4 4 0 0 0-8 0v8H3z'/%3E%3Ccircle cx='12' cy='17' r='1.6'/%3E%3C/svg%3E";
const iconElement: Html = { [markup]: `<link rel="icon" href="${icon}">` };

/** What every page is given. */
export interface PageFrame {
  /** Path of the public URL, "" or "/x". */
  readonly base: string;
}

export interface PageOptions extends PageFrame {
  readonly title: string;
  readonly status?: number;
  /**
   * Where the forms of the page may end: "own" on this server, "client" after redirects to a client, "none" without forms.
   */
  readonly forms?: "none" | "own" | "client";
  /** Whether a client may have opened the page as a popup, and waits for what comes of it. */
  readonly popup?: boolean | undefined;
  /** For tables: the account pages. */
  readonly wide?: boolean;
  readonly headers?: Readonly<Record<string, string>>;
}

/** The whole document and its answer. Strict-Transport-Security is app.ts's, for all answers. */
export function page(options: PageOptions, main: Html): Response {
  const { base, title, status = 200 } = options;
  const text = html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        <meta name="robots" content="noindex" />
        <title>${title} · Postern</title>
        ${iconElement} ${sheets[options.wide ? "wide" : "narrow"].element}
      </head>
      <body>
        <header><a href="${local(base, "/")}">${mark} Postern</a></header>
        <main>${main}</main>
      </body>
    </html> `;
  return new Response(text[markup], {
    status,
    headers: { ...headersFor(options), ...options.headers },
  });
}

function headersFor({ forms = "none", popup = forms === "client", wide }: PageOptions) {
  const { policy } = sheets[wide ? "wide" : "narrow"];
  return {
    "content-type": "text/html; charset=utf-8",
    "cache-control": "no-store",
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    // With no-referrer a browser sends `Origin: null` with the POST, and nobody could tell our own page from a stranger's.
    "referrer-policy": forms === "none" ? "no-referrer" : "same-origin",
    // Chromium holds form-action against every redirect after the POST, the client's callback and its next hop included.
    "content-security-policy":
      forms === "client"
        ? policy
        : `${policy}; form-action ${forms === "own" ? "'self'" : "'none'"}`,
    // It would cut the client's window off from a login that it opened as a popup, and it would never hear the result.
    ...(!popup && { "cross-origin-opener-policy": "same-origin" }),
  };
}
