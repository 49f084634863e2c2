// /account/servers. What is known of them is admin/servers.ts.
import { listServers } from "../admin/servers.ts";
import type { Call, Deps } from "../deps.ts";
import { serversPage } from "../web/servers_page.ts";
import { withFrame } from "./frame.ts";
import { askedBy } from "./proof.ts";

/** GET /account/servers */
export const servers = (request: Request, deps: Deps, call: Call): Promise<Response> =>
  withFrame(request, deps, async (frame, session) =>
    serversPage({ ...frame, servers: await listServers(askedBy(session, call), deps) }),
  );
