// How much of the audit trail strangers may fill: every refusal is a line, and a flood of them would push out the lines that
// matter. So many a minute are written one by one, the rest of each network as a number.

const MINUTE = 60_000;
/** Lines of one network in a minute: what a person who tries again and again causes fits in. */
const EACH = 20;
/** Lines of all networks together. */
const ALL = 200;
/** Networks that are told apart. */
const NETWORKS = 100;
const OTHERS = "other networks";

export interface Ration {
  /** Whether one more line about this network may be written; counts it either way. */
  admit(network: string): boolean;
  /** What was left out, by network, once the minute is over or when `anyway` is set; told once. */
  leftOut(anyway?: boolean): [network: string, lines: number][];
}

/** @param now epoch milliseconds */
export function createRation(now: () => number): Ration {
  const networks = new Map<string, { written: number; left: number }>();
  let began = now();
  let written = 0;
  return {
    admit: (network) => {
      const name = networks.has(network) || networks.size < NETWORKS ? network : OTHERS;
      const lines = networks.get(name) ?? { written: 0, left: 0 };
      networks.set(name, lines);
      const fits = lines.written < EACH && written < ALL;
      if (fits) {
        lines.written++;
        written++;
      } else {
        lines.left++;
      }
      return fits;
    },
    leftOut: (anyway = false) => {
      const time = now();
      // A clock that was set back begins a new minute too.
      if (!anyway && time >= began && time - began < MINUTE) return [];
      const left = [...networks].map(([name, lines]): [string, number] => [name, lines.left]);
      networks.clear();
      began = time;
      written = 0;
      return left.filter(([, lines]) => lines > 0);
    },
  };
}
