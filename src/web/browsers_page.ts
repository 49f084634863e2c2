// The account's list of signed-in browsers.
import type { SessionRow } from "../admin/sessions.ts";
import { type AccountFrame, accountPage, moment, press, table } from "./account_frame.ts";
import { type Html, html } from "./html.ts";
import { networkText } from "./text.ts";

export interface BrowsersPage extends AccountFrame {
  readonly sessions: readonly SessionRow[];
}

/** GET /account/browsers */
export function browsersPage(page: BrowsersPage): Response {
  const others = page.sessions.filter(({ own }) => !own).length;
  return accountPage(
    page,
    "/account/browsers",
    "Browsers",
    html`<h1>Browsers</h1>
      <p class="soft">
        Where you are signed in. What a browser says of itself proves nothing; the network does. A
        restart of the server signs all of them out.
      </p>
      ${table(
        "Browsers",
        ["Browser", "Signed in", "Last used", "From", "Change"],
        page.sessions.map((row) => cells(row, page)),
      )}
      ${others > 1 && press(page, "/account/browsers/purge", {}, "Sign out all others")}`,
  );
}

function cells(row: SessionRow, page: BrowsersPage): readonly (Html | undefined)[] {
  const { now } = page;
  return [
    html`<strong>${row.browser}</strong>
      ${row.own && html`<small><span class="tag sure">this one</span></small>`}`,
    html`${moment(row.created_at, now)}`,
    html`${moment(row.last_used_at, now)}`,
    html`${networkText(row.network)}`,
    row.own ? undefined : press(page, "/account/browsers/end", { id: row.id }, "Sign out"),
  ];
}
