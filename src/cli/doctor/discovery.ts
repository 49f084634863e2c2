// What the doctor finds of discovery: every spelling of the well-known documents, as clients ask for them, and the 401 that
// leads there.
import { type Answer, type Ask, inWords, isRedirect, jsonOf } from "./ask.ts";
import { type Finding, attention, bad, clientsThat, everyClient, good } from "./finding.ts";
import { type Target, aTool, callHeaders } from "./target.ts";

type Fault = "blocked" | "missing" | "redirected" | "changed" | "silent";

/** What is wrong with an answer that should be this document. */
function faultOf(answer: Answer, document: unknown): Fault | undefined {
  const { status } = answer;
  if (status === 0 || status >= 500) return "silent";
  if (isRedirect(answer)) return "redirected";
  if ([401, 403, 406, 429].includes(status)) return "blocked";
  const found = jsonOf(answer);
  if (status !== 200 || found === undefined) return "missing";
  return Bun.deepEquals(found, document) ? undefined : "changed";
}

const words: Readonly<Record<Fault, readonly [what: string, fix: string]>> = {
  blocked: [
    "is refused",
    "Let everybody read /.well-known: no login, no bot rule, no WAF there. Clients that hear 401 or 403 stop.",
  ],
  missing: [
    "is not there",
    "Let the proxy lead /.well-known to this server, whole: another program may answer there (certificate renewal needs /.well-known/acme-challenge only).",
  ],
  redirected: ["is redirected", "Let the proxy answer there without a redirect."],
  changed: [
    "is not what this server says",
    "Purge the cache in front, and switch off what rewrites answers. Issuer and resource are compared byte for byte.",
  ],
  silent: ["cannot be fetched", "Let the proxy lead /.well-known to this server."],
};

/** @param documents as the server has them, by path */
export async function checkDocuments(
  { ask, origin }: Target,
  documents: Readonly<Record<string, unknown>>,
): Promise<Finding[]> {
  const paths = Object.keys(documents);
  const answers = await Promise.all(paths.map((path) => ask(origin + path)));
  const findings = paths.flatMap((path, index): Finding[] => {
    const answer = answers[index];
    const fault = answer && faultOf(answer, documents[path]);
    if (!answer || fault === undefined) return [];
    const [what, fix] = words[fault];
    const breaks = readers(path);
    return [
      bad(`document-${fault}`, `${path} ${what}: ${inWords(answer)}`, { breaks, fix: [fix] }),
    ];
  });
  return findings.length > 0
    ? together(findings)
    : [good("documents", `all ${paths.length} well-known documents are read as they are`)];
}

/** Clients that ask for a document; those with a slash at the end only when somebody typed it so. */
const readers = (path: string): string[] =>
  path.endsWith("/") ? ["clients whose person typed a slash at the end"] : everyClient;

/** One finding for what is wrong in the same way. */
function together(findings: readonly Finding[]): Finding[] {
  return [...Map.groupBy(findings, ({ id }) => id).values()].flatMap(([first, ...others]) =>
    first
      ? [
          {
            ...first,
            what: others.length > 0 ? `${first.what}, and ${others.length} more` : first.what,
          },
        ]
      : [],
  );
}

/**
 * Documents that this server does not have, asked for where others are missing or before them: a clean 404 makes clients
 * go on, a page or a login stops them.
 */
export async function checkUnknownDocuments(
  { ask, origin, resource }: Target,
  documents: Readonly<Record<string, unknown>>,
): Promise<Finding[]> {
  const { pathname } = new URL(resource);
  const paths = [
    "/.well-known/openid-configuration",
    `/.well-known/openid-configuration${pathname}`,
    `/.well-known/oauth-authorization-server${pathname}`,
  ].filter((path) => documents[path] === undefined);
  const answers = await Promise.all(paths.map((path) => ask(origin + path)));
  const odd = answers.findIndex(({ status }) => status !== 404);
  const [path, answer] = [paths[odd], answers[odd]];
  if (path === undefined || !answer) return [];
  const what = `${path} answers ${inWords(answer)} and not 404`;
  return [
    attention("document-extra", what, {
      breaks: ["clients that try other spellings first"],
      fix: [
        "Let the proxy lead all of /.well-known to this server, and answer nothing there itself.",
      ],
    }),
  ];
}

interface Way {
  readonly id: string;
  readonly what: string;
  readonly breaks: readonly string[];
  readonly ask: (ask: Ask, resource: string) => Promise<Answer>;
}

const initialize = {
  method: "POST",
  body: aTool("initialize"),
  headers: callHeaders,
};

/** How clients look at the endpoint before they have a token. */
const ways: readonly Way[] = [
  {
    id: "challenge",
    what: "a call without a token",
    breaks: everyClient,
    ask: (ask, resource) => ask(resource, initialize),
  },
  {
    id: "challenge-get",
    what: "GET without a token",
    breaks: clientsThat(({ probes }) => probes.some(({ method }) => method === "GET")),
    ask: (ask, resource) => ask(resource, { headers: { accept: "text/event-stream" } }),
  },
  {
    id: "challenge-head",
    what: "HEAD without a token",
    breaks: clientsThat(({ probes }) => probes.some(({ method }) => method === "HEAD")),
    ask: (ask, resource) => ask(resource, { method: "HEAD" }),
  },
  {
    id: "challenge-slash",
    what: "a call with a slash at the end of the URL",
    breaks: clientsThat(({ typed }) => typed.endsWith("/")),
    ask: (ask, resource) => ask(`${resource}/`, initialize),
  },
];

export async function checkChallenges({ ask, resource }: Target): Promise<Finding[]> {
  const answers = await Promise.all(ways.map((way) => way.ask(ask, resource)));
  const findings = ways.flatMap((way, index): Finding[] => {
    const answer = answers[index];
    return answer ? aboutChallenge(way, answer, resource) : [];
  });
  return findings.length > 0
    ? findings
    : [good("challenge", "the 401 says where to log in, however it is asked for")];
}

function aboutChallenge({ id, what, breaks }: Way, answer: Answer, resource: string): Finding[] {
  const refuse = (kind: string, problem: string, fix: string): Finding[] => [
    bad(`${id}-${kind}`, `${what} ${problem}`, { breaks, fix: [fix] }),
  ];
  if (isRedirect(answer)) {
    return refuse(
      "redirected",
      `is redirected: ${inWords(answer)}`,
      "Let the proxy neither add nor take away slashes: most clients lose a POST that is redirected.",
    );
  }
  if (answer.status !== 401) {
    return refuse(
      "refused",
      `is answered ${inWords(answer)} and not 401`,
      "Let the proxy pass every method and path of the MCP endpoint on.",
    );
  }
  const challenge = answer.headers.get("www-authenticate");
  if (challenge === null) {
    return refuse(
      "lost",
      "gets a 401 without WWW-Authenticate",
      "Let the proxy pass that header back: without it no client asks to log in.",
    );
  }
  const leadsTo = /resource_metadata="([^"]*)"/.exec(challenge)?.[1] ?? "";
  if (new URL(resource).origin === URL.parse(leadsTo)?.origin) return [];
  return refuse(
    "astray",
    `is sent to ${leadsTo || "nowhere"} for the metadata`,
    "Let the proxy pass WWW-Authenticate back as it is.",
  );
}
