// How findings are printed: group by group while the doctor looks, and what they come to in the end.
import { NO_BREAK, type Mark, type Style } from "../style.ts";
import { counted } from "../../web/text.ts";
import type { Finding, Group, Level } from "./finding.ts";

const marks: Readonly<Record<Level, Mark>> = {
  good: "good",
  note: "none",
  attention: "attention",
  bad: "bad",
  skipped: "none",
};

export const groupText = ({ title, findings }: Group, style: Style): string =>
  [style.bold(title), ...findings.map((finding) => findingText(finding, style)), ""].join("\n");

function findingText({ level, what, breaks = [], fix = [] }: Finding, style: Style): string {
  const names = breaks.map((name) => name.replaceAll(" ", NO_BREAK));
  const quiet = level === "note" || level === "skipped";
  const line = style.wrap(what, 4, `  ${style.mark(marks[level])} `);
  return [
    quiet ? style.dim(line) : line,
    ...(names.length > 0 ? [style.wrap(names.join(", "), 12, `    ${style.dim("breaks")}  `)] : []),
    ...fix.map((step, index) =>
      style.wrap(step, 12, index === 0 ? `    ${style.dim("fix")}     ` : " ".repeat(12)),
    ),
  ].join("\n");
}

export const count = (groups: readonly Group[], level: Level): number =>
  groups.flatMap(({ findings }) => findings).filter((finding) => finding.level === level).length;

export function verdictText(groups: readonly Group[], style: Style): string {
  const [problems, warnings] = [count(groups, "bad"), count(groups, "attention")];
  if (problems + warnings === 0) return `${style.mark("good")} everything is well`;
  return [
    ...(problems > 0 ? [`${style.mark("bad")} ${counted(problems, "problem")}`] : []),
    ...(warnings > 0
      ? [`${style.mark("attention")} ${counted(warnings, "thing to look at", "things to look at")}`]
      : []),
  ].join("  ");
}
