// From settings to the configuration: flag before variable before data/config.json before default, then what follows from them.
import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { join } from "node:path";
import { unreadable } from "./access.ts";
import { FatalError, errorCode, reason } from "./errors.ts";
import { isObject, parseJson } from "./json.ts";
import { isLoopbackHost, nearest, networkMatcher, type Policy, type References } from "./values.ts";
import {
  type GivenSettings,
  type SettingKey,
  type Settings,
  envName,
  settingKeys,
  settings,
} from "./settings.ts";

/** One guarded MCP server: a resource of its own (RFC 8707). */
export interface Server {
  /** Path on the public origin, the public URL's own path included: "/mcp". */
  readonly path: string;
  /** The resource identifier, which is also the URL that people paste: "https://mcp.example.com/mcp". */
  readonly resource: string;
  readonly name: string;
  readonly scopes: readonly string[];
  /** Which of them a call needs. */
  readonly policy: Policy;
  /** URL of the MCP server behind; undefined: it is a command, or the built-in one. */
  readonly upstream: string | undefined;
  /** Headers for the upstream, unread references included: credentials.ts reads them. */
  readonly headers: References;
  /** Program and arguments of an MCP server that speaks stdio. */
  readonly command: readonly string[] | undefined;
  readonly processes: "per-session" | "shared";
  readonly workingFolder: string | undefined;
  /** Variables for the command, the same way. */
  readonly env: References;
}

const serverKeys = [
  "path",
  "name",
  "scopes",
  "policy",
  "upstream",
  "headers",
  "command",
  "processes",
  "workingFolder",
  "env",
] as const;
type ServerKey = (typeof serverKeys)[number];
/** What an entry of "servers" takes from the setting of the same name when it does not say. */
const inherited: readonly ServerKey[] = ["path", "scopes", "processes"];

export interface Config extends Omit<Settings, ServerKey | "url" | "host"> {
  /** Issuer, public URL: no trailing slash, no default port; the same string everywhere (RFC 8414 §2). */
  readonly issuer: string;
  readonly origin: string;
  /** Path of the public URL, "" or "/x": every route lies under it. */
  readonly basePath: string;
  readonly https: boolean;
  /** Whether the public URL is on loopback. */
  readonly loopback: boolean;
  /** Addresses to listen on. */
  readonly hosts: readonly string[];
  readonly servers: readonly [Server, ...Server[]];
  /** Whether its X-Forwarded-For is believed; where `trustedProxies` is "auto" http.ts decides. */
  readonly isTrustedProxy: (address: string) => boolean;
  /** All scopes of all servers. */
  readonly scopes: readonly string[];
}

/** In the data folder. */
export const CONFIG_FILE = "config.json";

export type Environment = Readonly<Record<string, string | undefined>>;

/** What every setting is, before anything follows from it. */
export interface Reading {
  readonly values: Settings;
  /** "servers" of config.json, as it stands there. */
  readonly servers: unknown;
  /** Whether there is a config.json. */
  readonly hasFile: boolean;
}

/**
 * Flag before variable before data/config.json before default.
 * @throws {FatalError} exit 2: which setting, from where, what was expected
 */
export function readSettings(given: GivenSettings, environment: Environment = {}): Reading {
  const data = readDataFolder(given, environment);
  return readSettingsWith(readConfigFile(join(data, CONFIG_FILE)), given, environment);
}

/** The same with this content of config.json. */
export function readSettingsWith(
  file: Record<string, unknown> | undefined,
  given: GivenSettings,
  environment: Environment = {},
): Reading {
  const data = readDataFolder(given, environment);
  assertOnePlace(given, environment, file ?? {});
  const values = Object.fromEntries(
    settingKeys.map((key) => [key, readSetting(key, given, environment, file ?? {})]),
  ) as unknown as Settings;
  return {
    values: { ...values, data },
    servers: file?.["servers"],
    hasFile: file !== undefined,
  };
}

/** @throws {FatalError} exit 2: which setting, from where, what was expected */
export const readConfig = (given: GivenSettings, environment: Environment = {}): Config =>
  resolveConfig(readSettings(given, environment));

/** The data folder's path, whatever its config.json holds. @throws {FatalError} exit 2 */
export const readDataFolder = (given: GivenSettings, environment: Environment = {}): string =>
  readSetting("data", given, environment, {});

