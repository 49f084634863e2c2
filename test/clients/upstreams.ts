// MCP servers in processes of their own, for Postern to stand in front of: reference_server.ts and its siblings.
import { join } from "node:path";
import { freePort } from "../process.ts";

export interface Upstream {
  /** URL of its MCP endpoint. */
  readonly url: string;
  /** With kill -9. */
  kill(): Promise<unknown>;
  start(): Promise<void>;
}

const upstreams = new Set<Upstream>();

/**
 * The caller's file calls `stopUpstreams`.
 * @param file beside this one: a program that takes its port, and the path that it serves /mcp under
 */
export async function startUpstream(file: string, base = ""): Promise<Upstream> {
  const port = String(await freePort());
  const url = `http://127.0.0.1:${port}${base}/mcp`;
  const program = join(import.meta.dir, file);
  const launch = async (): Promise<Bun.Subprocess> => {
    const child = Bun.spawn([process.execPath, program, port, base], {
      env: {},
      stdout: "inherit",
    });
    while (!(await fetch(url, { method: "OPTIONS" }).catch(() => undefined))) {
      if (child.exitCode !== null) throw new Error(`${file} ended`);
      await Bun.sleep(5);
    }
    return child;
  };
  let child = await launch();
  const upstream: Upstream = {
    url,
    kill: () => {
      child.kill("SIGKILL");
      return child.exited;
    },
    start: async () => void (child = await launch()),
  };
  upstreams.add(upstream);
  return upstream;
}

export async function stopUpstreams(): Promise<void> {
  await Promise.all([...upstreams].map((upstream) => upstream.kill()));
  upstreams.clear();
}
