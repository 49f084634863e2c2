// The reverse proxies of deploy/ as they are shipped, but for names and ports: nginx and Caddy as children, and a client
// that comes from an address of its own.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { request } from "node:https";
import { join } from "node:path";
import { freePort, ownFolder } from "../process.ts";
import { makePair } from "../tls/pairs.ts";

export const proxyNames = ["nginx", "caddy"] as const;
export type ProxyName = (typeof proxyNames)[number];

export interface Proxy {
  readonly port: number;
  /** Of plain http. */
  readonly plainPort: number;
  /** Starts it in front of a Postern on that port. */
  start(posternPort: number): Promise<void>;
}

const running = new Set<Bun.Subprocess>();
export async function stopProxies(): Promise<void> {
  for (const child of running) child.kill("SIGKILL");
  await Promise.all([...running].map((child) => child.exited));
  running.clear();
}

export async function prepareProxy(name: ProxyName): Promise<Proxy> {
  const [port, plainPort] = [await freePort(), await freePort()];
  const folder = ownFolder();
  return {
    port,
    plainPort,
    start: async (posternPort) => {
      const command = (name === "nginx" ? nginx : caddy)(folder, { port, plainPort, posternPort });
      const child = Bun.spawn(command, {
        env: { PATH: process.env["PATH"], HOME: folder, XDG_DATA_HOME: folder },
        stdio: ["ignore", "pipe", "pipe"],
      });
      running.add(child);
      const said = new Response(child.stderr).text();
      for (let tries = 0; !(await answers(port)); tries++) {
        if (tries > 500 || child.exitCode !== null) throw new Error(`${name}: ${await said}`);
        await Bun.sleep(10);
      }
    },
  };
}

interface Ports {
  readonly port: number;
  readonly plainPort: number;
  readonly posternPort: number;
}

/** The shipped file with other words in the places of these, each of which it must have. */
function shipped(file: string, changes: readonly [from: string, to: string][]): string {
  let text = readFileSync(join(import.meta.dir, "../../deploy", file), "utf8");
  for (const [from, to] of changes) {
    if (!text.includes(from)) throw new Error(`deploy/${file} has no ${from}`);
    text = text.replaceAll(from, to);
  }
  return text;
}

function nginx(folder: string, { port, plainPort, posternPort }: Ports): string[] {
  const { tlsCert, tlsKey } = makePair(folder, "localhost");
  const site = shipped("nginx.conf", [
    ["listen 443 ", `listen 127.0.0.1:${port} `],
    ["    listen [::]:443 ssl http2;\n", ""],
    ["listen 80;", `listen 127.0.0.1:${plainPort};`],
    ["    listen [::]:80;\n", ""],
    ["/etc/letsencrypt/live/mcp.example.com/fullchain.pem", tlsCert],
    ["/etc/letsencrypt/live/mcp.example.com/privkey.pem", tlsKey],
    ["mcp.example.com", "localhost"],
    ["127.0.0.1:7676", `127.0.0.1:${posternPort}`],
  ]);
  const places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
    (kind) => `${kind}_temp_path ${join(folder, kind)};`,
  );
  writeFileSync(join(folder, "site.conf"), site);
  writeFileSync(
    join(folder, "nginx.conf"),
    `daemon off; master_process off; pid ${join(folder, "pid")}; error_log stderr; events {}
http { access_log off; ${places.join(" ")} include ${join(folder, "site.conf")}; }`,
  );
  return ["nginx", "-p", folder, "-e", "stderr", "-c", join(folder, "nginx.conf")];
}

function caddy(folder: string, { port, plainPort, posternPort }: Ports): string[] {
  const site = shipped("Caddyfile", [
    ["mcp.example.com", "localhost"],
    ["127.0.0.1:7676", `127.0.0.1:${posternPort}`],
  ]);
  mkdirSync(join(folder, "sites"));
  writeFileSync(join(folder, "sites", "Caddyfile"), site);
  const file = join(folder, "Caddyfile");
  // A CA of its own instead of the one on the internet.
  writeFileSync(
    file,
    `{
	admin off
	local_certs
	skip_install_trust
	http_port ${plainPort}
	https_port ${port}
	default_bind 127.0.0.1
}
import ${join(folder, "sites", "Caddyfile")}
`,
  );
  return ["caddy", "run", "--adapter", "caddyfile", "--config", file];
}

const answers = (port: number): Promise<boolean> =>
  throughProxy(
    port,
    "127.0.0.1",
  )("/healthz").then(
    ({ ok }) => ok,
    () => false,
  );

/** Requests to a proxy on this machine from one of its loopback addresses, such as 127.0.0.2. */
export const throughProxy =
  (port: number, localAddress: string) =>
  async (path: string, init: RequestInit = {}): Promise<Response> => {
    const { pathname, search } = new URL(path, "https://localhost");
    // A Request knows what a body's type and bytes are.
    const wanted = new Request(`https://localhost${pathname}${search}`, init);
    const sentHeaders = Object.fromEntries(wanted.headers);
    const body = wanted.body === null ? undefined : Buffer.from(await wanted.arrayBuffer());
    const answer = await new Promise<IncomingMessage>((resolve, reject) => {
      const sent = request({
        host: "127.0.0.1",
        servername: "localhost",
        port,
        localAddress,
        agent: false,
        rejectUnauthorized: false,
        method: wanted.method,
        path: path.startsWith("/") ? path : pathname + search,
        headers: { host: `localhost:${port}`, ...sentHeaders },
      });
      sent.once("response", resolve).once("error", reject).end(body);
    });
    const headers = new Headers();
    for (let index = 0; index < answer.rawHeaders.length; index += 2) {
      headers.append(answer.rawHeaders[index] ?? "", answer.rawHeaders[index + 1] ?? "");
    }
    const status = answer.statusCode ?? 0;
    const hasBody = ![204, 304].includes(status);
    return new Response(hasBody ? streamOf(answer) : null, { status, headers });
  };

const streamOf = (answer: IncomingMessage): ReadableStream<Uint8Array> =>
  new ReadableStream({
    start: (controller) => {
      answer.on("data", (chunk: Buffer) => controller.enqueue(new Uint8Array(chunk)));
      answer.once("end", () => controller.close());
      answer.once("error", (error) => controller.error(error));
    },
  });
