// Where an attempt stopped, the usual cause of that, and what to try: one table, in the order in which its rows are asked.
// Words for people; the steps themselves are trail.ts's.
import { forgettingSteps, removeAndAdd, withoutDocument } from "../clients/forgetting.ts";
import { isLoopbackHost } from "../values.ts";
import {
  type Attempt,
  type Step,
  type StepName,
  isConnected,
  isLook,
  standsAt,
  stepTitles,
} from "./steps.ts";

export interface Verdict {
  readonly state: "connected" | "under way" | "looked" | "stopped";
  /** Where it stands, in a few words. */
  readonly where: string;
  /** Why it usually ends there; absent while nothing is wrong. */
  readonly cause?: string;
  /** What to try, the likeliest first. */
  readonly remedies?: readonly string[];
}

/** What the causes depend on besides the attempt. */
export interface Surroundings {
  /** Networks that logins were last refreshed from: clients there are in. */
  readonly networks: ReadonlySet<string>;
  /** Whether clients may register themselves. */
  readonly registration: boolean;
  /** Epoch seconds. */
  readonly now: number;
}

/** Seconds that a client or a person may take for the next step before it counts as a stop. */
const PATIENCE: Partial<Record<StepName, number>> = { authorization: 180, login: 180, code: 30 };
const USUAL_PATIENCE = 60;

/** Where an attempt stands and, when it got no further, the usual reason and what to try. */
export function judge(attempt: Attempt, around: Surroundings): Verdict {
  const at = standsAt(attempt);
  if (!at) return { state: "under way", where: "nothing seen yet" };
  const refused = at.outcome === "refused";
  const where = `${refused ? "refused" : "stopped"} ${placeOf(at)}`;
  if (isConnected(attempt) && !refused) return { state: "connected", where: "connected" };
  const age = around.now - attempt.last_at;
  if (!refused && age < (PATIENCE[at.step] ?? USUAL_PATIENCE)) {
    return { state: "under way", where: `so far: ${stepTitles[at.step]}` };
  }
  const { cause, remedies } = findCause(attempt, at, around);
  const state = isLook(attempt) && !refused ? "looked" : "stopped";
  return {
    state,
    where: state === "looked" ? "looked, and came no further" : where,
    cause,
    remedies,
  };
}

const placeOf = ({ step, outcome }: Step): string =>
  outcome === "refused" ? `at: ${refusedAt[step]}` : `after: ${stepTitles[step]}`;

const refusedAt: Readonly<Record<StepName, string>> = {
  challenge: "first request",
  metadata: "metadata",
  registration: "registration",
  authorization: "opening the login page",
  login: "sign-in",
  consent: "consent",
  code: "way back to the client",
  token: "swapping the code for tokens",
  call: "first call",
};

interface Cause {
  readonly cause: string;
  readonly remedies: readonly string[];
}

interface Row {
  readonly step: StepName;
  readonly outcome: Step["outcome"];
  readonly when?: (attempt: Attempt, at: Step, around: Surroundings) => boolean;
  readonly cause: string | ((attempt: Attempt, at: Step) => string);
  readonly remedies: readonly string[] | ((attempt: Attempt) => readonly string[]);
}

function findCause(attempt: Attempt, at: Step, around: Surroundings): Cause {
  const row = rows.find(
    ({ step, outcome, when }) =>
      step === at.step && outcome === at.outcome && (when?.(attempt, at, around) ?? true),
  );
  if (!row) return { cause: quoted(at), remedies: ["Run postern doctor."] };
  const { cause, remedies } = row;
  return {
    cause: typeof cause === "string" ? cause : cause(attempt, at),
    remedies: typeof remedies === "function" ? remedies(attempt) : remedies,
  };
}

const says = ({ reason = "" }: Step, pattern: RegExp): boolean => pattern.test(reason);
const isNamed = (
  { agent, client_name: name = "", client_id: id = "" }: Attempt,
  pattern: RegExp,
): boolean => pattern.test(agent) || pattern.test(name) || pattern.test(id);
const answeredAt = ({ redirect_uri: uri }: Attempt): string => URL.parse(uri ?? "")?.hostname ?? "";
const quoted = ({ reason = "unknown" }: Step): string => `The client was told: “${reason}”.`;

