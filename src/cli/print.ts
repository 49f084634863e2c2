// How commands print what they found: tables, one record, JSON. Owns that no text of a client can steer the terminal.
import { seconds, wallClock } from "../primitives.ts";
import { ago, minute, printable, span } from "../web/text.ts";

export function show(text: string): number {
  process.stdout.write(`${text}\n`);
  return 0;
}

/** Most columns of a terminal that one cell takes. */
const WIDEST = 40;

const width = (text: string): number => Bun.stringWidth(text);

/** One line, nothing that moves a cursor, changes a colour or turns the direction of writing. */
function cell(text: string): string {
  const safe = printable(text, 200);
  if (width(safe) <= WIDEST) return safe;
  let kept = "";
  for (const character of safe) {
    if (width(kept + character) > WIDEST - 1) break;
    kept += character;
  }
  return `${kept}…`;
}

const bold = (text: string): string =>
  process.stdout.isTTY && !process.env["NO_COLOR"] ? `\u001b[1m${text}\u001b[22m` : text;

/** Columns as wide as their widest cell. */
function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = rows.map((row) => row.map(cell));
  const widths = header.map((name, column) =>
    Math.max(width(name), ...cells.map((row) => width(row[column] ?? ""))),
  );
  const line = (row: readonly string[]): string =>
    row
      .map((text, column) => text + " ".repeat((widths[column] ?? 0) - width(text)))
      .join("  ")
      .trimEnd();
  return [bold(line(header)), ...cells.map(line)].join("\n");
}

interface Listing<T> {
  readonly json: boolean;
  /** Said when there are no rows. */
  readonly none: string;
  readonly header: readonly string[];
  readonly cells: (row: T) => readonly string[];
}

/** A list as JSON, as a table, or in a sentence when it is empty. */
export function listing<T>(rows: readonly T[], { json, none, header, cells }: Listing<T>): number {
  if (json) return show(JSON.stringify(rows, null, 2));
  return show(rows.length === 0 ? none : table(header, rows.map(cells)));
}

/** One record: a name and its value a line; what is undefined is left out. */
export function record(
  rows: readonly (readonly [name: string, value: string | undefined])[],
): string {
  const there = rows.filter((row): row is [string, string] => row[1] !== undefined);
  const widest = Math.max(...there.map(([name]) => name.length));
  return there
    .map(([name, value]) => `${name.padEnd(widest)}  ${printable(value, 2048)}`)
    .join("\n");
}

/** Epoch seconds in the words of the table: a day. */
export const dayText = (at: number): string => new Date(at * 1000).toISOString().slice(0, 10);

/** Epoch seconds to the minute, with how long ago or how far ahead. */
export function whenText(at: number): string {
  const distance = at - seconds(wallClock());
  return `${minute(at)} (${distance > 0 ? `in ${roughly(distance)}` : ago(-distance)})`;
}

const roughly = (duration: number): string =>
  span(duration >= 86_400 ? duration - (duration % 86_400) : duration);

export const agoText = (at: number): string => ago(Math.max(0, seconds(wallClock()) - at));

/** As much of an id as tells it from others; verbs take it for the whole. */
export const shortId = (id: string): string => id.slice(0, 12);
