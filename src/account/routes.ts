// The rows of the route table (app.ts) under /account: pages for the signed-in owner, and the POSTs of their forms.
import type { Handler } from "../deps.ts";
import {
  browsers,
  confirmEverything,
  endEverything,
  signOutOne,
  signOutOthers,
} from "./browsers.ts";
import {
  askClientName,
  clients,
  confirmRemoval,
  removeOne,
  removeUnused,
  renameOne,
} from "./clients.ts";
import {
  askConnectionName,
  confirmEnd,
  connections,
  endConnections,
  renameConnection,
} from "./connections.ts";

interface AccountRoute {
  readonly method: "GET" | "POST";
  readonly path: string;
  readonly handler: Handler;
}

// prettier-ignore
export const accountRoutes: readonly AccountRoute[] = [
  { method: "GET",  path: "/account",                    handler: connections },
  { method: "GET",  path: "/account/connections/end",    handler: confirmEnd },
  { method: "POST", path: "/account/connections/end",    handler: endConnections },
  { method: "GET",  path: "/account/connections/rename", handler: askConnectionName },
  { method: "POST", path: "/account/connections/rename", handler: renameConnection },
  { method: "GET",  path: "/account/clients",            handler: clients },
  { method: "POST", path: "/account/clients/purge",      handler: removeUnused },
  { method: "GET",  path: "/account/clients/remove",     handler: confirmRemoval },
  { method: "POST", path: "/account/clients/remove",     handler: removeOne },
  { method: "GET",  path: "/account/clients/rename",     handler: askClientName },
  { method: "POST", path: "/account/clients/rename",     handler: renameOne },
  { method: "GET",  path: "/account/browsers",           handler: browsers },
  { method: "POST", path: "/account/browsers/end",       handler: signOutOne },
  { method: "POST", path: "/account/browsers/purge",     handler: signOutOthers },
  { method: "GET",  path: "/account/everything",         handler: confirmEverything },
  { method: "POST", path: "/account/everything",         handler: endEverything },
];
