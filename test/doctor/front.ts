// What people put in front of a server: a TLS proxy on loopback, good or bad in one of many ways.
import { rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { certificate } from "../internet.ts";
import { temporaryFolder } from "../server.ts";

/** What the proxy does to a request on its way; undefined fields are passed as a good one does. */
export interface Habits {
  /** Answers itself. */
  readonly answer?: (request: Request) => Response | undefined;
  /** Changes the request that goes to the server. */
  readonly request?: (url: URL, headers: Headers) => void;
  /** Changes the answer that goes to the client. */
  readonly response?: (headers: Headers, request: Request) => void;
  /** Holds answers back until they are whole. */
  readonly buffers?: boolean;
  /** Changes bodies on their way. */
  readonly body?: (text: string) => string;
  readonly forwardedFor?: "append" | "none" | "pass";
}

export interface Front {
  readonly port: number;
  /** The certificate authority, for NODE_EXTRA_CA_CERTS. */
  readonly authority: string;
  /** From now on it leads to this port, with these habits. */
  use(backend: number, habits?: Habits): void;
  stop(): Promise<void>;
}

const made = new Map<string, ReturnType<typeof certificate>>();

/** @param name that its certificate is for */
export function startFront(name = "localhost"): Front {
  const { ca, cert, key } = made.get(name) ?? certificate([name]);
  made.set(name, { ca, cert, key });
  const authority = join(temporaryFolder(), "ca.crt");
  writeFileSync(authority, ca);
  let backend = 0;
  let habits: Habits = {};
  const server: Bun.Server<undefined> = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    tls: { cert, key },
    idleTimeout: 30,
    fetch: (request): Response | Promise<Response> => {
      const peer = server.requestIP(request)?.address ?? "";
      return habits.answer?.(request) ?? pass(request, backend, habits, peer);
    },
  });
  return {
    port: server.port ?? 0,
    authority,
    use: (port, changed = {}) => {
      backend = port;
      habits = changed;
    },
    stop: async () => {
      await server.stop(true);
      rmSync(dirname(authority), { recursive: true });
    },
  };
}

async function pass(
  request: Request,
  port: number,
  habits: Habits,
  peer: string,
): Promise<Response> {
  const url = new URL(request.url);
  url.protocol = "http:";
  url.host = `127.0.0.1:${port}`;
  const headers = new Headers(request.headers);
  headers.delete("accept-encoding");
  const { forwardedFor = "append" } = habits;
  const before = headers.get("x-forwarded-for");
  if (forwardedFor === "append")
    headers.set("x-forwarded-for", before === null ? peer : `${before}, ${peer}`);
  if (forwardedFor === "none") headers.delete("x-forwarded-for");
  headers.set("x-forwarded-proto", "https");
  habits.request?.(url, headers);
  const text = request.method === "GET" || request.method === "HEAD" ? null : await request.text();
  try {
    const answer = await fetch(url, {
      method: request.method,
      headers,
      body: text === null ? null : (habits.body?.(text) ?? text),
      redirect: "manual",
    });
    const changed = new Headers(answer.headers);
    habits.response?.(changed, request);
    const body = habits.buffers ? await answer.bytes() : answer.body;
    return new Response(body, { status: answer.status, headers: changed });
  } catch {
    return new Response("<h1>502 Bad Gateway</h1>", {
      status: 502,
      headers: { server: "nginx", "content-type": "text/html" },
    });
  }
}
