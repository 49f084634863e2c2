// The account's list of clients: who registered, by what, and how to be rid of them.
import type { ClientRow } from "../admin/clients.ts";
import {
  type AccountFrame,
  accountPage,
  date,
  moment,
  press,
  table,
  vouched,
} from "./account_frame.ts";
import { type Html, html, local } from "./html.ts";
import { displayName, printable } from "./text.ts";

export interface ClientsPage extends AccountFrame {
  /** Those with connections first. */
  readonly clients: readonly ClientRow[];
}

const isUnused = ({ source, grants }: ClientRow): boolean => source !== "static" && grants === 0;

/** What the owner calls a client, else what it calls itself. */
export const clientTitle = ({ label, client_name: name }: ClientRow): string =>
  label ?? displayName(name).text;

/** GET /account/clients */
export function clientsPage(page: ClientsPage): Response {
  const { base, clients } = page;
  const unused = clients.filter(isUnused).length;
  return accountPage(
    page,
    "/account/clients",
    "Clients",
    html`<h1>Clients</h1>
      <p class="soft">
        A client registers before it asks to come in. Registered alone, it can do nothing; one that
        is not let in is forgotten by itself.
      </p>
      ${
        clients.length === 0
          ? html`<p>No client has registered yet. It happens by itself when you connect one.</p>
              <p>
                <a class="button main" href="${local(base, "/connect")}">Connect a client</a>
              </p>`
          : table(
              "Clients",
              ["Client", "Redirects to", "Registered", "Connections", "Change"],
              clients.map((row) => cells(row, page)),
            )
      }
      ${
        unused > 0 &&
        press(
          page,
          "/account/clients/purge",
          {},
          unused === 1 ? "Remove the unused one" : `Remove the ${unused} unused ones`,
        )
      }`,
  );
}

const sources = { cimd: "by its document", dcr: "by itself", static: "by you" } as const;

function cells(row: ClientRow, { base, now }: ClientsPage): readonly Html[] {
  const { label, client_name: name, redirect_uris: uris } = row;
  const title = clientTitle(row);
  const { note } = displayName(name);
  return [
    html`<strong><bdi>${title}</bdi></strong>
      ${label !== undefined && html`<small>calls itself <bdi>${displayName(name).text}</bdi></small>`}
      <small
        >${vouched({ ...(row.verified_host !== undefined && { verified_host: row.verified_host }), added: row.source === "static" })}</small
      >
      ${note !== undefined && html`<small class="bad">${note}</small>`}`,
    row.resource_server === undefined
      ? html`${uris.slice(0, 3).map((uri) => html`<small>${printable(uri, 120)}</small>`)}
        ${uris.length > 3 && html`<small>and ${uris.length - 3} more</small>`}`
      : html`<small
          >nowhere: it is an MCP server, and checks tokens for ${row.resource_server}</small
        >`,
    html`${date(row.client_id_issued_at)} <small>${sources[row.source]}</small>`,
    uses(row, now),
    html`<a
        class="button small"
        href="${local(base, `/account/clients/rename?id=${row.id}`)}"
        aria-label="Rename ${title}"
        >Rename</a
      >
      <a
        class="button small danger"
        href="${local(base, `/account/clients/remove?id=${row.id}`)}"
        aria-label="Remove ${title}"
        >Remove…</a
      >`,
  ];
}

function uses({ grants, last_used_at: usedAt, expires_at: expiresAt }: ClientRow, now: number) {
  return html`${grants === 0 ? "none" : grants}
  ${usedAt !== undefined && html`<small>last used ${moment(usedAt, now)}</small>`}
  ${expiresAt !== undefined && html`<small>forgotten ${moment(expiresAt, now)}</small>`}`;
}

/** What a removal means, for the page that asks. */
export function removeBody({ grants, source, resource_server: server }: ClientRow): Html {
  const connections = grants === 1 ? "its connection ends" : `its ${grants} connections end`;
  return html`<p>
      ${grants > 0 ? html`With it ${connections}, at once.` : "It has no connection."}
      ${server !== undefined && html` The MCP server behind it can check no token any more.`}
    </p>
    <p>
      ${
        source === "static"
          ? "You added it by hand: it cannot come back by itself."
          : "It may register again and ask to come in. Then you decide again."
      }
    </p>`;
}
