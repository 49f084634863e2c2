// The settings as rows of a table, for --help and docs/settings.md.
import { envName, settingKeys, settings } from "../settings.ts";

/** Flag, variable, default, meaning. */
export function settingRows(): {
  flag: string;
  variable: string;
  fallback: string;
  help: string;
}[] {
  return settingKeys.map((key) => {
    const { flag, placeholder, fallback, help } = settings[key];
    return {
      flag: placeholder ? `--${flag} ${placeholder}` : `--${flag}`,
      variable: envName(key),
      fallback: fallback === "false" ? "" : fallback,
      help,
    };
  });
}
