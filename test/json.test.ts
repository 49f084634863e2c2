// Where JSON goes wrong, as a person is told.
import { describe, expect, test } from "bun:test";
import { parseJson } from "../src/json.ts";

const problem = (text: string): string => {
  try {
    parseJson(text);
  } catch (error) {
    return error instanceof Error ? error.message : "";
  }
  return "none";
};

describe("a problem has its line", () => {
  test.each([
    ["", "line 1: the file is empty"],
    ["\n\n", "line 3: the file is empty"],
    ['{\n "a": 1', "line 2: the file ends too early"],
    ['{\n "a": 1,\n}', "line 3: a comma too many before }"],
    ["[1, 2, ]", "line 1: a comma too many before ]"],
    ['{\n // why\n "a": 1}', "line 2: JSON has no comments"],
    ['{\n "a": 1 # why\n}', "line 2: JSON has no comments"],
    ["{'a': 1}", 'line 1: strings stand in "double quotes"'],
    ["{\n\n a: 1}", "line 3: did not expect a word without quotes"],
    ['{"a": 1\n "b": 2}', "line 2: did not expect a string"],
    ['{"a": tru\n}', "line 1: did not expect a word without quotes"],
    ['{"a": 01}', "line 1: did not expect a word without quotes"],
    ['{"a": 1}\n}', "line 2: did not expect }"],
    ['{"a": [1, {"b": 2]}', "line 1: did not expect ]"],
    ['{"a":\n "x\ny"}', "line 2: did not expect a string"],
    ['{"a" 1}', "line 1: did not expect a word without quotes"],
    ['{"a": "\\x"}', "line 1: did not expect a string"],
    ['\ufeff{"a": 1}', "line 1: did not expect \ufeff"],
  ])("%j", (text, message) => {
    expect(problem(text)).toBe(message);
  });
});

test("what is JSON is read as it is", () => {
  const value = { a: [1, -2.5e3, true, null, { b: 'c"\\\u00e9', d: [] }], e: {} };
  expect(parseJson(JSON.stringify(value, null, 2))).toEqual(value);
  expect(parseJson(" 1 ")).toBe(1);
});

test("every cut of a text is told to end too early, or where the last word broke", () => {
  const text = JSON.stringify({ one: [1, "two", { three: null }], four: true }, null, 1);
  for (let end = 1; end < text.length; end++) {
    expect(problem(text.slice(0, end))).toMatch(/: the file ends too early$|: did not expect /);
  }
});
