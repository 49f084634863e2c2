// What was last seen of the HTTP servers behind, for the owner: whether they answer, since when not, whether they forgot a
// session. Asks nobody by itself but when it is told to.
import type { Server } from "../config.ts";
import { seconds } from "../primitives.ts";

/** Times are epoch seconds. */
export interface UpstreamState {
  /** When it last answered. */
  readonly answered_at?: number;
  /** When it last did not, and why. */
  readonly failed_at?: number;
  readonly last_error?: string;
  /** When it last knew a session no more: it was restarted, or the session had expired there. */
  readonly forgot_at?: number;
}

export interface Upstreams {
  answered(server: Server, request: Request, status: number): void;
  failed(server: Server, why: string): void;
  state(server: Server): UpstreamState;
}

export function createUpstreams(now: () => number): Upstreams {
  const states = new Map<string, UpstreamState>();
  const see = (server: Server, seen: UpstreamState): void => {
    // Another upstream under the same path is another server.
    const key = `${server.path} ${server.upstream}`;
    states.set(key, { ...states.get(key), ...seen });
  };
  return {
    answered: (server, request, status) => {
      const at = seconds(now());
      // MCP 2025-11-25 "Session Management"
      const forgot = status === 404 && request.headers.has("mcp-session-id");
      see(server, { answered_at: at, ...(forgot && { forgot_at: at }) });
    },
    failed: (server, why) => see(server, { failed_at: seconds(now()), last_error: why }),
    state: (server) => states.get(`${server.path} ${server.upstream}`) ?? {},
  };
}

/** Milliseconds that a server has to say anything. */
const PATIENCE = 2000;

/** Whether anything answers at the URL of an upstream. The owner's credentials are not sent. */
export async function isReachable(upstream: string): Promise<boolean> {
  try {
    const answer = await fetch(upstream.replace(/\?.*/, ""), {
      method: "OPTIONS",
      redirect: "manual",
      signal: AbortSignal.timeout(PATIENCE),
      proxy: false,
    });
    await answer.body?.cancel();
    return true;
  } catch {
    return false;
  }
}
