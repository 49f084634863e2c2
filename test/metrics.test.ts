// The text that a scrape gets, read as strictly as its format is written, and what counting costs.
import { heapStats } from "bun:jsc";
import { describe, expect, test } from "bun:test";
import { type Family, createMetrics, expositionText } from "../src/metrics.ts";
import { startServer } from "./server.ts";
import { type Scraped, readExposition } from "./exposition.ts";

const gauge = (labels: Record<string, string>, value: number): Family => ({
  name: "a_gauge",
  type: "gauge",
  help: "One.",
  samples: [{ labels, value }],
});

describe("text format 0.0.4", () => {
  test("a family has HELP and TYPE once, then its samples, each on a line", () => {
    const text = expositionText([
      { ...gauge({}, 1), samples: [{ labels: { a: "x" }, value: 1 }, { value: 2.5 }] },
    ]);
    expect(text).toBe('# HELP a_gauge One.\n# TYPE a_gauge gauge\na_gauge{a="x"} 1\na_gauge 2.5\n');
  });

  test.each(['"', "\\", "\n", '\\n"\\\\', "\u00e9\u{1f600}", "{}=, #", ""])(
    "the label value %j comes back as it was",
    (value) => {
      const read = readExposition(expositionText([gauge({ name: value, other: "x" }, 1)]));
      expect(read.get("a_gauge")?.samples[0]?.labels).toEqual({ name: value, other: "x" });
    },
  );

  test("HELP stays on its line", () => {
    const text = expositionText([{ ...gauge({}, 1), help: "one\ntwo \\ three" }]);
    expect(text).toStartWith("# HELP a_gauge one\\ntwo \\\\ three\n# TYPE");
  });

  test.each([
    [Infinity, "+Inf"],
    [-Infinity, "-Inf"],
    [Number.NaN, "NaN"],
    [1e21, "1e+21"],
    [0.000_000_1, "1e-7"],
  ])("the value %p is %s", (value, text) => {
    expect(expositionText([gauge({}, value)])).toEndWith(`a_gauge ${text}\n`);
  });

  test("a family without samples is left out", () => {
    expect(expositionText([{ ...gauge({}, 1), samples: [] }])).toBe("");
  });
});

describe("requests", () => {
  test("are counted by route and status, their time in cumulated buckets", async () => {
    const metrics = createMetrics();
    const route = metrics.route("POST", "/token");
    for (const milliseconds of [0.5, 1, 1.1, 99, 40_000]) route.count(200, milliseconds);
    metrics.route("POST", "/token").count(400, 3);
    const read = readExposition(await metrics.text());
    const requests = read.get("postern_http_requests_total")?.samples;
    expect(requests?.map(({ labels, value }) => [labels["code"], value])).toEqual([
      ["200", 5],
      ["400", 1],
    ]);
    const times = read.get("postern_http_request_duration_seconds");
    const bucket = (le: string): number | undefined =>
      times?.samples.find(({ labels }) => labels["le"] === le)?.value;
    expect(["0.001", "0.0025", "0.005", "0.1", "30", "+Inf"].map(bucket)).toEqual([
      2, 3, 4, 5, 5, 6,
    ]);
    const sum = times?.samples.find(({ name }) => name.endsWith("_sum"))?.value ?? 0;
    expect(sum).toBeCloseTo(40.1046, 6);
  });

  test("routes that were not asked for are not shown", async () => {
    const metrics = createMetrics();
    metrics.route("GET", "/never");
    expect(await metrics.text()).toBe("");
  });

  test("counting takes no memory", () => {
    const route = createMetrics().route("POST", "/mcp");
    const count = (): void => {
      for (let index = 0; index < 100_000; index++) route.count(200 + (index % 5), index / 1000);
    };
    count();
    Bun.gc(true);
    const before = heapStats();
    count();
    const after = heapStats();
    // Garbage counts too: nothing was collected in between. One small object a request would be megabytes.
    expect(after.heapCapacity - before.heapCapacity).toBeLessThan(256 * 1024);
  });
});

const labelsOf = (read: Map<string, Scraped>, name: string, label: string): Set<string> =>
  new Set(read.get(name)?.samples.map(({ labels }) => labels[label] ?? "") ?? []);

describe("a server's metrics", () => {
  test("whatever strangers ask for, the labels stay the same few", async () => {
    const server = await startServer();
    try {
      for (let index = 0; index < 50; index++) {
        await server.fetch(`/${index}`);
        await server.fetch(`/mcp/${index}`, { method: "POST" });
        await server.fetch(`/.well-known/${index}`);
        await server.fetch("/token", { method: `M${index}` });
      }
      await server.fetch("/%zz");
      const read = readExposition(await server.deps.metrics.text());
      const name = "postern_http_requests_total";
      expect([...labelsOf(read, name, "route")].toSorted()).toEqual([
        "/.well-known/**",
        "/mcp",
        "/token",
        "other",
      ]);
      expect([...labelsOf(read, name, "method")].toSorted()).toEqual(["GET", "POST", "other"]);
      const total = read.get(name)?.samples.reduce((sum, { value }) => sum + value, 0);
      expect(total).toBe(201);
    } finally {
      await server.close();
    }
  });

  test("names follow the practice: units and _total at the end, every family explained", async () => {
    const server = await startServer();
    try {
      await server.fetch("/healthz");
      const read = readExposition(await server.deps.metrics.text());
      for (const [name, { type, help }] of read) {
        expect(name).toMatch(/^(postern|process)_[a-z_]+[a-z]$/);
        expect(name.endsWith("_total")).toBe(type === "counter");
        expect(help.length).toBeGreaterThan(10);
      }
      expect(read.size).toBeGreaterThan(12);
      expect(read.get("postern_store_records")?.samples).toContainEqual(
        expect.objectContaining({ labels: { table: "owner" }, value: 1 }),
      );
      expect(read.get("postern_store_commits_total")?.samples[0]?.value).toBe(
        server.counters.groups,
      );
      expect(labelsOf(read, "postern_events_total", "event")).toContain("setup");
    } finally {
      await server.close();
    }
  });
});
