// The pages on the way back to a client: one that opens an app by its own scheme and stays behind, and one that shows the
// address for a client on another machine.
import { type PageFrame, href, html, page } from "./html.ts";
import { displayName, printable } from "./text.ts";

/** How an authorization request ended: let in, declined by the owner, or refused for what it asked. */
export type Outcome =
  | { readonly kind: "allowed" | "denied" }
  | { readonly kind: "refused"; readonly problem: string; readonly requestId: string };

export interface ReturnPage extends PageFrame {
  readonly clientName: string | undefined;
  /** The redirect URI with its answer (RFC 6749 §4.1.2); found good at the authorization request. */
  readonly location: string;
  readonly outcome: Outcome;
}

/** For private-use schemes: opens the app, and stays behind as a page, since browsers leave the old one standing. */
export function returnPage({ base, clientName, location, outcome }: ReturnPage): Response {
  const name = html`<bdi>${displayName(clientName).text}</bdi>`;
  const target = href(location, [new URL(location).protocol.slice(0, -1)]);
  if (!target) throw new TypeError("a redirect URI that no link may have");
  const refused = outcome.kind === "refused";
  const title = refused ? "Nothing was allowed" : "You can close this window";
  return page(
    // 0 seconds: an app's scheme leaves the page standing, so nobody is taken away from what they read.
    { base, title, headers: { refresh: `0; url=${location}` } },
    html`<h1>${title}</h1>
      ${
        refused
          ? html`<p>
                ${name} asked for something that this server does not do:
                ${printable(outcome.problem)}.
              </p>
              <p>The app is told so now. Update it, or look for help with it under these words.</p>`
          : html`<p>
              ${outcome.kind === "allowed" ? html`You let ${name} in.` : html`You did not let ${name} in.`}
              The app should open by itself now.
            </p>`
      }
      <p><a class="button main" href="${target}">Return to ${name}</a></p>
      <p class="soft small">
        Nothing happens? Press the button, and let the browser open the app when it asks.
      </p>
      ${refused && html`<p class="soft small end">Request <code>${outcome.requestId}</code></p>`}`,
  );
}

/** For a client on another machine: shows the address instead of opening it. */
export function addressPage({ base, clientName, location }: Omit<ReturnPage, "outcome">): Response {
  const name = html`<bdi>${displayName(clientName).text}</bdi>`;
  return page(
    { base, title: "Take this address to the client" },
    html`<h1>Take this address to ${name}</h1>
      <p>
        You let ${name} in. Paste the address where the client asks for it, or open it on the
        machine that the client runs on. It works once, within a minute.
      </p>
      <pre>${printable(location, 8192)}</pre>
      <p class="soft">Then you can close this window.</p>`,
  );
}
