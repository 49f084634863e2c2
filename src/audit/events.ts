// Every event that the audit trail can tell: its name, which never changes, how loud it is, what it belongs to, and what it
// means in a few words. docs/audit.md describes the same table.

import { type Level, levels } from "../values.ts";

/** What events belong to, for people who look for one. */
export const kinds = {
  connections: "Connections",
  clients: "Clients",
  keys: "API keys",
  access: "Signing in",
  refusals: "Refusals",
  server: "The server",
} as const;
export type Kind = keyof typeof kinds;

export interface EventFacts {
  readonly level: Level;
  readonly kind: Kind;
  readonly title: string;
}

// prettier-ignore
const table = {
  start:                 ["info",  "server",      "Started"],
  stop:                  ["info",  "server",      "Stopped"],
  folder:                ["warn",  "server",      "Something about the data folder"],
  folder_noted:          ["info",  "server",      "The data folder, as it was found"],
  settings_changed:      ["info",  "server",      "Changed settings were taken up"],
  settings_refused:      ["warn",  "server",      "Changed settings were refused"],
  certificate_obtained:  ["info",  "server",      "A certificate was obtained"],
  certificate_failed:    ["warn",  "server",      "A certificate could not be obtained"],
  alert_failed:          ["warn",  "server",      "An alert could not be delivered"],
  checkup:               ["info",  "server",      "postern doctor looked in"],
  child_started:         ["debug", "server",      "A server behind was started"],
  child_ended:           ["debug", "server",      "A server behind that was not needed was ended"],
  child_crashed:         ["warn",  "server",      "A server behind ended by itself"],
  child_failed:          ["warn",  "server",      "A server behind could not be started"],
  server_error:          ["error", "server",      "Something went wrong in the server"],
  setup:                 ["info",  "access",      "The password was set for the first time"],
  login:                 ["info",  "access",      "Signed in"],
  login_failed:          ["warn",  "access",      "Wrong password"],
  logout:                ["info",  "access",      "Signed out"],
  session_ended:         ["info",  "access",      "A browser was signed out"],
  sessions_ended:        ["info",  "access",      "All other browsers were signed out"],
  password_changed:      ["warn",  "access",      "The password was changed, which ended everything"],
  warnings_seen:         ["info",  "access",      "The warnings were read"],
  client_registered:     ["info",  "clients",     "A client registered"],
  client_renamed:        ["info",  "clients",     "A client was renamed"],
  client_deleted:        ["info",  "clients",     "A client was removed"],
  clients_purged:        ["info",  "clients",     "Unused clients were removed"],
  consent_granted:       ["debug", "connections", "The owner agreed"],
  consent_denied:        ["info",  "connections", "The owner declined"],
  code_revoked:          ["info",  "connections", "A code was taken back"],
  codes_revoked:         ["info",  "connections", "All waiting codes were taken back"],
  code_replayed:         ["warn",  "connections", "A code came twice; the connection that it gave was ended"],
  grant_created:         ["info",  "connections", "Connected"],
  grant_refreshed:       ["debug", "connections", "Access was renewed"],
  grant_renamed:         ["info",  "connections", "A connection was renamed"],
  grant_narrowed:        ["info",  "connections", "The tools of a connection were narrowed or widened"],
  grant_revoked:         ["info",  "connections", "A connection was ended"],
  grants_revoked:        ["warn",  "connections", "Everything was ended"],
  access_revoked:        ["info",  "connections", "A client gave an access token back"],
  refresh_replayed:      ["info",  "connections", "A retry, late or from elsewhere, got the same answer again"],
  refresh_moved_forward: ["warn",  "connections", "A client is ahead of this folder, which is an older copy"],
  refresh_reused:        ["warn",  "connections", "A superseded token came back; its connection was ended"],
  key_created:           ["info",  "keys",        "An API key was made"],
  key_renamed:           ["info",  "keys",        "An API key was renamed"],
  key_revoked:           ["info",  "keys",        "An API key was ended"],
  request_refused:       ["info",  "refusals",    "A request was refused"],
  requests_refused:      ["warn",  "refusals",    "More requests were refused, counted only"],
} as const satisfies Readonly<Record<string, readonly [Level, Kind, string]>>;

export type EventName = keyof typeof table;

export const eventNames = Object.keys(table) as EventName[];

/** Undefined for a name that this version does not know: the trail may hold those of another one. */
export function factsOf(name: string): EventFacts | undefined {
  const known = eventNames.find((each) => each === name);
  if (known === undefined) return undefined;
  const [level, kind, title] = table[known];
  return { level, kind, title };
}

/** Whether an event is at least as loud as `least`; an unknown one is. */
export const isAtLeast = (name: string, least: Level): boolean =>
  levels.indexOf(factsOf(name)?.level ?? "error") >= levels.indexOf(least);
