// Clients on their way in as their owner sees them: how far each came, and what usually stops them there.
import { type Verdict, judge } from "../attempts/causes.ts";
import type { Attempt } from "../attempts/steps.ts";
import type { Deps } from "../deps.ts";
import { seconds } from "../primitives.ts";
import type { Asked } from "./asked.ts";

export interface AttemptRow extends Attempt {
  readonly verdict: Verdict;
}

/** The newest first. */
export async function attemptRows(deps: Deps): Promise<AttemptRow[]> {
  const grants = await deps.store.refresh_tokens.list();
  const around = {
    networks: new Set(grants.map(([, grant]) => grant.rotated_from)),
    registration: deps.config.registration,
    now: seconds(deps.now()),
  };
  return deps.attempts.list().map((attempt) => ({ ...attempt, verdict: judge(attempt, around) }));
}

export const listAttempts = (_asked: Asked, deps: Deps): Promise<AttemptRow[]> => attemptRows(deps);
