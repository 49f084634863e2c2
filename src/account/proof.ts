// Whether a request on the public listener is the owner's own: a session, a page of ours, and a field that only our pages
// hold. Everything behind /account and /admin/api asks here first.
import type { Call, Deps } from "../deps.ts";
import { OAuthError } from "../errors.ts";
import type { Asked } from "../admin/asked.ts";
import { requireOwnPage, unseal } from "../login/forms.ts";
import { type FoundSession, findSession } from "../login/session.ts";

/** Name of the header that carries the text of a page's hidden field to the admin API. */
const PROOF_HEADER = "x-postern-proof";

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
