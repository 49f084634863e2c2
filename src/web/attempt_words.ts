// Clients on their way in, in the words of a terminal and of a page.
import type { Attempt, Step, StepName } from "../attempts/steps.ts";
import { displayName, printable } from "./text.ts";

/** What the client calls itself, else who publishes it, else the program that asked. */
export function attemptName({ client_name: name, client_id: id, agent }: Attempt): string {
  if (name !== undefined) return displayName(name).text;
  const host = id?.startsWith("https://") ? URL.parse(id)?.host : undefined;
  return host ?? (printable(agent.split(/[\s/(;]/, 1)[0] ?? "", 40) || "An unknown client");
}

const words: Readonly<Record<StepName, string>> = {
  challenge: "401",
  metadata: "metadata",
  registration: "registered",
  authorization: "browser opened",
  login: "signed in",
  consent: "agreed",
  code: "code sent",
  token: "tokens",
  call: "first call",
};

const refusedWords: Readonly<Record<StepName, string>> = {
  ...words,
  challenge: "request",
  registration: "registration",
  authorization: "login page",
  login: "sign-in",
  consent: "consent",
};

/** "metadata (3)", "registration refused". A browser comes to the login page again when its person has signed in. */
export function stepWords({ step, outcome, times }: Step): string {
  const what = outcome === "refused" ? `${refusedWords[step]} refused` : words[step];
  return times > 1 && step !== "authorization" ? `${what} (${times})` : what;
}

/** Epoch seconds as the log has them: "10:31:07". */
export const clockTime = (at: number): string => new Date(at * 1000).toISOString().slice(11, 19);
