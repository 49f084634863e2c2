// The one route table: every method and path, the RFC behind it, who may call it, and what answers. What happens around a
// handler is app.ts's.
import { adminApi } from "./account/api.ts";
import { accountRoutes } from "./account/routes.ts";
import { ADMIN_PATH } from "./admin.ts";
import { originOf } from "./attempts/sights.ts";
import type { StepName } from "./attempts/steps.ts";
import type { Config, Server } from "./config.ts";
import type { Call, Handler } from "./deps.ts";
import { OAuthError } from "./errors.ts";
import { gateway } from "./gateway/mount.ts";
import { healthz, readyz } from "./health.ts";
import { home } from "./login/home.ts";
import { logIn, logInPage, logOut } from "./login/login.ts";
import { setup, setupPage } from "./login/setup.ts";
import { authorize } from "./oauth/authorize.ts";
import { consent } from "./oauth/consent.ts";
import { introspect } from "./oauth/introspect.ts";
import { metadataDocuments, metadataResponse } from "./oauth/metadata.ts";
import { register } from "./oauth/register.ts";
import { revoke } from "./oauth/revoke.ts";
import { token } from "./oauth/token.ts";

export interface Route {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** Under the path of the public URL. */
  readonly path: string;
  readonly source: string;
  readonly who: "anyone" | "owner" | "client" | "bearer";
  readonly handler: Handler;
  /** How errors look: JSON for programs, a page for people. */
  readonly errors: "json" | "page";
  /** Whether scripts of any web origin may call it. */
  readonly cors: boolean;
  /** Asked by bare address. */
  readonly anyHost?: true;
  /** Bytes of the largest body; absent: the handler streams it. */
  readonly body?: number;
  /** What a client tries with it on its way in. */
  readonly step?: StepName;
}

const KB = 1024;
const api = { errors: "json", cors: true } as const;
const page = { errors: "page", cors: false, body: 32 * KB } as const;

/** Every route under the public URL. Well-known documents and MCP endpoints are added from the configuration. */
// prettier-ignore
export const routes: readonly Route[] = [
  { method: "GET",  path: "/",           source: "-",                who: "anyone", handler: home,       ...page },
  { method: "GET",  path: "/healthz",    source: "-",                who: "anyone", handler: healthz,    ...api, anyHost: true },
  { method: "GET",  path: "/readyz",     source: "-",                who: "anyone", handler: readyz,     ...api, anyHost: true },
  { method: "GET",  path: "/authorize",  source: "RFC 6749 §3.1",    who: "anyone", handler: authorize,  ...page, step: "authorization" },
  { method: "POST", path: "/consent",    source: "RFC 6749 §4.1.2",  who: "owner",  handler: consent,    ...page, step: "consent" },
  { method: "POST", path: "/token",      source: "RFC 6749 §3.2",    who: "client", handler: token,      ...api, body: 16 * KB },
  { method: "POST", path: "/register",   source: "RFC 7591 §3",      who: "anyone", handler: register,   ...api, body: 64 * KB, step: "registration" },
  { method: "POST", path: "/revoke",     source: "RFC 7009 §2",      who: "client", handler: revoke,     ...api, body: 16 * KB },
  { method: "POST", path: "/introspect", source: "RFC 7662 §2",      who: "client", handler: introspect, ...api, body: 16 * KB },
  { method: "GET",  path: "/login",      source: "-",                who: "anyone", handler: logInPage,  ...page },
  { method: "POST", path: "/login",      source: "-",                who: "anyone", handler: logIn,      ...page },
  { method: "POST", path: "/logout",     source: "-",                who: "owner",  handler: logOut,     ...page },
  { method: "GET",  path: "/setup",      source: "-",                who: "anyone", handler: setupPage,  ...page },
  { method: "POST", path: "/setup",      source: "-",                who: "anyone", handler: setup,      ...page },
  ...accountRoutes.map((row): Route => ({ ...row, source: "-", who: "owner", ...page })),
  ...(["GET", "POST", "PUT", "PATCH", "DELETE"] as const).map((method): Route => (
    { method, path: `${ADMIN_PATH}/**`, source: "docs/admin-api.md", who: "owner", handler: adminApi, errors: "json", cors: false, body: 64 * KB })),
];

/** An MCP endpoint and what lies below it. */
const serverRoutes = (server: Server): Route[] =>
  (["GET", "POST", "DELETE"] as const).map((method) => ({
    ...api,
    method,
    path: server.path,
    source: "RFC 6750, MCP",
    who: "bearer",
    handler: (request, deps, call) => gateway(request, server, deps, call),
    step: "challenge",
  }));

/** Well-known paths are ours alone: an upstream's answer there would steer discovery. */
function wellKnownRoute(config: Config): Route {
  const documents = metadataDocuments(config);
  return {
    ...api,
    method: "GET",
    path: "/.well-known/**",
    source: "RFC 8414 §3, RFC 9728 §3",
    who: "anyone",
    handler: (request, deps, call) => {
      const document = documents.get(call.path);
      if (!document) throw nothingHere(call);
      deps.attempts.see({ step: "metadata" }, originOf(request, call, deps));
      return metadataResponse(document);
    },
  };
}

/** All rows of one server, by the path that they are mounted at; the last path takes what no row names. */
export function mountsOf(config: Config): [path: string, rows: readonly Route[]][] {
  const enabled = routes.filter((route) => route.path !== "/register" || config.registration);
  const wellKnown = wellKnownRoute(config);
  return [
    ...Map.groupBy(enabled, (route) => config.basePath + route.path),
    ...config.servers.flatMap((server): [string, Route[]][] => {
      const rows = serverRoutes(server);
      return [
        [server.path, rows],
        [`${server.path}/**`, rows],
      ];
    }),
    [wellKnown.path, [wellKnown]],
    ["/**", []],
  ];
}

export const nothingHere = ({ path }: Call): OAuthError =>
  new OAuthError("invalid_request", "there is nothing here", {
    status: 404,
    facts: { sent: [path] },
  });

/** Who asks for what no route names: a person who mistyped the address gets a page, a program JSON. */
export const unnamed = (request: Request): Pick<Route, "errors" | "cors" | "who"> => ({
  ...(request.headers.get("accept")?.includes("text/html") ? page : api),
  who: "anyone",
});
