// The steps of a scripted login that differ from client to client: how it looks for the login, makes itself known, and
// calls when it is in.
import { checkupName } from "../../checkup.ts";
import type { Probe } from "../../clients/shape.ts";
import { randomToken, sha256 } from "../../primitives.ts";
import { callRunning } from "../admin_client.ts";
import { type Answer, type Question, inWords, jsonOf, memberOf } from "./ask.ts";
import type { Endpoints, Journey } from "./login.ts";
import { stopAt } from "./stop.ts";

const wayFix = "See the findings above: the login needs what they name.";

/** From the 401 to the endpoints, in the client's order and as strictly as it looks. @throws {Stop} */
export async function discover(journey: Journey): Promise<Endpoints> {
  const { shape, target } = journey;
  const typed = target.resource + (shape.typed.endsWith("/") ? "/" : "");
  let challenge = "";
  for (const each of shape.probes) {
    const answer = await target.ask(typed, question(journey, each));
    if (answer.status !== 401) {
      throw stopAt(
        "challenge",
        `${each.method} without a token is answered ${inWords(answer)}`,
        wayFix,
      );
    }
    challenge = answer.headers.get("www-authenticate") ?? challenge;
  }
  const { pathname } = new URL(target.resource);
  const documents: unknown[] = [];
  for (const path of shape.discovery) {
    const asked = target.origin + path.replace("/mcp", pathname);
    const answer = await target.ask(asked, agentOf(journey, 0));
    if (answer.status !== 200 || jsonOf(answer) === undefined) {
      throw stopAt("metadata", `${path} cannot be read: ${inWords(answer)}`, wayFix);
    }
    documents.push(jsonOf(answer));
  }
  const [ofResource, ofServer] = documents as [{ resource: string }, Omit<Endpoints, "resource">];
  // RFC 9728 §3.3
  if (shape.comparesResource && ofResource.resource !== typed) {
    const what = `it takes only metadata of ${typed}, and these are of ${ofResource.resource}`;
    throw stopAt("metadata", what, "Paste the address into the client as it is, letter by letter.");
  }
  // RFC 8414 §3.3
  if (ofServer.issuer !== memberOf(memberOf(ofResource, "authorization_servers"), "0")) {
    throw stopAt("metadata", `the issuer ${ofServer.issuer} is not the one that was named`, wayFix);
  }
  const scope = /scope="([^"]*)"/.exec(challenge)?.[1];
  return { ...ofServer, resource: ofResource.resource, scope };
}

/** The program that asks for logins (0) or calls (1). */
const agentOf = ({ shape }: Journey, at: 0 | 1): Question =>
  shape.agents ? { agent: shape.agents[at] } : {};

function question(journey: Journey, { method, message, headers = {} }: Probe): Question {
  const body = message === undefined ? {} : { body: rpc(journey, message) };
  return { method, ...body, ...agentOf(journey, 1), headers: { ...usualHeaders, ...headers } };
}

const usualHeaders = {
  accept: "application/json, text/event-stream",
  "content-type": "application/json",
};

/** A JSON-RPC message in the manner of the client's revision. */
function rpc({ shape, checkup }: Journey, method: string): string {
  const self = { name: checkupName(shape.name, checkup.id), version: "1" };
  const meta = {
    "io.modelcontextprotocol/protocolVersion": shape.revision,
    "io.modelcontextprotocol/clientInfo": self,
    "io.modelcontextprotocol/clientCapabilities": {},
  };
  return JSON.stringify({
    jsonrpc: "2.0",
    ...(!method.startsWith("notifications/") && { id: 1 }),
    method,
    params: {
      ...(method === "initialize" && {
        protocolVersion: shape.revision,
        capabilities: {},
        clientInfo: self,
      }),
      ...(shape.revision === "2026-07-28" && { _meta: meta }),
    },
  });
}

/** Registers as the client does, or, where it may not, as the owner would for it. @throws {Stop} */
export async function register(journey: Journey, found: Endpoints): Promise<string> {
  const { shape, target, checkup } = journey;
  const { identity } = shape;
  const metadata = identity.by === "registration" ? identity.metadata : {};
  const name = checkupName(String(metadata["client_name"] ?? shape.name), checkup.id);
  const redirectUris = JSON.parse(
    JSON.stringify(metadata["redirect_uris"] ?? []).replaceAll("PORT", "49152"),
  );
  if (checkup.registration !== "open") {
    const body = { client_name: name, redirect_uris: redirectUris };
    const made = await callRunning<{ client_id: string }>(checkup, "POST", "/clients", body);
    return made?.client_id ?? "";
  }
  const answer = await target.ask(found.registration_endpoint ?? "", {
    method: "POST",
    ...agentOf(journey, 0),
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ ...metadata, client_name: name, redirect_uris: redirectUris }),
  });
  const id = memberOf(jsonOf(answer), "client_id");
  if (answer.status === 201 && typeof id === "string") return id;
  const said = memberOf(jsonOf(answer), "error_description");
  const why = typeof said === "string" ? said : inWords(answer);
  throw stopAt(
    "registration",
    `it cannot register: ${why}`,
    "Let the proxy pass POST /register on.",
  );
}

