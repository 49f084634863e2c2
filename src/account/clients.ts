// /account/clients: names, removal and clearing up. What is done is admin/clients.ts.
import { clientRows, purgeClients, removeClient, renameClient } from "../admin/clients.ts";
import type { Call, Deps } from "../deps.ts";
import { readForm } from "../form.ts";
import { seeOther } from "../login/login.ts";
import { clientTitle, clientsPage, removeBody } from "../web/clients_page.ts";
import { donePath } from "./done.ts";
import { withFrame } from "./frame.ts";
import { ending, gone, renaming } from "./one_record.ts";
import { askedBy, requireForm } from "./proof.ts";

const HERE = "/account/clients";

/** GET /account/clients */
export const clients = (request: Request, deps: Deps): Promise<Response> =>
  withFrame(request, deps, async (frame) =>
    clientsPage({ ...frame, clients: await clientRows(deps) }),
  );

export const clientName = renaming({
  here: HERE,
  path: "/account/clients/rename",
  rows: clientRows,
  verb: renameClient,
  what: clientTitle,
  name: ({ label }) => label ?? "",
});

export const clientEnd = ending({
  here: HERE,
  path: "/account/clients/remove",
  rows: clientRows,
  verb: removeClient,
  title: (row) => `Remove ${clientTitle(row)}?`,
  body: removeBody,
  button: "Remove the client",
  done: "removed",
});

/** POST /account/clients/purge */
export async function removeUnused(request: Request, deps: Deps, call: Call): Promise<Response> {
  const session = await requireForm(request, await readForm(request), deps);
  const { deleted } = await purgeClients(askedBy(session, call), deps);
  return deleted === 0 ? gone(HERE, deps) : seeOther(donePath(HERE, "purged", deleted), deps);
}
