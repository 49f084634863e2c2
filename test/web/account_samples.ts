// Samples of the account pages, for the tests that look at every page.
import type { AttemptRow } from "../../src/admin/attempts.ts";
import type { ClientRow } from "../../src/admin/clients.ts";
import type { GrantRow } from "../../src/admin/grants.ts";
import type { KeyRow } from "../../src/admin/keys.ts";
import type { ServerState } from "../../src/admin/servers.ts";
import type { KnownTool } from "../../src/gateway/tools.ts";
import type { AccountFrame } from "../../src/web/account_frame.ts";
import { attemptsPage } from "../../src/web/attempts_page.ts";
import type { AuditEvent } from "../../src/audit.ts";
import { activityPage } from "../../src/web/activity_page.ts";
import { browsersPage } from "../../src/web/browsers_page.ts";
import { clientsPage, removeBody } from "../../src/web/clients_page.ts";
import { confirmPage, renamePage } from "../../src/web/confirm_page.ts";
import { connectionsPage, endBody, everythingBody } from "../../src/web/connections_page.ts";
import { endKeyBody, keysPage, newKeyPage } from "../../src/web/keys_page.ts";
import { leashPage } from "../../src/web/leash_page.ts";
import { serversPage } from "../../src/web/servers_page.ts";
import type { Samples } from "./samples.ts";

const NOW = 1_790_000_000;
const DAY = 86_400;

type Say = (usual: string) => string;

const resource = "https://mcp.example.com/mcp";

function grantRows(say: Say): GrantRow[] {
  const row: GrantRow = {
    id: "aB3dE5fG7hJ9kL1mN2pQ4r",
    client_id: say("Zk3v0qYtZ1m9Q2w7bX5c8Au5T1rS2kq0"),
    client_name: say("Claude Code"),
    redirect_host: "localhost",
    scope: say("notes:read notes:write"),
    resource,
    created_at: NOW - 40 * DAY,
    last_used_at: NOW - 3600,
    network: say("203.0.113.0/24"),
    expires_at: NOW + 325 * DAY,
    idle_at: NOW + 89 * DAY,
    generation: 300,
    state: "live",
  };
  return [
    {
      ...row,
      label: say("Laptop in the kitchen"),
      leash: { kind: "tools", tools: ["a", "b"] },
      replays: { count: 3, last_at: NOW - 600, networks: ["0:0:0::/48", say("198.51.100.0/24")] },
    },
    { ...row, id: "bB3dE5fG7hJ9kL1mN2pQ4r", created_at: NOW - 50 * DAY, network: "0:0:0::/48" },
    {
      ...row,
      id: "cB3dE5fG7hJ9kL1mN2pQ4r",
      verified_host: say("claude.ai"),
      redirect_host: say("claude.ai"),
    },
    {
      ...row,
      id: "dB3dE5fG7hJ9kL1mN2pQ4r",
      client_name: say("\u0421laude"),
      redirect_host: "evil.example",
      idle_at: NOW + 325 * DAY,
    },
    {
      ...row,
      id: "eB3dE5fG7hJ9kL1mN2pQ4r",
      added: true,
      redirect_host: "cursor:",
      state: "asleep",
      resource: say("https://old.example.com/mcp"),
    },
    {
      ...row,
      id: "fB3dE5fG7hJ9kL1mN2pQ4r",
      client_name: say("Old one"),
      state: "ended",
      idle_at: NOW - DAY,
    },
  ];
}

function clientRows(say: Say): ClientRow[] {
  const row: ClientRow = {
    id: "Zk3v0qYtZ1m9Q2w7bX5c8Au5T1rS2kq0",
    client_id: say("Zk3v0qYtZ1m9Q2w7bX5c8Au5T1rS2kq0"),
    client_name: say("Claude"),
    source: "dcr",
    redirect_uris: [
      say("https://claude.ai/api/mcp/auth_callback"),
      "cursor://a/b",
      "https://c.example/",
      "https://d.example/",
    ],
    token_endpoint_auth_method: "none",
    client_id_issued_at: NOW - 40 * DAY,
    grants: 2,
    last_used_at: NOW - 3600,
  };
  return [
    { ...row, label: say("The one of the phone"), verified_host: say("claude.ai"), source: "cimd" },
    { ...row, client_name: say("\u0421laude"), grants: 0, expires_at: NOW + 3600 },
    { ...row, source: "static", grants: 0, redirect_uris: [], resource_server: say(resource) },
  ];
}

