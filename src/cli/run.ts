// From the words of the command line to a command, and from errors to one line and an exit code.
import { readConfig, readDataFolder, readSettings, unknownVariables } from "../config.ts";
import { FatalError, reason } from "../errors.ts";
import { settingRows } from "../settings/rows.ts";
import { finishBefore } from "../store/restore.ts";
import { nearest } from "../values.ts";
import { version } from "../../package.json";
import {
  type CommandFlag,
  type CommandLine,
  commandFlags,
  parseCommandLine,
  unknownWord,
} from "./command_line.ts";
import { addClient } from "./add_client.ts";
import { audit } from "./audit.ts";
import { listAttempts } from "./attempts.ts";
import { listClients, purgeClients, removeClient, renameClient, showClient } from "./clients.ts";
import {
  listGrants,
  narrowGrant,
  purgeGrants,
  renameGrant,
  revokeGrant,
  showGrant,
} from "./grants.ts";
import { addKey, listKeys, purgeKeys, renameKey, revokeKey, showKey } from "./keys.ts";
import { endSession, listSessions, purgeSessions, revokeAll, setPassword } from "./owner_verbs.ts";
import { completionScript } from "./completion.ts";
import { connect } from "./connect.ts";
import { serve } from "./serve.ts";
import { listServers } from "./servers.ts";
import { warn } from "./terminal.ts";

type Command = (line: CommandLine, words: readonly string[]) => Promise<number>;

const withConfig =
  (
    command: (
      config: ReturnType<typeof readConfig>,
      words: readonly string[],
      json: boolean,
    ) => Promise<number>,
  ): Command =>
  (line, words) =>
    command(readConfig(line.given, process.env), words, line.json);

interface Entry {
  /** Words that select the command; the first match wins. */
  readonly words: readonly string[];
  readonly parameters: string;
  /** Flags that it takes besides the settings. */
  readonly flags?: readonly CommandFlag[];
  readonly help: string;
  readonly command: Command;
}

