// What the way through proxies does to calls and answers: headers and bodies that change, addresses that get lost, streams
// that are held back, answers that a web page cannot read.
import type { BegunCheckup } from "../../admin/checkup.ts";
import { ECHO_HEADER, STREAM_PAUSE } from "../../gateway/checkup.ts";
import { isLoopbackHost } from "../../values.ts";
import { OWN_AGENT, inWords } from "./ask.ts";
import { type Finding, attention, bad, clientsThat, everyClient, good, note } from "./finding.ts";
import { type Passage, readArrived } from "./reach.ts";
import { type Target, callHeaders, probe } from "./target.ts";

export function checkPassage({ sent, arrived, answer }: Passage, { key }: BegunCheckup): Finding[] {
  const findings: Finding[] = [];
  const wanted = { ...callHeaders, "mcp-session-id": sent.sessionId };
  const lost = Object.entries(wanted)
    .filter(([name, value]) => arrived.headers[name] !== value)
    .map(([name]) => name);
  if (lost.length > 0) {
    findings.push(
      bad("headers-lost", `these headers of a call do not arrive: ${lost.join(", ")}`, {
        breaks: everyClient,
        fix: ["Let the proxy pass all request headers on."],
      }),
    );
  }
  if (arrived.body !== sent.body) {
    findings.push(
      bad("body-changed", "the body of a call does not arrive as it was sent", {
        breaks: everyClient,
        fix: ["Switch off what inspects or rewrites bodies for this host."],
      }),
    );
  }
  if (answer.headers.get(ECHO_HEADER) !== key.slice(0, 8)) {
    findings.push(
      bad("answer-headers-lost", "headers of the answer do not come back: Mcp-Session-Id", {
        breaks: clientsThat(({ revision }) => revision !== "2026-07-28"),
        fix: ["Let the proxy pass all response headers back."],
      }),
    );
  }
  return findings.length > 0 ? findings : [good("passage", "calls and answers pass unchanged")];
}

/** An address of nobody's (RFC 5737), to see whether strangers may choose theirs. */
const FORGED = "203.0.113.199";

/** Whether the server learns who asks, from proxies and from nobody else. */
export async function checkHops(
  target: Target,
  checkup: BegunCheckup,
  { arrived }: Passage,
): Promise<Finding[]> {
  const { peer, address } = arrived;
  const forwarded = arrived.headers["x-forwarded-for"];
  const hops = forwarded?.split(",").map((hop) => hop.trim()) ?? [];
  const forged = readArrived(
    await probe(target, checkup, "seen", { headers: { "x-forwarded-for": FORGED } }),
    checkup,
  );
  if (forged?.address === FORGED) {
    return [
      bad("hop-forged", "anybody can choose the address that this server takes for theirs", {
        breaks: ["the limits on guessed passwords and tokens"],
        fix: [
          "Let the proxy add the address it sees: nginx: proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for.",
        ],
      }),
    ];
  }
  if (!target.origin.startsWith("https:")) return [];
  const shared = ["the limits on guessed passwords: all clients look like one"];
  if (hops.length === 0) {
    // Without a proxy, this machine is a client like any other.
    if (checkup.tls || !isLoopbackHost(peer))
      return [good("hop", "clients come from their own addresses")];
    return [
      attention("hop-missing", "the proxy does not say from where a client comes", {
        breaks: shared,
        fix: ["Let it add X-Forwarded-For. Caddy and the tunnels do; nginx: proxy_set_header."],
      }),
    ];
  }
  if (address === peer && hops.at(-1) !== address) {
    return [
      attention(
        "hop-untrusted",
        `the proxy at ${peer} says from where a client comes, and is not believed`,
        {
          breaks: shared,
          fix: [`Start with --trusted-proxies ${peer}, when that is your proxy.`],
        },
      ),
    ];
  }
  if (hops.length > 1) {
    return [
      note(
        "hop-several",
        `several proxies stand in front; this machine looks like ${address} from here`,
      ),
    ];
  }
  return [good("hop", `the proxy says from where clients come: this machine is ${address}`)];
}

