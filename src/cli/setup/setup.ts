// postern setup: asks for the public URL, the server, the owner's password and the clients, or takes them from flags, and
// writes them into the data folder. A start needs none of it; setup is for who would rather be asked.
import { existsSync, mkdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import {
  CONFIG_FILE,
  type Config,
  readConfigFile,
  readDataFolder,
  readSettingsWith,
  resolveConfig,
} from "../../config.ts";
import { FatalError, reason } from "../../errors.ts";
import { passwordProblem } from "../../login/owner.ts";
import { type GivenSettings, type SettingKey, settingKeys, settings } from "../../settings.ts";
import { syncFolder } from "../../store/files.ts";
import { writeSnapshot } from "../../store/snapshot.ts";
import { list } from "../../values.ts";
import { callAdmin, callRunning } from "../admin_client.ts";
import { examine } from "../check.ts";
import type { CommandLine } from "../command_line.ts";
import { connectText, findRecipe } from "../connect.ts";
import { show } from "../print.ts";
import { nextCommand } from "../terminal.ts";
import type { Answers, Known } from "./questions.ts";

/** Resolves to the exit code. @throws {FatalError} exit 2, naming the flags that are missing */
export async function setUp(line: CommandLine): Promise<number> {
  const folder = readDataFolder(line.given, process.env);
  const path = join(folder, CONFIG_FILE);
  const before = readConfigFile(path) ?? {};
  const known = await whatIsKnown(line, folder, before);
  const answers = await complete(known);
  for (const name of answers.clients) findRecipe(name);
  const content = merge(before, answers.settings);
  // Before anything is written: settings that no start would take are refused here.
  const config = resolveConfig(readSettingsWith(content, { data: folder }));
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  await writeSnapshot(path, [`${JSON.stringify(content, null, 2)}\n`]);
  syncFolder(folder);
  const isRunning = (await callRunning({ data: folder }, "GET", "/server")) !== undefined;
  if (answers.password !== undefined) {
    await callAdmin(config, "PUT", "/password", { password: answers.password });
  }
  return show(nextSteps(config, answers, { path, isRunning }));
}

async function whatIsKnown(
  { given: flags, flags: own }: CommandLine,
  folder: string,
  before: Record<string, unknown>,
): Promise<Known> {
  const { data: _data, passwordFile, ...given } = flags;
  const owned = await hasOwner(folder);
  return {
    given,
    before: Object.fromEntries(
      settingKeys.flatMap((key) => (typeof before[key] === "string" ? [[key, before[key]]] : [])),
    ),
    hasOwner: owned,
    // A change would end every login: that is postern password's.
    password: passwordFile === undefined || owned ? undefined : await readPassword(passwordFile),
    clients: own.clients === undefined ? undefined : list(own.clients),
    folder,
  };
}

async function hasOwner(folder: string): Promise<boolean> {
  if (!existsSync(folder)) return false;
  return examine(folder, true, (_folder, { holds }) => holds?.owner ?? false);
}

/** Used once, and not remembered: whoever wants the file to decide at every start sets --password-file for serve. */
async function readPassword(file: string): Promise<string> {
  let password: string;
  try {
    password = (await readFile(file, "utf8")).replace(/\r?\n$/, "");
  } catch (error) {
    throw new FatalError(`cannot read the password file: ${reason(error)}`, { exitCode: 2 });
  }
  const problem = passwordProblem(password);
  if (problem === undefined) return password;
  throw new FatalError(`the password in ${file} cannot be used: ${problem}`, { exitCode: 2 });
}

async function complete(known: Known): Promise<Answers> {
  const { given, hasOwner: owned, password, clients = [] } = known;
  if (process.stdin.isTTY && process.stdout.isTTY) {
    const { ask } = await import("./questions.ts");
    return ask(known);
  }
  const missing = [
    ...(given.url === undefined ? ["--url"] : []),
    ...(password === undefined && !owned ? ["--password-file"] : []),
  ];
  if (missing.length === 0) return { settings: given, password, clients };
  throw new FatalError(`without a terminal, setup needs ${missing.join(" and ")}`, {
    exitCode: 2,
    hint: "such as: postern setup --url https://mcp.example.com --upstream http://127.0.0.1:3000/mcp --password-file /run/secrets/postern",
  });
}

/** What stands in the file, with what was answered; an empty answer takes a setting out. */
function merge(before: Record<string, unknown>, answered: GivenSettings): Record<string, unknown> {
  const isServer = (key: SettingKey): boolean => ["upstream", "command"].includes(key);
  const content: Record<string, unknown> = { ...before };
  for (const key of settingKeys) {
    const value = answered[key];
    if (value === undefined) continue;
    if (before["servers"] !== undefined && isServer(key)) {
      if (value === "") continue;
      throw new FatalError(`config.json lists its servers; --${settings[key].flag} is for one`, {
        exitCode: 2,
        hint: "add the new one to servers there",
      });
    }
    if (value === "") delete content[key];
    else content[key] = value;
  }
  return content;
}

function nextSteps(
  config: Config,
  { settings: answered, password, clients }: Answers,
  { path, isRunning }: { path: string; isRunning: boolean },
): string {
  const names = settingKeys.filter((key) => answered[key]);
  const waits = isRunning && settingKeys.some((key) => answered[key] && settings[key].atStart);
  const public_ = config.https && !config.loopback;
  return [
    `wrote ${path}${names.length > 0 ? `: ${names.join(", ")}` : ""}`,
    password === undefined ? "the password stays as it is" : "the password is set",
    "",
    "Next:",
    ...(isRunning
      ? [
          waits
            ? "  restart the server: the public URL and its like are read at start"
            : "  the running server has taken it up",
        ]
      : [`  ${nextCommand("serve", config.data)}`]),
    ...(public_
      ? [
          `  lead ${config.origin} to port ${config.port} with a tunnel or proxy, unless it serves https itself`,
        ]
      : []),
    `  ${nextCommand("doctor", config.data)}`,
    ...clients.flatMap((name) => ["", connectText(findRecipe(name), config.servers)]),
  ].join("\n");
}
