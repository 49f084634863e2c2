// Folders with one thing wrong in them: every way in which a file can be cut, flipped, overwritten, rewritten or replaced, and
// what a start may make of each. Knows nothing of the program.
import { createHash } from "node:crypto";
import { PREVIOUS } from "../../src/store/files.ts";
import { headerLine } from "../../src/store/journal.ts";
import type { Content } from "./contents.ts";

/** A whole folder, as kill -9 left it. */
export interface Intact {
  readonly name: string;
  readonly content: Content;
  /** What the tables held after each change, the first of which stands at 0: nothing yet. */
  readonly told: readonly string[];
  /** Files without which the state can be told nevertheless. */
  readonly spare: ReadonlySet<string>;
  /** The same files in another history of the same length. */
  readonly other: Content;
}

/** What a start may come to: the newest state, a refusal, or the state after so many changes. */
export type Outcome = "newest" | "refused" | number;

export interface Damage {
  readonly what: string;
  /** Made when it is wanted: there are a hundred thousand of them. */
  readonly content: () => Content;
  readonly may: readonly Outcome[];
  /** Whatever else than the newest state must be said aloud. */
  readonly isTold: boolean;
}

const isSnapshot = (name: string): boolean => name.startsWith("state.json");

/** Damage to each byte of each file. */
export function* byteDamages(intact: Intact): Generator<Damage> {
  for (const [name, bytes] of intact.content) {
    yield* cuts(intact, name, bytes);
    yield* flips(intact, name, bytes);
    yield* blanks(intact, name, bytes);
  }
}

/** What programs and people do to a file as a whole. */
export function* fileDamages(intact: Intact): Generator<Damage> {
  for (const [name, bytes] of intact.content) {
    yield* rewritten(intact, name, bytes);
    if (isSnapshot(name)) yield* misshapen(intact, name, bytes);
    else yield* lines(intact, name, bytes);
  }
}

/** What damage to one file comes to: nothing where another tells the same, else a refusal. */
function made(
  intact: Intact,
  name: string,
  what: string,
  change: () => Buffer | undefined,
): Damage {
  const content = (): Content => {
    const files = new Map(intact.content);
    const bytes = change();
    if (bytes) files.set(name, bytes);
    else files.delete(name);
    return files;
  };
  const may: Outcome[] = intact.spare.has(name) ? ["newest"] : ["newest", "refused"];
  return { what: `${intact.name}: ${name} ${what}`, content, may, isTold: true };
}

const isLast = ({ content }: Intact, name: string): boolean =>
  [...content.keys()].filter((each) => !isSnapshot(each)).at(-1) === name;

/** How many changes the folder holds when nothing counts from this byte of its last journal on. */
function changesBefore({ told }: Intact, bytes: Buffer, position: number): number {
  const after = bytes.subarray(position).toString("latin1").split("\n").length - 1;
  const header = bytes.indexOf("\n") >= position ? 1 : 0;
  return told.length - 1 - after + header;
}

/** Cut off before each byte. A last journal that ends between two lines cannot be told from one that ended there. */
function* cuts(intact: Intact, name: string, bytes: Buffer): Generator<Damage> {
  for (let length = 0; length < bytes.length; length++) {
    const cut = made(intact, name, `cut after ${length} bytes`, () => bytes.subarray(0, length));
    if (!isLast(intact, name)) {
      yield cut;
      continue;
    }
    // Without its line end a line is whole.
    const whole = bytes[length] === 10 ? length + 1 : length;
    const isTold = length > 0 && bytes[length - 1] !== 10 && bytes[length] !== 10;
    yield { ...cut, may: ["newest", changesBefore(intact, bytes, whole)], isTold };
  }
}

/** A flipped bit, in turn, in each byte. */
function* flips(intact: Intact, name: string, bytes: Buffer): Generator<Damage> {
  const lastLine = bytes.subarray(0, -1).lastIndexOf("\n") + 1;
  for (let position = 0; position < bytes.length; position++) {
    for (let bit = 0; bit < 8; bit++) {
      const flipped = (): Buffer => {
        const copy = Buffer.from(bytes);
        copy[position] = (bytes[position] ?? 0) ^ (1 << bit);
        return copy;
      };
      const damage = made(intact, name, `with bit ${bit} of byte ${position} flipped`, flipped);
      const isTail = isLast(intact, name) && position >= lastLine;
      yield {
        ...damage,
        may: [
          ...damage.may,
          // The schema above ours is refused wherever it stands.
          ...(isSchema(bytes, position) ? (["refused"] as const) : []),
          ...(isTail ? [intact.told.length - 2] : []),
        ],
      };
    }
  }
}

const isSchema = (bytes: Buffer, position: number): boolean =>
  bytes.subarray(0, position).toString("latin1").endsWith(`"schema":`);

/** NUL from each byte on, and over the 16 bytes from there. */
function* blanks(intact: Intact, name: string, bytes: Buffer): Generator<Damage> {
  for (let from = 0; from < bytes.length; from++) {
    const before = changesBefore(intact, bytes, from);
    const blank = (end: number) => (): Buffer => Buffer.from(bytes).fill(0, from, end);
    const damage = made(intact, name, `NUL from byte ${from} on`, blank(bytes.length));
    yield isLast(intact, name) ? { ...damage, may: ["newest", before] } : damage;
    const hole = made(intact, name, `NUL at ${from}`, blank(Math.min(bytes.length, from + 16)));
    const reachesEnd =
      bytes.indexOf("\n", from + 15) >= bytes.length - 1 || from + 16 >= bytes.length;
    yield isLast(intact, name) && reachesEnd ? { ...hole, may: [...hole.may, before] } : hole;
  }
}

