// The home page: what this is, for anybody.
import type { Deps } from "../deps.ts";
import { homePage } from "../web/pages.ts";
import { findSession } from "./session.ts";

/** GET / */
export async function home(request: Request, deps: Deps): Promise<Response> {
  const signedIn = (await findSession(request, deps)) !== undefined;
  return homePage({ base: deps.config.basePath, servers: deps.config.servers, signedIn });
}
