// The owner's login and logout. The login form carries the authorization request that waits behind it, sealed and bound
// to this browser; there is no "next" parameter anywhere.
import { sentBy } from "../audit.ts";
import { originOf } from "../attempts/sights.ts";
import type { Call, Deps } from "../deps.ts";
import { OAuthError } from "../errors.ts";
import { networkOf, throttleKey } from "../limits.ts";
import { readForm } from "../form.ts";
import { loginPage } from "../web/pages.ts";
import { messagePage } from "../web/error_page.ts";
import { claimedContent, requireOwnPage, seal, unseal } from "./forms.ts";
import { requireOwner, verifyOwner } from "./owner.ts";
import { browserBinding, browserOf, endSession, findSession, startSession } from "./session.ts";

/** Milliseconds that every failed login waits while there are very many of them in all. */
const SLOWED = 1000;

interface LoginForm {
  /** Of the authorization request that waits behind the login; "" for none. */
  readonly query: string;
  /** The same, sealed. */
  readonly request: string;
  /** Set-Cookie, when the browser has no binding yet. */
  readonly cookie?: string | undefined;
  readonly problem?: string;
  /** Seconds. */
  readonly wait?: number;
}

export async function showLogin(form: LoginForm, deps: Deps): Promise<Response> {
  const { query, request, cookie, ...shown } = form;
  const response = loginPage({
    base: deps.config.basePath,
    hidden: { request },
    forClient: query !== "",
    clientName: await waitingClient(query, deps),
    ...shown,
  });
  if (cookie !== undefined) response.headers.append("set-cookie", cookie);
  return response;
}

/** What the client that waits is called: a document is fetched for the owner only, so until then its host stands for it. */
export async function waitingClient(query: string, deps: Deps): Promise<string | undefined> {
  const id = new URLSearchParams(query).get("client_id") ?? "";
  if (id.startsWith("https://")) return URL.parse(id)?.host;
  return (await deps.store.clients.get(id))?.client_name;
}

/** GET /login */
export async function logInPage(request: Request, deps: Deps): Promise<Response> {
  await requireOwner(deps);
  if (await findSession(request, deps)) return seeOther("/account", deps);
  const { binding, cookie } = browserBinding(request, deps);
  return showLogin({ query: "", request: seal(deps, "login", binding, ""), cookie }, deps);
}

/** POST /login */
export async function logIn(request: Request, deps: Deps, call: Call): Promise<Response> {
  requireOwnPage(request, deps);
  const form = await readForm(request);
  const { binding, cookie } = browserBinding(request, deps);
  const field = form.get("request");
  const query = unseal(deps, "login", binding, field);
  // Two tabs: the second login finds the session of the first, whatever became of its own page meanwhile.
  if (await findSession(request, deps))
    return seeOther(pathAfter(query ?? claimedContent(field) ?? ""), deps);
  if (field === undefined || query === undefined) return logInAgain(field, binding, cookie, deps);
  const shown = { query, request: field };
  const prefix = throttleKey(call.address);
  const network = networkOf(call.address);
  const wait = Math.max(deps.limits.login.wait(prefix), deps.limits.loginNetwork.wait(network));
  const refused = (message: string): void => {
    if (query === "") return;
    const error = { code: "access_denied", message } as const;
    deps.attempts.see({ step: "login", query, error }, originOf(request, call, deps));
  };
  if (wait > 0) {
    refused("too many wrong passwords");
    return showLogin({ ...shown, wait }, deps);
  }
  // Counted before the hash runs: of many tries at once, only so many are looked at.
  deps.limits.login.count(prefix);
  deps.limits.loginNetwork.count(network);
  const owner = await verifyOwner(form.get("password") ?? "", deps);
  if (!owner) {
    const slowed = deps.limits.loginTotal.wait("all") > 0;
    deps.limits.loginTotal.count("all");
    deps.audit.record("login_failed", sentBy(call));
    refused("wrong password");
    if (slowed) await Bun.sleep(SLOWED);
    return showLogin({ ...shown, problem: "That is not the password. Try again." }, deps);
  }
  deps.limits.login.forgive(prefix);
  const session = await startSession(owner.epoch, browserOf(request, call), deps);
  deps.audit.record("login", sentBy(call));
  const response = seeOther(pathAfter(query), deps);
  response.headers.append("set-cookie", session.cookie);
  return response;
}

const pathAfter = (query: string): `/${string}` =>
  query === "" ? "/account" : `/authorize?${query}`;

/** For a page that waited too long, outlived a restart, or lost its cookie to a tab opened at the same moment. */
async function logInAgain(
  field: string | undefined,
  binding: string,
  cookie: string | undefined,
  deps: Deps,
): Promise<Response> {
  const query = claimedContent(field);
  if (query === undefined) {
    throw new OAuthError("access_denied", "The form is not one of a login page of this server.", {
      title: "This page cannot be used",
      facts: { expected: ["the form as the login page gave it"] },
      advice: "Start again from your client, or sign in on a new page.",
      next: { path: "/login", text: "Sign in" },
    });
  }
  const problem = "This page had waited too long. Sign in once more: nothing is lost.";
  const sealed = seal(deps, "login", binding, query);
  return showLogin({ query, request: sealed, cookie, problem }, deps);
}

/** POST /logout */
export async function logOut(request: Request, deps: Deps, call: Call): Promise<Response> {
  requireOwnPage(request, deps);
  const session = await findSession(request, deps);
  const form = await readForm(request);
  if (session && unseal(deps, "logout", session.id, form.get("request")) === undefined) {
    throw new OAuthError("access_denied", "The page waited for more than ten minutes.", {
      title: "You are still signed in",
      advice: "Open the page again and sign out there.",
      next: { path: "/connect", text: "Open the page" },
    });
  }
  const response = messagePage({
    base: deps.config.basePath,
    title: "Signed out",
    lines: ["Clients that you let in stay connected."],
    next: { path: "/login", text: "Sign in" },
  });
  if (session) {
    response.headers.append("set-cookie", await endSession(session.id, deps));
    deps.audit.record("logout", sentBy(call));
  }
  return response;
}

/** RFC 9700 §4.12: 303 after a POST with credentials, never 307. Only ever to a path of ours. */
export function seeOther(path: `/${string}`, deps: Deps): Response {
  return new Response(null, {
    status: 303,
    headers: {
      location: deps.config.basePath + path,
      "cache-control": "no-store",
      "referrer-policy": "no-referrer",
    },
  });
}
