// postern doctor: looks at a server from the outside in, and says what is wrong, which clients that breaks and what mends
// it. Beside the server it looks at everything; from elsewhere, at what the public URL shows.
import type { BegunCheckup } from "../../admin/checkup.ts";
import type { ClientShape } from "../../clients/shape.ts";
import { clientShapes } from "../../clients/shapes.ts";
import { type Config, readDataFolder } from "../../config.ts";
import { FatalError } from "../../errors.ts";
import { didYouMean } from "../../values.ts";
import { callRunning } from "../admin_client.ts";
import type { CommandLine } from "../command_line.ts";
import { styleOf } from "../style.ts";
import { asker } from "./ask.ts";
import { checkAgents } from "./bots.ts";
import { checkChallenges, checkDocuments, checkUnknownDocuments } from "./discovery.ts";
import { type Finding, type Group, skipped } from "./finding.ts";
import { checkDataFolder, checkSettings, checkUrl } from "./folder.ts";
import { checkLogins, plainClient } from "./login.ts";
import { checkName } from "./name.ts";
import { lookFromElsewhere } from "./elsewhere.ts";
import { checkHops, checkPages, checkPassage, checkStream } from "./passage.ts";
import { checkReach } from "./reach.ts";
import { count, groupText, verdictText } from "./report.ts";
import { checkPort, meetServer } from "./server.ts";
import type { Target } from "./target.ts";

/** Told of each group when it is complete. */
export type Tell = (title: string, findings: readonly Finding[]) => void;

/** Resolves to the exit code: 0 all is well, 1 something is not. */
export async function doctor(line: CommandLine, typed: string | undefined): Promise<number> {
  const shapes = shapesFor(line.flags.as);
  const url = typed === undefined ? undefined : readUrl(typed);
  const style = styleOf(process.stdout, process.env);
  const groups: Group[] = [];
  const tell: Tell = (title, findings) => {
    if (findings.length === 0) return;
    groups.push({ title, findings });
    if (!line.json) process.stdout.write(`${groupText({ title, findings }, style)}\n`);
  };
  await look(line, url, shapes, tell);
  const exitCode = count(groups, "bad") + count(groups, "attention") > 0 ? 1 : 0;
  const text = line.json
    ? JSON.stringify({ groups, exit_code: exitCode }, null, 2)
    : verdictText(groups, style);
  process.stdout.write(`${text}\n`);
  return exitCode;
}

function shapesFor(word: string | undefined): ClientShape[] {
  if (word === undefined) return [plainClient];
  // Whose document is another one for every connection cannot be asked for.
  const known = clientShapes.filter(({ identity }) => !("keys" in identity));
  if (word === "all") return known.filter(({ identity }) => identity.by === "registration");
  const found = known.filter((shape) => shape.word === word);
  if (found.length > 0) return found;
  const words = [...new Set(clientShapes.map((shape) => shape.word))];
  throw new FatalError(`there is no client ${word}`, {
    exitCode: 2,
    hint: didYouMean(word, words),
  });
}

function readUrl(typed: string): URL {
  const url = URL.parse(typed.includes("://") ? typed : `https://${typed}`);
  if (url && /^https?:$/.test(url.protocol)) return url;
  throw new FatalError(`${typed} is not a URL`, {
    exitCode: 2,
    hint: "such as https://mcp.example.com",
  });
}

async function look(
  line: CommandLine,
  url: URL | undefined,
  shapes: readonly ClientShape[],
  tell: Tell,
): Promise<void> {
  const { config, findings } = checkSettings(line.given, process.env);
  const data = config?.data ?? readDataFolder(line.given, process.env);
  const meeting = meetServer(data);
  const end = async (): Promise<void> => {
    const { checkup: begun } = await meeting;
    if (begun) await callRunning({ data }, "DELETE", `/checkups/${begun.key}`);
  };
  process.once("SIGINT", () => void end().finally(() => process.exit(130)));
  const met = await meeting;
  const { checkup } = met;
  const isOther = url !== undefined && !isHere(url, checkup, config);
  try {
    if (isOther) {
      await lookFromElsewhere(url, tell);
      return;
    }
    const issuer = checkup?.issuer ?? config?.issuer;
    tell("Settings", [...(issuer === undefined ? [] : checkUrl(issuer)), ...findings]);
    tell("Data folder", await checkDataFolder(data, config?.unsafeFolder ?? false));
    tell("Server", [
      ...met.findings,
      ...(checkup ? await checkPort(checkup, asker(checkup.key)) : []),
    ]);
    if (checkup) await lookAtOwn(checkup, url, shapes, tell);
    else if (config && !config.loopback)
      await lookFromElsewhere(new URL(config.servers[0].resource), tell);
  } finally {
    await end();
  }
}

/** Whether a URL belongs to the server of this folder: then everything can be looked at. */
const isHere = (
  url: URL,
  checkup: BegunCheckup | undefined,
  config: Config | undefined,
): boolean => {
  const issuer = checkup?.issuer ?? config?.issuer;
  return issuer !== undefined && new URL(issuer).host === url.host;
};

async function lookAtOwn(
  checkup: BegunCheckup,
  url: URL | undefined,
  shapes: readonly ClientShape[],
  tell: Tell,
): Promise<void> {
  const { origin } = new URL(checkup.issuer);
  const name = await checkName(origin);
  tell("Name and certificate", name.findings);
  if (!name.reachable) return;
  const named = checkup.servers.find(({ path }) => path === url?.pathname.replace(/\/+$/, ""));
  const server = named ?? checkup.servers[0];
  if (!server) return;
  const target: Target = {
    ask: asker(checkup.key),
    origin,
    resource: server.resource,
    checkup,
  };
  const { findings, passage } = await checkReach(target, checkup);
  tell("Way in", [
    ...findings,
    ...(passage ? checkPassage(passage, checkup) : []),
    ...(passage ? await checkHops(target, checkup, passage) : []),
    ...(passage ? await checkStream(target, checkup) : []),
  ]);
  tell("Discovery", [
    ...(await checkDocuments(target, checkup.documents)),
    ...(await checkUnknownDocuments(target, checkup.documents)),
    ...(await checkChallenges(target)),
    ...(await checkPages(target)),
  ]);
  if (passage) tell("Clients", await checkAgents(target, checkup));
  const login = passage
    ? await checkLogins(target, checkup, shapes)
    : [skipped("login", "no login was tried: this server is not reached")];
  tell("Login", login);
}
