// What a newcomer does: clones, types the README's one command, and looks at what comes.
import { afterAll, describe, expect } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { needs, npxBun } from "../needs.ts";
import { freePort } from "../process.ts";

const root = resolve(import.meta.dir, "../..");
const readme = readFileSync(join(root, "README.md"), "utf8");
const folder = mkdtempSync(join(tmpdir(), "postern-clone-"));
const groups = new Set<number>();

function ended(group: number): boolean {
  try {
    return !process.kill(-group, 0);
  } catch {
    return true;
  }
}

afterAll(() => {
  for (const group of groups) if (!ended(group)) process.kill(-group, "SIGKILL");
  rmSync(folder, { recursive: true });
});

/** Without what makes programs behave as under test. */
const environment = Object.fromEntries(
  Object.entries(process.env).filter(
    ([name]) => !/^(CI|NODE_ENV|(TEST|BUN|POSTERN).*)$/.test(name),
  ),
);

function freshClone(): string {
  const path = mkdtempSync(join(folder, "clone-"));
  expect(Bun.spawnSync(["git", "clone", "--quiet", root, path]).exitCode).toBe(0);
  return path;
}

/** A PATH with Node and the shell on it, and without Bun. */
function pathWithoutBun(): string {
  const path = join(folder, "commands");
  mkdirSync(path);
  for (const name of ["node", "npm", "npx", "sh", "env"]) {
    const found = Bun.which(name);
    if (found !== null) symlinkSync(found, join(path, name));
  }
  return path;
}

/** Runs a command of the README in the clone; both outputs come in the order in which a person sees them. */
function type(command: string, clone: string, PATH = environment["PATH"]) {
  expect(readme).toContain(command.replace(/ (--port|test\/).*/, ""));
  const child = Bun.spawn(["sh", "-c", `${command} 2>&1`], {
    cwd: clone,
    env: { ...environment, POSTERN_LOG_FORMAT: "text", PATH },
    stdio: ["ignore", "pipe", "ignore"],
    detached: true,
  });
  groups.add(child.pid);
  let output = "";
  const whole = (async () => {
    for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) output += text;
    return output;
  })();
  const untilSaid = async (pattern: RegExp): Promise<void> => {
    while (!pattern.test(output)) {
      if (child.exitCode !== null) throw new Error(`${command} ended: ${output}`);
      await Bun.sleep(10);
    }
  };
  return { pid: child.pid, exited: child.exited, output: () => output, whole, untilSaid };
}

async function expectServer(command: string, clone: string, path?: string): Promise<void> {
  const port = await freePort();
  const server = type(`${command} --port ${port}`, clone, path);
  await server.untilSaid(/Data folder .*\n/);
  // Of its own settings npm may speak before anything of ours runs.
  const first = server
    .output()
    .replaceAll(/^npm .*\n/gm, "")
    .split("\n", 1)[0];
  expect(first).toMatch(/^postern \d+\.\d+\.\d+$/);
  expect(server.output()).not.toContain("warning");
  for (const host of ["127.0.0.1", "[::1]"]) {
    const answer = await fetch(`http://${host}:${port}/mcp`, { method: "POST" });
    expect(answer.status).toBe(401);
    expect(answer.headers.get("www-authenticate")).toStartWith('Bearer scope="mcp"');
  }
  // As a terminal does at ^C: everybody in the foreground hears it.
  process.kill(-server.pid, "SIGINT");
  expect(await server.whole).toEndWith("stopping\n");
  while (!ended(server.pid)) await Bun.sleep(10);
}

describe("in a fresh clone", () => {
  needs("clone")(
    "bun start: the first line is ours, both loopbacks are guarded",
    async () => {
      await expectServer("bun start", freshClone());
    },
    120_000,
  );

  needs("clone", "npx")(
    "without Bun, npx does the same, and runs tests",
    async () => {
      const path = pathWithoutBun();
      const clone = freshClone();
      await expectServer(`${npxBun.join(" ")} start`, clone, path);
      const tests = type(`${npxBun.join(" ")} run test test/limits.test.ts`, clone, path);
      expect(await tests.exited).toBe(0);
      expect(tests.output()).toMatch(/ 0 fail\n/);
    },
    240_000,
  );
});
