// What every account page begins with: the owner's session or the way to one, and the frame that the page gets.
import type { Deps } from "../deps.ts";
import { seeOther } from "../login/login.ts";
import { seal } from "../login/forms.ts";
import { type FoundSession, findSession } from "../login/session.ts";
import { seconds } from "../primitives.ts";
import type { AccountFrame } from "../web/account_frame.ts";
import { doneText } from "./done.ts";
import { proofFor } from "./proof.ts";

/** Shows a page to the signed-in owner; anybody else is sent to sign in. */
export async function withFrame(
  request: Request,
  deps: Deps,
  show: (
    frame: AccountFrame,
    session: FoundSession,
    query: URLSearchParams,
  ) => Promise<Response> | Response,
): Promise<Response> {
  const session = await findSession(request, deps);
  if (!session) return seeOther("/login", deps);
  const query = new URL(request.url).searchParams;
  return show({ ...frameOf(session, deps), done: doneText(query) }, session, query);
}

export const frameOf = (session: FoundSession, deps: Deps): AccountFrame => ({
  base: deps.config.basePath,
  now: seconds(deps.now()),
  hidden: proofFor(session, deps),
  signOut: { request: seal(deps, "logout", session.id, "") },
});
