// Runs child.ts and reads what it says.
import { join } from "node:path";

export interface Child {
  /** All complete lines so far; after `exited` all there were. */
  readonly lines: readonly string[];
  readonly exited: Promise<number>;
  /** Resolves to the first line that begins so. */
  said(start: string): Promise<string>;
  /** kill -9. */
  kill(): void;
}

/** @param prefix starts it in its turn, as strace does */
export function startChild(what: string, path: string, prefix: readonly string[] = []): Child {
  const script = join(import.meta.dir, "child.ts");
  const child = Bun.spawn([...prefix, process.execPath, script, what, path], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "ignore",
  });
  const lines: string[] = [];
  const reading = (async () => {
    let rest = "";
    for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) {
      const parts = (rest + chunk).split("\n");
      rest = parts.pop() ?? "";
      lines.push(...parts);
    }
  })();
  return {
    lines,
    exited: Promise.all([child.exited, reading]).then(([code]) => code),
    async said(start) {
      for (;;) {
        const line = lines.find((each) => each.startsWith(start));
        if (line !== undefined) return line;
        if (child.exitCode !== null) throw new Error(`the child ended: ${lines.join(" | ")}`);
        await Bun.sleep(5);
      }
    },
    kill: () => child.kill("SIGKILL"),
  };
}
