// Damage to files of a data folder.
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export const edit = (data: string, name: string, change: (text: string) => string): void =>
  writeFileSync(join(data, name), change(readFileSync(join(data, name), "latin1")), "latin1");
/** Turns one bit of a byte in the middle of a line; the first line is 1. */
export const flip = (data: string, name: string, line: number): void =>
  edit(data, name, (text) => {
    const lines = text.split("\n");
    const damaged = lines[line - 1] ?? "";
    const middle = Math.floor(damaged.length / 2);
    const other = String.fromCharCode(damaged.charCodeAt(middle) ^ 1);
    return lines
      .with(line - 1, damaged.slice(0, middle) + other + damaged.slice(middle + 1))
      .join("\n");
  });
export const write = (data: string, name: string, text: string): void =>
  writeFileSync(join(data, name), text, { mode: 0o600 });
export const remove = (data: string, ...names: string[]): void =>
  names.forEach((name) => rmSync(join(data, name)));
export const flipBoth = (data: string): void => {
  flip(data, "state.json", 3);
  flip(data, "state.json.prev", 3);
};
