// Whether the public URL leads to this very process, told by an answer that only it can give; and if not, what stands
// there instead. What the way does to requests is passage.ts's.
import type { BegunCheckup } from "../../admin/checkup.ts";
import { checkupProof } from "../../checkup.ts";
import type { Arrived } from "../../gateway/checkup.ts";
import { type Answer, inWords, isRedirect, jsonOf, memberOf } from "./ask.ts";
import { type Finding, attention, bad, everyClient, good } from "./finding.ts";
import { type Target, aTool, newSessionId, probe } from "./target.ts";
import { sha256 } from "../../primitives.ts";

/** One call that arrived: what was sent, what the server saw, and its answer. */
export interface Passage {
  readonly sent: { readonly sessionId: string; readonly body: string };
  readonly arrived: Arrived;
  readonly answer: Answer;
}

export async function checkReach(
  target: Target,
  checkup: BegunCheckup,
): Promise<{ findings: Finding[]; passage?: Passage }> {
  const sessionId = newSessionId();
  const body = aTool("tools/list");
  const headers = { "mcp-session-id": sessionId };
  const answer = await probe(target, checkup, "seen", { headers, body });
  const arrived = readArrived(answer, checkup);
  if (!arrived) return { findings: [stranger(target, answer)] };
  const here = good("reached", "the public URL leads to this very process");
  return {
    findings: [here, ...aboutClock(answer)],
    passage: { sent: { sessionId, body: sha256(body) }, arrived, answer },
  };
}

/** undefined: somebody else answered. The doctor's login goes nowhere then. */
export function readArrived(answer: Answer, { id, key }: BegunCheckup): Arrived | undefined {
  const found = jsonOf(answer);
  return answer.status === 200 && memberOf(found, "proof") === checkupProof(id, key)
    ? (found as Arrived)
    : undefined;
}

/** Seconds that two clocks may differ. */
const DRIFT = 60;

/** A proxy in front has a clock of its own to compare with. */
function aboutClock({ headers }: Answer): Finding[] {
  const there = Date.parse(headers.get("date") ?? "");
  const drift = Math.round((Date.now() - there) / 1000);
  if (!(Math.abs(drift) > DRIFT)) return [];
  const what = `this machine's clock is ${Math.abs(drift)} seconds ${drift > 0 ? "ahead of" : "behind"} the proxy's`;
  return [
    attention("clock", what, {
      breaks: ["ChatGPT, whose signed requests have a time"],
      fix: ["Let both follow a time server: timedatectl set-ntp true."],
    }),
  ];
}

/** What answers instead. */
function stranger(target: Target, answer: Answer): Finding {
  const refuse = (id: string, what: string, ...fix: string[]): Finding =>
    bad(id, what, { breaks: everyClient, fix });
  const said = String(memberOf(jsonOf(answer), "error_description") ?? "");
  const challenge = answer.headers.get("www-authenticate") ?? "";
  if (answer.status === 0) {
    return refuse(
      "no-answer",
      `nothing answers at the public URL: ${inWords(answer)}`,
      "Look whether the proxy or tunnel in front runs, and what its log says.",
    );
  }
  if (isRedirect(answer)) {
    return refuse(
      "redirected",
      `the public URL redirects: ${inWords(answer)}`,
      "Let the proxy answer at exactly the public URL; most clients lose a POST that is redirected.",
      `Or make where it leads the public URL: --url.`,
    );
  }
  if (answer.status === 401) {
    return challenge.includes("error=")
      ? refuse(
          "other-process",
          "another Postern answers at the public URL",
          "Let the proxy or tunnel lead to the server of this data folder, or stop the other one.",
        )
      : refuse(
          "authorization-lost",
          "the Authorization header does not arrive",
          "Let the proxy pass it on: it may belong to a login of the proxy's own, which must be off for this host.",
        );
  }
  if (/Host/.test(said)) {
    return refuse(
      "host-changed",
      "the proxy asks this server for another host than the public URL's",
      `nginx: proxy_set_header Host $host; Apache: ProxyPreserveHost On; Cloudflare Tunnel: httpHostHeader.`,
      `Or is ${target.origin} not the public URL? Then start with the right --url.`,
    );
  }
  return strangerByStatus(answer, said, refuse);
}

function strangerByStatus(
  answer: Answer,
  said: string,
  refuse: (id: string, what: string, ...fix: string[]) => Finding,
): Finding {
  const { status } = answer;
  if (answer.headers.has("x-request-id") && (status === 404 || status === 405 || said !== "")) {
    return refuse(
      "path-changed",
      `this server is asked for another path than the public URL's (${inWords(answer)})`,
      "Let the proxy pass the path on as it is. nginx: proxy_pass without a path behind the port.",
      "Does the public URL itself have a path? Then say so: --url https://host/path.",
    );
  }
  if ([502, 503, 504].includes(status) || status >= 520) {
    return refuse(
      "proxy-lost",
      `the proxy does not reach this server: ${inWords(answer)}`,
      "Let it ask http://127.0.0.1 and the port that this server listens on.",
      "In a container, 127.0.0.1 is the container itself: use the host's address, and --host.",
    );
  }
  if ([403, 406, 429].includes(status)) {
    return refuse(
      "blocked",
      `something in front refuses the call: ${inWords(answer)}`,
      "Switch bot rules, WAF and login pages off for this host: clients are programs and solve no puzzles.",
    );
  }
  return refuse(
    "other-program",
    `something else answers at the public URL: ${inWords(answer)}`,
    "Let the proxy lead this host, with all its paths, to this server.",
  );
}
