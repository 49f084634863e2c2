// The two plain pages: what this is, for anybody, and "Connect a client", for the owner.
import type { Deps } from "../deps.ts";
import { connectPage } from "../web/connect_page.ts";
import { homePage } from "../web/pages.ts";
import { seal } from "./forms.ts";
import { seeOther } from "./login.ts";
import { findSession } from "./session.ts";

/** GET / */
export async function home(request: Request, deps: Deps): Promise<Response> {
  const signedIn = (await findSession(request, deps)) !== undefined;
  return homePage({ base: deps.config.basePath, servers: deps.config.servers, signedIn });
}

/** GET /connect */
export async function connect(request: Request, deps: Deps): Promise<Response> {
  const session = await findSession(request, deps);
  if (!session) return seeOther("/login", deps);
  const hidden = { request: seal(deps, "logout", session.id, "") };
  return connectPage({ base: deps.config.basePath, servers: deps.config.servers, hidden });
}