/** Sends for the slow stream, and sees whether its beginning arrives before its end. */
export async function checkStream({ resource }: Target, { key }: BegunCheckup): Promise<Finding[]> {
  const began = performance.now();
  try {
    const response = await fetch(resource, {
      method: "POST",
      headers: {
        ...callHeaders,
        "user-agent": OWN_AGENT,
        authorization: `Bearer pcu_${key}.stream`,
        accept: "text/event-stream",
      },
      body: "{}",
      redirect: "manual",
      signal: AbortSignal.timeout(PATIENCE),
    });
    let text = "";
    let first: number | undefined;
    const decoder = new TextDecoder();
    for await (const chunk of response.body ?? []) {
      text += decoder.decode(chunk, { stream: true });
      if (text.includes("event: first\n")) first ??= performance.now();
    }
    const gap = performance.now() - (first ?? performance.now());
    if (first === undefined || !text.includes("event: last\n"))
      return [broken("it does not arrive whole")];
    // Held back, both come together; else the pause lies between them, a little shorter or longer.
    return gap > STREAM_PAUSE / 2
      ? [good("stream", "streams arrive as they are sent")]
      : [heldBack(Math.round(performance.now() - began))];
  } catch (error) {
    const cutOff = error instanceof Error && error.name === "TimeoutError";
    return [cutOff ? heldBack(PATIENCE) : broken("the connection is cut off")];
  }
}

/** Milliseconds for the whole stream. */
const PATIENCE = 10_000;

const streamFix = [
  "nginx: proxy_buffering off, and no gzip for text/event-stream. Caddy: flush_interval -1.",
  "Others: switch off caching, compression and “response buffering” for this host.",
];
const heldBack = (milliseconds: number): Finding =>
  bad("stream-held-back", `streams are held back until they end (${milliseconds} ms)`, {
    breaks: ["tools that report progress or take long, in every client"],
    fix: streamFix,
  });
const broken = (what: string): Finding =>
  bad("stream-broken", `a stream is broken on its way: ${what}`, {
    breaks: everyClient,
    fix: streamFix,
  });

const PAGE = "http://localhost:6274";
const asked = "authorization, content-type, mcp-protocol-version";

/** Whether a client that is a web page may ask, and read what it hears. */
export async function checkPages({ ask, resource }: Target): Promise<Finding[]> {
  const breaks = clientsThat((shape) => shape.origin !== undefined);
  const fix = [
    "Let the proxy pass OPTIONS on, and neither add nor take away Access-Control headers: this server sends them.",
  ];
  const preflight = {
    method: "OPTIONS",
    headers: {
      origin: PAGE,
      "access-control-request-method": "POST",
      "access-control-request-headers": asked,
    },
  };
  const [before, refused] = await Promise.all([
    ask(resource, preflight),
    ask(resource, { method: "POST", body: "{}", headers: { ...callHeaders, origin: PAGE } }),
  ]);
  const allowed = before.headers.get("access-control-allow-headers")?.toLowerCase() ?? "";
  if (before.status === 0 || before.status > 299 || !allowed.includes("mcp-protocol-version")) {
    const what = `a web page may not call: OPTIONS is answered ${inWords(before)}`;
    return [bad("cors-preflight", what, { breaks, fix })];
  }
  const origins = [before, refused].map(({ headers }) =>
    headers.get("access-control-allow-origin"),
  );
  const odd = origins.find((value) => value !== "*" && value !== PAGE);
  if (odd !== undefined) {
    const what = `a web page may not read the answer: Access-Control-Allow-Origin is ${odd ?? "missing"}`;
    return [bad("cors-origin", what, { breaks, fix })];
  }
  const exposed = refused.headers.get("access-control-expose-headers")?.toLowerCase() ?? "";
  if (!exposed.includes("www-authenticate")) {
    const what = "a web page cannot see where to log in: WWW-Authenticate is not exposed";
    return [bad("cors-exposed", what, { breaks, fix })];
  }
  return [good("cors", "web pages may call and read the answers")];
}