function attemptRows(say: Say): AttemptRow[] {
  const at = { first_at: NOW - 700, last_at: NOW - 600, times: 1 };
  const passed = { ...at, outcome: "passed" } as const;
  const row: AttemptRow = {
    id: "aB3dE5fG",
    started_at: NOW - 700,
    last_at: NOW - 600,
    network: "203.0.113.0/24",
    agent: say("claude-code/2.1.329"),
    client_name: say("Claude Code"),
    steps: [
      { step: "challenge", ...passed },
      { step: "metadata", ...passed, times: 2 },
      { step: "registration", ...passed },
      { step: "authorization", ...passed, times: 2 },
      { step: "login", ...passed },
      { step: "consent", ...passed },
      { step: "code", ...passed, request: "gz4BSOTf-a" },
    ],
    last: "code",
    verdict: {
      state: "stopped",
      where: "stopped after: browser sent back to the client with the code",
      cause: say("The browser was sent to an address of the client's own machine."),
      remedies: ["Over SSH: forward the port of the address.", "Keep the client open."],
    },
  };
  const look = { state: "looked", where: "looked, and came no further" } as const;
  return [
    row,
    {
      ...row,
      last: "registration",
      steps: [{ step: "registration", ...at, outcome: "refused", request: "gz4BSOTf-i" }],
      verdict: {
        state: "stopped",
        where: "refused at: registration",
        cause: say("The client was told: “redirect_uris[0] uses the scheme javascript”."),
        remedies: ["Update the client."],
      },
    },
    { ...row, verdict: { state: "under way", where: "so far: opened the browser" } },
    { ...row, verdict: { state: "connected", where: "connected" } },
    { ...row, agent: "", verdict: { ...look, cause: say("It asked once.") } },
    { ...row, agent: say("curl/8"), verdict: look },
  ];
}

const known = (say: Say): KnownTool[] => [
  { name: say("read_note"), title: say("Read a note"), readOnly: true },
  { name: say("add_note"), description: say("Adds a note."), readOnly: false },
];

function serverStates(say: Say): ServerState[] {
  const common = { name: say("Notes"), resource: say(resource), scopes: [say("notes:read")] };
  const stdio = { ...common, kind: "stdio", processes: "per-session" } as const;
  const failure = { failed_at: NOW - 90, last_error: say("Notes ended with exit code 1") };
  return [
    { ...common, kind: "built-in" },
    { ...common, kind: "http", reachable: true },
    {
      ...common,
      kind: "http",
      reachable: false,
      answered_at: NOW - 3600,
      forgot_at: NOW - 7200,
      ...failure,
    },
    { ...stdio, running: 0, started: 0, crashed: 0, sessions: 0 },
    { ...stdio, running: 2, started: 9, crashed: 1, sessions: 3, ...failure },
  ];
}

