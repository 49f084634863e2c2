// Names, addresses and times as pages show them.
import { describe, expect, test } from "bun:test";
import { ago, displayName, printable, span } from "../../src/web/text.ts";

describe("displayName shows what a client calls itself without its tricks", () => {
  const plain: [string, string | undefined, string][] = [
    ["a usual name", "Claude Code", "Claude Code"],
    ["other scripts alone", "Приложение", "Приложение"],
    ["accents", "Ünïcode Café", "Ünïcode Café"],
    ["Japanese with Latin words", "MCP クライアント 日本語", "MCP クライアント 日本語"],
    ["Korean with Latin words", "Claude 클로드", "Claude 클로드"],
    ["Hebrew alone", "לקוח", "לקוח"],
    ["emoji", "Robot ❤️ 🤖", "Robot ❤ 🤖"],
    ["digits and signs", "#42 (test)", "#42 (test)"],
    ["white space is one blank", "  Claude \t\r\n \u2028 Code\u00a0", "Claude Code"],
    ["markup is text", `"><svg onload=alert(1)>`, `"><svg onload=alert(1)>`],
    ["absent", undefined, "an unnamed client"],
    ["empty", "", "an unnamed client"],
    ["nothing that can be seen", "\u200b\u202e\u0000", "an unnamed client"],
    ["nothing but marks", "\u0301\u0301", "an unnamed client"],
    ["60 characters stay", "x".repeat(60), "x".repeat(60)],
    ["longer ones end in an ellipsis", "x".repeat(10_240), `${"x".repeat(59)}…`],
    ["characters, not code units", "🤖".repeat(61), `${"🤖".repeat(59)}…`],
  ];
  test.each(plain)("%s", (_title, name, shown) => {
    const { text, note } = displayName(name);
    expect({ text, note }).toEqual({ text: shown, note: undefined });
  });

  const flagged: [string, string, string, RegExp][] = [
    ["Cyrillic С in Claude", "\u0421laude", "\u0421laude", /mixes letters/],
    ["Greek ο in Codex", "C\u03bfdex", "C\u03bfdex", /mixes letters/],
    ["Cherokee Ꭺ", "\u13aapple", "\u13aapple", /mixes letters/],
    ["a script without a name here", "Cl\ua4ede", "Cl\ua4ede", /mixes letters/],
    [
      "all Cyrillic that reads Latin",
      "\u0441\u043e\u0440\u0435",
      "\u0441\u043e\u0440\u0435",
      /look like others/,
    ],
    ["mathematical letters", "\u{1d402}laude", "\u{1d402}laude", /look like others/],
    ["full-width letters", "\uff23laude", "\uff23laude", /look like others/],
    ["right-to-left override", "gpt\u202eedualC", "gptedualC", /hide/],
    ["zero width", "Cl\u200baude", "Claude", /hide/],
    ["control characters", "Cl\u0007aude\u009f", "Claude", /hide/],
    ["soft hyphen", "Cl\u00adaude", "Claude", /hide/],
    ["tag characters", `Claude${String.fromCodePoint(0xe0041)}`, "Claude", /hide/],
    ["half of a character", "Claude\ud83e", "Claude", /hide/],
    ["piled up marks", `Z${"\u0335".repeat(40)}algo`, `Z${"\u0335".repeat(3)}algo`, /hide/],
    ["marks without a letter", "\u0301 Claude \u0302\u0303 Code", "Claude Code", /hide/],
    ["Hangul filler", "Claude\u3164", "Claude", /hide/],
  ];
  test.each(flagged)("flagged: %s", (_title, name, shown, note) => {
    const found = displayName(name);
    expect(found.text).toBe(shown);
    expect(found.note).toMatch(note);
  });
});

test("printable leaves nothing invisible and nothing long", () => {
  expect(printable("https://a.test/\u202e%20\u0000x")).toBe("https://a.test/\ufffd%20\ufffdx");
  expect(printable("x".repeat(100_000))).toBe(`${"x".repeat(499)}…`);
  expect(printable("abc", 2)).toBe("a…");
});

test.each([
  [0, "1 second"],
  [1, "1 second"],
  [90, "1 minute 30 seconds"],
  [3600, "1 hour"],
  [90 * 86_400, "90 days"],
  [365 * 86_400, "1 year"],
  [400 * 86_400, "1 year 35 days"],
  [86_400 + 3600 + 60, "1 day 1 hour"],
])("span(%d) is %s", (seconds, words) => {
  expect(span(seconds)).toBe(words);
});

test.each([
  [-5, "less than a minute ago"],
  [59, "less than a minute ago"],
  [60, "1 minute ago"],
  [7300, "2 hours ago"],
  [86_400 * 3.5, "3 days ago"],
  [86_400 * 800, "2 years ago"],
])("ago(%d) is %s", (seconds, words) => {
  expect(ago(seconds)).toBe(words);
});
