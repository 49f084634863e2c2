// The consent page. Owns how a client and the place its code goes to are shown to the owner.
import type { Server } from "../config.ts";
import { isLoopbackHost } from "../values.ts";
import { type Html, type PageFrame, html, local, page } from "./html.ts";
import { type LeashChoice, leashFields, leashText } from "./leash_fields.ts";
import { type HiddenFields, hiddenInputs } from "./pages.ts";
import { ago, day, displayName, printable, span } from "./text.ts";

/** What receives an authorization code, by its redirect URI. */
export type Destination =
  | { readonly kind: "web"; readonly host: string }
  | { readonly kind: "loopback"; readonly port: string }
  | { readonly kind: "app"; readonly scheme: string };

/** @throws {TypeError} for what is no absolute URI; the caller has found the redirect URI good */
export function destination(redirectUri: string): Destination {
  const { protocol, hostname, host, port } = new URL(redirectUri);
  if (protocol !== "http:" && protocol !== "https:")
    return { kind: "app", scheme: protocol.slice(0, -1) };
  if (isLoopbackHost(hostname))
    return {
      kind: "loopback",
      port: port || (protocol === "http:" ? "80" : "443"),
    };
  return { kind: "web", host };
}

type Readmission =
  | { readonly kind: "removed"; readonly at: number }
  | { readonly kind: "unknown" | "moved" };

export interface ConsentPage extends PageFrame, LeashChoice {
  readonly hidden: HiddenFields;
  readonly clientId: string;
  /** As the client gave it. */
  readonly clientName: string | undefined;
  /** Host that vouches for the client: that of its Client ID Metadata Document. Absent: nobody does. */
  readonly verifiedHost?: string;
  /** Epoch seconds of the client's registration here. */
  readonly registeredAt?: number;
  /** Epoch seconds. */
  readonly now: number;
  /** The one this request asked for, found good. */
  readonly redirectUri: string;
  readonly server: Pick<Server, "name" | "resource">;
  readonly scopes: readonly string[];
  /** Seconds. */
  readonly idleTtl: number;
  /** Seconds. */
  readonly absoluteTtl: number;
  /** Why the client is not known here any more; allowing lets it in again. `at` is in epoch seconds. */
  readonly readmit?: Readmission | undefined;
  /** Offers to show the address with the code instead of opening it, for a loopback client on another machine. */
  readonly offerAddress?: boolean;
}

/** POSTs `decision` to /consent: "deny", "allow", or "show" for allowed with the address shown. */
export function consentPage(options: ConsentPage): Response {
  const { base, hidden, server, scopes, readmit, leash } = options;
  const removed = readmit?.kind === "removed";
  const name = displayName(options.clientName);
  const target = destination(options.redirectUri);
  return page(
    {
      base,
      title: `Allow ${name.text}?`,
      forms: "client",
      status: readmit && options.verifiedHost === undefined ? 400 : 200,
    },
    html`<h1>Let <bdi>${name.text}</bdi> use <bdi>${server.name}</bdi>?</h1>
      ${name.note && html`<p class="note" role="note">${name.note}</p>`}
      ${readmit && readmission(readmit)}
      ${place(target, options.verifiedHost)} ${warning(target, options.verifiedHost)}
      <dl>
        <dt>MCP server</dt>
        <dd>
          ${server.name === server.resource ? undefined : html`${server.name}<br />`}<span
            class="soft small"
            >${server.resource}</span
          >
        </dd>
        <dt>Permissions</dt>
        <dd>
          <ul class="chips">
            ${scopes.map((scope) => html`<li><code>${scope}</code></li>`)}
          </ul>
        </dd>
        <dt>Lasts</dt>
        <dd>
          until you end it; by itself after ${span(options.idleTtl)} without use, after
          ${span(options.absoluteTtl)} in any case
        </dd>
      </dl>
      ${details(options)}
      <form class="choice" method="post" action="${local(base, "/consent")}">
        ${hiddenInputs(hidden)}
        <details class="wide"${leash && html` open`}>
          <summary>
            ${leash ? `Narrowed: ${leashText(leash)}` : "Narrow what it may use"}
          </summary>
          ${leashFields(options)}
        </details>
        <button${removed && html` class="main"`} name="decision" value="deny">Deny</button>
        <button${!removed && html` class="main"`} name="decision" value="allow">
          ${removed ? "Allow again" : "Allow"}
        </button>
        ${
          options.offerAddress &&
          target.kind === "loopback" &&
          html`<button class="wide" name="decision" value="show">
            Allow, the client runs on another machine
          </button>`
        }
      </form>`,
  );
}

