// Reads Prometheus text format 0.0.4 and refuses whatever its description does not allow.

export interface ScrapedSample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface Scraped {
  readonly type: string;
  readonly help: string;
  readonly samples: ScrapedSample[];
}

const name = "[a-zA-Z_:][a-zA-Z0-9_:]*";
const label = String.raw`[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*"`;
const sampleLine = new RegExp(String.raw`^(${name})(?:\{(${label}(?:,${label})*)?\})? (\S+)$`, "u");

/** Families by name. @throws {Error} naming the line that the format does not allow */
export function readExposition(text: string): Map<string, Scraped> {
  if (text !== "" && !text.endsWith("\n")) throw new Error("the last line has no end");
  const families = new Map<string, Scraped>();
  const lines = text.split("\n").slice(0, -1);
  let current: [name: string, family: Scraped] | undefined;
  const seen = new Set<string>();
  for (let index = 0; index < lines.length; index++) {
    const line = lines[index] ?? "";
    const help = new RegExp(`^# HELP (${name}) (.*)$`, "u").exec(line);
    if (help) {
      const [, family = "", words = ""] = help;
      const type = new RegExp(
        `^# TYPE ${family} (counter|gauge|histogram|summary|untyped)$`,
        "u",
      ).exec(lines[++index] ?? "")?.[1];
      if (type === undefined) throw new Error(`no TYPE after: ${line}`);
      if (families.has(family)) throw new Error(`${family} stands in two places`);
      current = [family, { type, help: words, samples: [] }];
      families.set(...current);
      continue;
    }
    const sample = readSample(line);
    if (seen.has(line.replace(/ \S+$/, ""))) throw new Error(`twice: ${line}`);
    seen.add(line.replace(/ \S+$/, ""));
    if (!current || !belongs(sample, current)) throw new Error(`out of its family: ${line}`);
    current[1].samples.push(sample);
  }
  for (const [family, scraped] of families) checkHistogram(family, scraped);
  return families;
}

function readSample(line: string): ScrapedSample {
  const [, sample, labels = "", value] = sampleLine.exec(line) ?? [];
  if (sample === undefined || value === undefined) throw new Error(`not a sample: ${line}`);
  const isNumber = /^([+-]?(\d+(\.\d+)?([eE][+-]?\d+)?|Inf)|NaN)$/.test(value);
  if (!isNumber) throw new Error(`not a number: ${line}`);
  const pairs = [...labels.matchAll(/([a-zA-Z0-9_]+)="((?:[^"\\]|\\.)*)"/gu)].map(
    ([, key = "", text = ""]): [string, string] => [
      key,
      text.replace(/\\(.)/gu, (_, letter: string) => (letter === "n" ? "\n" : letter)),
    ],
  );
  const read = Object.fromEntries(pairs);
  if (Object.keys(read).length !== pairs.length) throw new Error(`a label twice: ${line}`);
  return { name: sample, labels: read, value: Number(value.replace("Inf", "Infinity")) };
}

const belongs = (sample: ScrapedSample, [family, { type }]: [string, Scraped]): boolean =>
  type === "histogram"
    ? [`${family}_bucket`, `${family}_sum`, `${family}_count`].includes(sample.name)
    : sample.name === family;

/** Buckets rise, end in +Inf, and that is the count. */
function checkHistogram(family: string, { type, samples }: Scraped): void {
  if (type !== "histogram") return;
  const series = Map.groupBy(samples, ({ labels }) => JSON.stringify({ ...labels, le: "" }));
  for (const [key, members] of series) {
    const buckets = members.filter((sample) => sample.name.endsWith("_bucket"));
    const bounds = buckets.map(({ labels }) => Number(labels["le"]?.replace("+Inf", "Infinity")));
    const rises = (values: number[]): boolean =>
      values.every((value, index) => index === 0 || value >= (values[index - 1] ?? 0));
    const count = members.find((sample) => sample.name.endsWith("_count"))?.value;
    if (!rises(bounds) || !rises(buckets.map(({ value }) => value)) || bounds.at(-1) !== Infinity)
      throw new Error(`the buckets of ${family}${key} are out of order`);
    if (buckets.at(-1)?.value !== count) throw new Error(`the count of ${family}${key} is wrong`);
  }
}
