// /connect: what to give a client, on the account. The page after setup.
import type { Deps } from "../deps.ts";
import { connectPage } from "../web/connect_page.ts";
import { withFrame } from "./frame.ts";

/** GET /connect */
export const connect = (request: Request, deps: Deps): Promise<Response> =>
  withFrame(request, deps, (frame) => connectPage({ ...frame, servers: deps.config.servers }));