/** All samples, with `say` for every text that a stranger could have written. */
export function accountSamples(base: string, say: Say): Samples {
  const frame: AccountFrame = {
    base,
    now: NOW,
    hidden: { proof: say("c2VhbGVk.1790000600.dGFn") },
    signOut: { request: "c2VhbGVk.1790000600.dGFn" },
  };
  const servers = [{ name: say("Notes"), resource }];
  const tools = { ...frame, what: say("Claude Code: Laptop"), id: say("aB3dE5fG7hJ9kL1mN2pQ4r") };
  const grants = grantRows(say);
  const clients = clientRows(say);
  const rename = {
    ...frame,
    here: "/account" as const,
    what: say("Claude Code: Laptop in the kitchen"),
    action: "/account/connections/rename" as const,
    id: say("aB3dE5fG7hJ9kL1mN2pQ4r"),
    name: say("Laptop in the kitchen"),
  };
  const confirm = {
    ...frame,
    here: "/account" as const,
    title: say("End 2 connections of Claude Code?"),
    action: "/account/connections/end" as const,
    fields: { ids: say("a b") },
    button: "End 2 connections",
  };
  const key: KeyRow = {
    id: "aB3dE5fG7hJ9kL1mN2pQ4r",
    name: say("Home Assistant"),
    servers: ["/mcp", say("/gone")],
    scope: say("notes:read"),
    created_at: NOW - 40 * DAY,
    expires_at: NOW + DAY,
    last_used_at: NOW - 700,
    last_used_from: "203.0.113.0/24",
    state: "live",
  };
  const { expires_at: _end, last_used_at: _use, ...lasting } = key;
  const keys: KeyRow[] = [key, lasting, { ...key, state: "ended", expires_at: NOW - DAY }];
  const keyServers = [
    { path: "/mcp", name: say("Notes"), scopes: [say("notes:read"), "notes:write"] },
    { path: "/home", name: "Home", scopes: ["mcp"] },
  ];
  const at = new Date(NOW * 1000 - 7_200_000).toISOString();
  const told = {
    at,
    name: say("Claude Code"),
    family: "aB3dE5fG7hJ9kL1mN2pQ4r",
    address: say("203.0.113.7"),
  };
  const events: AuditEvent[] = [
    { ...told, event: "refresh_reused", generation: 3, request: say("q8Zt1LwP-2f") },
    { ...told, event: "code_replayed" },
    { ...told, event: "refresh_moved_forward" },
    { at, event: "folder", kind: "copied", message: say("/srv/data was copied or restored") },
    { at, event: "folder", kind: "tmpfs", message: say("/srv/data is on a tmpfs") },
    { at, event: "login", address: "203.0.113.7", by: "owner", via: "account" },
    { at, event: "server_error", error: say("EIO"), path: say("/token") },
    { at, event: say("of_a_later_version") as AuditEvent["event"] },
  ];
  const warnings = events.slice(0, 5);
  const session = {
    id: "s_aB3dE5fG7hJ9kL1mN2pQ",
    network: "203.0.113.0/24",
    browser: say("Firefox on Linux"),
    created_at: NOW - DAY,
    last_used_at: NOW - 60,
    expires_at: NOW + DAY,
    own: false,
  };
  return {
    account: () =>
      connectionsPage({ ...frame, servers, grants, warnings, done: say("One connection ended.") }),
    "account-empty": () => connectionsPage({ ...frame, servers, grants: [], warnings: [] }),
    "account-end": () =>
      confirmPage({ ...confirm, body: endBody(grants.slice(1), grants[0], NOW) }),
    "account-everything": () => confirmPage({ ...confirm, body: everythingBody(3, 2) }),
    "account-tools": () => leashPage({ ...tools, leash: { kind: "read-only" }, tools: known(say) }),
    "account-tools-chosen": () =>
      leashPage({ ...tools, leash: { kind: "tools", tools: [say("add_note")] }, tools: [] }),
    "account-tools-unknown": () => leashPage(tools),
    "account-rename": () => renamePage(rename),
    "account-rename-wrong": () => renamePage({ ...rename, problem: say("a name is needed") }),
    "account-clients": () => clientsPage({ ...frame, clients }),
    "account-clients-empty": () => clientsPage({ ...frame, clients: [] }),
    "account-clients-remove": () =>
      confirmPage({
        ...confirm,
        here: "/account/clients",
        body: removeBody(clients[2] ?? clientRows(say)[0]!),
      }),
    "account-servers": () => serversPage({ ...frame, servers: serverStates(say) }),
    "account-keys": () => keysPage({ ...frame, keys, servers: keyServers }),
    "account-keys-empty": () =>
      keysPage({
        ...frame,
        keys: [],
        servers: keyServers.slice(0, 1),
        problem: say("a name is needed"),
        name: say("Home Assistant"),
      }),
    "account-keys-new": () =>
      newKeyPage(frame, {
        ...keys[0]!,
        key: say(`pak_${"a".repeat(22)}.${"b".repeat(43)}`),
        urls: [say(resource)],
      }),
    "account-keys-end": () =>
      confirmPage({ ...confirm, here: "/account/keys", body: endKeyBody(keys[0]!, NOW) }),
    "account-attempts": () => attemptsPage({ ...frame, attempts: attemptRows(say) }),
    "account-attempts-empty": () => attemptsPage({ ...frame, attempts: [] }),
    "account-activity": () =>
      activityPage({
        ...frame,
        events,
        more: true,
        kind: "access",
        about: say("claude"),
        all: true,
      }),
    "account-activity-none": () =>
      activityPage({
        ...frame,
        events: [],
        more: false,
        kind: undefined,
        about: "",
        all: false,
        problem: say("kind: expected"),
      }),
    "account-browsers": () =>
      browsersPage({ ...frame, sessions: [{ ...session, own: true }, session, session] }),
  };
}
