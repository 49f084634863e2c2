// Bytes into lines, within a bound.

const LF = 10;
const CR = 13;

export interface LineSplitter {
  /** The lines that this chunk completes, without their ends. */
  lines(chunk: Uint8Array): string[];
  /** What stands after the last line end. */
  rest(): string;
  /** Whether a line was longer than allowed. */
  overflown(): boolean;
}

/**
 * @param longest bytes of a line
 * @param manner what happens with the rest of a longer one: "refuse": nothing more is read; "cut": it is left out
 */
export function lineSplitter(longest: number, manner: "refuse" | "cut" = "refuse"): LineSplitter {
  let pieces: Uint8Array[] = [];
  let size = 0;
  let overflown = false;
  const keep = (piece: Uint8Array): void => {
    const room = longest - size;
    if (piece.length > room) overflown = true;
    if (room <= 0 || piece.length === 0) return;
    // The chunk belongs to the stream, and most of it may be read already.
    pieces.push(piece.slice(0, room));
    size += Math.min(piece.length, room);
  };
  const take = (): string => {
    const bytes = pieces.length === 1 && pieces[0] ? pieces[0] : Buffer.concat(pieces);
    pieces = [];
    size = 0;
    const end = bytes.at(-1) === CR ? bytes.length - 1 : bytes.length;
    return new TextDecoder().decode(bytes.subarray(0, end));
  };
  return {
    lines: (chunk) => {
      const found: string[] = [];
      let from = 0;
      for (let at = chunk.indexOf(LF); at >= 0; at = chunk.indexOf(LF, from)) {
        keep(chunk.subarray(from, at));
        from = at + 1;
        if (overflown && manner === "refuse") return found;
        found.push(take());
      }
      keep(chunk.subarray(from));
      return found;
    },
    rest: take,
    overflown: () => overflown,
  };
}
