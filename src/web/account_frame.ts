// What the account pages share: the frame with its navigation, tables that become cards on a phone, times, and the marks
// that say who vouches for a name.
import type { GrantRow } from "../admin/grants.ts";
import { type Html, type PageFrame, html, local, page } from "./html.ts";
import { type HiddenFields, hiddenInputs } from "./pages.ts";
import { ago, ahead, day, minute } from "./text.ts";

const places = [
  ["/account", "Connections"],
  ["/account/clients", "Clients"],
  ["/account/keys", "API keys"],
  ["/account/browsers", "Browsers"],
  ["/account/servers", "Servers"],
  ["/account/attempts", "Attempts"],
  ["/account/activity", "Activity"],
  ["/connect", "Connect"],
] as const;
export type Place = (typeof places)[number][0];

export interface AccountFrame extends PageFrame {
  /** Proof that a form comes from a page of this session. */
  readonly hidden: HiddenFields;
  /** Of the sign-out form. */
  readonly signOut: HiddenFields;
  /** Epoch seconds. */
  readonly now: number;
  /** What was just done. */
  readonly done?: string | undefined;
  readonly status?: number;
}

/** A page of the account, `here` marked in its navigation. */
export function accountPage(frame: AccountFrame, here: Place, title: string, main: Html): Response {
  const { base, done, status = 200 } = frame;
  return page(
    { base, title, status, forms: "own", wide: true },
    html`<nav aria-label="Account">
        ${places.map(
          ([path, name]) =>
            html`<a href="${local(base, path)}" ${path === here && html`aria-current="page"`}
              >${name}</a
            > `,
        )}
        <form method="post" action="${local(base, "/logout")}">
          ${hiddenInputs(frame.signOut)}<button class="plain">Sign out</button>
        </form>
      </nav>
      ${done !== undefined && html`<p class="done" role="status">${done}</p>`} ${main}`,
  );
}

/** A table for wide screens; on narrow ones each row is a card whose lines are named by the columns. */
export function table(
  caption: string,
  columns: readonly string[],
  rows: readonly (readonly (Html | undefined)[])[],
): Html {
  // The roles are those that the elements have; browsers drop them when a style changes how the elements are laid out.
  return html`<table role="table" aria-label="${caption}">
    <thead role="rowgroup">
      <tr role="row">
        ${columns.map((name) => html`<th role="columnheader" scope="col">${name}</th>`)}
      </tr>
    </thead>
    <tbody role="rowgroup">
      ${rows.map(
        (cells) =>
          html`<tr role="row">
            ${cells.map(
              (cell, at) =>
                html`<td
                  role="cell"
                  data-label="${columns[at]}"
                  ${cell ? undefined : html` class="none"`}
                >
                  <div>${cell}</div>
                </td>`,
            )}
          </tr> `,
      )}
    </tbody>
  </table>`;
}

const time = (at: number, text: string): Html =>
  html`<time datetime="${new Date(at * 1000).toISOString()}" title="${minute(at)}">${text}</time>`;

/** Epoch seconds as "3 hours ago" or "in 89 days", with the exact time behind it. */
export const moment = (at: number, now: number): Html =>
  time(at, at > now ? ahead(at - now) : ago(now - at));

export const date = (at: number): Html => time(at, day(at));

/** A form of one button that needs no second press. */
export const press = (
  { base, hidden }: Pick<AccountFrame, "base" | "hidden">,
  path: `/${string}`,
  fields: HiddenFields,
  text: string,
): Html =>
  html`<form class="inline" method="post" action="${local(base, path)}">
    ${hiddenInputs({ ...hidden, ...fields })}<button class="small">${text}</button>
  </form>`;

/** Who vouches for the name of a client. */
export const vouched = ({
  verified_host: host,
  added,
}: Pick<GrantRow, "verified_host" | "added">) =>
  host !== undefined
    ? html`<span class="tag sure">✓ ${host}</span>`
    : added
      ? html`<span class="tag sure">added by you</span>`
      : html`<span class="tag">not verified</span>`;

/** Where access goes, as `redirectHost` tells it. */
export function goesTo(host: string | undefined): string {
  if (host === undefined) return "an unknown place: this connection is from before it was kept";
  if (host === "localhost") return "a program on the computer that signed in";
  return host.endsWith(":") ? `the app that handles ${host}//` : host;
}
