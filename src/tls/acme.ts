// RFC 8555 (ACME): obtains one certificate for one host name. When one is due is renewal.ts's, how a challenge is met the
// caller's.
import { createPrivateKey, generateKeyPairSync } from "node:crypto";
import { calculateJwkThumbprint } from "jose/jwk/thumbprint";
import { FlattenedSign } from "jose/jws/flattened/sign";
import { version } from "../../package.json";
import { isObject } from "../json.ts";
import { sha256 } from "../primitives.ts";
import { signingRequest } from "./csr.ts";

/** RFC 7518 §6.2: a private key on the curve P-256. */
export interface AccountKey extends Record<string, string> {
  readonly kty: string;
  readonly crv: string;
  readonly x: string;
  readonly y: string;
  readonly d: string;
}

export interface Account {
  readonly key: AccountKey;
  /** As the server knows it; absent: not registered yet. */
  readonly url?: string;
}

export function newAccount(): Account {
  const { kty = "", crv = "", x = "", y = "", d = "" } = newKey().export({ format: "jwk" });
  return { key: { kty, crv, x, y, d } };
}

/** Meets a challenge; what it resolves to takes everything away again. */
export interface Prover {
  readonly type: "http-01" | "dns-01";
  /** @param value for http-01 what is served under the token, for dns-01 the text of the record */
  put(token: string, value: string): Promise<() => Promise<void>>;
}

export interface Order {
  /** URL of the server's directory. */
  readonly directory: string;
  readonly account: Account;
  /** E-mail address for the server's notices. */
  readonly contact: string | undefined;
  readonly host: string;
  readonly prover: Prover;
  /** Epoch milliseconds. */
  readonly now: () => number;
  readonly stop: AbortSignal;
}

export interface Obtained {
  /** PEM. */
  readonly chain: string;
  /** PEM. */
  readonly key: string;
  readonly account: Account;
}

/** The server refused. */
export class AcmeError extends Error {
  /** The last part of the problem's type (RFC 8555 §6.7): "rateLimited". */
  readonly type: string;
  /** Seconds that it asks to wait. */
  readonly retryAfter: number;

  constructor(type: string, detail: string, retryAfter = 0) {
    super(`${detail} (${type})`);
    this.name = "AcmeError";
    this.type = type;
    this.retryAfter = retryAfter;
  }
}

/** Milliseconds: for one request, for the server to look at a challenge or to issue. */
const REQUEST = 30_000;
const PATIENCE = 180_000;
/** Good nonces may be refused (RFC 8555 §6.5). */
const TRIES = 10;

interface Session {
  readonly directory: Readonly<Record<string, unknown>>;
  readonly order: Order;
  readonly thumbprint: string;
  /** RFC 8555 §6.2: requests name the account by it, once there is one. */
  url: string | undefined;
  nonce: string | undefined;
}

/** @throws {AcmeError} the server refused @throws {Error} it cannot be reached, or is none */
export async function obtain(order: Order): Promise<Obtained> {
  const session = await openSession(order);
  try {
    return await orderCertificate(session);
  } catch (error) {
    // RFC 8555 §6.7: a server that has forgotten the account gets the same key again.
    const isForgotten = error instanceof AcmeError && error.type === "accountDoesNotExist";
    if (!isForgotten || order.account.url === undefined) throw error;
    session.url = undefined;
    return orderCertificate(session);
  }
}

async function openSession(order: Order): Promise<Session> {
  const { directory: url, account, stop } = order;
  const answer = await ask(url, { stop });
  if (!answer.ok) throw new Error(`${url} answers ${answer.status}`);
  const directory: unknown = await answer.json();
  if (!isObject(directory) || typeof directory["newOrder"] !== "string") {
    throw new Error(`${url} is not the directory of an ACME server`);
  }
  const thumbprint = await calculateJwkThumbprint(account.key);
  return { directory, order, thumbprint, url: account.url, nonce: undefined };
}

async function orderCertificate(session: Session): Promise<Obtained> {
  const { host, account } = session.order;
  session.url ??= await register(session);
  // RFC 8555 §7.4
  const placed = await post(session, endpoint(session, "newOrder"), {
    identifiers: [{ type: "dns", value: host }],
  });
  const orderUrl = locationOf(placed);
  const order = placed.content;
  for (const url of textsIn(order, "authorizations")) await authorize(session, url);
  const key = newKey();
  const csr = signingRequest(host, key).toString("base64url");
  await settled(session, orderUrl, "ready");
  await post(session, textIn(order, "finalize"), { csr });
  const issued = await settled(session, orderUrl, "valid");
  const { body: chain } = await post(session, textIn(issued, "certificate"));
  const pem = key.export({ type: "pkcs8", format: "pem" }).toString();
  return { chain, key: pem, account: { key: account.key, url: session.url } };
}

/** RFC 8555 §7.3: a key that is known gets its account back. */
async function register(session: Session): Promise<string> {
  const { contact } = session.order;
  const answer = await post(session, endpoint(session, "newAccount"), {
    termsOfServiceAgreed: true,
    ...(contact !== undefined && { contact: [`mailto:${contact}`] }),
  });
  return locationOf(answer);
}

