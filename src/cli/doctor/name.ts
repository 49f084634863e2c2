// What the doctor finds of the public name: where it leads, whether somebody is there, and the certificate.
import { lookup } from "node:dns/promises";
import { type Socket, connect as connectTcp, isIP } from "node:net";
import { type PeerCertificate, connect as connectTls } from "node:tls";
import { isPublicAddress } from "../../addresses.ts";
import { isLoopbackHost } from "../../values.ts";
import { type Finding, attention, bad, everyClient, good, hostedClients } from "./finding.ts";

/** Milliseconds for one connection. */
const PATIENCE = 5000;

export interface NameCheck {
  readonly findings: Finding[];
  /** Whether anything more can be asked there. */
  readonly reachable: boolean;
}

export async function checkName(origin: string): Promise<NameCheck> {
  const url = new URL(origin);
  const host = url.hostname.replace(/^\[|\]$/g, "");
  const port = Number(url.port || (url.protocol === "https:" ? 443 : 80));
  const addresses = isIP(host) === 0 ? await resolve(host) : [host];
  if (typeof addresses === "string") {
    const fix = [
      "Make an A record (and AAAA, when you have IPv6) for it where the domain is managed.",
      "With Cloudflare Tunnel: cloudflared tunnel route dns. With Tailscale: tailscale funnel status.",
    ];
    const what = `the name ${host} leads nowhere (${addresses})`;
    return {
      findings: [bad("name-unknown", what, { breaks: everyClient, fix })],
      reachable: false,
    };
  }
  const answers = await Promise.all(addresses.map((address) => tryConnect(address, port)));
  const dead = addresses.filter((_, index) => answers[index] !== undefined);
  const alive = addresses.filter((_, index) => answers[index] === undefined);
  const findings = [
    ...aboutAddresses(host, addresses),
    ...aboutDead(dead, alive, port, answers.find(Boolean) ?? ""),
  ];
  const [first] = alive;
  if (first !== undefined && url.protocol === "https:") {
    findings.push(...(await checkCertificate(host, first, port)));
  }
  return { findings, reachable: first !== undefined };
}

/** All addresses of a name, or why there are none. */
async function resolve(host: string): Promise<string[] | string> {
  try {
    return (await lookup(host, { all: true })).map(({ address }) => address);
  } catch (error) {
    return error instanceof Error && "code" in error ? String(error.code) : "no address";
  }
}

function aboutAddresses(host: string, addresses: readonly string[]): Finding[] {
  if (isIP(host) !== 0) return [];
  const isPrivate = !addresses.some(isPublicAddress);
  if (!isPrivate || isLoopbackHost(host)) {
    return [good("name", `${host} leads to ${addresses.join(", ")}`)];
  }
  const what = `${host} leads to ${addresses.join(", ")}, which the internet cannot reach`;
  return [
    attention("name-private", what, {
      breaks: hostedClients,
      fix: [
        "Run postern doctor with this URL on a machine elsewhere: many home networks show their own names like this.",
        "If it is so everywhere: use a tunnel, or the address of the router and a forwarded port.",
      ],
    }),
  ];
}

function aboutDead(
  dead: readonly string[],
  alive: readonly string[],
  port: number,
  why: string,
): Finding[] {
  if (dead.length === 0) return [];
  const what = `nobody answers on port ${port} of ${dead.join(", ")} (${why})`;
  if (alive.length > 0) {
    const fix = ["Take the record of that address away, or let connections to it through."];
    return [
      attention("address-dead", what, { breaks: ["clients that try that address first"], fix }),
    ];
  }
  const fix = [
    "Start the proxy or tunnel in front, and open the port in firewall and router.",
    "At home, some routers do not lead their own network back in: try from elsewhere.",
  ];
  return [bad("port-closed", what, { breaks: everyClient, fix })];
}

/** Why there is no connection; undefined when there is one. */
async function tryConnect(host: string, port: number): Promise<string | undefined> {
  const end = Promise.withResolvers<string | undefined>();
  const socket = connectTcp({ host, port }, () => end.resolve(undefined));
  settle(socket, end.resolve);
  const result = await end.promise;
  socket.destroy();
  return result;
}

function settle(socket: Socket, end: (why: string) => void): void {
  socket.setTimeout(PATIENCE, () => end("no answer"));
  socket.on("error", (error) => end("code" in error ? String(error.code) : error.message));
}

interface Shown {
  readonly certificate: PeerCertificate;
  /** Code of what is wrong with it; undefined when it is trusted. */
  readonly problem: string | undefined;
}

async function checkCertificate(host: string, address: string, port: number): Promise<Finding[]> {
  const end = Promise.withResolvers<Shown | string>();
  const socket = connectTls(
    { host: address, port, servername: host, rejectUnauthorized: false },
    () => {
      const error: unknown = socket.authorizationError;
      const code = error instanceof Error && "code" in error ? error.code : error;
      end.resolve({
        certificate: socket.getPeerCertificate(),
        problem: socket.authorized ? undefined : String(code),
      });
    },
  );
  settle(socket, end.resolve);
  const shown = await end.promise;
  socket.destroy();
  if (typeof shown !== "string") return [aboutCertificate(host, shown)];
  const fix = ["Let the proxy or tunnel in front speak https on this port."];
  return [bad("no-tls", `no https on port ${port} (${shown})`, { breaks: everyClient, fix })];
}

function aboutCertificate(host: string, { certificate, problem }: Shown): Finding {
  const from = Date.parse(certificate.valid_from);
  const to = Date.parse(certificate.valid_to);
  const day = new Date(to || 0).toISOString().slice(0, 10);
  const renew =
    "Let the proxy renew it: Caddy and the tunnels do so by themselves, certbot renew does for others.";
  const names = certificate.subjectaltname?.replaceAll("DNS:", "") ?? "none";
  const problems: Readonly<Record<string, [id: string, what: string, fix: string]>> = {
    CERT_HAS_EXPIRED: ["certificate-expired", `the certificate ended on ${day}`, renew],
    CERT_NOT_YET_VALID: [
      "certificate-early",
      "the certificate is not valid yet, by this machine's clock",
      "Set the clock of this machine, or of the one that made the certificate.",
    ],
    ERR_TLS_CERT_ALTNAME_INVALID: [
      "certificate-name",
      `the certificate is for ${names}, not for ${host}`,
      "Give the proxy a certificate for the host of the public URL.",
    ],
  };
  if (problem !== undefined) {
    const [id, what, fix] = problems[problem] ?? [
      "certificate-untrusted",
      `the certificate is not trusted (${problem})`,
      "Use one of a public authority (Let's Encrypt), and send its whole chain: fullchain.pem, not cert.pem.",
    ];
    return bad(id, what, { breaks: everyClient, fix: [fix] });
  }
  // Certificates live for 90 days, or for six: what matters is how much of that is left.
  if (to - Date.now() < (to - from) * 0.15) {
    const what = `the certificate ends on ${day} and was not renewed`;
    return attention("certificate-ending", what, { breaks: everyClient, fix: [renew] });
  }
  return good("certificate", `the certificate is good until ${day}`);
}
