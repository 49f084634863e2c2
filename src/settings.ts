// Every setting in one table: the command line, the environment, data/config.json, --help and docs/settings.md.
import { resolve } from "node:path";
import {
  commandWords,
  duration,
  emailAddress,
  headerLines,
  httpsUrl,
  ipAddress,
  ipNetwork,
  list,
  levels,
  oneOf,
  policy,
  publicUrl,
  scopeWords,
  serverPath,
  upstreamUrl,
  variables,
  webOrigin,
  wholeNumber,
} from "./values.ts";

interface Setting<T> {
  readonly flag: string;
  /** What stands for the value in --help; absent for switches. */
  readonly placeholder?: string;
  /** The default, as a person would type it. */
  readonly fallback: string;
  readonly help: string;
  /** Read at start only: a running server keeps what it has. */
  readonly atStart?: true;
  /** Whether the value may be a secret, which no message repeats. */
  readonly hidden?: true;
  /** Throws an Error whose message says what was expected. */
  readonly parse: (text: string) => T;
}

const setting = <T>(entry: Setting<T>): Setting<T> => entry;

export const settings = {
  data: setting({
    flag: "data",
    placeholder: "<folder>",
    fallback: "data",
    help: "folder that holds all lasting state; back up by copying it",
    atStart: true,
    parse: (text) => resolve(text),
  }),
  url: setting({
    flag: "url",
    placeholder: "<https://...>",
    fallback: "",
    help: "public URL that clients use; http://localhost:<port> when not set",
    atStart: true,
    parse: (text) => (text === "" ? "" : publicUrl(text)),
  }),
  upstream: setting({
    flag: "upstream",
    placeholder: "<http://...>",
    fallback: "",
    help: "MCP server to guard; without it a built-in server with the tool whoami answers",
    parse: (text) => (text === "" ? "" : upstreamUrl(text)),
  }),
  command: setting({
    flag: "command",
    placeholder: "<words>",
    fallback: "",
    help: "MCP server to start and guard, speaking stdio; the same as the words after --",
    parse: (text) => (text === "" ? undefined : commandWords(text)),
  }),
  processes: setting({
    flag: "processes",
    placeholder: "<per-session|shared>",
    fallback: "per-session",
    help: "processes of the command: one for each session, or one for all clients",
    parse: (text) => oneOf(text, ["per-session", "shared"] as const),
  }),
  workingFolder: setting({
    flag: "working-folder",
    placeholder: "<folder>",
    fallback: "",
    help: "folder that the command runs in; Postern's own when not set",
    parse: (text) => (text === "" ? undefined : resolve(text)),
  }),
  env: setting({
    flag: "env",
    placeholder: "<NAME,NAME=value>",
    fallback: "",
    help: "variables for the command, besides PATH, HOME and the like; a NAME alone is passed on, values may be file:<path> or env:<name>",
    hidden: true,
    parse: variables,
  }),
  headers: setting({
    flag: "headers",
    placeholder: "<Name: value>",
    fallback: "",
    help: "headers for the upstream, such as its credential; values may be file:<path> or env:<name>",
    hidden: true,
    parse: headerLines,
  }),
  path: setting({
    flag: "path",
    placeholder: "</mcp>",
    fallback: "/mcp",
    help: "path of the MCP endpoint under the public URL",
    parse: serverPath,
  }),
  name: setting({
    flag: "name",
    placeholder: "<text>",
    fallback: "",
    help: "name of the MCP server on pages and in metadata; its host and path when not set",
    parse: (text) => text.slice(0, 80),
  }),
  scopes: setting({
    flag: "scopes",
    placeholder: "<words>",
    fallback: "mcp",
    help: "scopes the MCP server offers, separated by spaces",
    parse: scopeWords,
  }),
  policy: setting({
    flag: "policy",
    placeholder: "<tools=words>",
    fallback: "",
    help: "scopes that calls need, such as tools=notes:read,tools/delete_*=notes:write; the most exact entry counts",
    parse: policy,
  }),
  port: setting({
    flag: "port",
    placeholder: "<number>",
    fallback: "7676",
    help: "port to listen on",
    atStart: true,
    parse: (text) => wholeNumber(text, 1, 65_535),
  }),
  host: setting({
    flag: "host",
    placeholder: "<address>",
    fallback: "",
    help: "address to listen on; 127.0.0.1 and ::1 when not set",
    atStart: true,
    parse: (text) => (text === "" ? "" : ipAddress(text)),
  }),
  tlsCert: setting({
    flag: "tls-cert",
    placeholder: "<file>",
    fallback: "",
    help: "PEM file with the certificate of the public URL and those of its issuer: serves https itself",
    parse: (text) => (text === "" ? "" : resolve(text)),
  }),
  tlsKey: setting({
    flag: "tls-key",
    placeholder: "<file>",
    fallback: "",
    help: "PEM file with its private key; both files are taken up when they change",
    parse: (text) => (text === "" ? "" : resolve(text)),
  }),
  acme: setting({
    flag: "acme",
    placeholder: "<e-mail|on>",
    fallback: "",
    help: "gets the certificate of the public URL from Let's Encrypt and renews it, which accepts their terms; the address is for their notices",
    atStart: true,
    parse: (text) => (text === "" || text === "on" ? text : emailAddress(text)),
  }),
  acmeDirectory: setting({
    flag: "acme-directory",
    placeholder: "<https://...>",
    fallback: "https://acme-v02.api.letsencrypt.org/directory",
    help: "another CA that speaks ACME",
    atStart: true,
    parse: httpsUrl,
  }),
  acmeDns: setting({
    flag: "acme-dns",
    placeholder: "<program>",
    fallback: "",
    help: "proves the domain with this program instead of port 80: called with add or remove, the name of a TXT record and its text",
    atStart: true,
    parse: (text) => (text.includes("/") ? resolve(text) : text),
  }),
  httpPort: setting({
    flag: "http-port",
    placeholder: "<number>",
    fallback: "80",
    help: "with --acme and without --acme-dns: port for the CA's questions; it sends browsers to https",
    atStart: true,
    parse: (text) => wholeNumber(text, 1, 65_535),
  }),
  trustedProxies: setting({
    flag: "trusted-proxies",
    placeholder: "<addresses>",
    fallback: "auto",
    help: "addresses and networks (10.0.0.0/8) whose X-Forwarded-For is believed, separated by commas; auto: one hop from loopback when the public URL is https and somebody else serves it",
    parse: (text) => (text === "auto" ? ("auto" as const) : list(text).map(ipNetwork)),
  }),
  allowedOrigins: setting({
    flag: "allowed-origins",
    placeholder: "<origins>",
    fallback: "",
    help: "web origins besides loopback that may call the MCP endpoint from a browser, separated by commas",
    parse: (text) => list(text).map(webOrigin),
  }),
  registration: setting({
    flag: "registration",
    placeholder: "<open|closed>",
    fallback: "open",
    help: "whether clients may register themselves (RFC 7591)",
    parse: (text) => oneOf(text, ["open", "closed"]) === "open",
  }),
  registrationTokenFile: setting({
    flag: "registration-token-file",
    placeholder: "<file>",
    fallback: "",
    help: "file with an initial access token that clients must send to register (RFC 7591)",
    parse: (text) => (text === "" ? "" : resolve(text)),
  }),
  accessTokenTtl: setting({
    flag: "access-token-ttl",
    placeholder: "<time>",
    fallback: "1h",
    help: "life of an access token",
    parse: (text) => duration(text, 1),
  }),
  refreshIdleTtl: setting({
    flag: "refresh-idle-ttl",
    placeholder: "<time>",
    fallback: "90d",
    help: "a login that is not used for so long ends",
    parse: (text) => duration(text, 1),
  }),
  refreshAbsoluteTtl: setting({
    flag: "refresh-absolute-ttl",
    placeholder: "<time>",
    fallback: "365d",
    help: "a login ends after this time, used or not",
    parse: (text) => duration(text, 1),
  }),
  refreshGrace: setting({
    flag: "refresh-grace",
    placeholder: "<time>",
    fallback: "120s",
    help: "a superseded refresh token still gets the same successor for so long",
    parse: (text) => duration(text, 0),
  }),
  siblingGrace: setting({
    flag: "sibling-grace",
    placeholder: "<time>",
    fallback: "1h",
    help: "the same for requests from the network that made the successor",
    parse: (text) => duration(text, 0),
  }),
  passwordFile: setting({
    flag: "password-file",
    placeholder: "<file>",
    fallback: "",
    help: "file with the owner's password, read at every start, instead of the setup link",
    atStart: true,
    parse: (text) => (text === "" ? "" : resolve(text)),
  }),
  metricsPort: setting({
    flag: "metrics-port",
    placeholder: "<number>",
    fallback: "off",
    help: "port on 127.0.0.1 that serves /metrics for Prometheus; data/admin.sock always does",
    atStart: true,
    parse: (text) => (text === "off" ? 0 : wholeNumber(text, 1, 65_535)),
  }),
  rateLimits: setting({
    flag: "rate-limits",
    placeholder: "<on|off>",
    fallback: "on",
    help: "throttles on login, registration and wrong tokens",
    parse: (text) => oneOf(text, ["on", "off"]) === "on",
  }),
  logFormat: setting({
    flag: "log-format",
    placeholder: "<auto|text|json>",
    fallback: "auto",
    help: "what the server prints; auto: text on a terminal, else JSON, an object a line",
    parse: (text) => oneOf(text, ["auto", "text", "json"]),
  }),
  logLevel: setting({
    flag: "log-level",
    placeholder: `<${levels.join("|")}>`,
    fallback: "info",
    help: "the quietest that is printed; audit.jsonl has everything",
    parse: (text) => oneOf(text, levels),
  }),
  alertWebhook: setting({
    flag: "alert-webhook",
    placeholder: "<https://...>",
    fallback: "",
    help: "URL that is told at once of new clients and connections, of tokens that come back, and of guessed passwords",
    hidden: true,
    parse: (text) => (text === "" ? "" : upstreamUrl(text)),
  }),
  alertNtfy: setting({
    flag: "alert-ntfy",
    placeholder: "<https://...>",
    fallback: "",
    help: "ntfy topic that is told the same",
    hidden: true,
    parse: (text) => (text === "" ? "" : upstreamUrl(text)),
  }),
  alertCommand: setting({
    flag: "alert-command",
    placeholder: "<program>",
    fallback: "",
    help: "program that is run with the same on standard input, without a shell and without arguments",
    parse: (text) => (/[/\\]/.test(text) ? resolve(text) : text),
  }),
  unsafeFolder: setting({
    flag: "unsafe-folder",
    fallback: "false",
    help: "accept a data folder on a network filesystem, where locks and syncs may not hold",
    atStart: true,
    parse: (text) => oneOf(text, ["true", "false"]) === "true",
  }),
};

export type Settings = {
  -readonly [K in keyof typeof settings]: ReturnType<(typeof settings)[K]["parse"]>;
};
export type SettingKey = keyof Settings;
export const settingKeys = Object.keys(settings) as SettingKey[];
/** Settings as text, by key. */
export type GivenSettings = Partial<Record<SettingKey, string>>;

export const envName = (key: SettingKey): string =>
  `POSTERN_${settings[key].flag.toUpperCase().replaceAll("-", "_")}`;
