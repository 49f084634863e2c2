// The account's API keys: the list, the form for a new one, and the page that shows it once.
import type { KeyRow, MadeKey } from "../admin/keys.ts";
import type { Server } from "../config.ts";
import { type AccountFrame, accountPage, date, moment, table } from "./account_frame.ts";
import { type Html, html, local } from "./html.ts";
import { hiddenInputs } from "./pages.ts";
import { networkText, sentence } from "./text.ts";

export interface KeyServer extends Pick<Server, "name" | "scopes"> {
  /** Under the public URL. */
  readonly path: string;
}

export interface KeysPage extends AccountFrame {
  readonly keys: readonly KeyRow[];
  readonly servers: readonly KeyServer[];
  /** What was wrong with the last try, and the name it had. */
  readonly problem?: string;
  readonly name?: string;
}

/** GET /account/keys */
export function keysPage(page: KeysPage): Response {
  const { keys, problem } = page;
  return accountPage(
    { ...page, status: problem === undefined ? 200 : 400 },
    "/account/keys",
    "API keys",
    html`<h1>API keys</h1>
      <p class="soft">
        For a client that cannot sign in through the browser and only sends a header: a script, a
        home automation. A client that can connect by itself is better connected: its access renews
        itself, and a key that leaks works for whoever has it.
      </p>
      ${
        keys.length > 0 &&
        table(
          "API keys",
          ["Key", "Opens", "Last used", "Ends", "Change"],
          keys.map((row) => cells(row, page)),
        )
      }
      ${form(page)}`,
  );
}

function cells(row: KeyRow, { base, now, servers }: KeysPage): readonly Html[] {
  const { name, last_used_at: usedAt, last_used_from: from, expires_at: endsAt } = row;
  const opened = row.servers.map(
    (path) => servers.find((server) => server.path === path)?.name ?? path,
  );
  return [
    html`<strong><bdi>${name}</bdi></strong> <small>made ${date(row.created_at)}</small>`,
    html`<bdi>${opened.join(", ")}</bdi>
      <small>${row.scope.split(" ").map((scope) => html`<code>${scope}</code> `)}</small>`,
    usedAt === undefined
      ? html`never`
      : html`${moment(usedAt, now)}
          <small>${from !== undefined && html`from ${networkText(from)}`}</small>`,
    endsAt === undefined
      ? html`never`
      : row.state === "ended"
        ? html`<span class="bad">expired</span> <small>${moment(endsAt, now)}</small>`
        : html`${moment(endsAt, now)} <small>on ${date(endsAt)}</small>`,
    html`<a
        class="button small"
        href="${local(base, `/account/keys/rename?id=${row.id}`)}"
        aria-label="Rename ${name}"
        >Rename</a
      >
      <a
        class="button small danger"
        href="${local(base, `/account/keys/revoke?id=${row.id}`)}"
        aria-label="End ${name}"
        >End…</a
      >`,
  ];
}

const lives = [
  ["2592000", "30 days"],
  ["7776000", "90 days"],
  ["31536000", "a year"],
  ["0", "until you end it"],
] as const;
const USUAL = "7776000";

function form({ base, hidden, servers, keys, problem, name }: KeysPage): Html {
  const scopes = [...new Set(servers.flatMap((server) => server.scopes))];
  return html`<h2>${keys.length === 0 ? "Make your first key" : "Make a key"}</h2>
    <form class="narrow" method="post" action="${local(base, "/account/keys")}">
      ${hiddenInputs(hidden)}
      ${problem !== undefined && html`<p class="bad" role="alert" id="problem">${sentence(problem)}</p>`}
      <label for="name">What is it for?</label>
      <input
        type="text"
        id="name"
        name="name"
        value="${name ?? ""}"
        maxlength="100"
        required
        autocomplete="off"
      />
      ${choices(
        "Servers that it opens",
        "servers",
        servers.map((server) => [server.path, server.name]),
      )}
      ${choices(
        "Permissions",
        "scope",
        scopes.map((scope) => [scope, scope]),
      )}
      <label for="life">It lasts</label>
      <select id="life" name="expires_in">
        ${lives.map(
          ([value, text]) =>
            html`<option value="${value}" ${value === USUAL && html`selected`}>${text}</option> `,
        )}
      </select>
      <p><button class="main">Make the key</button></p>
    </form>`;
}

/** Boxes, all ticked; of one nothing is to choose. */
function choices(legend: string, name: string, all: readonly (readonly [string, string])[]) {
  if (all.length < 2) return html``;
  return html`<fieldset>
    <legend>${legend}</legend>
    <input type="hidden" name="chosen" value="${name}" />
    ${all.map(
      ([value, text]) =>
        html`<label class="tick"
          ><input type="checkbox" name="${name}" value="${value}" checked /> ${text}</label
        > `,
    )}
  </fieldset>`;
}

/** The answer to the form: the one time that a key is shown. */
export function newKeyPage(page: AccountFrame, made: MadeKey): Response {
  return accountPage(
    page,
    "/account/keys",
    "Your new key",
    html`<h1>Your new key: <bdi>${made.name}</bdi></h1>
      <p>
        <strong>Copy it now.</strong> It is shown this once, and nothing here can show it again. One
        click selects a whole box.
      </p>
      <pre>${made.key}</pre>
      <h2>How the client sends it</h2>
      <p>
        Set ${made.urls.length === 1 ? "this address" : "one of these addresses"} in the client, and
        this header:
      </p>
      ${made.urls.map((url) => html`<pre>${url}</pre>`)}
      <pre>Authorization: Bearer ${made.key}</pre>
      <p class="buttons">
        <a class="button main" href="${local(page.base, "/account/keys")}">Done</a>
      </p>`,
  );
}

/** What the end of a key means, for the page that asks. */
export const endKeyBody = ({ last_used_at: usedAt }: KeyRow, now: number): Html =>
  html`<p>
      ${usedAt === undefined ? "It was never used." : html`It was last used ${moment(usedAt, now)}.`}
      Whatever sends it is refused at once.
    </p>
    <p>It cannot come back; a new key has another text.</p>`;