/** What the owner has to know of a client that was here before. */
function readmission(readmit: Readmission): Html {
  const note = (words: Html): Html => html`<p class="note" role="note">${words}</p>`;
  if (readmit.kind === "removed") {
    return note(
      html`You <strong>removed</strong> this client on ${day(readmit.at)}. Now it asks to be let in
        again. If you did not start that yourself, deny it.`,
    );
  }
  if (readmit.kind === "moved") {
    return note(
      html`This client was let in again after its registration was lost. Now it wants its answer at
      another address, the one below.`,
    );
  }
  return note(
    html`This client is not known here any more: it was removed, its registration expired, or an
    older copy of the data folder is in use. If you allow it, it is registered again.`,
  );
}

function receiver(target: Destination): Html {
  if (target.kind === "loopback")
    return html`a program on this computer, <span class="whole">port ${target.port}</span>`;
  if (target.kind === "app") return html`the app that handles ${target.scheme}://`;
  const labels = target.host.split(".");
  // Its owner is told by the end: "example.com", and "example.co.uk", where the label before the last is a short one.
  const owner = /^[a-z]{1,3}$/.test(labels.at(-2) ?? "") ? 3 : 2;
  const lead = labels.slice(0, Math.max(0, labels.length - owner));
  if (lead.length === 0 || /^[\d.:]+$/.test(target.host)) return labelled(labels);
  return html`<span class="soft">${labelled(lead)}.<wbr /></span>${labelled(labels.slice(-owner))}`;
}

/** Lines of a long host break between its labels, where its end is easiest to see. */
const labelled = (labels: readonly string[]): Html =>
  html`${labels.map((label, index) => html`${index > 0 && html`.<wbr />`}${label}`)}`;

/** Where the code goes, larger than anything the client could have chosen, and who vouches for the name. */
function place(target: Destination, verifiedHost: string | undefined): Html {
  return html`<div class="place">
    <p>Access goes to</p>
    <p class="host">${receiver(target)}</p>
    ${
      verifiedHost === undefined
        ? html`<p>
            <span class="unsure">Not verified.</span> The client chose its name itself. Go by the
            line above.
          </p>`
        : html`<p>
            <span class="sure">✓ Verified:</span> this client is published by
            <strong>${verifiedHost}</strong>
          </p>`
    }
  </div>`;
}

/** MCP security best practices and CIMD: loopback and private-use schemes belong to whichever program takes them. */
function warning(target: Destination, verifiedHost: string | undefined): Html | undefined {
  if (target.kind === "web") return undefined;
  const who =
    target.kind === "loopback" ? "Any program on this computer" : "Any app on this device";
  const what =
    target.kind === "loopback"
      ? html`and receive the access`
      : html`and the scheme <code>${target.scheme}:</code>`;
  const claim =
    verifiedHost === undefined ? "claim this name" : "claim to be this client, verified or not,";
  return html`<p class="note" role="note">
    ${who} can ${claim} ${what}. Allow only if you started this sign-in yourself, just now.
  </p>`;
}

function details({ clientId, redirectUri, registeredAt, now }: ConsentPage): Html {
  const age =
    registeredAt === undefined
      ? undefined
      : html`<dt>Registered</dt>
          <dd>${ago(now - registeredAt)}</dd>`;
  return html`<details>
    <summary>Details</summary>
    <dl>
      <dt>Redirect URI</dt>
      <dd>${printable(redirectUri, 2048)}</dd>
      <dt>Client ID</dt>
      <dd>${printable(clientId, 2048)}</dd>
      ${age}
    </dl>
  </details>`;
}
