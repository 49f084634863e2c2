// What the terminal shows: the start, and one line an event.
import { shellWord } from "../access.ts";
import { type AuditEvent, type Fields, oneLine, redact } from "../audit.ts";
import type { Config, Server } from "../config.ts";
import type { Counts } from "../store/copy.ts";
import { version } from "../../package.json";
import { counted } from "../web/text.ts";

/** Where the server speaks; how is log.ts's. */
export interface Terminal {
  /** @param facts the same for programs, where it is more than a sentence */
  log(text: string, facts?: Fields): void;
  warn(text: string): void;
  event(event: AuditEvent): void;
}

/** To stderr: stdout is for results. */
export const warn = (text: string): void =>
  void process.stderr.write(`postern: warning: ${text}\n`);

/** @param setup the setup link, while there is no owner */
export function startBanner(config: Config, isNew: boolean, setup: string | undefined): string {
  const rows: [string, string][] = [
    ...(setup === undefined ? [] : [["First choose a password", setup] as [string, string]]),
    ...config.servers.flatMap((server): [string, string][] => [
      ["Paste into your client", server.resource],
      ["Guards", whatIsGuarded(server)],
    ]),
    ["Data folder", config.data + (isNew ? " (new)" : "")],
  ];
  return [
    `postern ${version}`,
    "",
    ...rows.map(([name, value]) => `  ${name.padEnd(24)}${value}`),
    "",
  ].join("\n");
}

/** The same for programs. */
export const startFacts = (config: Config, isNew: boolean, setup: string | undefined): Fields => ({
  event: "ready",
  version,
  urls: config.servers.map(({ resource }) => resource).join(" "),
  guards: config.servers.map(whatIsGuarded).join(", "),
  setup,
  folder: config.data,
  new: isNew,
});

/** Arguments and queries may be secret. */
function whatIsGuarded({ upstream, command }: Server): string {
  if (command) return `${command[0]}${command.length > 1 ? " …" : ""}, started when it is needed`;
  return upstream?.replace(/\?.*/, "?…") ?? "the built-in MCP server (tool whoami)";
}

/** "10:31:07 notes: ..." for a line that a server behind wrote. @param now epoch milliseconds */
export const serverLine = (name: string, line: string, now: number): string =>
  `${new Date(now).toISOString().slice(11, 19)} ${redact(name)}: ${redact(line)}`;

// Said by the banner, by warnings and by the command itself.
const silent = new Set<AuditEvent["event"]>([
  "start",
  "stop",
  "folder",
  "folder_noted",
  "settings_changed",
  "settings_refused",
]);

/** "10:31:07 login address=127.0.0.1"; undefined for what the terminal says in other words. */
export function eventLine({ at, event, ...fields }: AuditEvent): string | undefined {
  if (silent.has(event)) return undefined;
  // Whoever sets the password by a command, a file or `dev` says so.
  if (event === "setup" && fields["via"] === "command") return undefined;
  return [at.slice(11, 19), event.replaceAll("_", " "), fieldsText(fields)].join(" ").trimEnd();
}

/** `address=127.0.0.1 name="Claude Code"` */
export const fieldsText = (fields: Fields): string =>
  Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => {
      const text = oneLine(String(value));
      return `${oneLine(key)}=${/[\s"]/.test(text) ? JSON.stringify(text) : text}`;
    })
    .join(" ");

/** Epoch milliseconds as a person reads them: "2026-11-21 10:31:07 UTC". */
export const timeText = (milliseconds: number): string =>
  `${new Date(milliseconds).toISOString().slice(0, 19).replace("T", " ")} UTC`;

export const countsText = ({ clients, logins, keys, owner }: Counts): string =>
  [
    counted(clients, "client"),
    counted(logins, "login"),
    ...(keys > 0 ? [counted(keys, "API key")] : []),
    owner ? "an owner" : "no owner",
  ].join(", ");

/** "ended 3 logins, 1 API key and all browser sessions" */
export const endedText = (logins: number, keys: number): string =>
  `ended ${counted(logins, "login")}${keys > 0 ? `, ${counted(keys, "API key")}` : ""} and all browser sessions`;

export const bytesText = (bytes: number): string =>
  bytes < 10_000 ? `${bytes} B` : `${Math.round(bytes / 1000).toLocaleString("en-US")} kB`;

/** The command line that does something with a folder: "postern revoke-all --data '/srv/my data'". */
export function nextCommand(words: string, path: string): string {
  return `postern ${words} --data ${shellWord(path)}`.replace("  ", " ");
}
