// The pages between a press and its effect: "really end these?", and a new name. Both POST back to where they came from.
import { type AccountFrame, type Place, accountPage } from "./account_frame.ts";
import { type Html, html, local } from "./html.ts";
import { type HiddenFields, hiddenInputs } from "./pages.ts";
import { sentence } from "./text.ts";

export interface ConfirmPage extends AccountFrame {
  readonly here: Place;
  readonly title: string;
  /** What will happen, for a person who has to decide. */
  readonly body: Html;
  readonly action: `/${string}`;
  readonly fields: HiddenFields;
  /** What the button does: "End 3 connections". */
  readonly button: string;
}

export function confirmPage(page: ConfirmPage): Response {
  const { base, here, title, body, action, fields, hidden, button } = page;
  return accountPage(
    page,
    here,
    title,
    html`<h1>${title}</h1>
      ${body}
      <form class="choice" method="post" action="${local(base, action)}">
        ${hiddenInputs({ ...hidden, ...fields })}
        <a class="button" href="${local(base, here)}">Keep</a>
        <button class="destroy">${button}</button>
      </form>`,
  );
}

export interface RenamePage extends AccountFrame {
  readonly here: Place;
  /** "this connection of Claude" */
  readonly what: string;
  readonly action: `/${string}`;
  readonly id: string;
  readonly name: string;
  readonly problem?: string;
}

/** POSTs `name` with `id`. */
export function renamePage(page: RenamePage): Response {
  const { base, here, what, action, id, name, hidden, problem } = page;
  return accountPage(
    { ...page, status: problem === undefined ? 200 : 400 },
    here,
    "Rename",
    html`<h1>Rename <bdi>${what}</bdi></h1>
      ${problem !== undefined && html`<p class="bad" role="alert" id="problem">${sentence(problem)}</p>`}
      <form class="narrow" method="post" action="${local(base, action)}">
        ${hiddenInputs({ ...hidden, id })}
        <label for="name">Your name for it</label>
        <input
          type="text"
          id="name"
          name="name"
          value="${name}"
          maxlength="100"
          required
          autofocus
          autocomplete="off"
          aria-describedby="rule"
        />
        <p class="soft small" id="rule">
          Only you see it. What the client calls itself is still shown when it asks to come in.
        </p>
        <p class="buttons">
          <button class="main">Rename</button>
          <a class="button" href="${local(base, here)}">Cancel</a>
        </p>
      </form>`,
  );
}
