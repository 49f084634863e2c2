// The owner's answer to an authorization request: a code, or access_denied. The request is read and checked anew from
// the sealed form; nothing that the browser could change decides anything.
import { sentBy } from "../audit.ts";
import { originOf } from "../attempts/sights.ts";
import type { Origin } from "../attempts/trail.ts";
import type { Call, Deps } from "../deps.ts";
import { OAuthError } from "../errors.ts";
import { claimedContent, requireOwnPage, unseal } from "../login/forms.ts";
import { type FoundSession, findSession } from "../login/session.ts";
import { seconds, sha256 } from "../primitives.ts";
import type { Answered, Code, Leash } from "../store/records.ts";
import {
  type AuthorizationRequest,
  findTarget,
  readAuthorizationRequest,
  readQuery,
  redirectTarget,
} from "./authorization_request.ts";
import { seeOther, waitingClient } from "../login/login.ts";
import { fingerprint, redirectLocation, sendBack } from "./authorize.ts";
import { readForm } from "../form.ts";
import { addressPage } from "../web/return_page.ts";
import { leashText } from "../web/leash_fields.ts";
import { leashOf } from "./leash.ts";
import { forgetRemoved } from "./lost_client.ts";
import { newCode } from "./tokens.ts";

/** Seconds (RFC 6749 §4.1.2 allows ten minutes at most). */
const CODE_TTL = 60;
const ANSWERED_KEPT = 64;

/** What the sealed field of a consent page says. */
interface ConsentForm {
  readonly query: string;
  readonly nonce: string;
  /** Fingerprint of what the page showed. */
  readonly seen: string;
}

/** POST /consent */
export async function consent(request: Request, deps: Deps, call: Call): Promise<Response> {
  requireOwnPage(request, deps);
  const form = await readForm(request);
  const session = await findSession(request, deps);
  const field = form.get("request");
  const content = session && unseal(deps, "consent", session.id, field);
  if (!session || content === undefined) throw await tooOld(field, deps);
  const { query: text, nonce, seen }: ConsentForm = JSON.parse(content);
  const query = readQuery(text);
  const target = await findTarget(query, deps);
  const asked = readAuthorizationRequest(query, target, deps);
  // CIMD: what changed since it was shown is shown again.
  if (fingerprint(asked) !== seen) return seeOther(`/authorize?${text}`, deps);
  const decision = form.get("decision");
  // "show": the client runs on another machine, so its loopback address is shown to be copied, not opened here.
  const allowed = decision === "allow" || decision === "show";
  const leash = allowed ? leashOf(form) : undefined;
  const answered = await settle({ asked, allowed, nonce, leash }, session, deps);
  deps.audit.record(allowed ? "consent_granted" : "consent_denied", {
    client: asked.client.id,
    name: asked.client.client.client_name,
    redirect_uri: asked.redirectUri,
    scope: asked.scope,
    ...(leash && { tools: leashText(leash) }),
    ...sentBy(call),
  });
  const { location, code } = answered;
  seeDecision(text, code, originOf(request, call, deps), deps);
  const clientName = asked.client.client.client_name;
  if (decision === "show" && code !== undefined)
    return addressPage({ base: deps.config.basePath, location, clientName });
  const outcome = { kind: code === undefined ? "denied" : "allowed" } as const;
  return sendBack({ location, clientName, outcome }, deps);
}

function seeDecision(query: string, code: string | undefined, from: Origin, deps: Deps): void {
  if (code === undefined) {
    const error = { code: "access_denied", message: "the owner declined" } as const;
    deps.attempts.see({ step: "consent", query, error }, from);
    return;
  }
  deps.attempts.see({ step: "consent", query }, from);
  deps.attempts.see({ step: "code", query, code }, from);
}

/** For a page that waited too long, or whose session ended: the request it was about is shown again. */
async function tooOld(field: string | undefined, deps: Deps): Promise<OAuthError> {
  const query = /^\{"query":"([^"\\]+)",/.exec(claimedContent(field) ?? "")?.[1];
  return new OAuthError(
    "access_denied",
    "Nothing was allowed: the page waited for more than ten minutes, or you were signed out meanwhile.",
    {
      title: "This page is too old to be answered",
      facts: { clientName: query === undefined ? undefined : await waitingClient(query, deps) },
      advice:
        query === undefined
          ? "Go back to the client and connect again."
          : "Look at the request again and answer there.\nIf the client has given up waiting, connect again from there.",
      ...(query !== undefined && {
        next: { path: `/authorize?${query}`, text: "Show the request again" } as const,
      }),
    },
  );
}

