// The account's page on which a connection is narrowed, or widened again.
import { type AccountFrame, accountPage } from "./account_frame.ts";
import { html, local } from "./html.ts";
import { type LeashChoice, leashFields } from "./leash_fields.ts";
import { hiddenInputs } from "./pages.ts";

export interface LeashPage extends AccountFrame, LeashChoice {
  /** "Claude Code: Laptop" */
  readonly what: string;
  readonly id: string;
}

export const LEASH_PATH = "/account/connections/tools";

/** POSTs `leash` and `tool` with `id`. */
export function leashPage(page: LeashPage): Response {
  const { base, what, id, hidden, tools } = page;
  return accountPage(
    page,
    "/account",
    "Tools",
    html`<h1>What <bdi>${what}</bdi> may use</h1>
      ${
        tools === undefined &&
        html`<p class="note" role="note">
          The server does not tell its tools at the moment, so single ones cannot be chosen.
        </p>`
      }
      <form class="narrow" method="post" action="${local(base, LEASH_PATH)}">
        ${hiddenInputs({ ...hidden, id })} ${leashFields(page)}
        <p class="soft small">
          It takes effect at once, without a new login. Whether a tool changes anything is what its
          server says of it.
        </p>
        <p class="buttons">
          <button class="main">Save</button>
          <a class="button" href="${local(base, "/account")}">Cancel</a>
        </p>
      </form>`,
  );
}
