// What a client goes through until it is connected, and what is kept of one attempt. Shapes and words only: how steps are
// joined is trail.ts's, what a stop means causes.ts's.

/** In the order in which a client takes them; it may leave some out (a client with a fixed id does not register). */
export const stepNames = [
  "challenge",
  "metadata",
  "registration",
  "authorization",
  "login",
  "consent",
  "code",
  "token",
  "call",
] as const;
export type StepName = (typeof stepNames)[number];

/** What a person reads. */
export const stepTitles: Readonly<Record<StepName, string>> = {
  challenge: "asked without a token, got the 401 that says where to log in",
  metadata: "read the metadata",
  registration: "registered itself",
  authorization: "opened the browser",
  login: "owner signed in",
  consent: "owner agreed",
  code: "browser sent back to the client with the code",
  token: "got its tokens",
  call: "first call with its token",
};

export interface Step {
  readonly step: StepName;
  /** Of the first and the last time, epoch seconds. */
  readonly first_at: number;
  readonly last_at: number;
  readonly times: number;
  /** How it ended the last time. */
  readonly outcome: "passed" | "refused";
  /** Of the last time: the error's code, and the sentence that its sender got. */
  readonly error?: string;
  readonly reason?: string;
  /** Of the last time; the log has the same. */
  readonly request?: string;
}

/** One client on its way in, as far as it came. Texts are as strangers sent them, cut short. */
export interface Attempt {
  readonly id: string;
  readonly started_at: number;
  readonly last_at: number;
  /** /24 or /48 of the client, or of the browser when the client itself was not seen yet. */
  readonly network: string;
  readonly agent: string;
  readonly client_id?: string;
  readonly client_name?: string;
  readonly redirect_uri?: string;
  /** One entry for each kind of step, in the order in which they were first seen. */
  readonly steps: readonly Step[];
  /** The one that was seen last. */
  readonly last: StepName;
}

export const orderOf = (step: StepName): number => stepNames.indexOf(step);

/** Where it stands: at its last step when that was refused, else at the furthest one. */
export function standsAt({ steps, last }: Pick<Attempt, "steps" | "last">): Step | undefined {
  const latest = steps.find(({ step }) => step === last);
  if (latest?.outcome === "refused") return latest;
  return steps.toSorted((a, b) => orderOf(b.step) - orderOf(a.step))[0];
}

/** It looked, as probes and clients that are logged in do, and did not try to get in. */
export const isLook = ({ steps }: Pick<Attempt, "steps">): boolean =>
  steps.every(({ step }) => orderOf(step) <= orderOf("metadata"));

export const isConnected = ({ steps }: Pick<Attempt, "steps">): boolean =>
  steps.some(({ step, outcome }) => step === "call" && outcome === "passed");
