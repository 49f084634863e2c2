// postern completion: a script that lets bash complete commands, flags and the words that they take. Made from the table of
// commands and the settings, so it knows what they know.
import { eventNames } from "../audit/events.ts";
import { FatalError } from "../errors.ts";
import { settingKeys, settings } from "../settings.ts";
import { recipes } from "../clients/recipes.ts";
import { levels } from "../values.ts";
import { type CommandFlag, commandFlags } from "./command_line.ts";

/** What completion has to know of a command. */
export interface Completed {
  readonly words: readonly string[];
  readonly parameters: string;
  readonly flags?: readonly CommandFlag[];
}

const everywhere = ["--json", "--help", "--version"];

/** Words that a flag or a parameter takes; "files" for names of files. */
const flagWords: Readonly<Partial<Record<CommandFlag, readonly string[] | "files">>> = {
  salvage: "files",
  for: Object.entries(recipes).flatMap(([word, { byHand }]) => (byHand ? [word] : [])),
  level: levels,
  event: eventNames,
  expires: ["30d", "90d", "365d", "never"],
};
const parameterWords: Readonly<Record<string, readonly string[] | "files">> = {
  "<file>": "files",
  "[client]": Object.keys(recipes),
  "<shell>": ["bash"],
};

/** What a placeholder tells: "<on|off>", "<file>". */
function wordsOf(placeholder: string): readonly string[] | "files" | undefined {
  if (/^<(?:file|folder)>$/.test(placeholder)) return "files";
  return placeholder.includes("|") ? placeholder.slice(1, -1).split("|") : undefined;
}

interface Valued {
  readonly flag: string;
  readonly words: readonly string[] | "files" | undefined;
}

const valuedFlags = (): Valued[] => [
  ...settingKeys.flatMap((key) => {
    const { flag, placeholder } = settings[key];
    return placeholder ? [{ flag: `--${flag}`, words: wordsOf(placeholder) }] : [];
  }),
  ...(Object.keys(commandFlags) as CommandFlag[]).flatMap((flag) => {
    const { placeholder } = commandFlags[flag];
    return placeholder ? [{ flag: `--${flag}`, words: flagWords[flag] }] : [];
  }),
];

/** `compgen` over words, or over the names of files. */
const reply = (words: readonly string[] | "files"): string =>
  words === "files"
    ? `compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- "$current"))`
    : `COMPREPLY=($(compgen -W "${words.join(" ")}" -- "$current"))`;

/** One branch of a `case`: what may stand behind these words. */
function branch(before: string, commands: readonly Completed[]): string {
  const depth = before === "" ? 0 : before.split(" ").length;
  const here = commands.filter(({ words }) => before === words.slice(0, depth).join(" "));
  const next = [...new Set(here.flatMap(({ words }) => words[depth] ?? []))];
  const own = here.find(({ words }) => words.length === depth);
  const flags = (own?.flags ?? []).map((flag) => `--${flag}`);
  const parameter = parameterWords[own?.parameters ?? ""];
  const words = [...next, ...(Array.isArray(parameter) ? parameter : [])];
  const files = parameter === "files" ? `; files=yes` : "";
  return `    "${before}") words="${words.join(" ")}"; flags="${flags.join(" ")}"${files} ;;`;
}

/** @throws {FatalError} exit 2 for a shell that there is no script for */
export function completionScript(shell: string, commands: readonly Completed[]): string {
  if (shell !== "bash") {
    throw new FatalError(`there is no completion for ${shell}`, {
      exitCode: 2,
      hint: "postern completion bash; zsh takes that one after: autoload -U bashcompinit && bashcompinit",
    });
  }
  const valued = valuedFlags();
  const known = valued.filter(({ words }) => words !== undefined);
  const prefixes = commands.flatMap(({ words }) =>
    words.map((_, index) => words.slice(0, index + 1).join(" ")),
  );
  const flags = settingKeys.map((key) => `--${settings[key].flag}`);
  return `# Completion for bash: source <(postern completion bash)
_postern() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}"
  local before="" word="" words="" flags="" files="" skip="" index
  case "$previous" in
${known.map(({ flag, words }) => `    ${flag}) ${reply(words ?? [])}; return ;;`).join("\n")}
    ${valued.map(({ flag }) => flag).join("|")}) COMPREPLY=(); return ;;
  esac
  for ((index = 1; index < COMP_CWORD; index++)); do
    word="\${COMP_WORDS[index]}"
    if [[ -n $skip ]]; then skip=""; continue; fi
    case "$word" in
      ${valued.map(({ flag }) => flag).join("|")}) skip=yes ;;
      -*) ;;
      *) before="\${before:+$before }$word" ;;
    esac
  done
  case "$before" in
${["", ...new Set(prefixes)].map((before) => branch(before, commands)).join("\n")}
  esac
  if [[ $current == -* ]]; then
    words="$flags ${[...everywhere, ...flags].join(" ")}"
  elif [[ -n $files ]]; then
    ${reply("files")}; return
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -F _postern postern
`;
}