/** RFC 8555 §7.5 */
async function authorize(session: Session, url: string): Promise<void> {
  const { prover } = session.order;
  const { content } = await post(session, url);
  if (content["status"] === "valid") return;
  const challenges = Array.isArray(content["challenges"]) ? content["challenges"] : [];
  const challenge = challenges.filter(isObject).find(({ type }) => type === prover.type);
  if (!challenge) throw new Error(`the server offers no challenge ${prover.type}`);
  const token = textIn(challenge, "token");
  // RFC 8555 §8.1, §8.3 and §8.4
  const proof = `${token}.${session.thumbprint}`;
  const remove = await prover.put(token, prover.type === "dns-01" ? sha256(proof) : proof);
  try {
    await post(session, textIn(challenge, "url"), {});
    await settled(session, url, "valid");
  } finally {
    await remove();
  }
}

/** Asks until the object has the state. @throws {AcmeError} when it becomes invalid or takes too long */
async function settled(session: Session, url: string, wanted: string): Promise<Shape> {
  const deadline = performance.now() + PATIENCE;
  for (let pause = 250; ; pause = Math.min(2 * pause, 5_000)) {
    const { content, headers } = await post(session, url);
    const status = textIn(content, "status");
    if (status === wanted) return content;
    if (!["pending", "processing", "ready"].includes(status)) throw failureOf(content, status);
    if (performance.now() > deadline) throw new Error(`the server still says ${status}`);
    await Bun.sleep(Math.max(pause, 1000 * retryAfter(headers, session.order.now())));
    session.order.stop.throwIfAborted();
  }
}

/** Why an authorization or order failed, in the server's words. */
function failureOf(content: Shape, status: string): AcmeError {
  const challenges = Array.isArray(content["challenges"]) ? content["challenges"] : [];
  const problem = [content, ...challenges.filter(isObject)]
    .map((each) => each["error"])
    .find(isObject);
  return problem ? problemError(problem, 0) : new AcmeError(status, "the order failed");
}

interface Answer {
  readonly headers: Headers;
  readonly body: string;
  /** The body when it is a JSON object, else empty. */
  readonly content: Shape;
}

/**
 * A signed request (RFC 8555 §6.2); without a payload POST-as-GET (§6.3).
 * @throws {AcmeError}
 */
async function post(session: Session, url: string, payload?: object): Promise<Answer> {
  const { stop } = session.order;
  for (let tries = 1; ; tries++) {
    session.nonce ??= await freshNonce(session);
    const answer = await ask(url, {
      method: "POST",
      headers: { "content-type": "application/jose+json" },
      body: await signed(session, url, session.nonce, payload),
      stop,
    });
    // RFC 8555 §6.5: every answer brings the next one.
    session.nonce = answer.headers.get("replay-nonce") ?? undefined;
    const body = await answer.text();
    const content = /json/.test(answer.headers.get("content-type") ?? "") ? shapeOf(body) : {};
    if (answer.ok) return { headers: answer.headers, body, content };
    const error = problemError(
      { detail: `${url} answers ${answer.status}`, ...content },
      retryAfter(answer.headers, session.order.now()),
    );
    if (error.type !== "badNonce" || tries === TRIES) throw error;
  }
}

async function freshNonce(session: Session): Promise<string> {
  const url = endpoint(session, "newNonce");
  const answer = await ask(url, { method: "HEAD", stop: session.order.stop });
  const nonce = answer.headers.get("replay-nonce");
  if (nonce === null) throw new Error(`${url} gives no nonce`);
  return nonce;
}

async function signed(
  { order, url: kid }: Session,
  url: string,
  nonce: string,
  payload: object | undefined,
): Promise<string> {
  const { d: _, ...jwk } = order.account.key;
  const text = payload === undefined ? "" : JSON.stringify(payload);
  const who = kid === undefined ? { jwk } : { kid };
  const jws = await new FlattenedSign(new TextEncoder().encode(text))
    .setProtectedHeader({ alg: "ES256", nonce, url, ...who })
    .sign(createPrivateKey({ key: order.account.key, format: "jwk" }));
  return JSON.stringify(jws);
}

function ask(url: string, { stop, ...init }: RequestInit & { stop: AbortSignal }) {
  // RFC 8555 §6.1: a client says what it is.
  const headers = { "user-agent": `postern/${version}`, ...init.headers };
  return fetch(url, {
    ...init,
    headers,
    redirect: "error",
    signal: AbortSignal.any([stop, AbortSignal.timeout(REQUEST)]),
  });
}

type Shape = Record<string, unknown>;

function shapeOf(text: string): Shape {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : {};
  } catch {
    return {};
  }
}

function textIn(content: Shape, name: string): string {
  const value = content[name];
  if (typeof value !== "string") throw new Error(`the server's answer has no ${name}`);
  return value;
}

function textsIn(content: Shape, name: string): string[] {
  const value = content[name];
  return Array.isArray(value) ? value.filter((each) => typeof each === "string") : [];
}

const endpoint = (session: Session, name: string): string => textIn(session.directory, name);

function locationOf({ headers }: Answer): string {
  const url = headers.get("location");
  if (url === null) throw new Error("the server does not say where its answer is");
  return url;
}

/** Seconds; RFC 9110 §10.2.3: a number or a date. */
function retryAfter(headers: Headers, now: number): number {
  const text = headers.get("retry-after") ?? "";
  const time = /^\d+$/.test(text) ? Number(text) : (Date.parse(text) - now) / 1000;
  return Number.isFinite(time) ? Math.max(0, time) : 0;
}

function problemError(problem: Shape, wait: number): AcmeError {
  const type = typeof problem["type"] === "string" ? problem["type"] : "unknown";
  const detail = typeof problem["detail"] === "string" ? problem["detail"] : "refused";
  return new AcmeError(type.replace(/^.*:/, ""), detail, wait);
}

const newKey = () => generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
