// /account/browsers, and the end of everything. What is done is admin/sessions.ts and admin/owner.ts.
import { revokeAll } from "../admin/owner.ts";
import { grantRows } from "../admin/grants.ts";
import { keyRows } from "../admin/keys.ts";
import { endSession, purgeSessions, sessionRows } from "../admin/sessions.ts";
import type { Call, Deps } from "../deps.ts";
import { readForm } from "../form.ts";
import { seeOther } from "../login/login.ts";
import { endSession as forgetCookie } from "../login/session.ts";
import { browsersPage } from "../web/browsers_page.ts";
import { confirmPage } from "../web/confirm_page.ts";
import { everythingBody } from "../web/connections_page.ts";
import { messagePage } from "../web/error_page.ts";
import { donePath } from "./done.ts";
import { withFrame } from "./frame.ts";
import { gone } from "./one_record.ts";
import { askedBy, requireForm } from "./proof.ts";

const HERE = "/account/browsers";

/** GET /account/browsers */
export const browsers = (request: Request, deps: Deps): Promise<Response> =>
  withFrame(request, deps, async (frame, session) =>
    browsersPage({ ...frame, sessions: await sessionRows(deps, session.id) }),
  );

/** POST /account/browsers/end */
export async function signOutOne(request: Request, deps: Deps, call: Call): Promise<Response> {
  const form = await readForm(request);
  const session = await requireForm(request, form, deps);
  const id = form.require("id");
  const isThere = (await sessionRows(deps)).some((row) => row.id === id);
  if (isThere) await endSession(askedBy(session, call, { id }), deps);
  return seeOther(donePath(HERE, isThere ? "signed-out" : "gone"), deps);
}

/** POST /account/browsers/purge */
export async function signOutOthers(request: Request, deps: Deps, call: Call): Promise<Response> {
  const session = await requireForm(request, await readForm(request), deps);
  const { revoked } = await purgeSessions(askedBy(session, call), deps);
  return revoked === 0 ? gone(HERE, deps) : seeOther(donePath(HERE, "signed-out", revoked), deps);
}

/** GET /account/everything */
export const confirmEverything = (request: Request, deps: Deps): Promise<Response> =>
  withFrame(request, deps, async (frame) =>
    confirmPage({
      ...frame,
      here: "/account",
      title: "End everything?",
      body: everythingBody((await grantRows(deps)).length, (await keyRows(deps)).length),
      action: "/account/everything",
      fields: {},
      button: "End everything",
    }),
  );

/** POST /account/everything */
export async function endEverything(request: Request, deps: Deps, call: Call): Promise<Response> {
  const session = await requireForm(request, await readForm(request), deps);
  await revokeAll(askedBy(session, call), deps);
  const response = messagePage({
    base: deps.config.basePath,
    title: "Everything has ended",
    lines: [
      "No client is connected any more, no API key works, and every browser is signed out, this one too.",
      "If somebody may know your password, set a new one on the server’s machine with postern password.",
    ],
    next: { path: "/login", text: "Sign in" },
  });
  response.headers.append("set-cookie", await forgetCookie(session.id, deps));
  return response;
}
