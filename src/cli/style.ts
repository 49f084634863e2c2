// How reports look on a terminal: marks, emphasis, lines that break at words. Plain text where nobody looks, ASCII where
// a terminal has nothing else.

export type Mark = "good" | "attention" | "bad" | "none";

export interface Style {
  /** One column wide. */
  readonly mark: (mark: Mark) => string;
  readonly bold: (text: string) => string;
  readonly dim: (text: string) => string;
  /** Between steps. */
  readonly arrow: string;
  readonly bullet: string;
  /** Breaks at words; every line begins with `indent` blanks, the first with `first` instead. */
  readonly wrap: (text: string, indent: number, first?: string) => string;
}

type Output = Pick<NodeJS.WriteStream, "isTTY" | "columns">;
type Environment = Readonly<Record<string, string | undefined>>;

/** A blank where `wrap` breaks no line. */
export const NO_BREAK = "\u00a0";

const WIDEST = 100;
const PIPED = 80;

export function styleOf(output: Output, environment: Environment): Style {
  const isTerminal = output.isTTY && environment["TERM"] !== "dumb";
  const colours = isTerminal && !environment["NO_COLOR"];
  const marks = hasUnicode(environment)
    ? { good: "✓", attention: "!", bad: "✗", none: "·", arrow: "›", bullet: "•" }
    : { good: "+", attention: "!", bad: "x", none: "-", arrow: ">", bullet: "-" };
  const paint = (code: number, text: string): string =>
    colours ? `\u001b[${code}m${text}\u001b[${code < 10 ? 22 : 39}m` : text;
  const width = Math.min(isTerminal ? (output.columns ?? PIPED) : PIPED, WIDEST);
  const colourOf = { good: 32, attention: 33, bad: 31 } as const;
  return {
    mark: (mark) => (mark === "none" ? marks.none : paint(colourOf[mark], marks[mark])),
    bold: (text) => paint(1, text),
    dim: (text) => paint(2, text),
    arrow: marks.arrow,
    bullet: marks.bullet,
    wrap: (text, indent, first = " ".repeat(indent)) => wrap(text, width, indent, first),
  };
}

/** The Linux console has a font of 256 characters; others say what they can in their locale. */
function hasUnicode({ LC_ALL, LC_CTYPE, LANG, TERM, WT_SESSION }: Environment): boolean {
  if (process.platform === "win32") return WT_SESSION !== undefined;
  return TERM !== "linux" && /utf-?8/i.test(LC_ALL || LC_CTYPE || LANG || "");
}

function wrap(text: string, width: number, indent: number, first: string): string {
  const lines: string[] = [];
  let line = first;
  let isEmpty = true;
  for (const word of text.split(" ")) {
    const longer = isEmpty ? line + word : `${line} ${word}`;
    if (!isEmpty && Bun.stringWidth(longer) > width) {
      lines.push(line);
      line = " ".repeat(indent) + word;
    } else {
      line = longer;
    }
    isEmpty = false;
  }
  return [...lines, line].join("\n").replaceAll(NO_BREAK, " ");
}
