// The official conformance runner against the real program, in its mode for authorization servers. It prints an
// authorization URL and waits: our person logs in and consents.
import { afterAll, describe, expect, test } from "bun:test";
import { readFileSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { Glob } from "bun";
import { type Postern, freePort, startPostern, stopProcesses } from "../process.ts";
import { registerClient, temporaryFolder } from "../server.ts";

const runner = resolve(
  import.meta.dir,
  "../../node_modules/@modelcontextprotocol/conformance/dist/index.js",
);
/** Revisions, and how much of each the runner checks. */
const revisions = [
  ["2025-03-26", 2],
  ["2025-06-18", 2],
  ["2025-11-25", 3],
  ["2026-07-28", 3],
] as const;

const results = temporaryFolder();
afterAll(async () => {
  await stopProcesses();
  rmSync(results, { recursive: true, force: true });
});

interface Verdict {
  readonly exitCode: number;
  /** The last line of its summary. */
  readonly total: string;
  /** Checks with less than success: "authorization-server-metadata-cimd WARNING". */
  readonly remarks: string[];
}

interface Run {
  readonly revision: string;
  readonly clientId: string;
  /** What the runner takes for the issuer. */
  readonly issuer?: string;
}

async function judge(postern: Postern, { revision, clientId, issuer }: Run): Promise<Verdict> {
  const port = await freePort();
  const output = join(results, `${port}`);
  await using child = Bun.spawn(
    [
      [process.execPath, runner, "authorization"],
      ["--url", issuer ?? postern.config.issuer],
      ["--client-id", clientId],
      ["--resource", postern.url],
      ["--spec-version", revision],
      ["-p", `${port}`, "-o", output],
    ].flat(),
    { cwd: results, env: {}, stdio: ["ignore", "pipe", "pipe"] },
  );
  const errors = new Response(child.stderr).text();
  let printed = "";
  let asked = false;
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    printed += text;
    const url = /^\S+\/authorize\?\S+(?=\n)/m.exec(printed)?.[0];
    if (url === undefined || asked) continue;
    asked = true;
    const answer = await postern.browser.authorize(url);
    const location = answer.headers.get("location");
    if (location === null) throw new Error(`no answer: ${answer.status} ${await answer.text()}`);
    await fetch(location).then((page) => page.text());
  }
  const exitCode = await child.exited;
  const total = /^Total: .*$/m.exec(printed)?.[0];
  if (total === undefined) throw new Error(`the runner gave up: ${printed}${await errors}`);
  return { exitCode, total, remarks: remarksIn(output) };
}

function remarksIn(folder: string): string[] {
  return [...new Glob("*/checks.json").scanSync(folder)].flatMap((path) => {
    const checks: { id: string; status: string }[] = JSON.parse(
      readFileSync(join(folder, path), "utf8"),
    );
    return checks
      .filter(({ status }) => status !== "SUCCESS")
      .map(({ id, status }) => `${id} ${status}`);
  });
}

/** A client whose redirect URI matches every port that a runner takes (RFC 8252 §7.3). */
const register = async (postern: Postern): Promise<string> =>
  (await registerClient(postern, { redirect_uris: ["http://127.0.0.1/callback"] })).client_id;

describe.each(["", "/base"])("issuer with the path '%s'", (base) => {
  test("the runner passes everything, before and after a crash, for all revisions", async () => {
    const postern = await startPostern({ base });
    const clientId = await register(postern);
    for (const moment of ["before", "after"]) {
      if (moment === "after") {
        await postern.restart({ signal: "SIGKILL" });
        await postern.browser.signIn();
      }
      const verdicts = await Promise.all(
        revisions.map(async ([revision]) => ({
          revision,
          ...(await judge(postern, { revision, clientId })),
        })),
      );
      expect({ moment, verdicts }).toEqual({
        moment,
        verdicts: revisions.map(([revision, checks]) => ({
          revision,
          exitCode: 0,
          total: `Total: ${checks} passed, 0 failed`,
          remarks: [],
        })),
      });
    }
  });

  test("the runner sees a fault where there is one", async () => {
    const postern = await startPostern({ base });
    const clientId = await register(postern);
    const issuer = `${postern.config.issuer}/`;
    const verdict = await judge(postern, { revision: "2026-07-28", clientId, issuer });
    expect(verdict).toMatchObject({ exitCode: 1, total: expect.stringContaining("2 failed") });
  });
});
