// The rows of the route table (routes.ts) under /account: pages for the signed-in owner, and the POSTs of their forms.
import { attempts } from "./attempts.ts";
import type { Handler } from "../deps.ts";
import { activity, warningsSeen } from "./activity.ts";
import {
  browsers,
  confirmEverything,
  endEverything,
  signOutOne,
  signOutOthers,
} from "./browsers.ts";
import { clientEnd, clientName, clients, removeUnused } from "./clients.ts";
import { connect } from "./connect.ts";
import { confirmEnd, connectionRename, connections, endConnections } from "./connections.ts";
import { keyEnd, keyName, keys, makeKey } from "./keys.ts";
import { askLeash, setLeash } from "./leash.ts";
import { servers } from "./servers.ts";

interface AccountRoute {
  readonly method: "GET" | "POST";
  readonly path: string;
  readonly handler: Handler;
}

// prettier-ignore
export const accountRoutes: readonly AccountRoute[] = [
  { method: "GET",  path: "/connect",                    handler: connect },
  { method: "GET",  path: "/account",                    handler: connections },
  { method: "GET",  path: "/account/connections/end",    handler: confirmEnd },
  { method: "POST", path: "/account/connections/end",    handler: endConnections },
  { method: "GET",  path: "/account/connections/rename", handler: connectionRename.ask },
  { method: "POST", path: "/account/connections/rename", handler: connectionRename.answer },
  { method: "GET",  path: "/account/connections/tools",  handler: askLeash },
  { method: "POST", path: "/account/connections/tools",  handler: setLeash },
  { method: "GET",  path: "/account/clients",            handler: clients },
  { method: "POST", path: "/account/clients/purge",      handler: removeUnused },
  { method: "GET",  path: "/account/clients/remove",     handler: clientEnd.ask },
  { method: "POST", path: "/account/clients/remove",     handler: clientEnd.answer },
  { method: "GET",  path: "/account/clients/rename",     handler: clientName.ask },
  { method: "POST", path: "/account/clients/rename",     handler: clientName.answer },
  { method: "GET",  path: "/account/keys",               handler: keys },
  { method: "POST", path: "/account/keys",               handler: makeKey },
  { method: "GET",  path: "/account/keys/revoke",        handler: keyEnd.ask },
  { method: "POST", path: "/account/keys/revoke",        handler: keyEnd.answer },
  { method: "GET",  path: "/account/keys/rename",        handler: keyName.ask },
  { method: "POST", path: "/account/keys/rename",        handler: keyName.answer },
  { method: "GET",  path: "/account/servers",            handler: servers },
  { method: "GET",  path: "/account/browsers",           handler: browsers },
  { method: "POST", path: "/account/browsers/end",       handler: signOutOne },
  { method: "POST", path: "/account/browsers/purge",     handler: signOutOthers },
  { method: "GET",  path: "/account/attempts",           handler: attempts },
  { method: "GET",  path: "/account/activity",           handler: activity },
  { method: "POST", path: "/account/warnings/seen",      handler: warningsSeen },
  { method: "GET",  path: "/account/everything",         handler: confirmEverything },
  { method: "POST", path: "/account/everything",         handler: endEverything },
];
