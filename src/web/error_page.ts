// The pages that say how something ended: errors, and messages.
import type { NextStep, OAuthError } from "../errors.ts";
import { type Html, type PageFrame, html, local, page } from "./html.ts";
import { displayName, printable, sentence } from "./text.ts";

export interface ErrorPage extends PageFrame {
  readonly error: Pick<
    OAuthError,
    "status" | "title" | "message" | "advice" | "next" | "facts" | "headers"
  >;
  readonly requestId: string;
}

const titles: Readonly<Record<number, string>> = {
  400: "This request cannot be answered",
  403: "Not allowed",
  404: "This page does not exist",
  405: "This page does not work that way",
  413: "That was too much",
  421: "Wrong address",
  429: "Too many tries",
  500: "That did not work",
  503: "Not right now",
};

/** Of what came or was expected: more are counted, not shown. */
const LINES = 5;
const home: NextStep = { path: "/", text: "Home page" };
const retry = "Wait a few seconds, then try again. Nothing was changed.";
const usual: Readonly<Record<number, { advice: string; next?: NextStep }>> = {
  404: { advice: "Check the address, or start from the home page.", next: home },
  405: { advice: "Go back and use the buttons of the page.", next: home },
  413: { advice: "Go back and send less: a form here takes 32 KB. Nothing was changed." },
  429: { advice: retry },
  500: { advice: "Try again.\nIf it happens again, the server’s log says why." },
  503: { advice: retry },
};

/** Every refusal that a person gets to see: who sent what, what was expected, what to press next. */
export function errorPage({ base, error, requestId }: ErrorPage): Response {
  const { status } = error;
  const title = error.title ?? titles[status] ?? (status < 500 ? titles[400] : titles[500]) ?? "";
  const advice = error.advice ?? usual[status]?.advice ?? "Start again from your client.";
  const next = error.next ?? usual[status]?.next;
  return page(
    // From a page that leads back into the request the client's popup still has to reach its opener.
    { base, title, status, headers: error.headers, popup: next?.path.startsWith("/authorize?") },
    html`<h1>${title}</h1>
      <p>${sentence(printable(error.message))}</p>
      ${factList(error.facts)}
      <h2>What to do now</h2>
      ${adviceList(advice)} ${next && button(base, next)} ${requestLine(status, requestId)}`,
  );
}

function factList({ clientName, sent, expected, cause }: OAuthError["facts"]): Html | undefined {
  const codes = (lines: readonly string[]): Html[] => [
    ...lines
      .slice(0, LINES)
      .map((line, index) => html`${index > 0 && html`<br />`}<code>${printable(line, 300)}</code>`),
    ...(lines.length > LINES ? [html`<br />and ${lines.length - LINES} more`] : []),
  ];
  const rows = [
    clientName !== undefined &&
      html`<dt>Client</dt>
        <dd><bdi>${displayName(clientName).text}</bdi></dd>`,
    cause !== undefined &&
      html`<dt>Reason</dt>
        <dd>${sentence(printable(cause))}</dd>`,
    sent !== undefined &&
      html`<dt>Sent</dt>
        <dd>${codes(sent)}</dd>`,
    expected?.length &&
      html`<dt>Expected</dt>
        <dd>${codes(expected)}</dd>`,
  ].filter(Boolean);
  return rows.length > 0 ? html`<dl class="facts">${rows}</dl>` : undefined;
}

function adviceList(advice: string): Html {
  const steps = advice.split("\n").map(withCommands);
  const [only, ...others] = steps;
  if (others.length === 0) return html`<p>${only}</p>`;
  return html`<ul>
    ${steps.map((step) => html`<li>${step}</li>`)}
  </ul>`;
}

/** Text with what stands in backticks as code. */
const withCommands = (text: string): Html =>
  html`${text.split("`").map((part, index) => (index % 2 === 1 ? html`<code>${part}</code>` : part))}`;

/** What leads from a page to the server's log. */
const requestLine = (status: number, requestId: string): Html =>
  html`<p class="soft small end">
    Error ${status}. The server’s log has it under request <code>${requestId}</code>.
  </p>`;

const button = (base: string, { path, text }: NextStep): Html =>
  html`<p><a class="button main" href="${local(base, path)}">${text}</a></p>`;

export interface MessagePage extends PageFrame {
  readonly title: string;
  readonly lines: readonly string[];
  readonly next?: NextStep;
}

/** A plain message: signed out. */
export function messagePage({ base, title, lines, next }: MessagePage): Response {
  return page(
    { base, title },
    html`<h1>${title}</h1>
      ${lines.map((line) => html`<p>${line}</p>`)} ${next && button(base, next)}`,
  );
}
