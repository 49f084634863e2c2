// The account's audit trail: what happened, for people, with the facts behind it.
import type { AuditEvent } from "../audit.ts";
import { type Kind, factsOf, kinds } from "../audit/events.ts";
import { type AccountFrame, accountPage, moment, table } from "./account_frame.ts";
import { type Html, html, local } from "./html.ts";
import { displayName, printable } from "./text.ts";

export interface ActivityPage extends AccountFrame {
  /** The newest first. */
  readonly events: readonly AuditEvent[];
  /** There are older ones that match. */
  readonly more: boolean;
  readonly kind: Kind | undefined;
  readonly about: string;
  /** With what happens all the time. */
  readonly all: boolean;
  /** Why the filter could not be used. */
  readonly problem?: string;
}

/** GET /account/activity: `kind`, `about`, `all`, `before`. */
export function activityPage(page: ActivityPage): Response {
  const { base, events, more, problem } = page;
  const last = events.at(-1);
  return accountPage(
    { ...page, status: problem === undefined ? 200 : 400 },
    "/account/activity",
    "Activity",
    html`<h1>Activity</h1>
      ${filter(page)} ${problem !== undefined && html`<p class="bad" role="alert">${problem}</p>`}
      ${
        events.length === 0
          ? html`<p class="soft">Nothing of the kind is in the audit trail.</p>`
          : table(
              "Activity",
              ["What", "Who", "From", "When", "Details"],
              events.map((event) => cells(event, page)),
            )
      }
      ${
        more &&
        last &&
        html`<p>
          <a class="button" href="${local(base, `/account/activity?${olderQuery(page, last)}`)}"
            >Older</a
          >
        </p>`
      }
      <p class="soft small">
        All of it stands in <code>audit.jsonl</code> in the data folder, and is printed by
        <code class="whole">postern audit</code>.
      </p>`,
  );
}

function olderQuery({ kind, about, all }: ActivityPage, { at }: AuditEvent): string {
  const query = new URLSearchParams({ before: at });
  if (kind) query.set("kind", kind);
  if (about) query.set("about", about);
  if (all) query.set("all", "yes");
  return query.toString();
}

function filter({ base, kind, about, all }: ActivityPage): Html {
  return html`<form class="filter" method="get" action="${local(base, "/account/activity")}">
    <label for="kind">Show</label>
    <select id="kind" name="kind">
      <option value="">everything</option>
      ${Object.entries(kinds).map(
        ([value, text]) =>
          html`<option value="${value}" ${value === kind && html`selected`}>${text}</option> `,
      )}
    </select>
    <label for="about">with</label>
    <input
      type="search"
      id="about"
      name="about"
      value="${about}"
      maxlength="200"
      placeholder="a name, an id, an address"
    />
    <label class="tick"
      ><input type="checkbox" name="all" value="yes" ${all && html`checked`} /> renewals too</label
    >
    <button>Show</button>
  </form>`;
}

/** Members that stand elsewhere in the row, or that nobody reads. */
const elsewhere = new Set(["at", "event", "name", "address", "network", "by", "via", "stack"]);

function cells(event: AuditEvent, { now }: ActivityPage): readonly (Html | undefined)[] {
  const { address, network } = event;
  const facts = factsOf(event.event);
  const place = address ?? network;
  const isLoud = facts?.level === "warn" || facts?.level === "error";
  return [
    html`<strong>${facts?.title ?? printable(event.event)}</strong>
      ${isLoud && html`<small><span class="tag warn">look at this</span></small>`}`,
    who(event),
    place === undefined ? undefined : html`${printable(String(place))}`,
    html`${moment(Math.floor(Date.parse(event.at) / 1000), now)}`,
    details(event),
  ];
}

function who({ name, by, via }: AuditEvent): Html | undefined {
  if (typeof name !== "string" && by !== "owner") return undefined;
  return html`${typeof name === "string" && html`<bdi>${displayName(name).text}</bdi>`}
  ${by === "owner" && html`<small>by you, ${via === "account" ? "here" : "by command"}</small>`}`;
}

function details(event: AuditEvent): Html {
  const members = Object.entries(event).filter(
    ([key, value]) => !elsewhere.has(key) && value !== undefined,
  );
  return html`<details>
    <summary>Details</summary>
    ${[["at", event.at] as const, ...members].map(
      ([key, value]) =>
        html`<small>${printable(key, 40)} <code>${printable(String(value), 300)}</code></small>`,
    )}
  </details>`;
}
