// The account's first page: who is connected, grouped as their owner knows them, and how to end it.
import type { GrantRow } from "../admin/grants.ts";
import type { AuditEvent } from "../audit.ts";
import type { Server } from "../config.ts";
import {
  type AccountFrame,
  accountPage,
  date,
  goesTo,
  moment,
  table,
  vouched,
} from "./account_frame.ts";
import { type Html, html, local } from "./html.ts";
import { leashText } from "./leash_fields.ts";
import { LEASH_PATH } from "./leash_page.ts";
import { warningNotes } from "./warnings.ts";
import { day, displayName, networkText } from "./text.ts";

export interface ConnectionsPage extends AccountFrame {
  readonly servers: readonly Pick<Server, "name" | "resource">[];
  /** The one used last first. */
  readonly grants: readonly GrantRow[];
  /** What the owner should read first. */
  readonly warnings: readonly AuditEvent[];
}

/** What connections are one client to their owner: the same name, vouched for alike, going to the same place. */
export const groupOf = (row: GrantRow): string =>
  JSON.stringify([
    displayName(row.client_name).text,
    row.verified_host,
    row.added,
    row.redirect_host ?? row.client_id,
  ]);

/** What the owner calls a connection, else when it was made. */
export const connectionName = ({ label, created_at: at }: GrantRow): string =>
  label ?? `Since ${day(at)}`;

/** GET /account */
export function connectionsPage(page: ConnectionsPage): Response {
  const groups = [...Map.groupBy(page.grants, groupOf).values()];
  const { base } = page;
  return accountPage(
    page,
    "/account",
    "Connections",
    html`<h1>Connections</h1>
      ${warningNotes(page.warnings, page)}
      ${
        groups.length === 0
          ? html`<p>
                No client is connected. Give one the address of this server; it will ask you here
                whether it may come in.
              </p>
              <p><a class="button main" href="${local(base, "/connect")}">Connect a client</a></p>`
          : groups.map((group) => section(group, page))
      }
      ${
        groups.length > 0 &&
        html`<footer>
          <p class="soft">
            Lost a device, or not sure who is in? End everything, and sign in anew.
          </p>
          <p>
            <a class="button danger" href="${local(base, "/account/everything")}"
              >End everything…</a
            >
          </p>
        </footer>`
      }`,
  );
}

function section(group: readonly GrantRow[], page: ConnectionsPage): Html {
  const [first] = group;
  if (!first) throw new TypeError("a group has members");
  const name = displayName(first.client_name);
  return html`<section>
    <h2><bdi>${name.text}</bdi> ${vouched(first)}</h2>
    <p class="soft">Access goes to ${goesTo(first.redirect_host)}</p>
    ${name.note && html`<p class="note" role="note">${name.note}</p>`}
    ${table(
      `Connections of ${name.text}`,
      ["Connection", "May use", "Last used", "Ends", "Change"],
      group.map((row) => cells(row, page)),
    )}
    ${
      group.length > 1 &&
      html`<p>
        <a
          class="button danger"
          href="${local(page.base, `/account/connections/end?all-but=${newest(group).id}`)}"
          >End all but the newest…</a
        >
      </p>`
    }
  </section>`;
}

const newest = (group: readonly GrantRow[]): GrantRow =>
  group.reduce((latest, row) => (row.created_at > latest.created_at ? row : latest));

function cells(row: GrantRow, { base, now, servers }: ConnectionsPage): readonly Html[] {
  const server = servers.find(({ resource }) => resource === row.resource);
  return [
    html`<strong><bdi>${connectionName(row)}</bdi></strong>
      <small>${row.label !== undefined && html`since ${date(row.created_at)}`}</small>`,
    html`<bdi>${server?.name ?? row.resource}</bdi>
      <small>${row.scope.split(" ").map((scope) => html`<code>${scope}</code> `)}</small>
      ${row.leash && html`<small><span class="tag">${leashText(row.leash)}</span></small>`}`,
    html`${moment(row.last_used_at, now)}
      <small>from ${networkText(row.network)}</small> ${replays(row, now)}`,
    ends(row, now),
    html`<a
        class="button small"
        href="${local(base, `/account/connections/rename?id=${row.id}`)}"
        aria-label="Rename ${connectionName(row)}"
        >Rename</a
      >
      <a
        class="button small"
        href="${local(base, `${LEASH_PATH}?id=${row.id}`)}"
        aria-label="Tools of ${connectionName(row)}"
        >Tools</a
      >
      <a
        class="button small danger"
        href="${local(base, `/account/connections/end?id=${row.id}`)}"
        aria-label="End ${connectionName(row)}"
        >End…</a
      >`,
  ];
}

/** Said where it can be compared with the place of the last use: it may be a second holder of the same login. */
const replays = ({ replays: odd }: GrantRow, now: number): Html | undefined =>
  odd &&
  html`<small
    >${odd.count === 1 ? "1 odd retry" : `${odd.count} odd retries`}, last
    ${moment(odd.last_at, now)}, from ${odd.networks.map(networkText).join(", ")}</small
  >`;

function ends({ state, idle_at: idleAt, expires_at: expiresAt }: GrantRow, now: number): Html {
  if (state === "ended") return html`ended ${moment(idleAt, now)}`;
  const asleep =
    state === "asleep" &&
    html`<small>asleep: it was made for an address that is not served now</small>`;
  return idleAt === expiresAt
    ? html`${moment(expiresAt, now)} ${asleep}`
    : html`${moment(idleAt, now)} if unused
        <small>in any case on ${date(expiresAt)}</small> ${asleep}`;
}

/** What ends, and what stays, for the page that asks. */
export function endBody(
  ending: readonly GrantRow[],
  kept: GrantRow | undefined,
  now: number,
): Html {
  return html`<ul>
      ${ending.map(
        (row) =>
          html`<li>
            <bdi>${connectionName(row)}</bdi>, last used ${moment(row.last_used_at, now)} from
            ${networkText(row.network)}
          </li>`,
      )}
    </ul>
    ${
      kept &&
      html`<p>
        This one stays: <bdi>${connectionName(kept)}</bdi>, last used
        ${moment(kept.last_used_at, now)}.
      </p>`
    }
    <p>
      The client is out at once. It may ask to come in again, and you decide again; to keep it from
      asking, remove the client.
    </p>`;
}

/** What the end of everything means, for the page that asks. */
export const everythingBody = (connections: number, keys: number): Html =>
  html`<ul>
      <li>
        ${connections === 1 ? "The one connection ends" : `All ${connections} connections end`}, at
        once.
      </li>
      ${keys > 0 && html`<li>${keys === 1 ? "The API key ends" : `All ${keys} API keys end`}.</li>`}
      <li>Every browser is signed out, this one too.</li>
      <li>Codes on their way to a client become void.</li>
    </ul>
    <p>Clients stay registered: each can ask to come in again, and you decide again.</p>`;
