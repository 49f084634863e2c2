// A whole login with a throw-away client through the public URL, in the shape of a real one: discovery, registration, the
// owner's pages, code, tokens, a call, a refresh, and the end of it. What it registered goes with the check-up.
import type { BegunCheckup } from "../../admin/checkup.ts";
import type { ClientShape } from "../../clients/shape.ts";
import { randomToken, sha256 } from "../../primitives.ts";
import { counted } from "../../web/text.ts";
import { type Answer, inWords, jsonOf, memberOf } from "./ask.ts";
import { callEndpoint, discover, documentProblem, register, sealedRequest } from "./login_steps.ts";
import { Stop, stopAt } from "./stop.ts";
import { type Finding, attention, bad, everyClient, good, nameOf, skipped } from "./finding.ts";
import type { Target } from "./target.ts";

/** One client on its way in. */
export interface Journey {
  readonly target: Target;
  readonly checkup: BegunCheckup;
  readonly shape: ClientShape;
  /** Of the owner's browser. */
  readonly cookie: string;
}

export interface Endpoints {
  readonly issuer: string;
  readonly authorization_endpoint: string;
  readonly token_endpoint: string;
  readonly revocation_endpoint: string;
  readonly registration_endpoint?: string;
  readonly scopes_supported: readonly string[];
  /** As its metadata name it. */
  readonly resource: string;
  /** Of the challenge. */
  readonly scope: string | undefined;
}

/** A client without peculiarities. */
export const plainClient: ClientShape = {
  name: "a client",
  word: "plain",
  hosted: false,
  typed: "/mcp",
  identity: {
    by: "registration",
    metadata: {
      client_name: "A client",
      redirect_uris: ["http://127.0.0.1:PORT/callback"],
      token_endpoint_auth_method: "none",
    },
  },
  probes: [{ method: "POST", message: "initialize" }],
  revision: "2025-11-25",
  discovery: [
    "/.well-known/oauth-protected-resource/mcp",
    "/.well-known/oauth-authorization-server",
  ],
  fallbacks: [],
  redirectUri: "http://127.0.0.1:PORT/callback",
  scope: "challenge",
  resourceForTokens: true,
  refresh: { when401: true },
  whenUnknown: "registers",
};

/** Logs in once for each shape. */
export async function checkLogins(
  target: Target,
  checkup: BegunCheckup,
  shapes: readonly ClientShape[],
): Promise<Finding[]> {
  const { cookie } = checkup;
  if (cookie === undefined) return [skipped("login", "no login was tried: there is no owner yet")];
  const findings: Finding[] = [];
  for (const shape of shapes) {
    const journey = { target, checkup, shape, cookie };
    findings.push(
      shape.identity.by === "document" ? await checkDocument(journey) : await checkLogin(journey),
    );
  }
  return findings;
}

/** The consent page for a client that has a document: the server fetches that, and nothing is stored. */
async function checkDocument(journey: Journey): Promise<Finding> {
  const name = nameOf(journey.shape);
  const problem = await documentProblem(journey);
  if (problem === undefined) return good("login-document", `${name}: its document can be fetched`);
  return attention("login-document", `${name}: its document cannot be used: ${problem}`, {
    breaks: [name],
    fix: [
      "Let this machine reach the internet on port 443: the server fetches the document itself.",
      "Or let the client register instead, where it can.",
    ],
  });
}

async function checkLogin(journey: Journey): Promise<Finding> {
  const { shape } = journey;
  const name = nameOf(shape);
  try {
    const done = await travel(journey);
    return good("login", `${name} gets in: ${done.join(", ")}`);
  } catch (error) {
    if (!(error instanceof Stop)) throw error;
    const breaks = shape === plainClient ? everyClient : [name];
    return bad(`login-${error.step}`, `${name}: ${error.message}`, {
      breaks,
      fix: [error.fix],
    });
  }
}

/** The whole way. Resolves to what was done. @throws {Stop} where it ends */
async function travel(journey: Journey): Promise<string[]> {
  const { shape } = journey;
  const found = await discover(journey);
  const redirectUri = shape.redirectUri.replace("PORT", "49152");
  const id = await register(journey, found);
  const verifier = randomToken(48);
  const code = await askOwner(journey, found, { id, redirectUri, verifier });
  const tokens = await redeem(journey, found, {
    grant_type: "authorization_code",
    code,
    client_id: id,
    redirect_uri: redirectUri,
    code_verifier: verifier,
  });
  const tools = await callEndpoint(journey, tokens.access);
  const next = await refresh(journey, found, id, tokens.refresh);
  await revoke(journey, found, id, next);
  return [
    "metadata",
    "registration",
    "consent",
    "code",
    "tokens",
    tools === undefined ? "a call" : `a call (${counted(tools, "tool")})`,
    "refresh",
    "revocation",
  ];
}

interface Asked {
  readonly id: string;
  readonly redirectUri: string;
  readonly verifier: string;
}

const pageFix =
  "Let the proxy pass pages, cookies and forms of this host as they are, without a login of its own.";

