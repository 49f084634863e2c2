// The first start: a one-time link, printed and left in data/setup-link, lets whoever can read it choose the password.
import { sentBy } from "../audit.ts";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Call, Deps } from "../deps.ts";
import { OAuthError, reason } from "../errors.ts";
import { equal } from "../primitives.ts";
import { setupPage as page } from "../web/pages.ts";
import { readForm } from "../form.ts";
import { requireOwnPage } from "./forms.ts";
import { seeOther } from "./login.ts";
import { PASSWORD_MIN, createOwner, passwordProblem } from "./owner.ts";
import { browserOf, findSession, startSession } from "./session.ts";

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

/** @throws {OAuthError} when the link opens nothing, or nothing any more */
async function requireLink(token: string | undefined, deps: Deps): Promise<void> {
  if (await deps.store.owner.get("owner")) throw alreadySetUp();
  if (equal(token ?? "", deps.setupToken)) return;
  throw new OAuthError("access_denied", "Every start of the server makes a new link.", {
    title: "This setup link does not work",
    advice: [
      "Open the link that the server printed last, whole.",
      "Or read it from the file `setup-link` in the data folder.",
    ].join("\n"),
  });
}

const alreadySetUp = (): OAuthError =>
  new OAuthError("access_denied", "The setup link has been used.", {
    status: 410,
    title: "This server is already set up",
    advice: [
      "Sign in with the password that was chosen then.",
      "Somebody else chose it? Stop the server and set a new one on its machine with `postern password`: that signs everybody out.",
    ].join("\n"),
    next: { path: "/login", text: "Sign in" },
  });

/** GET /setup */
export async function setupPage(request: Request, deps: Deps): Promise<Response> {
  // The link opened once more, by the owner that it made.
  if (await findSession(request, deps)) return seeOther("/connect", deps);
  await requireLink(new URL(request.url).searchParams.get("token") ?? undefined, deps);
  return showSetup(deps);
}

/** POST /setup */
export async function setup(request: Request, deps: Deps, call: Call): Promise<Response> {
  requireOwnPage(request, deps);
  const form = await readForm(request);
  await requireLink(form.get("token"), deps);
  const password = form.get("password") ?? "";
  const problem = passwordProblem(password);
  if (problem) return showSetup(deps, problem);
  if (password !== form.get("password_again")) return showSetup(deps, "The two passwords differ.");
  const owner = await createOwner(password, deps);
  if (!owner) throw alreadySetUp();
  removeSetupLink(deps);
  deps.audit.record("setup", sentBy(call));
  const session = await startSession(owner.epoch, browserOf(request, call), deps);
  const response = seeOther("/connect", deps);
  response.headers.append("set-cookie", session.cookie);
  return response;
}
