// What the doctor says: findings in groups. Each that is not good names the clients that it breaks and what mends it.
// docs/doctor.md explains every id.
import type { ClientShape } from "../../clients/shape.ts";
import { clientShapes } from "../../clients/shapes.ts";

export type Level = "good" | "note" | "attention" | "bad" | "skipped";

export interface Finding {
  /** Stable, for scripts: "stream-held-back". */
  readonly id: string;
  readonly level: Level;
  /** One sentence, without a full stop. */
  readonly what: string;
  /** Clients, by name. */
  readonly breaks?: readonly string[];
  /** The likeliest first. */
  readonly fix?: readonly string[];
}

export interface Group {
  readonly title: string;
  readonly findings: readonly Finding[];
}

export const good = (id: string, what: string): Finding => ({ id, level: "good", what });
export const note = (id: string, what: string): Finding => ({ id, level: "note", what });
export const skipped = (id: string, what: string): Finding => ({ id, level: "skipped", what });

interface Consequence {
  readonly breaks?: readonly string[];
  readonly fix: readonly string[];
}

export const attention = (id: string, what: string, consequence: Consequence): Finding => ({
  id,
  level: "attention",
  what,
  ...consequence,
});
export const bad = (id: string, what: string, consequence: Consequence): Finding => ({
  id,
  level: "bad",
  what,
  ...consequence,
});

/** What a person calls a client: several ways of one client to make itself known are one client to its person. */
export const nameOf = ({ name }: ClientShape): string =>
  name.replace(/, (by document|registered)$/, "");

export const clientsThat = (is: (shape: ClientShape) => boolean): string[] => [
  ...new Set(clientShapes.filter(is).map(nameOf)),
];

export const everyClient = ["every client"];
export const hostedClients = clientsThat(({ hosted }) => hosted);
