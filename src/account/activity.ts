// /account/activity, and the owner's word that the warnings were read. What is read is admin/trail.ts and admin/warnings.ts.
import { readTrailQuery } from "../admin/trail.ts";
import { seeWarnings } from "../admin/warnings.ts";
import { readTrail } from "../audit/trail.ts";
import type { Call, Deps } from "../deps.ts";
import { OAuthError } from "../errors.ts";
import { readForm } from "../form.ts";
import { seeOther } from "../login/login.ts";
import { activityPage } from "../web/activity_page.ts";
import { sentence } from "../web/text.ts";
import { withFrame } from "./frame.ts";
import { askedBy, requireForm } from "./proof.ts";

/** Events on one page. */
const SHOWN = "50";

/** GET /account/activity */
export const activity = (request: Request, deps: Deps): Promise<Response> =>
  withFrame(request, deps, async (frame, _session, query) => {
    const all = query.get("all") === "yes";
    const about = query.get("about") ?? "";
    const asked = new URLSearchParams({
      limit: SHOWN,
      level: all ? "debug" : "info",
      kind: query.get("kind") ?? "",
      about,
      before: query.get("before") ?? "",
    });
    try {
      const trailQuery = readTrailQuery(asked);
      const page = await readTrail(deps.config.data, trailQuery);
      return activityPage({ ...frame, ...page, kind: trailQuery.kind, about, all });
    } catch (error) {
      if (!(error instanceof OAuthError)) throw error;
      const none = { events: [], more: false, kind: undefined, about, all };
      return activityPage({ ...frame, ...none, problem: sentence(error.message) });
    }
  });

/** POST /account/warnings/seen */
export async function warningsSeen(request: Request, deps: Deps, call: Call): Promise<Response> {
  const form = await readForm(request);
  const session = await requireForm(request, form, deps);
  await seeWarnings(askedBy(session, call, { body: { until: form.get("until") } }), deps);
  return seeOther("/account", deps);
}