/** Through the owner's browser, to the code. */
async function askOwner(journey: Journey, found: Endpoints, asked: Asked): Promise<string> {
  const { target, checkup, cookie } = journey;
  const state = randomToken();
  const page = await target.ask(authorizationUrl(journey, found, { ...asked, state }), {
    headers: { cookie, "sec-fetch-site": "none" },
  });
  const hidden = sealedRequest(page);
  if (hidden === undefined) {
    const what = page.text.includes('type="password"')
      ? "the login page comes again after the login: the cookie does not arrive"
      : `the consent page does not come: ${inWords(page)}`;
    throw stopAt("consent", what, pageFix);
  }
  const answer = await target.ask(`${checkup.issuer}/consent`, {
    method: "POST",
    headers: {
      cookie,
      origin: target.origin,
      "sec-fetch-site": "same-origin",
      "content-type": "application/x-www-form-urlencoded",
    },
    body: new URLSearchParams({ request: hidden, decision: "allow" }).toString(),
  });
  return readCode(answer, { issuer: found.issuer, redirectUri: asked.redirectUri, state });
}

/** RFC 9207 §2.4, RFC 6749 §10.12: what strict clients look at before they take a code. */
function readCode(
  answer: Answer,
  wanted: { issuer: string; redirectUri: string; state: string },
): string {
  const { headers } = answer;
  // An app's own scheme is opened by a page.
  const location = headers.get("location") ?? headers.get("refresh")?.replace(/^0; url=/, "") ?? "";
  if (!location.startsWith(`${wanted.redirectUri}?`)) {
    throw stopAt("code", `the browser is not sent back to the client: ${inWords(answer)}`, pageFix);
  }
  const given = new URL(location).searchParams;
  const code = given.get("code");
  const isAnswer = given.get("iss") === wanted.issuer && given.get("state") === wanted.state;
  if (code !== null && isAnswer) return code;
  throw stopAt("code", "the answer to the client was changed on its way", pageFix);
}

function authorizationUrl(
  { shape }: Journey,
  found: Endpoints,
  { id, redirectUri, verifier, state }: Asked & { state: string },
): string {
  const query = new URLSearchParams({
    response_type: "code",
    client_id: id,
    redirect_uri: redirectUri,
    code_challenge: sha256(verifier),
    code_challenge_method: "S256",
    state,
    resource: found.resource,
    ...(shape.prompt && { prompt: shape.prompt }),
  });
  const supported = found.scopes_supported.join(" ");
  const scope = {
    challenge: found.scope ?? supported,
    supported,
    words: shape.words ?? "",
    none: "",
  }[shape.scope];
  if (scope !== "") query.set("scope", scope);
  return `${found.authorization_endpoint}?${query}`;
}

interface Tokens {
  readonly access: string;
  readonly refresh: string;
}

async function redeem(
  { target, shape }: Journey,
  found: Endpoints,
  fields: Record<string, string>,
): Promise<Tokens> {
  const answer = await target.ask(found.token_endpoint, {
    method: "POST",
    headers: { "content-type": "application/x-www-form-urlencoded", accept: "application/json" },
    body: new URLSearchParams({
      ...fields,
      ...(shape.resourceForTokens && { resource: found.resource }),
    }).toString(),
    ...(shape.agents && { agent: shape.agents[0] }),
  });
  const issued = jsonOf(answer);
  const [access, refreshToken] = ["access_token", "refresh_token"].map((name) =>
    memberOf(issued, name),
  );
  if (answer.status === 200 && typeof access === "string" && typeof refreshToken === "string") {
    return { access, refresh: refreshToken };
  }
  const said = memberOf(issued, "error_description");
  const why = typeof said === "string" ? said : inWords(answer);
  const step = fields["grant_type"] === "refresh_token" ? "refresh" : "token";
  throw stopAt(step, `no tokens are issued: ${why}`, "Let the proxy pass POST /token on as it is.");
}

/** Some clients send the same refresh twice at once, and are lost unless both succeed. */
async function refresh(
  journey: Journey,
  found: Endpoints,
  id: string,
  token: string,
): Promise<Tokens> {
  const fields = { grant_type: "refresh_token", refresh_token: token, client_id: id };
  const times = journey.shape.refresh.twice ? 2 : 1;
  const answers = await Promise.all(
    Array.from({ length: times }, () => redeem(journey, found, fields)),
  );
  const [first] = answers;
  if (!first) throw new Error("no refresh");
  return first;
}

async function revoke(
  journey: Journey,
  found: Endpoints,
  id: string,
  { access, refresh: token }: Tokens,
): Promise<void> {
  const { target } = journey;
  const fix = "Let the proxy pass POST /revoke on as it is.";
  const answer = await target.ask(found.revocation_endpoint, {
    method: "POST",
    headers: { "content-type": "application/x-www-form-urlencoded" },
    body: new URLSearchParams({ token, client_id: id }).toString(),
  });
  if (answer.status !== 200)
    throw stopAt("revoke", `the end is not taken: ${inWords(answer)}`, fix);
  const after = await target.ask(target.resource, {
    method: "POST",
    body: "{}",
    headers: { authorization: `Bearer ${access}` },
  });
  if (after.status !== 401) {
    const what = `a revoked token is answered ${inWords(after)}`;
    throw stopAt("revoke", what, "Switch caching off for this host.");
  }
}
