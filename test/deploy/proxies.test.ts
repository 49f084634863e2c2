// Postern behind the shipped nginx and Caddy: a login, calls, event streams, refreshes, and whose address it sees.
import { afterAll, describe, expect } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { needs } from "../needs.ts";
import { type Postern, startPostern, stopProcesses } from "../process.ts";
import { Browser, type Login, logIn, refreshWith } from "../server.ts";
import { type ProxyName, prepareProxy, proxyNames, stopProxies, throughProxy } from "./proxies.ts";

afterAll(async () => {
  await stopProxies();
  await stopProcesses();
  await Promise.all(upstreams.map((upstream) => upstream.stop(true)));
});

const upstreams: ReturnType<typeof Bun.serve>[] = [];

/** An MCP server whose stream says the next word when it is told to, and which tells what reached it. */
function startUpstream() {
  let said = Promise.withResolvers<string>();
  const upstream = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    idleTimeout: 0,
    fetch: async (request) => {
      if (request.method !== "GET") {
        const { length } = await request.bytes();
        return Response.json({ length, from: request.headers.get("x-forwarded-for") });
      }
      const words = async function* () {
        for (;;) {
          const word = await said.promise;
          said = Promise.withResolvers<string>();
          if (word === "") return;
          yield `data: ${word}\n\n`;
        }
      };
      return new Response(words as unknown as ReadableStream, {
        headers: { "content-type": "text/event-stream" },
      });
    },
  });
  upstreams.push(upstream);
  return { url: upstream.url.href, say: (word: string) => said.resolve(word) };
}

const CLIENT = "127.0.0.2";

async function startBehind(name: ProxyName) {
  const upstream = startUpstream();
  const proxy = await prepareProxy(name);
  const postern = await startPostern({
    owner: false,
    settings: { url: `https://localhost:${proxy.port}`, upstream: upstream.url },
  });
  await proxy.start(postern.config.port);
  const server = { config: postern.config, fetch: throughProxy(proxy.port, CLIENT) };
  const browser = new Browser(server);
  await browser.setUp(await postern.setupLink());
  return { ...proxy, upstream, postern, server, browser };
}

const audit = ({ folder }: Postern): string => readFileSync(join(folder, "audit.jsonl"), "utf8");
const bearer = ({ tokens }: Login): Record<string, string> => ({
  authorization: `Bearer ${tokens.access_token}`,
});

describe.each([...proxyNames])("behind %s", (name) => {
  const test = needs(name, "openssl");

  test("clients log in, call and refresh, and are known by their own address", async () => {
    const { server, browser, postern, plainPort, port } = await startBehind(name);
    const forged = { "x-forwarded-for": "198.51.100.66", forwarded: "for=198.51.100.66" };
    const login = await logIn(server, {}, browser);
    const called = await server.fetch("/mcp", {
      method: "POST",
      headers: { ...bearer(login), ...forged },
      body: "x".repeat(3_000_000),
    });
    expect(await called.json()).toEqual({ length: 3_000_000, from: CLIENT });
    const refreshed = await refreshWith(server, login.clientId, login.tokens.refresh_token);
    expect(refreshed.status).toBe(200);
    expect(
      (await server.fetch("/mcp", { method: "POST" })).headers.get("www-authenticate"),
    ).toContain(
      `resource_metadata="https://localhost:${port}/.well-known/oauth-protected-resource/mcp"`,
    );
    expect((await server.fetch("/mcp%2f..%2ftoken", { headers: bearer(login) })).status).toBe(400);
    await server.fetch("/login", { method: "POST", headers: forged, body: "password=x" });
    expect(audit(postern)).toContain(`"address":"${CLIENT}"`);
    expect(audit(postern)).not.toMatch(/198\.51\.100\.66|"address":"127\.0\.0\.1"/);
    const plain = await fetch(`http://127.0.0.1:${plainPort}/connect`, {
      redirect: "manual",
      headers: { host: "localhost" },
    });
    expect([301, 308]).toContain(plain.status);
    expect(plain.headers.get("location")).toStartWith("https://localhost");
  });

  test("every event comes before the next one is sent", async () => {
    const { server, browser, upstream } = await startBehind(name);
    const login = await logIn(server, {}, browser);
    const opened = server.fetch("/mcp", {
      headers: { ...bearer(login), accept: "text/event-stream" },
    });
    let heard = "";
    const read = (async () => {
      const decoder = new TextDecoder();
      for await (const chunk of (await opened).body ?? []) heard += decoder.decode(chunk);
    })();
    for (const word of ["one", "two", "three"]) {
      upstream.say(word);
      // A proxy that collects would keep it until more comes, and more comes only afterwards.
      while (!heard.includes(`data: ${word}\n\n`)) await Bun.sleep(2);
    }
    upstream.say("");
    await read;
    expect(heard.match(/data: \w+/g)).toEqual(["data: one", "data: two", "data: three"]);
  });
});
