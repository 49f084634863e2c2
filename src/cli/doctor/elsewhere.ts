// What the doctor can see of any server from outside alone: the way a client goes from the URL that its person typed, and
// whether what it reads there fits together.
import { type Answer, asker, inWords, jsonOf, memberOf } from "./ask.ts";
import { checkChallenges } from "./discovery.ts";
import type { Tell } from "./doctor.ts";
import { type Finding, attention, bad, clientsThat, everyClient, good, note } from "./finding.ts";
import { checkName } from "./name.ts";
import { checkPages } from "./passage.ts";
import type { Target } from "./target.ts";

export async function lookFromElsewhere(url: URL, tell: Tell): Promise<void> {
  const path = url.pathname === "/" ? "/mcp" : url.pathname.replace(/\/+$/, "");
  const target: Target = {
    ask: asker(undefined),
    origin: url.origin,
    resource: url.origin + path,
    checkup: undefined,
  };
  const name = await checkName(url.origin);
  tell("Name and certificate", name.findings);
  if (!name.reachable) return;
  tell("Discovery", [
    ...(await checkChallenges(target)),
    ...(await checkMetadata(target)),
    ...(await checkPages(target)),
  ]);
  tell("Login", [
    note("elsewhere", "on the server's own machine, postern doctor looks at more and logs in"),
  ]);
}

/** As strictly as the strictest clients read them: RFC 9728 §3.3, RFC 8414 §3.3, MCP 2025-11-25. */
async function checkMetadata({ ask, origin, resource }: Target): Promise<Finding[]> {
  const { pathname } = new URL(resource);
  const resourcePath = `/.well-known/oauth-protected-resource${pathname}`;
  const ofResource = await ask(origin + resourcePath);
  const unreadable = notThere(resourcePath, ofResource);
  if (unreadable) return [unreadable];
  const findings: Finding[] = [];
  const named = memberOf(jsonOf(ofResource), "resource");
  if (named !== resource) {
    findings.push(
      bad("resource-differs", `the metadata are of ${String(named)}, and not of ${resource}`, {
        breaks: clientsThat(({ comparesResource }) => comparesResource === true),
        fix: [
          "Give clients exactly that URL, or start the server with the right --url and --path.",
        ],
      }),
    );
  }
  const issuer = memberOf(memberOf(jsonOf(ofResource), "authorization_servers"), "0");
  return [...findings, ...(await checkIssuer(ask, origin, String(issuer)))];
}

async function checkIssuer(ask: Target["ask"], origin: string, issuer: string): Promise<Finding[]> {
  const url = URL.parse(issuer);
  if (!url) {
    const fix = ["Look whether this is a Postern, and which proxy changes its answers."];
    return [
      bad("no-issuer", "the metadata name no server to log in", { breaks: everyClient, fix }),
    ];
  }
  const path = `/.well-known/oauth-authorization-server${url.pathname.replace(/\/$/, "")}`;
  const answer = await ask(url.origin + path);
  const unreadable = notThere(path, answer);
  if (unreadable) return [unreadable];
  const server = jsonOf(answer);
  const says = memberOf(server, "issuer");
  if (says !== issuer) {
    return [
      bad("issuer-differs", `the server calls itself ${String(says)}, and is named ${issuer}`, {
        breaks: everyClient,
        fix: ["Start it with the right --url: scheme, host and slashes count."],
      }),
    ];
  }
  const methods = memberOf(server, "code_challenge_methods_supported");
  const findings = [good("metadata", `the metadata fit together; logins are at ${issuer}`)];
  if (!Array.isArray(methods) || !methods.includes("S256")) {
    const fix = ["Look which proxy changes the document."];
    findings.push(bad("no-pkce", "PKCE is not offered", { breaks: everyClient, fix }));
  }
  if (memberOf(server, "registration_endpoint") === undefined) {
    findings.push(
      attention("no-registration", "clients cannot register themselves", {
        breaks: clientsThat(({ identity }) => identity.by === "registration"),
        fix: ["Give each an id: postern clients add --for <client>. Or: --registration open."],
      }),
    );
  }
  return url.origin === origin
    ? findings
    : [...findings, note("issuer-elsewhere", `logins are on another host`)];
}

function notThere(path: string, answer: Answer): Finding | undefined {
  if (answer.status === 200 && jsonOf(answer) !== undefined) return undefined;
  return bad("document-missing", `${path} cannot be read: ${inWords(answer)}`, {
    breaks: everyClient,
    fix: ["Let everybody read /.well-known, and lead all of it to the server."],
  });
}