/** What the owner decided on one page. */
interface Decision {
  readonly asked: AuthorizationRequest;
  readonly allowed: boolean;
  readonly nonce: string;
  readonly leash: Leash | undefined;
}

/**
 * Decides once: the same form sent again leads to the same place while the code waits, and nowhere after that.
 * @throws {OAuthError} access_denied when the form was answered before
 */
async function settle(
  { asked, allowed, nonce, leash }: Decision,
  session: FoundSession,
  deps: Deps,
): Promise<Answered> {
  if (allowed) await storeClient(asked, deps);
  const code = newCode();
  const to = redirectTarget(asked);
  const fresh: Answered = allowed
    ? { location: redirectLocation(to, { code }, deps), code: sha256(code) }
    : {
        location: redirectLocation(
          to,
          { error: "access_denied", error_description: "the owner declined" },
          deps,
        ),
      };
  if (fresh.code !== undefined)
    await deps.store.codes.put(fresh.code, newCodeRecord(asked, leash, session, deps));
  let earlier: Answered | undefined;
  await deps.store.sessions.update(session.id, (current) => {
    if (!current) return undefined;
    earlier = current.answered.get(nonce);
    if (earlier) return current;
    const kept = [...current.answered].slice(1 - ANSWERED_KEPT);
    return { ...current, answered: new Map([...kept, [nonce, fresh]]) };
  });
  if (!earlier) return fresh;
  if (fresh.code !== undefined) await deps.store.codes.delete(fresh.code);
  if (earlier.code === undefined || (await isWaiting(earlier.code, deps))) return earlier;
  throw new OAuthError(
    "access_denied",
    "You answered this page before, and the client has its answer.",
    {
      title: "Already answered",
      facts: { clientName: asked.client.client.client_name },
      advice: "You can close this window. To connect again, start in the client.",
    },
  );
}

/**
 * A client that comes from its document, or whose record was lost, is stored as shown; durable before the code exists. So is
 * one that is known already: a disk that takes nothing is told to the person here, and not to the client afterwards.
 */
async function storeClient(
  { client: { id, client }, known }: AuthorizationRequest,
  deps: Deps,
): Promise<void> {
  await deps.store.update((draft) => {
    const stored = draft.get("clients", id);
    if (known === "stored") {
      // Deleted while it was shown: redeeming the code says so.
      if (stored) draft.put("clients", id, stored);
      return;
    }
    const { first_grant_at, last_grant_ended_at, redirect_uris: uris = [] } = stored ?? {};
    forgetRemoved(draft, id);
    draft.put("clients", id, {
      ...client,
      // Taken in again from two places at once: each brings the one redirect URI that it came with.
      ...(known === "lost" && {
        redirect_uris: [...new Set([...uris, ...client.redirect_uris])],
      }),
      ...(first_grant_at !== undefined && { first_grant_at }),
      ...(last_grant_ended_at !== undefined && { last_grant_ended_at }),
    });
  });
}

function newCodeRecord(
  asked: AuthorizationRequest,
  leash: Leash | undefined,
  { session }: FoundSession,
  deps: Deps,
): Code {
  const { client_name: name } = asked.client.client;
  return {
    client_id: asked.client.id,
    ...(name !== undefined && { client_name: name }),
    redirect_uri: asked.redirectUri,
    code_challenge: asked.codeChallenge,
    scope: asked.scope,
    resource: asked.server.resource,
    ...(leash && { leash }),
    subject: session.subject,
    epoch: session.epoch,
    expires_at: seconds(deps.now()) + CODE_TTL,
  };
}

async function isWaiting(codeId: string, deps: Deps): Promise<boolean> {
  const code = await deps.store.codes.get(codeId);
  return code !== undefined && code.family === undefined;
}
