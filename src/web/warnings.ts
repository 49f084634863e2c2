// The banners of the account: what happened, what it may mean, and what to do, for people.
import type { AuditEvent } from "../audit.ts";
import { type AccountFrame, moment, press } from "./account_frame.ts";
import { type Html, html, local } from "./html.ts";
import { displayName, networkText, printable, sentence } from "./text.ts";

const SHOWN = 4;

/** Nothing when there is nothing to say. */
export function warningNotes(
  warnings: readonly AuditEvent[],
  frame: AccountFrame,
): Html | undefined {
  if (warnings.length === 0) return undefined;
  const more = warnings.length - SHOWN;
  return html`<div class="note" role="note">
    ${warnings.slice(0, SHOWN).map((event) => html`<p>${textOf(event, frame.now)}</p>`)}
    ${
      more > 0 &&
      html`<p>
        And ${more} more, under
        <a href="${local(frame.base, "/account/activity")}">Activity</a>.
      </p>`
    }
    ${press(frame, "/account/warnings/seen", { until: warnings[0]?.at ?? "" }, "I have read this")}
  </div>`;
}

function textOf(event: AuditEvent, now: number): Html {
  const { name, address, network, message } = event;
  const who = html`<strong
    ><bdi>${displayName(typeof name === "string" ? name : undefined).text}</bdi></strong
  >`;
  const from = html`${networkText(String(network ?? address ?? "an unknown place"))}`;
  const when = moment(Math.floor(Date.parse(event.at) / 1000), now);
  if (event.event === "refresh_reused")
    return html`An old token of ${who} came back ${when}, from ${from}: its connection was ended.
    Somebody may have copied it, or the client itself was set back to an older state. If that was
    not you, look at where your client keeps its tokens before you connect it again.`;
  if (event.event === "code_replayed")
    return html`A sign-in code of ${who} was used twice ${when}, from ${from}: the connection that
    it gave was ended. Somebody may be reading along on the way to the client.`;
  if (event.event === "refresh_moved_forward")
    return html`A client was ahead of this data folder ${when}: the folder is an older copy.
    Connections that were ended after the copy was made are back. Look through them, and end what
    should be over.`;
  return event["kind"] === "copied"
    ? html`${sentence(printable(String(message)))} If it was an older copy, connections that were
      ended since are back: look through them, and end what should be over.`
    : html`${sentence(printable(String(message)))}`;
}
