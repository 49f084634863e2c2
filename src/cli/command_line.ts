// The command line: the words of the command, and the settings given by flag.
import { parseArgs } from "node:util";
import { type SettingKey, settingKeys, settings } from "../settings.ts";
import { FatalError, reason } from "../errors.ts";
import { nearest } from "../values.ts";

/** Flags of single commands. */
export const commandFlags = {
  clients: { placeholder: "<names>", help: "clients that you use, separated by commas" },
  as: {
    placeholder: "<client>",
    help: "logs in as this one does: claude, claude-code, chatgpt, cursor, vscode, codex, gemini and others, or all",
  },
  salvage: { placeholder: "<new folder>", help: "write what can be saved into a new folder" },
  force: { placeholder: "", help: "replace the file when there is one" },
  "revoke-all": {
    placeholder: "",
    help: "end every login, API key and browser session in the same step",
  },
  for: {
    placeholder: "<client>",
    help: "claude, chatgpt, vscode, cursor, codex, gemini or inspector",
  },
  redirect: { placeholder: "<uri>", help: "redirect URI of the client" },
  "resource-server": {
    placeholder: "<name>",
    help: "an MCP server on another host, which may introspect tokens",
  },
  server: { placeholder: "<paths>", help: "servers that the key opens, by path [all]" },
  scope: { placeholder: "<words>", help: "scopes that it has there [all]" },
  follow: { placeholder: "", help: "go on with what comes, until interrupted" },
  limit: { placeholder: "<number>", help: "so many of the newest [100, with --follow 20]" },
  level: { placeholder: "<level>", help: "at least as loud: debug, info, warn or error" },
  event: { placeholder: "<name>", help: "of one kind only; docs/audit.md has the names" },
  about: { placeholder: "<text>", help: "with this text in any field: an id, a name, an address" },
  expires: { placeholder: "<time|never>", help: "when it ends, such as 30d [365d]" },
} as const;
export type CommandFlag = keyof typeof commandFlags;

/** The command line without the settings: what remains are the words of the command. */
export interface CommandLine {
  readonly words: readonly string[];
  readonly given: Partial<Record<SettingKey, string>>;
  readonly help: boolean;
  readonly version: boolean;
  readonly json: boolean;
  /** Flags of single commands that were given, with their values; "true" for switches. */
  readonly flags: Partial<Record<CommandFlag, string>>;
}

const commandFlagNames = Object.keys(commandFlags) as CommandFlag[];

/**
 * What stands behind "--" is the command of an MCP server, where one is started.
 * @throws {FatalError} exit 2, naming the word and the nearest flag
 */
export function parseCommandLine(argv: readonly string[]): CommandLine {
  const end = argv.indexOf("--");
  const line = end < 0 ? undefined : parseWords(argv.slice(0, end));
  const [word = "serve", ...others] = line?.words ?? [];
  const starts = others.length === 0 && (word === "serve" || word === "dev");
  if (!line || !starts) return parseWords(argv);
  const command = JSON.stringify(argv.slice(end + 1));
  return end + 1 === argv.length ? line : { ...line, given: { ...line.given, command } };
}

function parseWords(argv: readonly string[]): CommandLine {
  const options = Object.fromEntries([
    ...settingKeys.map((key) => [
      settings[key].flag,
      { type: settings[key].placeholder ? "string" : "boolean" },
    ]),
    ["help", { type: "boolean", short: "h" }],
    ["version", { type: "boolean", short: "V" }],
    ["json", { type: "boolean" }],
    ...commandFlagNames.map((flag) => [
      flag,
      { type: commandFlags[flag].placeholder ? "string" : "boolean" },
    ]),
  ]) as Record<string, { type: "string" | "boolean"; short?: string }>;
  let parsed: { values: Record<string, unknown>; positionals: string[] };
  try {
    parsed = parseArgs({ args: [...argv], options, allowPositionals: true, strict: true });
  } catch (error) {
    throw commandLineError(reason(error), argv, Object.keys(options), error);
  }
  const given: Partial<Record<SettingKey, string>> = {};
  for (const key of settingKeys) {
    const value = parsed.values[settings[key].flag];
    if (value !== undefined) given[key] = String(value);
  }
  const flags: Partial<Record<CommandFlag, string>> = {};
  for (const flag of commandFlagNames) {
    const value = parsed.values[flag];
    if (value !== undefined) flags[flag] = String(value);
  }
  const on = (name: string): boolean => parsed.values[name] === true;
  return {
    words: parsed.positionals,
    given,
    help: on("help"),
    version: on("version"),
    json: on("json"),
    flags,
  };
}

/**
 * The hint to a word that means nothing. `bun start -- npx -y x` is such a line: Bun takes the "--" away that follows the
 * name of a script, so that words before it are needed.
 */
export const unknownWord =
  'see postern --help; an MCP server to start goes behind "serve --", such as: serve -- npx -y some-server';

function commandLineError(
  message: string,
  argv: readonly string[],
  flags: readonly string[],
  cause: unknown,
): FatalError {
  const [, dashes = "", unknown] = /Unknown option '(-*)([^']*)'/.exec(message) ?? [];
  if (unknown === undefined) {
    return new FatalError(message.split(/[.\n]/, 1)[0] ?? message, {
      exitCode: 2,
      hint: "see postern --help",
      cause,
    });
  }
  const id = argv.find((word) => /^-[^-]{2}/.test(word));
  if (id !== undefined) {
    return new FatalError(`unknown flag ${id}`, {
      exitCode: 2,
      hint: `an id that begins with "-" goes last, behind "--": -- ${id}`,
      cause,
    });
  }
  const near = nearest(unknown, flags);
  return new FatalError(`unknown flag ${dashes}${unknown}`, {
    exitCode: 2,
    hint: near ? `did you mean --${near}?` : unknownWord,
    cause,
  });
}
