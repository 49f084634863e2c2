// A piece of internet on loopback: a TLS server with a certificate authority of its own, names that resolve to it, and
// a count of what reached it.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Internet } from "../src/oauth/outbound.ts";

export interface Fixture {
  readonly internet: Internet;
  /** What is served, by "https://host/path". */
  readonly documents: Map<string, (request: Request) => Response | Promise<Response>>;
  /** URLs asked for, in order. */
  readonly asked: string[];
  /** Addresses by name; names that are not here do not resolve. */
  readonly names: Map<string, readonly string[]>;
  /** URL on the fixture's port. */
  url(host: string, path: string): string;
  close(): Promise<void>;
}

export function certificate(hosts: readonly string[]): { ca: string; cert: string; key: string } {
  const folder = mkdtempSync(join(tmpdir(), "postern-tls-"));
  const openssl = (...words: string[]): void => {
    const run = Bun.spawnSync(["openssl", ...words], { cwd: folder, stderr: "pipe" });
    if (!run.success) throw new Error(`openssl ${words[0]}: ${run.stderr}`);
  };
  const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  openssl(
    "req",
    "-x509",
    ...curve,
    "-keyout",
    "ca.key",
    "-out",
    "ca.crt",
    "-days",
    "2",
    "-subj",
    "/CN=Test CA",
  );
  openssl("req", ...curve, "-keyout", "s.key", "-out", "s.csr", "-subj", "/CN=test");
  writeFileSync(
    join(folder, "names"),
    `subjectAltName=${hosts.map((host) => `DNS:${host}`).join(",")}`,
  );
  openssl(
    "x509",
    "-req",
    "-in",
    "s.csr",
    "-CA",
    "ca.crt",
    "-CAkey",
    "ca.key",
    "-CAcreateserial",
    "-out",
    "s.crt",
    "-days",
    "2",
    "-extfile",
    "names",
  );
  const read = (name: string): string => readFileSync(join(folder, name), "utf8");
  const made = { ca: read("ca.crt"), cert: read("s.crt"), key: read("s.key") };
  rmSync(folder, { recursive: true });
  return made;
}

/** @param hosts names that the certificate holds and that resolve to the fixture */
export function startInternet(...hosts: string[]): Fixture {
  const { ca, cert, key } = certificate(hosts);
  const documents: Fixture["documents"] = new Map();
  const asked: string[] = [];
  const names = new Map<string, readonly string[]>(hosts.map((host) => [host, ["127.0.0.1"]]));
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    tls: { cert, key },
    fetch: (request) => {
      asked.push(request.url);
      return documents.get(request.url)?.(request) ?? new Response("nothing here", { status: 404 });
    },
  });
  return {
    internet: {
      ca,
      resolve: async (host) => {
        const found = names.get(host);
        if (!found) throw new Error(`no name ${host}`);
        return found;
      },
      isAllowed: (address) => address === "127.0.0.1",
    },
    documents,
    asked,
    names,
    url: (host, path) => `https://${host}:${server.port}${path}`,
    close: () => server.stop(true),
  };
}
