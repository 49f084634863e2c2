// Whether a request on the public listener is the owner's own: a session, a page of ours, and a field that only our pages
// hold. Everything behind /account and /admin/api asks here first.
import type { Call, Deps } from "../deps.ts";
import { OAuthError } from "../errors.ts";
import type { Parameters } from "../form.ts";
import type { Asked } from "../admin/asked.ts";
import { requireOwnPage, seal, unseal } from "../login/forms.ts";
import { type FoundSession, findSession } from "../login/session.ts";

/** Name of the hidden field, and of the header that carries the same text to the admin API. */
const PROOF_FIELD = "proof";
const PROOF_HEADER = "x-postern-proof";

/** What the forms of a page carry, bound to the session that gets the page. */
export const proofFor = ({ id }: FoundSession, deps: Deps): Record<string, string> => ({
  [PROOF_FIELD]: seal(deps, "account", id, ""),
});

/** @throws {OAuthError} access_denied 403, the same for every lack: what is behind stays unsaid */
async function requireProof(
  request: Request,
  proof: string | undefined,
  deps: Deps,
): Promise<FoundSession> {
  requireOwnPage(request, deps);
  const session = await findSession(request, deps);
  if (session && unseal(deps, "account", session.id, proof) !== undefined) return session;
  throw new OAuthError(
    "access_denied",
    "this takes the owner, signed in, on a page of this server",
    {
      advice: "Open the page again and do it there. Nothing was changed.",
    },
  );
}

export const requireHeader = (request: Request, deps: Deps): Promise<FoundSession> =>
  requireProof(request, request.headers.get(PROOF_HEADER) ?? undefined, deps);

export const requireForm = (
  request: Request,
  form: Parameters,
  deps: Deps,
): Promise<FoundSession> => requireProof(request, form.get(PROOF_FIELD), deps);

/** What a verb is given by a page or the API. */
export const askedBy = (
  { id: session }: FoundSession,
  call: Call,
  given: Partial<Pick<Asked, "id" | "body" | "query">> = {},
): Asked => ({
  id: "",
  body: {},
  query: new URLSearchParams(),
  ...given,
  session,
  actor: { via: "account", address: call.address, request: call.requestId },
});
