// Whether everything in front lets the programs of the big clients through, by the names that they call themselves: some
// log in under one name and call tools under another, and bot rules often know only the second.
import type { BegunCheckup } from "../../admin/checkup.ts";
import { clientShapes } from "../../clients/shapes.ts";
import { type Answer, inWords } from "./ask.ts";
import { type Finding, bad, clientsThat, good } from "./finding.ts";
import { readArrived } from "./reach.ts";
import { type Target, probe } from "./target.ts";

/** What common libraries call themselves, for clients whose own name is not known. */
const libraries = ["node", "undici", "python-requests/2.32", "Go-http-client/2.0", "Bun/1.4"];

interface Refused {
  readonly agent: string;
  readonly answer: Answer;
}

export async function checkAgents(target: Target, checkup: BegunCheckup): Promise<Finding[]> {
  const path = Object.keys(checkup.documents)[0] ?? "";
  const [logins, calls] = await Promise.all([
    refusedOf(namesOf(0), async (agent) => {
      const answer = await target.ask(target.origin + path, { agent });
      return answer.status === 200 ? undefined : answer;
    }),
    refusedOf(namesOf(1), async (agent) => {
      const answer = await probe(target, checkup, "seen", { agent });
      return readArrived(answer, checkup) ? undefined : answer;
    }),
  ]);
  if (logins.length + calls.length > 0)
    return [...aboutCalls(logins, calls), ...aboutLogins(logins)];
  const names = new Set([...namesOf(0), ...namesOf(1)]);
  return [good("agents", `all ${names.size} names that clients go by are let through`)];
}

/** Of those that log in (0), or call (1). */
const namesOf = (at: 0 | 1): string[] => [
  ...new Set([...clientShapes.flatMap(({ agents }) => agents?.[at] ?? []), ...libraries]),
];

/** @param ask resolves to the answer that is none of ours */
async function refusedOf(
  agents: readonly string[],
  ask: (agent: string) => Promise<Answer | undefined>,
): Promise<Refused[]> {
  const answers = await Promise.all(agents.map(ask));
  return agents.flatMap((agent, index) => {
    const answer = answers[index];
    return answer ? [{ agent, answer }] : [];
  });
}

const fix = [
  "Cloudflare: switch “Block AI bots”, Bot Fight Mode and “AI Labyrinth” off for this host, or add a rule that skips them.",
  "Other firewalls: let these names through, or this host altogether; what it guards has a login of its own.",
  "A rule that goes by address cannot be seen from here: Claude calls from 160.79.104.0/21.",
];

const sentence = (refused: readonly Refused[]): string => {
  const [first] = refused;
  const names = refused.map(({ agent }) => agent).join(", ");
  return first ? `${names}: ${inWords(first.answer)}` : "";
};

function brokenBy(at: 0 | 1, refused: readonly Refused[]): string[] {
  const agents = new Set(refused.map(({ agent }) => agent));
  const clients = clientsThat((shape) => agents.has(shape.agents?.[at] ?? ""));
  const others = libraries.some((agent) => agents.has(agent));
  return [...clients, ...(others ? ["clients built on such libraries"] : [])];
}

/** Let in to log in, and not to call: such a client has its tokens, and says that it cannot connect. */
function aboutCalls(logins: readonly Refused[], calls: readonly Refused[]): Finding[] {
  if (calls.length === 0) return [];
  const noLogin = new Set(brokenBy(0, logins));
  const breaks = brokenBy(1, calls);
  const isSplit = breaks.some((client) => !noLogin.has(client));
  const what = isSplit ? "logins pass and calls are refused" : "calls are refused";
  return [
    bad(isSplit ? "agents-split" : "agents-blocked", `${what} to ${sentence(calls)}`, {
      breaks,
      fix,
    }),
  ];
}

function aboutLogins(logins: readonly Refused[]): Finding[] {
  if (logins.length === 0) return [];
  const what = `the way to the login is refused to ${sentence(logins)}`;
  return [bad("agents-no-login", what, { breaks: brokenBy(0, logins), fix })];
}
