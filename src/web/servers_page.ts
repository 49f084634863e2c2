// The account's list of the servers behind and how they are.
import type { ServerState } from "../admin/servers.ts";
import { type AccountFrame, accountPage, moment, table } from "./account_frame.ts";
import { type Html, html } from "./html.ts";
import { counted, printable } from "./text.ts";

export interface ServersPage extends AccountFrame {
  readonly servers: readonly ServerState[];
}

/** GET /account/servers */
export function serversPage(page: ServersPage): Response {
  return accountPage(
    page,
    "/account/servers",
    "Servers",
    html`<h1>Servers</h1>
      <p class="soft">
        The MCP servers behind this one, as they are now. What a client may do at one of them it may
        do there only.
      </p>
      ${table(
        "Servers",
        ["Server", "Kind", "State", "Last error"],
        page.servers.map((row) => cells(row, page.now)),
      )}`,
  );
}

function cells(row: ServerState, now: number): readonly Html[] {
  const kind = { "built-in": "built in", http: "HTTP", stdio: "stdio" }[row.kind];
  return [
    html`<strong><bdi>${row.name}</bdi></strong> <small>${row.resource}</small>`,
    html`${kind}`,
    state(row, now),
    row.kind === "built-in" ? html`none` : lastError(row, now),
  ];
}

function state(row: ServerState, now: number): Html {
  if (row.kind === "built-in") return html`<span class="tag sure">ready</span>`;
  if (row.kind === "stdio") {
    const { running, sessions, crashed } = row;
    return html`<span class="tag sure">${running === 0 ? "ready" : "running"}</span>
      <small>
        ${counted(running, "process", "processes")}, ${counted(sessions, "session", "sessions")};
        ended unexpectedly: ${crashed}
      </small>`;
  }
  const { reachable, answered_at: answered, forgot_at: forgot } = row;
  return html`${
      reachable
        ? html`<span class="tag sure">reachable</span>`
        : html`<span class="tag">not reachable</span>`
    }
    <small>
      ${answered === undefined ? "not asked yet" : html`last answer ${moment(answered, now)}`}
      ${forgot !== undefined && html`<br />restarted or forgot a session ${moment(forgot, now)}`}
    </small>`;
}

function lastError(
  row: { readonly failed_at?: number; readonly last_error?: string },
  now: number,
): Html {
  const { failed_at: at, last_error: error } = row;
  if (at === undefined || error === undefined) return html`none`;
  return html`${printable(error, 300)} <small>${moment(at, now)}</small>`;
}
