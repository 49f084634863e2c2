// How often each fault is tried: within the normal tests (a few seconds a case), in a night (all cases in an hour), and
// without a bound.
import type { Sizes } from "./report.ts";

export const sizes = {
  "killed at each call": { sample: 3, nightly: 1_000, long: 1_000 },
  "failing calls": { sample: 3, nightly: 40, long: 10_000 },
  "full disk": { sample: 5, nightly: 100, long: 1_000 },
  "short writes": { sample: 9, nightly: 300, long: 10_000 },
  "every write cut": { sample: 4, nightly: 300, long: 10_000 },
  "short writes that go on": { sample: 2, nightly: 60, long: 600 },
  superseded: { sample: 2, nightly: 40, long: 400 },
  planted: { sample: 1, nightly: 4, long: 40 },
  "random kills under load": { sample: 50, nightly: 1_000, long: 10_000 },
  "told to stop": { sample: 6, nightly: 200, long: 2_000 },
  restarts: { sample: 2, nightly: 100, long: 1_000 },
  "power cuts on a model disk": { sample: 1_500, nightly: 40_000, long: 1_000_000 },
  "damaged files": { sample: 4_000, nightly: 60_000, long: 1_000_000 },
  "damaged folders": { sample: 1, nightly: 3, long: 30 },
  "changed folders": { sample: 1, nightly: 5, long: 50 },
  "power cuts": { sample: 8, nightly: 80, long: 600 },
  "hot copies": { sample: 8, nightly: 100, long: 1_000 },
  "hot copies by rsync": { sample: 1, nightly: 20, long: 200 },
  "old copies": { sample: 2, nightly: 30, long: 300 },
  resources: { sample: 1, nightly: 20, long: 200 },
  "file systems": { sample: 1, nightly: 10, long: 100 },
  upstreams: { sample: 1, nightly: 10, long: 100 },
  "large folders": { sample: 1, nightly: 5, long: 50 },
  sweeps: { sample: 200, nightly: 10_000, long: 100_000 },
  clocks: { sample: 7, nightly: 30, long: 300 },
  "locks left": { sample: 4, nightly: 50, long: 500 },
  "locks raced": { sample: 1, nightly: 10, long: 100 },
  "locks held": { sample: 2, nightly: 6, long: 60 },
} satisfies Record<string, Sizes>;
