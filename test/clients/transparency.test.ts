// What Postern stands in front of looks the same from both sides: the official conformance runner's server scenarios give
// the same results on an MCP server of the official SDK and on that server through Postern, by HTTP and by stdio.
import { afterAll, expect, test } from "bun:test";
import { readFileSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { Glob } from "bun";
import { type Postern, startPostern, stopProcesses } from "../process.ts";
import {
  REDIRECT,
  type Tokens,
  obtainCode,
  redeemCode,
  registerClient,
  temporaryFolder,
} from "../server.ts";
import { startUpstream, stopUpstreams } from "./upstreams.ts";

const runner = resolve(
  import.meta.dir,
  "../../node_modules/@modelcontextprotocol/conformance/dist/index.js",
);
const everything = resolve(import.meta.dir, "everything_server.ts");
const folders: string[] = [];
const shims: Shim[] = [];
afterAll(async () => {
  await Promise.all(shims.map((shim) => shim.close()));
  await stopProcesses();
  await stopUpstreams();
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

/** Results by scenario: "id STATUS" of each check, in their order. */
type Results = Map<string, string[]>;

async function judge(url: string, revision: string): Promise<Results> {
  const output = temporaryFolder();
  folders.push(output);
  const child = Bun.spawn(
    [
      [process.execPath, runner, "server", "--url", url],
      ["--requirements", revision, "-o", output],
    ].flat(),
    { cwd: output, env: {}, stdio: ["ignore", "ignore", "inherit"] },
  );
  await child.exited;
  const results: Results = new Map();
  for (const path of new Glob("*/checks.json").scanSync(output)) {
    const scenario = /^server-(.*?)-\d{4}-\d\d-\d\dT/.exec(path)?.[1] ?? path;
    const checks: { id: string; status: string }[] = JSON.parse(
      readFileSync(join(output, path), "utf8"),
    );
    results.set(
      scenario,
      checks.map(({ id, status }) => `${id} ${status}`),
    );
  }
  return results;
}

interface Shim {
  readonly url: string;
  /** Answers that carried the request id which Postern gives to each. */
  readonly passed: () => number;
  readonly close: () => Promise<void>;
}

/** The runner cannot send a token: this adds one to each request and changes nothing else, Host and Origin included. */
function startShim(postern: Postern, token: string): Shim {
  let passed = 0;
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    idleTimeout: 0,
    fetch: async (request) => {
      const headers = new Headers(request.headers);
      headers.set("authorization", `Bearer ${token}`);
      const { pathname, search } = new URL(request.url);
      const answer = await fetch(`http://localhost:${postern.config.port}${pathname}${search}`, {
        method: request.method,
        headers,
        body: request.method === "GET" ? null : await request.bytes(),
        signal: request.signal,
        redirect: "manual",
        decompress: false,
      });
      if (answer.headers.has("x-request-id")) passed++;
      return new Response(answer.body, answer);
    },
  });
  const shim = {
    url: `http://localhost:${server.port}/mcp`,
    passed: () => passed,
    close: () => server.stop(true),
  };
  shims.push(shim);
  return shim;
}

async function obtainToken(postern: Postern): Promise<string> {
  const { client_id: id } = await registerClient(postern);
  const code = await obtainCode(postern, id, { redirect_uri: REDIRECT }, postern.browser);
  const response = await redeemCode(postern, id, code);
  return ((await response.json()) as Tokens).access_token;
}

const DNS_REBINDING = "dns-rebinding-protection";
const successes = (results: Results): number =>
  [...results.values()].flat().filter((line) => line.endsWith(" SUCCESS")).length;

/** What only a server that speaks HTTP can do: to hang up on a stream, and to stream an answer that is all there is. */
const HTTP_ONLY = ["server-sse-polling", "server-sse-multiple-streams"];

test.concurrent.each(["2025-11-25", "2026-07-28"])(
  "revision %s: the same checks with the same results, directly and through Postern",
  async (revision) => {
    const upstream = await startUpstream("everything_server.ts");
    const direct = await judge(upstream.url, revision);
    expect(successes(direct)).toBeGreaterThanOrEqual(80);
    const command = JSON.stringify([process.execPath, everything, "stdio"]);
    for (const settings of [{ upstream: upstream.url }, { command }]) {
      const postern = await startPostern({ settings });
      const shim = startShim(postern, await obtainToken(postern));
      const through = await judge(shim.url, revision);
      expect(shim.passed()).toBeGreaterThanOrEqual(80);
      const expected = new Map(direct);
      for (const results of [expected, through]) {
        // Ours to answer, not the server's: who comes under a foreign name gets no further than to us.
        const verdict = results.get(DNS_REBINDING)?.map((line) => line.split(" ")[1]);
        expect(verdict).toEqual(["SUCCESS", "SUCCESS"]);
        results.delete(DNS_REBINDING);
        if (settings.command) for (const scenario of HTTP_ONLY) results.delete(scenario);
      }
      expect(Object.fromEntries(through)).toEqual(Object.fromEntries(expected));
    }
  },
);