/** By an editor, a program that converts files, or somebody who mistook one file for another. */
function* rewritten(intact: Intact, name: string, bytes: Buffer): Generator<Damage> {
  const text = bytes.toString();
  const others: [string, string | Buffer][] = [
    ["empty", ""],
    ["all NUL", Buffer.alloc(bytes.length)],
    ["with a byte order mark", `\ufeff${text}`],
    ["with other line ends", text.replaceAll("\n", "\r\n")],
    ["without its line ends", text.replaceAll("\n", "")],
    ["in two bytes a letter", Buffer.from(text, "utf16le")],
    ["in base64", bytes.toString("base64")],
    ["twice in itself", text + text],
    ["with something behind it", `${text}something\n`],
    ["with something before it", `something\n${text}`],
    ...["null", "[]", "{}", "0", `""`, "true"].map((json): [string, string] => [json, json]),
    ...[...intact.content].flatMap(([other, content]): [string, Buffer][] =>
      other === name ? [] : [[`with what ${other} holds`, content]],
    ),
  ];
  for (const [what, content] of others) {
    const damage = made(intact, name, what, () => Buffer.from(content));
    yield lastOr(intact, name, what === "empty" || what === "all NUL", damage);
  }
  // Alone it would be a whole folder, of which nobody can know that it was another.
  const foreign = intact.content.size > 1 ? intact.other.get(name) : undefined;
  if (!foreign) return;
  const swapped = made(intact, name, "of another history", () => foreign);
  yield { ...swapped, may: ["newest", "refused"] };
  yield lastOr(
    intact,
    name,
    true,
    made(intact, name, "missing", () => undefined),
  );
}

/** A last journal with nothing in it, or none, is what a start of a moment before left. */
function lastOr(intact: Intact, name: string, isNothing: boolean, damage: Damage): Damage {
  if (!isNothing || !isLast(intact, name)) return damage;
  const base = Number(/\d+/.exec(name)?.[0]);
  return { ...damage, may: ["newest", base], isTold: damage.what.endsWith("NUL") };
}

/** JSON with a right checksum that is no snapshot of ours. */
function* misshapen(intact: Intact, name: string, bytes: Buffer): Generator<Damage> {
  const { sum: _, ...shape } = JSON.parse(bytes.toString()) as Record<string, unknown>;
  const { tables } = shape as { tables: Record<string, Record<string, object>> };
  const wrong: [string, object][] = [
    ...[null, [], 1, "x"].map((value): [string, object] => [
      `tables ${value}`,
      { ...shape, tables: value },
    ]),
    ...["rev", "chain", "savedAt", "folder", "issuer", "schema", "tables"].flatMap((member) =>
      [null, "x", -1.5, {}, undefined]
        // Under a right checksum these are a folder with nothing in it.
        .filter((value) => member !== "tables" || JSON.stringify(value) !== "{}")
        .map((value): [string, object] => [
          `${member} ${JSON.stringify(value)}`,
          { ...shape, [member]: value },
        ]),
    ),
    ["an older schema", { ...shape, schema: 0 }],
    ["an unknown table", { ...shape, tables: { ...tables, more: {} } }],
    ...[null, [], 1, "x"].map((value): [string, object] => [
      `a record ${JSON.stringify(value)}`,
      { ...shape, tables: { ...tables, clients: { ...tables["clients"], odd: value } } },
    ]),
  ];
  for (const [what, value] of wrong) {
    const damage = made(intact, name, `with ${what}`, () => sealed(value));
    // Whole, of another schema, and with journals alone beside it: they may not be all that there was.
    const isOdd = what.includes("schema") && !intact.content.has(PREVIOUS);
    yield isOdd ? { ...damage, may: ["newest", "refused"] } : damage;
  }
  const newer = made(intact, name, "with a newer schema", () => sealed({ ...shape, schema: 999 }));
  yield name === "state.json" ? { ...newer, may: ["refused"] } : newer;
}

/** As a snapshot is written. */
function sealed(shape: object): Buffer {
  const body = `${JSON.stringify(shape).slice(0, -1)},\n`;
  return Buffer.from(`${body}"sum":"${checksum(body)}"}\n`);
}

const checksum = (text: string): string =>
  createHash("sha256").update(text).digest("hex").slice(0, 16);

/** Whole lines that go, come twice, or change places; a header that says something else. */
function* lines(intact: Intact, name: string, bytes: Buffer): Generator<Damage> {
  const all = bytes.toString().trimEnd().split("\n");
  const joined = (list: readonly string[]) => (): Buffer => Buffer.from(`${list.join("\n")}\n`);
  for (let line = 1; line < all.length - 1; line++) {
    yield made(intact, name, `without line ${line + 1}`, joined(all.toSpliced(line, 1)));
    const twice = all.toSpliced(line, 0, all[line] ?? "");
    yield made(intact, name, `with line ${line + 1} twice`, joined(twice));
    const turned = all.toSpliced(line, 2, all[line + 1] ?? "", all[line] ?? "");
    yield made(intact, name, `with lines ${line + 1} and ${line + 2} turned`, joined(turned));
  }
  const base = Number(/\d+/.exec(name)?.[0]);
  const headers = [headerLine(base + 1, "0123456789abcdef"), headerLine(base, "0123456789abcdef")];
  for (const { text } of headers) {
    yield made(intact, name, `under the header ${text}`, joined([text.trimEnd(), ...all.slice(1)]));
  }
  const head = `{"journal":1,"schema":999,"base":${base},"chain":"0123456789abcdef"`;
  const header = `${head},"sum":"${checksum(head)}"}`;
  const newer = made(intact, name, "with a newer schema", joined([header, ...all.slice(1)]));
  yield { ...newer, may: ["refused"] };
}
