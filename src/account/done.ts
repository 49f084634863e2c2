// What was just done, carried over the redirect that follows a POST: a word of this table and a count, never free text.
const texts = {
  gone: ["That was over already; nothing was changed.", ""],
  ended: ["One connection ended.", "connections ended."],
  narrowed: ["Saved. It counts from the next call on.", ""],
  renamed: ["Renamed.", "renamed."],
  removed: ["The client was removed, and its connections with it.", ""],
  purged: ["One unused client was removed.", "unused clients were removed."],
  "key-ended": ["The key was ended.", ""],
  "signed-out": ["That browser was signed out.", "browsers signed out."],
} as const;
export type Done = keyof typeof texts;

/** The path to show next, with what was done. */
export const donePath = (path: `/${string}`, done: Done, count = 1): `/${string}` =>
  `${path}?done=${done}${count === 1 ? "" : `&count=${count}`}`;

export function doneText(query: URLSearchParams): string | undefined {
  const done = Object.keys(texts).find((word): word is Done => word === query.get("done"));
  if (done === undefined) return undefined;
  const [one, many] = texts[done];
  const count = query.get("count") ?? "1";
  if (count === "1") return one;
  return /^\d{1,5}$/.test(count) ? `${count} ${many}` : undefined;
}