/** What a person gave for a setting and where it stands. An empty flag or variable is none. */
function findSetting(
  key: SettingKey,
  given: GivenSettings,
  environment: Environment,
  file: Record<string, unknown>,
): { text: string; source: string } | undefined {
  const flag = given[key];
  if (flag) return { text: flag, source: `--${settings[key].flag}` };
  const variable = environment[envName(key)];
  if (variable) return { text: variable, source: envName(key) };
  if (file[key] === undefined) return undefined;
  return { text: fileText(file[key], key), source: `"${key}" in config.json` };
}

/** What describes the one server says nothing where config.json lists the servers. @throws {FatalError} exit 2 */
function assertOnePlace(
  given: GivenSettings,
  environment: Environment,
  file: Record<string, unknown>,
): void {
  if (file["servers"] === undefined) return;
  for (const key of serverKeys) {
    if (key !== "path" && inherited.includes(key)) continue;
    const found = findSetting(key, given, environment, file);
    if (!found) continue;
    throw new FatalError(`${found.source} has no effect beside "servers" in config.json`, {
      exitCode: 2,
      hint: `give its entry in "servers" the member "${key}", or take "servers" out`,
    });
  }
}

const isHidden = (key: SettingKey): boolean => "hidden" in settings[key];

function readSetting<K extends SettingKey>(
  key: K,
  given: GivenSettings,
  environment: Environment,
  file: Record<string, unknown>,
): Settings[K] {
  const found = findSetting(key, given, environment, file);
  const { text, source } = found ?? { text: settings[key].fallback, source: key };
  try {
    return settings[key].parse(text) as Settings[K];
  } catch (error) {
    const shown = isHidden(key) ? "" : ` is "${text}"`;
    throw new FatalError(`${source}${shown}: ${reason(error)}`, {
      exitCode: 2,
      cause: error,
    });
  }
}

/** Names of POSTERN_ variables that no setting has: probably typing errors. */
export function unknownVariables(environment: Environment): string[] {
  const known = new Set(settingKeys.map(envName));
  return Object.keys(environment).filter((name) => name.startsWith("POSTERN_") && !known.has(name));
}

/** The settings of a config.json as they stand there; undefined when there is none. @throws {FatalError} exit 2 or 77 */
export function readConfigFile(path: string): Record<string, unknown> | undefined {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    // Where there is no folder either, whoever opens it says so.
    if (["ENOENT", "ENOTDIR"].includes(errorCode(error))) return undefined;
    if (errorCode(error) === "EACCES") throw unreadable(path);
    throw new FatalError(`cannot read ${path}: ${reason(error)}`, {
      exitCode: 2,
      hint: "--data names a folder that belongs to the user who runs Postern",
      cause: error,
    });
  }
  let content: unknown;
  try {
    content = parseJson(text);
  } catch (error) {
    throw new FatalError(`${path} is not valid JSON: ${reason(error)}`, {
      exitCode: 2,
      cause: error,
    });
  }
  if (!isObject(content))
    throw new FatalError(`${path} must hold one JSON object`, { exitCode: 2 });
  const allowed: string[] = [...settingKeys.filter((key) => key !== "data"), "servers"];
  for (const key of Object.keys(content)) {
    if (allowed.includes(key)) continue;
    const near = nearest(key, allowed);
    throw new FatalError(`unknown setting "${key}" in ${path}`, {
      exitCode: 2,
      hint: near ? `did you mean "${near}"?` : `it may have: ${allowed.join(", ")}`,
    });
  }
  return content;
}

/** @throws {FatalError} exit 2: settings that do not go together */
export function resolveConfig({ values, servers }: Reading): Config {
  const issuer = values.url || `http://localhost:${values.port}`;
  const url = new URL(issuer);
  refuseContradictions(values, url);
  const basePath = url.pathname === "/" ? "" : url.pathname;
  const entries = servers === undefined ? [values] : serverEntries(servers, values);
  const resolved = entries.map((entry): Server => {
    const { path, name, upstream, ...rest } = serverPart(assertConsistent(entry));
    return {
      ...rest,
      path: basePath + path,
      resource: issuer + path,
      name: name || url.host + basePath + path,
      upstream: upstream || undefined,
    };
  });
  const [first, ...rest] = resolved;
  if (!first) throw new FatalError(`"servers" in config.json is empty`, { exitCode: 2 });
  // Who serves https itself has no proxy in front.
  const isDirect = values.tlsCert !== "" || values.acme !== "";
  const trustedProxies = values.trustedProxies === "auto" && isDirect ? [] : values.trustedProxies;
  return {
    ...values,
    issuer,
    origin: url.origin,
    basePath,
    https: url.protocol === "https:",
    loopback: isLoopbackHost(url.hostname),
    hosts: values.host === "" ? ["127.0.0.1", "::1"] : [values.host],
    servers: [first, ...rest],
    trustedProxies,
    isTrustedProxy: networkMatcher(trustedProxies === "auto" ? [] : trustedProxies),
    scopes: [...new Set(resolved.flatMap((server) => server.scopes))],
  };
}

