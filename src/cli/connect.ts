// postern connect: what to paste or click in each client, with the real address filled in. The table is clients/recipes.ts.
import type { ServerRow } from "../admin/server.ts";
import { type Config, readConfig } from "../config.ts";
import { FatalError } from "../errors.ts";
import { isObject } from "../json.ts";
import { didYouMean, isLoopbackHost } from "../values.ts";
import { entryName } from "../web/connect_page.ts";
import { type Recipe, type Step, recipes } from "../clients/recipes.ts";
import { callRunning } from "./admin_client.ts";
import type { CommandLine } from "./command_line.ts";
import { show } from "./print.ts";

/** @throws {FatalError} exit 2, naming the nearest */
export function findRecipe(word: string): Recipe {
  const words = Object.keys(recipes);
  const found = words.includes(word) ? recipes[word] : undefined;
  if (found) return found;
  throw new FatalError(`there is no client ${word}`, {
    exitCode: 2,
    hint: didYouMean(word, words),
  });
}

/** A sentence without its marks; a link as its name and address. */
const plain = (text: string): string =>
  text
    .replace(/\[([^\]]+)\]\(([^)]+)\)/g, "$1 ($2)")
    .replaceAll("**", "")
    .replaceAll("`", "");

/** The lines of a step; those to be pasted begin with blanks. What only a browser can press has none. */
export function stepLines(step: Step): readonly string[] {
  if ("press" in step) return [];
  if ("say" in step) return [plain(step.say)];
  const { paste } = step;
  if (typeof paste === "string") return paste.split("\n").map((line) => `  ${line}`);
  return [`  ${"json" in paste ? JSON.stringify(paste.json) : paste.join(" ")}`];
}

const jsonOf = (step: Step | undefined): unknown =>
  step && "paste" in step && isObject(step.paste) && "json" in step.paste
    ? step.paste.json
    : undefined;

/** One piece of JSON with the members of both. */
const merged = (one: unknown, other: unknown): unknown =>
  isObject(one) && isObject(other)
    ? Object.fromEntries(
        [...new Set([...Object.keys(one), ...Object.keys(other)])].map((key) => [
          key,
          merged(one[key], other[key]),
        ]),
      )
    : (one ?? other);

/** The steps for each server in turn; those that go into one file at once, as one piece of JSON for all. */
function stepsForAll(each: readonly (readonly Step[])[]): readonly Step[] {
  const [first = []] = each;
  if (!first.some(jsonOf)) return each.flat();
  return first.flatMap((step, index): readonly Step[] => {
    if ("say" in step) return [step];
    const same = each.flatMap((steps) => steps[index] ?? []);
    return jsonOf(step) === undefined
      ? same
      : [{ paste: { json: same.map(jsonOf).reduce(merged) } }];
  });
}

type Named = Pick<Config["servers"][number], "name" | "resource">;

/** What to do in one client, for each server. */
export function connectText(recipe: Recipe, servers: readonly Named[]): string {
  const url = new URL(servers[0]?.resource ?? "");
  const away = recipe.hosted && isLoopbackHost(url.hostname);
  const steps = stepsForAll(
    servers.map((server) => recipe.steps(entryName(server), server.resource)),
  );
  const lines = away
    ? [`It runs elsewhere and cannot reach ${url.host}: give this server a public https URL first.`]
    : steps.flatMap(stepLines);
  return [recipe.title, ...lines.map((line) => `  ${line}`)].join("\n");
}

/** Resolves to the exit code. */
export async function connect(line: CommandLine, [asked]: readonly string[]): Promise<number> {
  const clients = asked === undefined ? Object.values(recipes) : [findRecipe(asked)];
  const config = readConfig(line.given, process.env);
  const running = await callRunning<ServerRow>(config, "GET", "/server");
  const { servers } = running ?? config;
  if (line.json) {
    const rows = servers.map(({ name, resource }) => ({ name, url: resource }));
    return show(JSON.stringify(rows, null, 2));
  }
  return show(clients.map((client) => connectText(client, servers)).join("\n\n"));
}
