// The plain http port beside https: answers a CA's http-01 challenges (RFC 8555 §8.3), and shows browsers the way.
import type { Listener } from "../app.ts";
import type { Config } from "../config.ts";
import type { Prover } from "../tls/acme.ts";
import { listenOn } from "./front.ts";

const CHALLENGES = "/.well-known/acme-challenge/";

/** @throws {FatalError} when the port is taken or not ours to take */
export async function openHttpPort(config: Config): Promise<Listener & { prover: Prover }> {
  const proofs = new Map<string, string>();
  const { hosts, httpPort: port, origin } = config;
  const answer = (request: Request): Response => {
    const { pathname, search } = new URL(request.url);
    const proof = pathname.startsWith(CHALLENGES) && proofs.get(pathname.slice(CHALLENGES.length));
    if (proof) return new Response(proof, { headers: { "content-type": "text/plain" } });
    if (request.method === "GET" || request.method === "HEAD") {
      return new Response(null, { status: 301, headers: { location: origin + pathname + search } });
    }
    // What came has already been in the open: it must not go on working as if it had not.
    return new Response("use https\n", { status: 403 });
  };
  const listener = await listenOn({ hosts, port }, "http-port", async (hostname) => {
    const server = Bun.serve({
      hostname,
      port,
      development: false,
      reusePort: false,
      fetch: answer,
      error: () => new Response(null, { status: 400 }),
    });
    return { close: (force) => server.stop(force) };
  });
  return {
    close: listener.close,
    prover: {
      type: "http-01",
      put: async (token, value) => {
        proofs.set(token, value);
        return async () => void proofs.delete(token);
      },
    },
  };
}
