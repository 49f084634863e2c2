// /account/clients: names, removal and clearing up. What is done is admin/clients.ts.
import {
  type ClientRow,
  clientRows,
  purgeClients,
  removeClient,
  renameClient,
} from "../admin/clients.ts";
import type { Call, Deps } from "../deps.ts";
import { OAuthError } from "../errors.ts";
import { readForm } from "../form.ts";
import { seeOther } from "../login/login.ts";
import type { AccountFrame } from "../web/account_frame.ts";
import { clientTitle, clientsPage, removeBody } from "../web/clients_page.ts";
import { confirmPage, renamePage } from "../web/confirm_page.ts";
import { donePath } from "./done.ts";
import { frameOf, withFrame } from "./frame.ts";
import { askedBy, requireForm } from "./proof.ts";

const HERE = "/account/clients";

/** GET /account/clients */
export const clients = (request: Request, deps: Deps): Promise<Response> =>
  withFrame(request, deps, async (frame) =>
    clientsPage({ ...frame, clients: await clientRows(deps) }),
  );

const findRow = async (id: string | null | undefined, deps: Deps): Promise<ClientRow | undefined> =>
  (await clientRows(deps)).find((row) => row.id === id);

/** Two tabs: it was removed in the other one. */
const gone = (deps: Deps): Response => seeOther(donePath(HERE, "gone"), deps);

/** GET /account/clients/remove */
export const confirmRemoval = (request: Request, deps: Deps): Promise<Response> =>
  withFrame(request, deps, async (frame, _session, query) => {
    const row = await findRow(query.get("id"), deps);
    if (!row) return gone(deps);
    return confirmPage({
      ...frame,
      here: HERE,
      title: `Remove ${clientTitle(row)}?`,
      body: removeBody(row),
      action: "/account/clients/remove",
      fields: { id: row.id },
      button: "Remove the client",
    });
  });

/** POST /account/clients/remove */
export async function removeOne(request: Request, deps: Deps, call: Call): Promise<Response> {
  const form = await readForm(request);
  const session = await requireForm(request, form, deps);
  const row = await findRow(form.require("id"), deps);
  if (!row) return gone(deps);
  await removeClient(askedBy(session, call, { id: row.id }), deps);
  return seeOther(donePath(HERE, "removed"), deps);
}

/** POST /account/clients/purge */
export async function removeUnused(request: Request, deps: Deps, call: Call): Promise<Response> {
  const session = await requireForm(request, await readForm(request), deps);
  const { deleted } = await purgeClients(askedBy(session, call), deps);
  return seeOther(deleted === 0 ? donePath(HERE, "gone") : donePath(HERE, "purged", deleted), deps);
}

const showRename = (frame: AccountFrame, row: ClientRow, problem?: string): Response =>
  renamePage({
    ...frame,
    here: HERE,
    what: clientTitle(row),
    action: "/account/clients/rename",
    id: row.id,
    name: row.label ?? "",
    ...(problem !== undefined && { problem }),
  });

/** GET /account/clients/rename */
export const askClientName = (request: Request, deps: Deps): Promise<Response> =>
  withFrame(request, deps, async (frame, _session, query) => {
    const row = await findRow(query.get("id"), deps);
    return row ? showRename(frame, row) : gone(deps);
  });

/** POST /account/clients/rename */
export async function renameOne(request: Request, deps: Deps, call: Call): Promise<Response> {
  const form = await readForm(request);
  const session = await requireForm(request, form, deps);
  const row = await findRow(form.require("id"), deps);
  if (!row) return gone(deps);
  const asked = askedBy(session, call, { id: row.id, body: { name: form.get("name") } });
  try {
    await renameClient(asked, deps);
  } catch (error) {
    if (!(error instanceof OAuthError) || error.status !== 400) throw error;
    return showRename(frameOf(session, deps), row, error.message);
  }
  return seeOther(donePath(HERE, "renamed"), deps);
}
