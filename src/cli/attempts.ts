// postern attempts: which clients tried to connect since the server started, how far each came, and what to try.
import type { AttemptRow } from "../admin/attempts.ts";
import type { Config } from "../config.ts";
import { FatalError } from "../errors.ts";
import { attemptName, clockTime, stepWords } from "../web/attempt_words.ts";
import { networkText, printable } from "../web/text.ts";
import { callRunning } from "./admin_client.ts";
import { agoText, show } from "./print.ts";
import { nextCommand } from "./terminal.ts";
import { type Mark, NO_BREAK, type Style, styleOf } from "./style.ts";

export async function listAttempts(
  config: Config,
  _words: readonly string[],
  json: boolean,
): Promise<number> {
  const rows = await callRunning<AttemptRow[]>(config, "GET", "/attempts");
  if (!rows) {
    throw new FatalError(
      `no server runs on ${config.data}, and attempts are kept by a running one`,
      {
        hint: `start it: ${nextCommand("serve", config.data)}`,
      },
    );
  }
  if (json) return show(JSON.stringify(rows, null, 2));
  const style = styleOf(process.stdout, process.env);
  if (rows.length === 0) return show("no client has tried to connect since the server started");
  const looks = rows.filter(({ verdict }) => verdict.state === "looked");
  const tries = rows.filter((row) => !looks.includes(row));
  const blocks = tries.map((row) => block(row, style));
  if (looks.length > 0) blocks.push(looksBlock(looks, style));
  return show(blocks.join("\n\n"));
}

const marks: Readonly<Record<AttemptRow["verdict"]["state"], Mark>> = {
  connected: "good",
  "under way": "none",
  looked: "none",
  stopped: "bad",
};

const from = ({ network, last_at: at }: AttemptRow): string =>
  `${networkText(network)}, ${agoText(at)}`;

function block(row: AttemptRow, style: Style): string {
  const { verdict } = row;
  const head = `${style.mark(marks[verdict.state])} ${style.bold(attemptName(row))}  ${style.dim(from(row))}`;
  if (verdict.state === "connected") return `${head}\n  connected`;
  return [
    head,
    style.wrap(verdict.where, 2),
    ...(verdict.cause === undefined ? [] : ["", style.wrap(printable(verdict.cause), 2)]),
    ...(verdict.remedies ?? []).map((remedy) => style.wrap(remedy, 6, `    ${style.bullet} `)),
    "",
    style.dim(style.wrap(seen(row, style), 2)),
  ].join("\n");
}

/** The way so far, with the request that the log knows the last step by. */
function seen({ started_at: at, steps, last }: AttemptRow, style: Style): string {
  const request = steps.find(({ step }) => step === last)?.request;
  const way = steps.map((step) => stepWords(step).replaceAll(" ", NO_BREAK));
  const end = request === undefined ? "" : `  (request${NO_BREAK}${request})`;
  return `${clockTime(at)}  ${way.join(` ${style.arrow} `)}${end}`;
}

/** Looks are many and mean little: a line each. */
function looksBlock(looks: readonly AttemptRow[], style: Style): string {
  const lines = looks.map(
    (row) => `    ${printable(row.agent || "no name", 40)}  ${style.dim(from(row))}`,
  );
  const causes = [...new Set(looks.map(({ verdict }) => verdict.cause ?? ""))];
  return [
    `${style.mark("none")} looked without a try to log in`,
    ...lines,
    ...causes.map((cause) => style.dim(style.wrap(printable(cause), 2))),
  ].join("\n");
}
