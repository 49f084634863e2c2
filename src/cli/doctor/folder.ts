// What the doctor finds in settings and data folder, without a server.
import { existsSync, statfsSync, statSync } from "node:fs";
import { type Config, readConfig, unknownVariables } from "../../config.ts";
import { isLoopbackHost } from "../../values.ts";
import { FatalError } from "../../errors.ts";
import type { GivenSettings } from "../../settings.ts";
import { fileSystemName } from "../../store/filesystem.ts";
import type { Inspection } from "../../store/inspect.ts";
import { examine } from "../check.ts";
import { nextCommand } from "../terminal.ts";
import { type Finding, attention, bad, everyClient, good, hostedClients, note } from "./finding.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/** The configuration as a start would have it; undefined when a start refuses it. */
export function checkSettings(
  given: GivenSettings,
  environment: Environment,
): { config?: Config; findings: Finding[] } {
  const unknown = unknownVariables(environment).map((name) =>
    attention("setting-unknown", `the variable ${name} is not a setting`, {
      fix: ["See postern --help for their names."],
    }),
  );
  try {
    return { config: readConfig(given, environment), findings: unknown };
  } catch (error) {
    if (!(error instanceof FatalError)) throw error;
    const fix = [error.hint ?? "Correct it: the server does not start like this."];
    return { findings: [bad("settings", error.message, { breaks: everyClient, fix }), ...unknown] };
  }
}

/** What its public URL means for a server. */
export function checkUrl(issuer: string): Finding[] {
  const { hostname, protocol } = new URL(issuer);
  if (isLoopbackHost(hostname) && protocol === "http:") {
    const what = `the public URL is ${issuer}: for clients on this machine, not for ${hostedClients.join(" and ")}`;
    return [note("url-loopback", what)];
  }
  if (/\.(trycloudflare\.com|ngrok-free\.app|loca\.lt)$/.test(hostname)) {
    return [
      attention("url-changes", `${hostname} is another one at every start of the tunnel`, {
        breaks: everyClient,
        fix: ["Use a tunnel with a name of its own: docs/deploy.md."],
      }),
    ];
  }
  return [good("url", `the public URL is ${issuer}`)];
}

/** Bytes. */
const ROOM = 16 * 1024 * 1024;

export async function checkDataFolder(path: string, unsafeFolder: boolean): Promise<Finding[]> {
  if (!existsSync(path)) {
    return [note("folder-new", `${path} is not there yet: the first start makes it`)];
  }
  try {
    const found = await examine(path, unsafeFolder, (_folder, inspection) => inspection);
    const findings = [...judged(path, found), ...place(path)];
    return findings.some(({ level }) => level !== "note")
      ? findings
      : [good("folder", `${path} is whole, and yours alone`), ...findings];
  } catch (error) {
    if (!(error instanceof FatalError)) throw error;
    return [refusal(error)];
  }
}

const refusal = ({ message, hint }: FatalError): Finding =>
  bad("folder-refused", message, {
    breaks: everyClient,
    fix: [hint ?? "See postern check."],
  });

/** Said by a start too, and nobody has to do anything about it. */
const harmless = new Set(["torn-tail", "foreign-names", "copied", "new", "restored"]);

/** What mends what a start only tells, by its kind. */
const remedies: Readonly<Record<string, string>> = {
  "loose-modes": "Start the server: it closes them. Or: chmod -R go= on the folder.",
  "network-folder": "Put the data folder on a local disk: --data.",
  tmpfs: "Put the data folder on a disk: --data.",
  container: "Mount a volume there.",
  "synced-folder":
    "Move the data folder out of the synced one, and back it up with postern backup.",
  clock: "Set this machine's clock, and let it follow a time server.",
};

function judged(path: string, { files, notices, start }: Inspection): Finding[] {
  const more = [`See ${nextCommand("check", path)}.`];
  if (start instanceof FatalError) return [refusal(start)];
  return [
    ...notices
      .filter(({ kind }) => !harmless.has(kind))
      .map(({ kind, message }) =>
        attention(`folder-${kind}`, message, { fix: [remedies[kind] ?? more[0] ?? ""] }),
      ),
    ...files.flatMap(({ name, damage }) =>
      damage === undefined
        ? []
        : [attention("folder-damaged", `${name}: ${damage}`, { breaks: everyClient, fix: more })],
    ),
  ];
}

function place(path: string): Finding[] {
  if (process.platform !== "linux") return [];
  const { type, bavail, bsize } = statfsSync(path);
  const system = fileSystemName(type);
  const findings: Finding[] = [];
  if (bavail * bsize < ROOM) {
    findings.push(
      bad("disk-full", `there is no room on the disk of ${path}`, {
        breaks: everyClient,
        fix: ["Make room: nobody can log in or refresh when nothing can be saved."],
      }),
    );
  }
  if (system === "FUSE" || system === "9p") {
    findings.push(
      attention("folder-foreign", `${path} is on ${system}, which may not keep what it was given`, {
        fix: ["Put the data folder on a plain local disk: --data."],
      }),
    );
  } else if (system !== undefined) {
    findings.push(note("folder-disk", `it is on ${system}, with modes ${modes(path)}`));
  }
  return findings;
}

const modes = (path: string): string => (statSync(path).mode & 0o777).toString(8).padStart(4, "0");