const plain = (steps: readonly string[]): string[] => steps.map((step) => step.replaceAll("`", ""));
/** What to press in the client that this seems to be. */
const press = ({ agent, client_name: name, redirect_uri: uri }: Attempt): string[] =>
  plain(forgettingSteps(uri === undefined ? [] : [uri], name === undefined ? [agent] : [name]));
const forget = (attempt: Attempt): string[] => [removeAndAdd, ...press(attempt)];

// prettier-ignore
const rows: readonly Row[] = [
  { step: "challenge", outcome: "refused", when: (_, at) => says(at, /web origin/),
    cause: "A web page called the MCP endpoint, and its origin is not allowed to.",
    remedies: ["If it is your client: start with --allowed-origins and the page's origin (the log names it)."] },
  { step: "challenge", outcome: "refused", when: (_, at) => says(at, /Host/),
    cause: "The request came for another host name than the public URL's.",
    remedies: ["Use the public URL in the client.", "Make the proxy pass the Host header on: nginx wants proxy_set_header Host $host."] },
  { step: "challenge", outcome: "refused",
    cause: (_, at) => quoted(at),
    remedies: ["Look for the request in the log."] },
  { step: "challenge", outcome: "passed", when: ({ network }, _at, { networks }) => networks.has(network),
    cause: "A client that is logged in from this network looks without its token first. Codex and mcp-remote do so at every start.",
    remedies: ["Nothing, when that client works."] },
  { step: "challenge", outcome: "passed",
    cause: "It asked once and did not read where to log in: a scanner, a browser, or a client whose way to /.well-known is blocked.",
    remedies: ["If it was your client: press Connect or Authenticate in it; some wait for that.", "Run postern doctor: a proxy may hold back the WWW-Authenticate header or /.well-known."] },
  { step: "metadata", outcome: "passed", when: ({ network }, _at, { networks }) => networks.has(network),
    cause: "A client that is logged in from this network read the metadata again, as most do before they refresh.",
    remedies: ["Nothing, when that client works."] },
  { step: "metadata", outcome: "passed", when: (_, _at, { registration }) => !registration,
    cause: "The client cannot register: registration is closed, and it has no id of its own.",
    remedies: ["Give it one: postern clients add --for <client>.", "Or let clients register: --registration open."] },
  { step: "metadata", outcome: "passed",
    cause: "It read the metadata and went no further: it refuses them, or waits for its person.",
    remedies: (attempt) => ["Press Connect or Authenticate in the client; some wait for that.", "Paste the address exactly as postern connect shows it: some clients compare it letter by letter, the slash at the end included.", "Run postern doctor: a proxy may change or block one of the documents.", ...press(attempt)] },
  { step: "registration", outcome: "refused", when: (_, at) => says(at, /initial access token/),
    cause: "Registration asks for a token here, and the client sent none.",
    remedies: ["Give it an id by hand: postern clients add --for <client>."] },
  { step: "registration", outcome: "refused", when: (_, at) => says(at, /too many/),
    cause: "It registered very often in a short time.",
    remedies: ["Wait a few minutes, then connect again.", "A client that registers again and again does not keep its id: update it."] },
  { step: "registration", outcome: "refused",
    cause: (_, at) => quoted(at),
    remedies: ["Update the client.", "Give it an id by hand: postern clients add --redirect <its redirect URI>."] },
  { step: "registration", outcome: "passed",
    cause: "It registered and no browser came: it could not open one, or a popup was blocked.",
    remedies: ["Look in the client for a link to open by hand; over SSH and in containers that is usual.", "Allow popups for the client's page."] },
  { step: "authorization", outcome: "refused", when: (_, at) => says(at, /not registered with this server/),
    cause: "The client uses an id that this server does not have: from another server, or from before its data were lost.",
    remedies: forget },
  { step: "authorization", outcome: "refused", when: (_, at) => says(at, /did not register/),
    cause: "The client wants its answer at an address that it did not register.",
    remedies: forget },
  { step: "authorization", outcome: "refused", when: (_, at) => says(at, /no owner/),
    cause: "Nobody has set this server up yet.",
    remedies: ["Open the setup link from the terminal, or from the file setup-link in the data folder."] },
  { step: "authorization", outcome: "refused", when: ({ client_id: id = "" }) => id.startsWith("https://"),
    cause: (_, at) => `The client is known by a document of its maker, and that could not be used. ${quoted(at)}`,
    remedies: ["Check that this machine reaches the internet: the document is fetched from here.", ...plain(withoutDocument)] },
  { step: "authorization", outcome: "refused",
    cause: (_, at) => quoted(at),
    remedies: forget },
  { step: "authorization", outcome: "passed", when: (attempt) => isNamed(attempt, /mcp-remote|MCP CLI Proxy/i),
    cause: "Nobody signed in. mcp-remote asks for the login page once by itself before it opens the browser.",
    remedies: ["Look for the browser window, or for the link that mcp-remote printed.", "Several mcp-remote of one machine wait for each other: close the others."] },
  { step: "authorization", outcome: "passed",
    cause: "The login page was shown and nobody signed in.",
    remedies: ["Start again in the client and sign in.", "Forgotten password: postern password sets a new one."] },
  { step: "login", outcome: "refused", when: (_, at) => says(at, /too many/),
    cause: "Too many wrong passwords came from this network.",
    remedies: ["Wait as long as the page says.", "Forgotten password: postern password sets a new one."] },
  { step: "login", outcome: "refused",
    cause: "The password was wrong.",
    remedies: ["Try again on the page.", "Forgotten password: postern password sets a new one."] },
  { step: "login", outcome: "passed",
    cause: "The consent page was shown and not answered.",
    remedies: ["Start again in the client and press Allow."] },
  { step: "consent", outcome: "refused",
    cause: (_, at) => (says(at, /declined/) ? "The owner declined." : quoted(at)),
    remedies: ["Start again in the client."] },
  { step: "code", outcome: "passed", when: (attempt) => isLoopbackHost(answeredAt(attempt)),
    cause: "The browser was sent to an address of the client's own machine, and the client did not hear of it: it runs on another machine than the browser (SSH, container, WSL), or had stopped waiting.",
    remedies: ["On the consent page choose that the client runs on another machine, and give it the address shown there.", "Over SSH: forward the port of the address.", "Keep the client open until the browser says that it is done."] },
  { step: "code", outcome: "passed", when: ({ redirect_uri: uri = "" }) => !/^https?:/i.test(uri),
    cause: "The browser was asked to open the client's app, and that did not take the answer.",
    remedies: ["Allow the browser to open the app.", "Update the app and connect again."] },
  { step: "code", outcome: "passed",
    cause: (attempt) => `The code went to ${answeredAt(attempt)} and never came back: its servers cannot reach this one, or refused the answer.`,
    remedies: ["Run postern doctor: bot rules or a firewall may stop POST /token.", "Close the client's login window only when it says that it is done, then try again."] },
  { step: "token", outcome: "refused", when: (_, { error }) => error === "invalid_client",
    cause: "The client is unknown here, or its secret is wrong.",
    remedies: (attempt) => ["Paste id and secret again: postern clients add --for <client> makes new ones.", ...forget(attempt)] },
  { step: "token", outcome: "refused", when: (_, { error }) => error === "invalid_target",
    cause: "The client asked for tokens for another address than the one that it was allowed for.",
    remedies: ["Paste the address exactly as postern connect shows it, without a slash at the end."] },
  { step: "token", outcome: "refused",
    cause: (_, at) => `The code was too old, used before, or not this client's: two logins at once, or more than a minute between them. ${quoted(at)}`,
    remedies: ["Start again in the client, once.", "Several copies of the client at once take each other's answers: keep one."] },
  { step: "token", outcome: "passed", when: (attempt) => isNamed(attempt, /claude|anthropic/i) && answeredAt(attempt).includes("claude"),
    cause: "It has its tokens and never used them. Claude logs in and calls tools from different programs and addresses, and something lets only the first through.",
    remedies: ["Cloudflare: switch “Block AI bots” and Bot Fight Mode off for this host, or let 160.79.104.0/21 through.", "Run postern doctor --as claude: it calls as both programs."] },
  { step: "token", outcome: "passed",
    cause: "It has its tokens and never used them: bot rules let the login through and tool calls not, or the client waits for its person.",
    remedies: ["Run postern doctor: it calls under the names that the big clients use.", "Cloudflare: switch “Block AI bots” and Bot Fight Mode off for this host.", "Start a new chat in the client; some list tools only then."] },
  { step: "call", outcome: "refused",
    cause: (_, at) => `The client is in, and the MCP server behind did not answer as it should. ${quoted(at)}`,
    remedies: ["Start the MCP server, and check --upstream.", "Run postern doctor."] },
];