/** What the server says against a client's document; undefined when it shows the consent page for it. */
export async function documentProblem(journey: Journey): Promise<string | undefined> {
  const { shape, target, checkup, cookie } = journey;
  if (shape.identity.by !== "document") return undefined;
  const query = new URLSearchParams({
    response_type: "code",
    client_id: `https://${shape.identity.host}${shape.identity.path}`,
    redirect_uri: shape.redirectUri.replace("PORT", "49152"),
    code_challenge: sha256(randomToken(48)),
    code_challenge_method: "S256",
    state: randomToken(),
    resource: target.resource,
  });
  const page = await target.ask(`${checkup.issuer}/authorize?${query}`, { headers: { cookie } });
  if (sealedRequest(page) !== undefined) return undefined;
  const sentence = /<\/h1>\s*<p>([^<]*)<\/p>/.exec(page.text)?.[1];
  return sentence?.trim() ?? inWords(page);
}

/** What the form of a consent page carries; undefined for every other page. */
export function sealedRequest({ status, text }: Answer): string | undefined {
  if (status !== 200 || !text.includes('value="allow"')) return undefined;
  return /name="request" value="([^"]+)"/.exec(text)?.[1];
}

/** Calls as the client does when it is in. Resolves to the number of tools, where it is told. @throws {Stop} */
export async function callEndpoint(journey: Journey, token: string): Promise<number | undefined> {
  if (journey.shape.revision === "2026-07-28") {
    const answer = await call(journey, token, "tools/list", { "mcp-method": "tools/list" });
    const tools = toolsIn(answer);
    if (tools !== undefined) return tools;
    // An older server behind: those clients fall back to what it speaks.
  }
  const opened = await call(journey, token, "initialize");
  if (!isGood(opened)) throw callStop("initialize", opened);
  const id = opened.headers.get("mcp-session-id");
  const session: Record<string, string> = id === null ? {} : { "mcp-session-id": id };
  await call(journey, token, "notifications/initialized", session);
  const answer = await call(journey, token, "tools/list", session);
  if (!isGood(answer)) throw callStop("tools/list", answer);
  if (id !== null) {
    const headers = { authorization: `Bearer ${token}`, ...session };
    await journey.target.ask(journey.target.resource, { method: "DELETE", headers });
  }
  return toolsIn(answer);
}

const isGood = ({ status }: Answer): boolean => status >= 200 && status < 300;

function call(
  journey: Journey,
  token: string,
  method: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<Answer> {
  const isNew = headers["mcp-method"] !== undefined;
  const revision =
    isNew || journey.shape.revision !== "2026-07-28" ? journey.shape.revision : "2025-11-25";
  return journey.target.ask(journey.target.resource, {
    method: "POST",
    ...agentOf(journey, 1),
    headers: {
      ...usualHeaders,
      authorization: `Bearer ${token}`,
      ...(method !== "initialize" && { "mcp-protocol-version": revision }),
      ...headers,
    },
    body: rpc({ ...journey, shape: { ...journey.shape, revision } }, method),
  });
}

function callStop(method: string, answer: Answer) {
  const said = memberOf(jsonOf(answer), "error_description");
  const why = typeof said === "string" ? said : inWords(answer);
  return stopAt(
    "call",
    `${method} fails with a good token: ${why}`,
    [502, 504].includes(answer.status)
      ? "Look whether the MCP server behind runs, and check --upstream or its command."
      : answer.failure === undefined
        ? "Look at the log of the MCP server behind."
        : "Look at the log of the MCP server behind. One that npx or uvx has to fetch first may just need another try.",
  );
}

/** In an answer that is JSON, or an event stream with it. */
function toolsIn({ text }: Answer): number | undefined {
  for (const line of text.split("\n")) {
    const data = line.startsWith("data:") ? line.slice(5) : line;
    if (!data.includes('"tools"')) continue;
    const tools = memberOf(memberOf(parse(data), "result"), "tools");
    if (Array.isArray(tools)) return tools.length;
  }
  return undefined;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
