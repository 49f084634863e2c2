// The account's list of clients on their way in: how far each came, the usual cause of a stop, and what to try.
import type { AttemptRow } from "../admin/attempts.ts";
import { type AccountFrame, accountPage, moment } from "./account_frame.ts";
import { attemptName, stepWords } from "./attempt_words.ts";
import { type Html, html } from "./html.ts";
import { networkText, printable, sentence } from "./text.ts";

export interface AttemptsPage extends AccountFrame {
  /** The newest first. */
  readonly attempts: readonly AttemptRow[];
}

/** GET /account/attempts */
export function attemptsPage(page: AttemptsPage): Response {
  const looks = page.attempts.filter(({ verdict }) => verdict.state === "looked");
  const tries = page.attempts.filter((row) => !looks.includes(row));
  return accountPage(
    page,
    "/account/attempts",
    "Attempts",
    html`<h1>Attempts to connect</h1>
      <p class="soft">
        Clients that tried since the server started, and how far each came. Of what they sent, no
        secret is kept; a restart forgets all of it.
      </p>
      ${tries.length === 0 && html`<p>No client has tried to connect since the server started.</p>`}
      ${tries.map((row) => attempt(row, page.now))} ${looks.length > 0 && lookedAt(looks, page.now)}`,
  );
}

const tags: Readonly<Record<AttemptRow["verdict"]["state"], Html>> = {
  connected: html`<span class="tag sure">✓ connected</span>`,
  "under way": html`<span class="tag">under way</span>`,
  looked: html`<span class="tag">looked</span>`,
  stopped: html`<span class="tag danger">✗ stopped</span>`,
};

function attempt(row: AttemptRow, now: number): Html {
  const { verdict, steps, last } = row;
  const request = steps.find(({ step }) => step === last)?.request;
  return html`<section>
    <h2><bdi>${attemptName(row)}</bdi> ${tags[verdict.state]}</h2>
    <p class="soft small">${from(row)}, ${moment(row.last_at, now)}</p>
    <ol class="way">
      ${steps.map(
        (step) =>
          html`<li ${step.outcome === "refused" && html`class="danger"`}>${stepWords(step)}</li> `,
      )}
    </ol>
    ${verdict.state !== "connected" && html`<p><strong>${sentence(verdict.where)}</strong></p>`}
    ${verdict.cause !== undefined && html`<p>${printable(verdict.cause)}</p>`}
    ${
      verdict.remedies &&
      html`<ul>
        ${verdict.remedies.map((remedy) => html`<li>${remedy}</li>`)}
      </ul>`
    }
    ${
      verdict.cause !== undefined &&
      request !== undefined &&
      html`<p class="soft small">The log has it under request <code>${request}</code>.</p>`
    }
  </section>`;
}

const from = ({ network, agent }: AttemptRow): Html =>
  html`From ${networkText(network)}${agent !== "" && html`, as <bdi>${printable(agent, 80)}</bdi>`}`;

/** Looks are many and mean little: a line each. */
function lookedAt(looks: readonly AttemptRow[], now: number): Html {
  const causes = [...new Set(looks.map(({ verdict }) => verdict.cause ?? ""))];
  const title = looks.length === 1 ? "One looked" : `${looks.length} looked`;
  return html`<details>
    <summary>${title}, and did not try to log in</summary>
    <ul>
      ${looks.map((row) => html`<li>${from(row)}, ${moment(row.last_at, now)}</li>`)}
    </ul>
    ${causes.map((cause) => html`<p class="soft">${printable(cause)}</p>`)}
  </details>`;
}
