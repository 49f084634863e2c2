// The requirements of list.txt: what an authorization server and guard for MCP has to do, each with the tests that show it.
import text from "./list.txt" with { type: "text" };

/** A part of the full name ("group > test") of one or more tests. */
export interface Named {
  /** Under test/. */
  readonly file: string;
  readonly name: string;
}

export interface Requirement {
  readonly id: string;
  readonly words: string;
  readonly tests: readonly Named[];
  /** Why, where it is decided otherwise; "" when it is not. */
  readonly reason: string;
}

export const requirements: readonly Requirement[] = text
  .split("\n")
  .filter((line) => line !== "" && !line.startsWith("#"))
  .map((line) => {
    const [id = "", words = "", tests = "", reason = ""] = line
      .split("|")
      .map((cell) => cell.trim());
    return { id, words, tests: tests.split(" && ").map(readName), reason };
  });

function readName(reference: string): Named {
  const colon = reference.indexOf(": ");
  return { file: `${reference.slice(0, colon)}.test.ts`, name: reference.slice(colon + 2) };
}
