// /account: the connections, their names and their end. What is done is admin/grants.ts; every change is a POST with the
// proof of its page, answered by a redirect.
import { type GrantRow, grantRows, renameGrant, revokeGrants } from "../admin/grants.ts";
import { warningRows } from "../admin/warnings.ts";
import type { Call, Deps } from "../deps.ts";
import { readForm } from "../form.ts";
import { seeOther } from "../login/login.ts";
import type { AccountFrame } from "../web/account_frame.ts";
import { confirmPage } from "../web/confirm_page.ts";
import { connectionName, connectionsPage, endBody, groupOf } from "../web/connections_page.ts";
import { displayName } from "../web/text.ts";
import { donePath } from "./done.ts";
import { withFrame } from "./frame.ts";
import { gone, renaming } from "./one_record.ts";
import { askedBy, requireForm } from "./proof.ts";

const HERE = "/account";

/** GET /account */
export const connections = (request: Request, deps: Deps): Promise<Response> =>
  withFrame(request, deps, async (frame) => {
    const { servers } = deps.config;
    const [grants, warnings] = await Promise.all([grantRows(deps), warningRows(deps)]);
    return connectionsPage({ ...frame, servers, grants, warnings });
  });

/** GET /account/connections/end: `id`, or `all-but` for the others of that one's group. */
export const confirmEnd = (request: Request, deps: Deps): Promise<Response> =>
  withFrame(request, deps, async (frame, _session, query) => {
    const rows = await grantRows(deps);
    const kept = query.get("all-but");
    const id = kept ?? query.get("id");
    const asked = rows.find((row) => row.id === id);
    if (!asked) return gone(HERE, deps);
    // What came in since the page was made stays.
    const isOlder = (row: GrantRow): boolean =>
      groupOf(row) === groupOf(asked) && row.id !== id && row.created_at <= asked.created_at;
    const ending = kept === null ? [asked] : rows.filter(isOlder);
    return ending.length === 0
      ? gone(HERE, deps)
      : askEnd(frame, ending, kept === null ? undefined : asked);
  });

function askEnd(frame: AccountFrame, ending: readonly GrantRow[], kept?: GrantRow): Response {
  const name = displayName(ending[0]?.client_name).text;
  const title =
    kept === undefined
      ? `End this connection of ${name}?`
      : `End ${ending.length} connections of ${name}?`;
  return confirmPage({
    ...frame,
    here: HERE,
    title,
    body: endBody(ending, kept, frame.now),
    action: "/account/connections/end",
    fields: { ids: ending.map(({ id }) => id).join(" ") },
    button: ending.length === 1 ? "End the connection" : `End ${ending.length} connections`,
  });
}

/** POST /account/connections/end */
export async function endConnections(request: Request, deps: Deps, call: Call): Promise<Response> {
  const form = await readForm(request);
  const session = await requireForm(request, form, deps);
  const ids = form.require("ids").split(" ");
  const { revoked } = await revokeGrants(askedBy(session, call, { body: { ids } }), deps);
  return revoked === 0 ? gone(HERE, deps) : seeOther(donePath(HERE, "ended", revoked), deps);
}

export const connectionRename = renaming({
  here: HERE,
  path: "/account/connections/rename",
  rows: grantRows,
  verb: renameGrant,
  what: (row) => `${displayName(row.client_name).text}: ${connectionName(row)}`,
  name: ({ label }) => label ?? "",
});
