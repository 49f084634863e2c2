// What a child writes for people, as it may stand in our log: so much in so much time, and without the secrets it was given.

const LINES = 200;
/** Milliseconds. */
const PERIOD = 10_000;
/** Shorter values would blank out half of every line. */
const SHORTEST_SECRET = 6;

/** @param secrets values that must not be shown */
export function logWithin(
  log: (line: string) => void,
  secrets: readonly string[],
  monotonic: () => number,
): (line: string) => void {
  const hidden = secrets.filter((secret) => secret.length >= SHORTEST_SECRET);
  let since = 0;
  let count = 0;
  return (line) => {
    const now = monotonic();
    if (now - since >= PERIOD) {
      if (count > LINES) log(`(${count - LINES} more lines were left out)`);
      since = now;
      count = 0;
    }
    if (++count > LINES || line === "") return;
    log(hidden.reduce((text, secret) => text.replaceAll(secret, "[redacted]"), line));
  };
}
