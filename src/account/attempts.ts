// /account/attempts: the clients on their way in. Nothing is changed here.
import { attemptRows } from "../admin/attempts.ts";
import type { Deps } from "../deps.ts";
import { attemptsPage } from "../web/attempts_page.ts";
import { withFrame } from "./frame.ts";

/** GET /account/attempts */
export const attempts = (request: Request, deps: Deps): Promise<Response> =>
  withFrame(request, deps, async (frame) =>
    attemptsPage({ ...frame, attempts: await attemptRows(deps) }),
  );