// prettier-ignore
const commands: readonly Entry[] = [
  { words: ["serve"], parameters: "", help: "start the server (the default)", command: start },
  { words: ["dev"], parameters: "", help: "start with a temporary folder and a printed password, to try things out", command: dev },
  { words: ["setup"], parameters: "", flags: ["clients"], help: "ask for public URL, MCP server, password and clients, and write them down; or take them from flags", command: setup },
  { words: ["connect"], parameters: "[client]", help: "say what to paste or click in a client", command: connect },
  { words: ["clients", "show"], parameters: "<id>", help: "say what is known of a client", command: withConfig(showClient) },
  { words: ["clients", "rename"], parameters: "<id> <name>", help: "give a client a name of your own", command: withConfig(renameClient) },
  { words: ["clients", "remove"], parameters: "<id>", help: "remove a client and end its logins", command: withConfig(removeClient) },
  { words: ["clients", "purge"], parameters: "", help: "remove every client that registered itself and has no login", command: withConfig(purgeClients) },
  { words: ["clients", "add"], parameters: "", flags: ["for", "redirect", "resource-server"], help: "register a client by hand and say what to paste where", command: add },
  { words: ["clients"], parameters: "", help: "list registered clients", command: withConfig(listClients) },
  { words: ["grants", "show"], parameters: "<id>", help: "say what is known of a login", command: withConfig(showGrant) },
  { words: ["grants", "rename"], parameters: "<id> <name>", help: "give a login a name of your own", command: withConfig(renameGrant) },
  { words: ["grants", "tools"], parameters: "<id> <tools>", help: "what a login may call: all, read-only, or names with commas", command: withConfig(narrowGrant) },
  { words: ["grants", "revoke"], parameters: "<id>", help: "end one login", command: withConfig(revokeGrant) },
  { words: ["grants", "purge"], parameters: "", help: "take away logins that ended by themselves", command: withConfig(purgeGrants) },
  { words: ["grants"], parameters: "", help: "list logins: which client, since when, from where", command: withConfig(listGrants) },
  { words: ["keys", "show"], parameters: "<id>", help: "say what is known of an API key", command: withConfig(showKey) },
  { words: ["keys", "add"], parameters: "<name>", flags: ["server", "scope", "expires"], help: "make an API key for a client that can only send a header", command: addKey },
  { words: ["keys", "rename"], parameters: "<id> <name>", help: "give an API key another name", command: withConfig(renameKey) },
  { words: ["keys", "revoke"], parameters: "<id>", help: "end an API key", command: withConfig(revokeKey) },
  { words: ["keys", "purge"], parameters: "", help: "take away API keys that have expired", command: withConfig(purgeKeys) },
  { words: ["keys"], parameters: "", help: "list API keys", command: withConfig(listKeys) },
  { words: ["servers"], parameters: "", help: "list the servers behind: whether they answer or run, last errors", command: withConfig(listServers) },
  { words: ["sessions", "revoke"], parameters: "<id>", help: "sign a browser out", command: withConfig(endSession) },
  { words: ["sessions", "purge"], parameters: "", help: "sign every browser out", command: withConfig(purgeSessions) },
  { words: ["sessions"], parameters: "", help: "list browsers that are signed in", command: withConfig(listSessions) },
  { words: ["attempts"], parameters: "", help: "list clients that tried to connect: how far each came, and what to try", command: withConfig(listAttempts) },
  { words: ["audit"], parameters: "", flags: ["follow", "limit", "level", "event", "about"], help: "print the audit trail", command: audit },
  { words: ["revoke-all"], parameters: "", help: "end every login, API key and browser session", command: withConfig(revokeAll) },
  { words: ["doctor"], parameters: "[URL]", flags: ["as"], help: "look at everything from the outside in, and say what breaks which client", command: doctor },
  { words: ["check"], parameters: "", flags: ["salvage"], help: "say what is in the data folder, what is damaged, what a start would do", command: check },
  { words: ["backup"], parameters: "<file>", flags: ["force"], help: "write a .tar.gz of the data folder, or a folder when it ends in /; the server may run", command: backup },
  { words: ["restore"], parameters: "<file>", flags: ["revoke-all"], help: "put a backup, or any copy of a data folder, in place of the data folder", command: restore },
  { words: ["password"], parameters: "", help: "set the owner's password; ends every login when there was one", command: withConfig(setPassword) },
  { words: ["completion"], parameters: "<shell>", help: "print a script that lets bash complete all this", command: complete },
];

/** Runs one command line and resolves to its exit code. */
export async function run(argv: readonly string[]): Promise<number> {
  try {
    const line = parseCommandLine(argv);
    if (line.version) return print(`postern ${version}`);
    if (line.help || line.words[0] === "help") return print(helpText());
    const { command, rest } = findCommand(line);
    for (const name of unknownVariables(process.env)) {
      warn(`the variable ${name} is not a setting`);
    }
    return await command(line, rest);
  } catch (error) {
    const known = error instanceof FatalError;
    process.stderr.write(`postern: error: ${reason(error)}\n`);
    if (known && error.hint !== undefined) process.stderr.write(`postern: hint: ${error.hint}\n`);
    if (!known && error instanceof Error) process.stderr.write(`${error.stack ?? ""}\n`);
    return known ? error.exitCode : 1;
  }
}

/**
 * The command that a line means, and the words that it is given.
 * @throws {FatalError} exit 2: there is no such command, or it takes other words or flags
 */
export function findCommand(line: CommandLine): { command: Command; rest: readonly string[] } {
  const words =
    line.words.length === 0
      ? ["serve"]
      : line.words.filter((word, index) => !(word === "list" && index === 1));
  const entry = commands.find(({ words: selectors }) =>
    selectors.every((word, index) => words[index] === word),
  );
  if (!entry) throw unknownCommand(words[0] ?? "");
  const rest = words.slice(entry.words.length);
  const parameters = entry.parameters.split(" ").filter(Boolean);
  const needed = parameters.filter((each) => !each.startsWith("["));
  if (rest.length < needed.length || rest.length > parameters.length) {
    throw new FatalError(
      `postern ${entry.words.join(" ")} takes ${entry.parameters || "no more words"}`,
      { exitCode: 2, hint: hintFor(entry, rest) },
    );
  }
  assertFlags(entry, line);
  return { command: entry.command, rest };
}

