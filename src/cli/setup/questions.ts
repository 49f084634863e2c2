// The questions of postern setup on a terminal: what is asked, and in which words. The one file that knows the prompts'
// package. Nothing is written here.
import {
  cancel,
  intro,
  isCancel,
  multiselect,
  outro,
  password,
  select,
  text,
} from "@clack/prompts";
import { FatalError, reason } from "../../errors.ts";
import { passwordProblem } from "../../login/owner.ts";
import type { GivenSettings } from "../../settings.ts";
import { commandWords, publicUrl, upstreamUrl } from "../../values.ts";
import { recipes } from "../../clients/recipes.ts";

export interface Answers {
  readonly settings: GivenSettings;
  /** Undefined: it stays as it is. */
  readonly password: string | undefined;
  readonly clients: readonly string[];
}

export interface Known {
  /** Given by flag: not asked. */
  readonly given: GivenSettings;
  /** As config.json has them: shown as what Enter keeps. */
  readonly before: GivenSettings;
  readonly hasOwner: boolean;
  /** Whether a flag says the password, or the clients. */
  readonly password: string | undefined;
  readonly clients: readonly string[] | undefined;
  readonly folder: string;
}

/** Asks what no flag has said. @throws {FatalError} exit 130 when the person leaves */
export async function ask(known: Known): Promise<Answers> {
  const { given, before } = known;
  intro(`Postern keeps everything in ${known.folder}`);
  const url = given.url === undefined ? await askUrl(before.url ?? "") : {};
  const asksServer = [given.upstream, given.command].every((value) => value === undefined);
  const server = asksServer ? await askServer(before) : {};
  const chosen = known.password ?? (known.hasOwner ? undefined : await askPassword());
  const clients = known.clients ?? (await askClients());
  outro("That is all.");
  return { settings: { ...given, ...url, ...server }, password: chosen, clients };
}

/** The answer, or the end. */
async function answered<T>(question: Promise<T>): Promise<Exclude<T, symbol>> {
  const answer = await question;
  if (!isCancel(answer)) return answer as Exclude<T, symbol>;
  cancel("Nothing was changed.");
  throw new FatalError("setup was left", { exitCode: 130 });
}

/** What is wrong with a text, in the parser's words. */
const problemOf =
  (parse: (text: string) => unknown) =>
  (given: string | undefined): string | undefined => {
    try {
      parse((given ?? "").trim());
      return undefined;
    } catch (error) {
      return reason(error);
    }
  };

async function askUrl(before: string): Promise<GivenSettings> {
  const where = await answered(
    select({
      message: "Which clients shall reach it?",
      initialValue: before.startsWith("https:") ? "public" : "local",
      options: [
        { value: "local", label: "Those on this machine", hint: "Claude Code, Codex, Cursor, ..." },
        {
          value: "public",
          label: "Those on the internet too",
          hint: "Claude, ChatGPT: needs an https address",
        },
      ],
    }),
  );
  if (where === "local") return { url: "" };
  const url = await answered(
    text({
      message: "Its public address",
      placeholder: "https://mcp.example.com",
      initialValue: before.startsWith("https:") ? before : "https://",
      validate: problemOf(publicUrl),
    }),
  );
  return { url: publicUrl(url.trim()) };
}

async function askServer(before: GivenSettings): Promise<GivenSettings> {
  const kept = before.upstream ?? before.command;
  const what = await answered(
    select({
      message: "Which MCP server shall it guard?",
      initialValue: before.command ? "command" : kept ? "upstream" : "none",
      options: [
        { value: "none", label: "None yet", hint: "a built-in one with the tool whoami answers" },
        { value: "upstream", label: "One that runs already", hint: "http://..." },
        { value: "command", label: "One that it starts itself", hint: "npx -y ..." },
      ],
    }),
  );
  if (what === "none") return { upstream: "", command: "" };
  const isCommand = what === "command";
  const answer = await answered(
    text({
      message: isCommand ? "Its command" : "Its URL",
      placeholder: isCommand ? "npx -y some-server" : "http://127.0.0.1:3000/mcp",
      initialValue: (isCommand ? before.command : before.upstream) ?? "",
      validate: problemOf(isCommand ? commandWords : upstreamUrl),
    }),
  );
  const value = answer.trim();
  return isCommand ? { command: value, upstream: "" } : { upstream: value, command: "" };
}

async function askPassword(): Promise<string> {
  const chosen = await answered(
    password({
      message: "Your password: with it you let clients in",
      validate: (given) => passwordProblem(given ?? ""),
    }),
  );
  await answered(
    password({
      message: "The same again",
      validate: (given) => (given === chosen ? undefined : "The two passwords differ."),
    }),
  );
  return chosen;
}

const askClients = (): Promise<string[]> =>
  answered(
    multiselect({
      message: "Which clients do you use?",
      required: false,
      options: Object.entries(recipes).map(([value, { title }]) => ({ value, label: title })),
    }),
  );
