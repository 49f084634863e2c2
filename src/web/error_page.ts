// The pages that say how something ended: errors, and messages.
import type { OAuthError } from "../errors.ts";
import { type PageFrame, html, local, page } from "./html.ts";
import { displayName, printable } from "./text.ts";

export interface ErrorPage extends PageFrame {
  readonly error: Pick<OAuthError, "status" | "message" | "advice" | "facts" | "headers">;
  readonly requestId: string;
}

const titles: Readonly<Record<number, string>> = {
  400: "This request cannot be answered",
  403: "Not allowed",
  404: "There is nothing here",
  405: "This page does not work that way",
  413: "That was too much",
  421: "Wrong address",
  429: "Too many tries",
  500: "That did not work",
  503: "Not right now",
};

const retry = "Wait a few seconds, then try again. Nothing was changed.";
const usualAdvice: Readonly<Record<number, string>> = {
  404: "Check the address, or start from the home page.",
  405: "Go back and use the buttons of the page.",
  421: "Open the server by its public address.",
  429: retry,
  500: "Try again.\nIf it happens again, look for the request number in the server’s log.",
  503: retry,
};

/** Every refusal that a person gets to see: who sent what, what was expected, what to press next. */
export function errorPage({ base, error, requestId }: ErrorPage): Response {
  const { status, facts } = error;
  const title = titles[status] ?? (status < 500 ? titles[400] : titles[500]) ?? "Error";
  const advice = (error.advice ?? usualAdvice[status] ?? "Start again from your client.").split(
    "\n",
  );
  const codes = (lines: readonly string[]) =>
    lines.map((line, index) => html`${index > 0 && html`<br />`}<code>${printable(line)}</code>`);
  const rows = [
    facts.clientName !== undefined &&
      html`<dt>Client</dt>
        <dd><bdi>${displayName(facts.clientName).text}</bdi></dd>`,
    facts.sent !== undefined &&
      html`<dt>It sent</dt>
        <dd>${codes([facts.sent])}</dd>`,
    facts.expected?.length &&
      html`<dt>Expected</dt>
        <dd>${codes(facts.expected)}</dd>`,
  ].filter(Boolean);
  return page(
    { base, title, status, headers: error.headers },
    html`<h1>${title}</h1>
      <p>${sentence(printable(error.message))}</p>
      ${rows.length > 0 && html`<dl>${rows}</dl>`}
      <h2>What to do now</h2>
      ${
        advice.length === 1
          ? html`<p>${advice[0]}</p>`
          : html`<ul>
              ${advice.map((line) => html`<li>${line}</li>`)}
            </ul>`
      }
      <p class="soft small">Error ${status}, request <code>${requestId}</code></p>`,
  );
}

/** Public sentences are written for JSON members: small first letter, no full stop. */
const sentence = (text: string): string =>
  text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?…]$/.test(text) ? "" : ".");

export interface MessagePage extends PageFrame {
  readonly title: string;
  readonly lines: readonly string[];
  readonly status?: number;
  readonly next?: { readonly path: `/${string}`; readonly text: string };
}

/** A plain message: signed out, already answered, start again from the client. */
export function messagePage({ base, title, lines, status = 200, next }: MessagePage): Response {
  return page(
    { base, title, status },
    html`<h1>${title}</h1>
      ${lines.map((line) => html`<p>${line}</p>`)}
      ${next && html`<p><a class="button" href="${local(base, next.path)}">${next.text}</a></p>`}`,
  );
}