/** A word behind a list is probably a mistyped verb of it. */
function hintFor({ words, parameters }: Entry, [word = ""]: readonly string[]): string {
  const verbs = commands.flatMap((each) =>
    each.words[0] === words[0] ? each.words.slice(words.length) : [],
  );
  const near = parameters === "" ? nearest(word, verbs) : undefined;
  return near ? `did you mean postern ${words.join(" ")} ${near}?` : "see postern --help";
}

async function start({ given }: CommandLine): Promise<number> {
  await finishBefore(readDataFolder(given, process.env));
  return serve(() => readSettings(given, process.env));
}

function add(line: CommandLine): Promise<number> {
  return addClient(readConfig(line.given, process.env), line);
}

async function complete(_line: CommandLine, [shell = ""]: readonly string[]): Promise<number> {
  return print(completionScript(shell, commands).trimEnd());
}

async function setup(line: CommandLine): Promise<number> {
  const { setUp } = await import("./setup/setup.ts");
  return setUp(line);
}

async function doctor(line: CommandLine, [url]: readonly string[]): Promise<number> {
  const { doctor: look } = await import("./doctor/doctor.ts");
  return look(line, url);
}

async function dev(line: CommandLine): Promise<number> {
  const { dev: start } = await import("./dev.ts");
  return start(line.given);
}

async function check({ given, json, flags }: CommandLine): Promise<number> {
  if (flags.salvage !== undefined) {
    const { salvageFolder } = await import("./salvage.ts");
    return salvageFolder(given, flags.salvage);
  }
  const { check: report } = await import("./check.ts");
  return report(given, json);
}

async function backup({ given, flags }: CommandLine, [file = ""]: readonly string[]) {
  const { backup: write } = await import("./backup.ts");
  return write(given, file, flags.force !== undefined);
}

async function restore({ given, flags }: CommandLine, [file = ""]: readonly string[]) {
  const { restore: put } = await import("./restore.ts");
  return put(given, file, flags["revoke-all"] !== undefined);
}

function assertFlags({ words, flags = [] }: Entry, line: CommandLine): void {
  const known: readonly string[] = flags;
  const odd = Object.keys(line.flags).find((flag) => !known.includes(flag));
  if (odd === undefined) return;
  throw new FatalError(`postern ${words.join(" ")} takes no --${odd}`, {
    exitCode: 2,
    hint: "see postern --help",
  });
}

function unknownCommand(word: string): FatalError {
  const near = nearest(
    word,
    commands.flatMap(({ words }) => words.slice(0, 1)),
  );
  return new FatalError(`unknown command ${word}`, {
    exitCode: 2,
    hint: near ? `did you mean postern ${near}?` : unknownWord,
  });
}

function print(text: string): number {
  process.stdout.write(`${text}\n`);
  return 0;
}

/** Text of --help; every setting comes from the one table. */
export function helpText(): string {
  const width = 34;
  const row = (left: string, right: string): string =>
    left.length >= width
      ? `  ${left}\n${" ".repeat(width + 2)}${right}`
      : `  ${left.padEnd(width)}${right}`;
  return [
    "Postern puts OAuth 2.1 in front of a personal MCP server.",
    "",
    "usage: postern [command] [settings] [-- program and arguments of an MCP server]",
    "",
    "commands",
    ...commands.flatMap(({ words, parameters, help, flags = [] }) => [
      row(`${words.join(" ")} ${parameters}`.trim(), help),
      ...flags.map((flag) => {
        const { placeholder, help: meaning } = commandFlags[flag];
        return row(`  --${flag} ${placeholder}`.trimEnd(), meaning);
      }),
    ]),
    "",
    "settings (flag, else variable, else data/config.json, else default)",
    ...settingRows().map(({ flag, variable, fallback, help }) =>
      row(flag, `${help}${fallback ? ` [${fallback}]` : ""} (${variable})`),
    ),
    "",
    "  --json                            lists as JSON",
    "  --version, --help",
  ].join("\n");
}
