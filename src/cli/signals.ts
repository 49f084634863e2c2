// What signals ask of the running server: SIGTERM and SIGINT to stop, SIGHUP to read the settings again.
import { closeSync, openSync } from "node:fs";
import { isatty } from "node:tty";

export interface Signals {
  /** To stop, by the first SIGTERM or SIGINT. */
  readonly asked: AbortSignal;
  /** To stop at once, by the second. */
  readonly insisted: AbortSignal;
  /** What a SIGHUP asks for, one that came earlier too. When its terminal was closed it asks to stop. */
  onReload(reload: () => void): void;
  forget(): void;
}

export function onSignals(): Signals {
  const asked = new AbortController();
  const insisted = new AbortController();
  const ready = Promise.withResolvers<() => void>();
  const isAttached = isatty(0) || isatty(1);
  const onStop = (): void => (asked.signal.aborted ? insisted : asked).abort();
  const onHangup = (): void => {
    if (isAttached && !hasTerminal()) onStop();
    else void ready.promise.then((reload) => reload());
  };
  const handlers = [
    ["SIGTERM", onStop],
    ["SIGINT", onStop],
    ["SIGHUP", onHangup],
  ] as const;
  for (const [signal, handler] of handlers) process.on(signal, handler);
  return {
    asked: asked.signal,
    insisted: insisted.signal,
    onReload: ready.resolve,
    forget: () => {
      for (const [signal, handler] of handlers) process.off(signal, handler);
    },
  };
}

/** Whether the process still has the terminal that it was started in. */
function hasTerminal(): boolean {
  try {
    closeSync(openSync("/dev/tty", "r"));
    return true;
  } catch {
    return false;
  }
}
