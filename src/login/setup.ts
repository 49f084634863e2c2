// The first start: a one-time link, printed and left in data/setup-link, lets whoever can read it choose the password.
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Call, Deps } from "../deps.ts";
import { reason } from "../errors.ts";
import { equal } from "../primitives.ts";
import { setupLinkPage, setupPage as page } from "../web/pages.ts";
import { readForm } from "../form.ts";
import { requireOwnPage } from "./forms.ts";
import { seeOther } from "./login.ts";
import { PASSWORD_MIN, createOwner, passwordProblem } from "./owner.ts";
import { startSession } from "./session.ts";

export const setupLink = (deps: Deps): string =>
  `${deps.config.issuer}/setup?token=${deps.setupToken}`;

const linkFile = (deps: Deps): string => join(deps.config.data, "setup-link");

/** For who has no terminal to read the link from: in the folder, 0600, until there is an owner. */
export function writeSetupLink(deps: Deps, warn: (text: string) => void): void {
  try {
    removeSetupLink(deps);
    writeFileSync(linkFile(deps), `${setupLink(deps)}\n`, { mode: 0o600, flag: "wx" });
  } catch (error) {
    warn(`cannot write ${linkFile(deps)}: ${reason(error)}`);
  }
}

/** The link in it opens nothing any more, or will not: a file that stays is only told. */
export function removeSetupLink(deps: Deps): void {
  try {
    rmSync(linkFile(deps), { force: true });
  } catch (error) {
    const message = `${linkFile(deps)} cannot be removed: ${reason(error)}`;
    deps.audit.record("folder", { kind: "setup-link", message });
  }
}

function showSetup(deps: Deps, problem?: string): Response {
  return page({
    base: deps.config.basePath,
    hidden: { token: deps.setupToken },
    minLength: PASSWORD_MIN,
    ...(problem !== undefined && { problem }),
  });
}

/** The answer to a link that opens nothing, or undefined when it is the right one. */
async function refuseLink(token: string | undefined, deps: Deps): Promise<Response | undefined> {
  const used = (await deps.store.owner.get("owner")) !== undefined;
  if (!used && equal(token ?? "", deps.setupToken)) return undefined;
  return setupLinkPage({ base: deps.config.basePath, used });
}

/** GET /setup */
export async function setupPage(request: Request, deps: Deps): Promise<Response> {
  const token = new URL(request.url).searchParams.get("token");
  return (await refuseLink(token ?? undefined, deps)) ?? showSetup(deps);
}

/** POST /setup */
export async function setup(request: Request, deps: Deps, call: Call): Promise<Response> {
  requireOwnPage(request, deps);
  const form = await readForm(request);
  const refused = await refuseLink(form.get("token"), deps);
  if (refused) return refused;
  const password = form.get("password") ?? "";
  const problem = passwordProblem(password);
  if (problem) return showSetup(deps, problem);
  if (password !== form.get("password_again")) return showSetup(deps, "The two passwords differ.");
  const owner = await createOwner(password, deps);
  if (!owner) return setupLinkPage({ base: deps.config.basePath, used: true });
  removeSetupLink(deps);
  deps.audit.record("setup", { address: call.address });
  const session = await startSession(owner.epoch, request, deps, call);
  const response = seeOther("/connect", deps);
  response.headers.append("set-cookie", session.cookie);
  return response;
}
