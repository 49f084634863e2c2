// /metrics on a loopback port of its own, apart from everything that faces the internet.
import type { Deps } from "../deps.ts";
import type { Listener } from "../app.ts";
import { isLoopbackHost } from "../values.ts";
import { metricsResponse } from "../metrics.ts";
import { portError } from "./front.ts";

/** @throws {FatalError} when the port is taken */
export function openMetricsPort({ config, metrics }: Deps): Listener {
  if (config.metricsPort === 0) return { close: async () => undefined };
  try {
    const server = Bun.serve({
      hostname: "127.0.0.1",
      port: config.metricsPort,
      development: false,
      reusePort: false,
      fetch: (request) => {
        // A Host that no URL can have leaves the path alone.
        const url = URL.parse(request.url);
        // DNS rebinding: a page that the owner visits must not read it under a name of its own.
        const isAsked = url?.pathname === "/metrics" && isLoopbackHost(url.hostname);
        const isRead = request.method === "GET" || request.method === "HEAD";
        if (!isAsked) return new Response("there is nothing here\n", { status: 404 });
        if (!isRead) return new Response(null, { status: 405, headers: { allow: "GET, HEAD" } });
        return metricsResponse(metrics);
      },
    });
    return { close: (force) => server.stop(force) };
  } catch (error) {
    throw portError(error, config.metricsPort, "metrics-port");
  }
}
