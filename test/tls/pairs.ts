// Certificates and keys made on the spot by openssl, as files: self-signed ones, and ones of an issuer of their own.
import { readFileSync } from "node:fs";
import { join } from "node:path";

export interface Pair {
  /** Paths of the PEM files. */
  readonly tlsCert: string;
  readonly tlsKey: string;
}

export interface PairOptions {
  /** Names it is for; "localhost" when absent. */
  readonly hosts?: readonly string[];
  readonly days?: number;
  /** It was valid until yesterday. */
  readonly expired?: true;
  readonly issuer?: Pair;
}

/** Makes `<name>.crt` and `<name>.key` in the folder; the common name of the certificate is `name`. */
export function makePair(folder: string, name: string, options: PairOptions = {}): Pair {
  const { hosts = ["localhost"], days = 90, expired, issuer } = options;
  const pair = { tlsCert: join(folder, `${name}.crt`), tlsKey: join(folder, `${name}.key`) };
  const names = hosts.map((host) => (/^[\d.]+$/.test(host) ? `IP:${host}` : `DNS:${host}`));
  const subject = ["-subj", `/CN=${name}`, "-addext", `subjectAltName=${names.join(",")}`];
  const output = ["-days", String(days), "-out", pair.tlsCert, "-keyout", pair.tlsKey];
  const by = issuer === undefined ? [] : ["-CA", issuer.tlsCert, "-CAkey", issuer.tlsKey];
  const kind = "-x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes".split(" ");
  openssl("req", ...kind, ...subject, ...output, ...by);
  if (expired) {
    const { tlsCert, tlsKey } = pair;
    openssl(..."x509 -days -1 -in".split(" "), tlsCert, "-signkey", tlsKey, "-out", tlsCert);
  }
  return pair;
}

export function openssl(...words: string[]): string {
  const { success, stdout, stderr } = Bun.spawnSync(["openssl", ...words]);
  if (!success) throw new Error(`openssl ${words[0]}: ${stderr.toString()}`);
  return stdout.toString();
}

/** The common name of the certificate that a new connection is shown. */
export async function shownName(port: number): Promise<string> {
  const child = Bun.spawn(["openssl", "s_client", "-connect", `127.0.0.1:${port}`], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  const output = await new Response(child.stdout).text();
  return /subject=CN ?= ?(\S+)/.exec(output)?.[1] ?? "";
}

export const textOf = (path: string): string => readFileSync(path, "utf8");
