// The choice of what a connection may use of a server's tools, for the consent page and the account.
import type { KnownTool } from "../gateway/tools.ts";
import type { Leash } from "../store/records.ts";
import { type Html, html } from "./html.ts";
import { printable } from "./text.ts";

export interface LeashChoice {
  /** As it is so far. */
  readonly leash?: Leash | undefined;
  /** undefined: nobody knows them. */
  readonly tools?: readonly KnownTool[] | undefined;
}

/** Fields `leash`, and `tool` for each chosen one. */
export function leashFields({ leash, tools }: LeashChoice): Html {
  const chosen = leash?.kind === "tools" ? leash.tools : [];
  // One that is allowed and that the server does not tell of now stays allowed unless it is taken out.
  const unlisted = chosen.filter((name) => !tools?.some((tool) => tool.name === name));
  const all = [...(tools ?? []), ...unlisted.map((name): KnownTool => ({ name, readOnly: false }))];
  const kind = leash?.kind ?? "all";
  return html`<fieldset>
    <legend>Tools</legend>
    ${option("all", kind, "all that its permissions allow")}
    ${option("read-only", kind, "those that change nothing, as the server says of them")}
    ${
      all.length === 0
        ? html`<p class="soft small">
            To choose single tools, let it in and then change it on your account page.
          </p>`
        : html`${option("tools", kind, "these only:")}
            <ul class="ticks">
              ${all.map((tool) => html`<li>${box(tool, chosen.includes(tool.name))}</li>`)}
            </ul>`
    }
  </fieldset>`;
}

const option = (value: Leash["kind"] | "all", chosen: string, text: string): Html =>
  html`<label class="tick"
    ><input type="radio" name="leash" value="${value}" ${value === chosen && html` checked`} />
    ${text}</label
  > `;

function box({ name, title, description, readOnly }: KnownTool, isChosen: boolean): Html {
  return html`<label class="tick"
      ><input type="checkbox" name="tool" value="${name}" ${isChosen && html` checked`} />
      <bdi>${printable(name, 80)}</bdi
      >${title !== undefined && html` (<bdi>${printable(title, 80)}</bdi>)`}${readOnly && html`, changes nothing`}</label
    >
    ${description !== undefined && html`<span class="soft small">${printable(description, 160)}</span>`}`;
}

/** What is left to a connection, in words. */
export function leashText(leash: Leash | undefined): string | undefined {
  if (!leash) return undefined;
  if (leash.kind === "read-only") return "tools that change nothing";
  return leash.tools.length === 1 ? "one chosen tool" : `${leash.tools.length} chosen tools`;
}
