// /account/connections/tools: what a connection may use of its server's tools. What is done is admin/grants.ts.
import { type GrantRow, grantRows, narrowGrant } from "../admin/grants.ts";
import type { Call, Deps } from "../deps.ts";
import { readForm } from "../form.ts";
import { seeOther } from "../login/login.ts";
import { leashOf } from "../oauth/leash.ts";
import { serverOf } from "../oauth/rules.ts";
import { connectionName } from "../web/connections_page.ts";
import { leashPage } from "../web/leash_page.ts";
import { displayName } from "../web/text.ts";
import { donePath } from "./done.ts";
import { withFrame } from "./frame.ts";
import { gone } from "./one_record.ts";
import { askedBy, requireForm } from "./proof.ts";

const HERE = "/account";

const find = async (id: string | null, deps: Deps): Promise<GrantRow | undefined> =>
  (await grantRows(deps)).find((row) => row.id === id);

/** GET /account/connections/tools */
export const askLeash = (request: Request, deps: Deps): Promise<Response> =>
  withFrame(request, deps, async (frame, _session, query) => {
    const row = await find(query.get("id"), deps);
    if (!row) return gone(HERE, deps);
    const server = serverOf(deps.config, row.resource);
    return leashPage({
      ...frame,
      what: `${displayName(row.client_name).text}: ${connectionName(row)}`,
      id: row.id,
      leash: row.leash,
      tools: server && (await deps.tools.list(server, deps)),
    });
  });

/** POST /account/connections/tools */
export async function setLeash(request: Request, deps: Deps, call: Call): Promise<Response> {
  const form = await readForm(request);
  const session = await requireForm(request, form, deps);
  const row = await find(form.require("id"), deps);
  if (!row) return gone(HERE, deps);
  const leash = leashOf(form);
  const tools = leash?.kind === "tools" ? leash.tools : (leash?.kind ?? "all");
  await narrowGrant(askedBy(session, call, { id: row.id, body: { tools } }), deps);
  return seeOther(donePath(HERE, "narrowed"), deps);
}