/** @throws {FatalError} exit 2 */
function refuseContradictions(values: Settings, url: URL): void {
  const { host, url: given, tlsCert, tlsKey, acme } = values;
  const refuse = (message: string, hint: string): never => {
    throw new FatalError(message, { exitCode: 2, hint });
  };
  if (host !== "" && !isLoopbackHost(host) && given === "") {
    refuse(
      `listening on ${host} needs the public URL`,
      "add --url https://your.domain, or leave --host out and put a reverse proxy or tunnel in front",
    );
  }
  if ((tlsCert === "") !== (tlsKey === "")) {
    refuse("a certificate goes with its key", "give both --tls-cert and --tls-key");
  }
  if (tlsCert !== "" && url.protocol !== "https:") {
    refuse("a certificate needs a public URL that begins with https", "add --url https://...");
  }
  if (acme === "") return;
  if (tlsCert !== "") {
    refuse("there is a certificate already", "leave out --acme, or --tls-cert and --tls-key");
  }
  if (url.protocol !== "https:" || isLoopbackHost(url.hostname) || isIP(url.hostname) !== 0) {
    refuse("--acme needs a public URL with a domain name", "add --url https://your.domain");
  }
}

type ServerEntry = Pick<Settings, ServerKey>;

/** Without the settings of everything else: a change of those is none of a server, and some of them are secrets. */
const serverPart = (entry: ServerEntry): ServerEntry =>
  Object.fromEntries(serverKeys.map((key) => [key, entry[key]])) as ServerEntry;

function serverEntries(value: unknown, defaults: Settings): ServerEntry[] {
  const refuse = (message: string): never => {
    throw new FatalError(`"servers" in config.json: ${message}`, { exitCode: 2 });
  };
  if (!Array.isArray(value)) return refuse("expected an array of {path, upstream, name, scopes}");
  const entries = value.map((entry: unknown, index): ServerEntry => {
    if (!isObject(entry)) return refuse(`entry ${index + 1} is not an object`);
    const odd = Object.keys(entry).find((key) => !serverKeys.some((known) => known === key));
    if (odd !== undefined) return refuse(`entry ${index + 1} has an unknown member "${odd}"`);
    const members = serverKeys.map((key) => {
      if (entry[key] === undefined && inherited.includes(key)) return [key, defaults[key]];
      try {
        return [key, settings[key].parse(fileText(entry[key] ?? settings[key].fallback, key))];
      } catch (error) {
        return refuse(`"${key}" of entry ${index + 1}: ${reason(error)}`);
      }
    });
    return Object.fromEntries(members) as ServerEntry;
  });
  if (new Set(entries.map((entry) => entry.path)).size < entries.length)
    refuse("two entries have the same path");
  return entries;
}

/** @throws {FatalError} exit 2: what says something about an MCP server that is not there */
function assertConsistent(entry: ServerEntry): ServerEntry {
  const refuse = (message: string, hint: string): never => {
    throw new FatalError(`the server at ${entry.path} has ${message}`, { exitCode: 2, hint });
  };
  const has = (references: References): boolean => Object.keys(references).length > 0;
  if (entry.command && entry.upstream) {
    refuse("a command and an upstream", 'several servers stand in "servers" of config.json');
  }
  const wanted = Object.values(entry.policy).flat();
  const unknown = wanted.find((scope) => !entry.scopes.includes(scope));
  if (unknown !== undefined) {
    refuse(`a policy with the scope ${unknown}, which it does not offer`, "add it to its scopes");
  }
  if (has(entry.headers) && !entry.upstream) {
    refuse("headers and no upstream", "give a command its credentials with env");
  }
  if ((has(entry.env) || entry.workingFolder) && !entry.command) {
    refuse(
      "env or a working folder and no command",
      "give an upstream its credentials with headers",
    );
  }
  return entry;
}

function fileText(value: unknown, key: SettingKey): string {
  // Words of a command may have spaces in them.
  if (Array.isArray(value) && key !== "command") return value.join(" ");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
