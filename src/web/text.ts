// What pages make of texts that strangers wrote, and of times: names without tricks, visible characters, plain words.

export interface DisplayName {
  /** At most 60 characters, without control, direction or invisible characters; never empty. */
  readonly text: string;
  /** Why the name may be a trick, in a sentence for the owner. */
  readonly note: string | undefined;
}

const LONGEST = 60;
const unseen = /[\p{Default_Ignorable_Code_Point}\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Cn}]/gu;

/** A client's name as a page may show it (ASVS 10.4.7): what the client typed in, made harmless and judged. */
export function displayName(name: string | undefined): DisplayName {
  // U+FE0F only asks for the coloured form of an emoji: no trick, no loss.
  const given = (name ?? "").slice(0, 2000).replaceAll("\ufe0f", "").replace(/\s+/gu, " ").trim();
  // Three marks on one letter are enough for every script; more are piled up to cover what stands around.
  const seen = given
    .replace(unseen, "")
    .normalize("NFC")
    .replace(/(\p{M}{3})\p{M}+/gu, "$1")
    // Marks without a letter would hang over what stands before the name.
    .replace(/(^|\s)\p{M}+/gu, "$1")
    .replace(/\s+/gu, " ")
    .trim();
  const text = shorten(seen, LONGEST);
  if (!/[\p{L}\p{N}\p{S}\p{P}]/u.test(text)) return { text: "an unnamed client", note: undefined };
  return {
    text,
    note: lookalike(text) ?? (seen.length < given.normalize("NFC").length ? HIDDEN : undefined),
  };
}

const HIDDEN =
  "Characters that hide themselves or others were taken out of this name. It may imitate another one.";

const scripts =
  "Latin Cyrillic Greek Armenian Hebrew Arabic Devanagari Thai Georgian Cherokee Han Hiragana Katakana Hangul Bopomofo".split(
    " ",
  );
// Unicode TR 39 §5.2, "highly restrictive": these are written together, with Latin words among them.
const writtenTogether = ["Han Hiragana Katakana", "Han Bopomofo", "Han Hangul"];
// Letters of Cyrillic and Greek that nobody can tell from Latin ones.
const twins =
  /^[\u0410\u0412\u0415\u0417\u041A\u041C-\u041E\u0420-\u0423\u0425\u0430\u0435\u043E\u0440\u0441\u0443\u0445\u0405\u0406\u0408\u0455\u0456\u0458\u04AE\u04BA\u04BB\u04C0\u04CF\u0500\u0501\u051A-\u051D\u0391\u0392\u0395-\u0397\u0399\u039A\u039C\u039D\u039F\u03A1\u03A4\u03A5\u03A7\u03B1\u03B9\u03BA\u03BD\u03BF\u03C1\u03C5\u03C7]+$/u;

function lookalike(text: string): string | undefined {
  const letters = (text.match(/\p{L}/gu) ?? []).join("");
  const found = scripts.filter((script) => new RegExp(`\\p{Script=${script}}`, "u").test(letters));
  const other = new RegExp(
    `[^${scripts.map((script) => `\\p{Script=${script}}`).join("")}\\p{Script=Common}]`,
    "u",
  );
  if (other.test(letters)) found.push("other");
  const beside = found.filter((script) => script !== "Latin");
  const together = writtenTogether.some((group) =>
    beside.every((script) => group.includes(script)),
  );
  if (found.length > 1 && !together)
    return "This name mixes letters of different alphabets that can look alike. It may imitate another one.";
  if (twins.test(letters) || letters !== letters.normalize("NFKC").normalize("NFC"))
    return "This name is written in letters that look like others. It may imitate another one.";
  return undefined;
}

/** Any text with what cannot be seen made visible, at most `longest` characters. */
export function printable(text: string, longest = 500): string {
  return shorten(text.slice(0, longest * 2).replace(unseen, "\ufffd"), longest);
}

function shorten(text: string, longest: number): string {
  const characters = [...text];
  return characters.length > longest ? `${characters.slice(0, longest - 1).join("")}…` : text;
}

const units = [
  ["year", 365 * 86_400],
  ["day", 86_400],
  ["hour", 3600],
  ["minute", 60],
  ["second", 1],
] as const;

/** "1 login", "2 logins". */
export const counted = (count: number, one: string, many = `${one}s`): string =>
  `${count} ${count === 1 ? one : many}`;

/** Seconds in words: the largest unit that says it exactly, else the largest two. 90 days, 1 hour, 1 day 6 hours. */
export function span(seconds: number): string {
  const words: string[] = [];
  let rest = Math.max(1, Math.round(seconds));
  for (const [unit, length] of units) {
    const count = Math.floor(rest / length);
    if (count === 0 || words.length === 2) continue;
    words.push(counted(count, unit));
    rest -= count * length;
  }
  return words.join(" ");
}

/** How long ago, in the one largest unit. */
export function ago(seconds: number): string {
  if (seconds < 60) return "less than a minute ago";
  const [unit, length] = units.find(([, size]) => seconds >= size) ?? units[3];
  return `${counted(Math.floor(seconds / length), unit)} ago`;
}

/** How far ahead, in the one largest unit, to the nearest: 90 days do not become 89 in their first second. */
export function ahead(seconds: number): string {
  if (seconds < 60) return "in less than a minute";
  const [unit, length] = units.find(([, size]) => seconds >= size) ?? units[3];
  return `in ${counted(Math.round(seconds / length), unit)}`;
}

/** A network as `networkOf` writes it, in words where there are any. */
export const networkText = (network: string): string =>
  network === "127.0.0.0/24" || network === "0:0:0::/48" ? "this machine" : network;

/** A time to the minute, by the clock of UTC: 2026-11-21 10:31 UTC. */
export const minute = (epochSeconds: number): string =>
  `${new Date(epochSeconds * 1000).toISOString().slice(0, 16).replace("T", " ")} UTC`;

/** A day as people write it, by the calendar of UTC: 21 November 2026. */
export const day = (epochSeconds: number): string =>
  new Date(epochSeconds * 1000).toLocaleDateString("en-GB", { dateStyle: "long", timeZone: "UTC" });

/** Public sentences are written for JSON members: small first letter, no full stop. */
export const sentence = (text: string): string =>
  text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?…]$/.test(text) ? "" : ".");
