// Counting for Prometheus, and its text format 0.0.4. What is counted costs who is counted a few additions and no memory;
// what can be asked for is asked at a scrape. Who counts what is the callers'.

export type Labels = Readonly<Record<string, string>>;

export interface Sample {
  readonly labels?: Labels;
  readonly value: number;
  /** Of a histogram: "_bucket", "_sum" or "_count". */
  readonly suffix?: string;
}

/** Samples of one name; names end in the unit, counters in _total. */
export interface Family {
  readonly name: string;
  readonly type: "counter" | "gauge" | "histogram";
  readonly help: string;
  readonly samples: readonly Sample[];
}

export interface RouteCounts {
  /** @param milliseconds until the answer began */
  count(status: number, milliseconds: number): void;
}

export interface Metrics {
  /** The counts of one route: of every call with the same words the same. */
  route(method: string, route: string): RouteCounts;
  /** Counts something of which there is a fixed number of names. */
  event(name: string): void;
  /** Adds what is asked for at every scrape. */
  collect(source: () => readonly Family[] | Promise<readonly Family[]>): void;
  /** All of it, in the text format. */
  text(): Promise<string>;
}

/** Upper bounds in milliseconds: from an answer out of memory to a tool that works for a while. */
const bounds = [1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000];

interface CountedRoute extends RouteCounts {
  readonly labels: Labels;
  readonly codes: ReadonlyMap<number, number>;
  /** One more than bounds: the last has what is above all of them. */
  readonly buckets: Float64Array;
  /** Milliseconds. */
  readonly sum: () => number;
}

export function createMetrics(): Metrics {
  const routes = new Map<string, CountedRoute>();
  const events = new Map<string, number>();
  const sources: Parameters<Metrics["collect"]>[0][] = [];
  return {
    route: (method, route) => {
      const key = `${method} ${route}`;
      const known = routes.get(key) ?? countedRoute({ method, route });
      routes.set(key, known);
      return known;
    },
    event: (name) => void events.set(name, (events.get(name) ?? 0) + 1),
    collect: (source) => void sources.push(source),
    text: async () => {
      const collected = await Promise.all(sources.map((source) => source()));
      const counted = [...routes.values()].filter(({ codes }) => codes.size > 0);
      return expositionText([
        ...requestFamilies(counted),
        {
          name: "postern_events_total",
          type: "counter",
          help: "Events of the audit trail.",
          samples: Array.from(events, ([event, value]) => ({ labels: { event }, value })),
        },
        ...collected.flat(),
      ]);
    },
  };
}

function countedRoute(labels: Labels): CountedRoute {
  const codes = new Map<number, number>();
  const buckets = new Float64Array(bounds.length + 1);
  let sum = 0;
  return {
    labels,
    codes,
    buckets,
    sum: () => sum,
    count: (status, milliseconds) => {
      codes.set(status, (codes.get(status) ?? 0) + 1);
      let bucket = 0;
      while (bucket < bounds.length && milliseconds > (bounds[bucket] ?? 0)) bucket++;
      buckets[bucket] = (buckets[bucket] ?? 0) + 1;
      sum += milliseconds;
    },
  };
}

function requestFamilies(routes: readonly CountedRoute[]): Family[] {
  return [
    {
      name: "postern_http_requests_total",
      type: "counter",
      help: "Requests by route and status.",
      samples: routes.flatMap(({ labels, codes }) =>
        Array.from(codes, ([code, value]) => ({ labels: { ...labels, code: `${code}` }, value })),
      ),
    },
    {
      name: "postern_http_request_duration_seconds",
      type: "histogram",
      help: "Time until the answer began.",
      samples: routes.flatMap(histogramSamples),
    },
  ];
}

function histogramSamples({ labels, buckets, sum }: CountedRoute): Sample[] {
  let total = 0;
  const cumulated = Array.from(buckets, (value, index): Sample => {
    total += value;
    const bound = bounds[index];
    const le = bound === undefined ? "+Inf" : `${bound / 1000}`;
    return { suffix: "_bucket", labels: { ...labels, le }, value: total };
  });
  return [
    ...cumulated,
    { suffix: "_sum", labels, value: sum() / 1000 },
    { suffix: "_count", labels, value: total },
  ];
}

/** Prometheus text format 0.0.4: every family once, its HELP and TYPE before its samples, a line feed at the end. */
export function expositionText(families: readonly Family[]): string {
  return families
    .filter(({ samples }) => samples.length > 0)
    .map(({ name, type, help, samples }) =>
      [
        `# HELP ${name} ${help.replaceAll("\\", "\\\\").replaceAll("\n", "\\n")}\n`,
        `# TYPE ${name} ${type}\n`,
        ...samples.map(
          ({ suffix = "", labels = {}, value }) =>
            `${name}${suffix}${labelText(labels)} ${valueText(value)}\n`,
        ),
      ].join(""),
    )
    .join("");
}

function labelText(labels: Labels): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escaped(value)}"`);
  return pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
}

const escaped = (value: string): string =>
  value.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll('"', '\\"');

const valueText = (value: number): string =>
  value === Infinity ? "+Inf" : value === -Infinity ? "-Inf" : String(value);

export const metricsResponse = async (metrics: Metrics): Promise<Response> =>
  new Response(await metrics.text(), {
    headers: {
      "content-type": "text/plain; version=0.0.4; charset=utf-8",
      "cache-control": "no-store",
    },
  });
