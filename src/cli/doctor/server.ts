// What the doctor finds of the running server from its own machine: that it runs, that it is what listens, that it saves.
import type { BegunCheckup } from "../../admin/checkup.ts";
import { reason } from "../../errors.ts";
import { callRunning } from "../admin_client.ts";
import { nextCommand } from "../terminal.ts";
import { version } from "../../../package.json";
import { type Ask, inWords, jsonOf, memberOf } from "./ask.ts";
import { type Finding, attention, bad, everyClient, good, note } from "./finding.ts";

/** Begins a check-up in the server that has the folder; without one, says what is missing. */
export async function meetServer(
  data: string,
): Promise<{ checkup?: BegunCheckup; findings: Finding[] }> {
  try {
    const checkup = await callRunning<BegunCheckup>({ data }, "POST", "/checkups");
    if (checkup) return { checkup, findings: aboutServer(checkup) };
    const fix = [
      `Start it: ${nextCommand("serve", data)}`,
      "Runs it with another folder? Name that with --data.",
    ];
    return {
      findings: [bad("not-running", `no server runs on ${data}`, { breaks: everyClient, fix })],
    };
  } catch (error) {
    const fix = [
      "Run postern doctor as the user that the server runs as.",
      "Was Postern updated? Restart the server.",
    ];
    const what = `the running server does not take the doctor in (${reason(error)})`;
    return { findings: [attention("not-let-in", what, { fix })] };
  }
}

function aboutServer(checkup: BegunCheckup): Finding[] {
  const { pid, version: running, cookie } = checkup;
  const findings = [good("running", `version ${running} runs here, as process ${pid}`)];
  if (running !== version) {
    findings.push(note("other-version", `this is the doctor of version ${version}`));
  }
  if (cookie === undefined) {
    findings.push(
      attention("no-owner", "nobody has set it up yet", {
        breaks: everyClient,
        fix: ["Open the setup link that the server printed, or set a password: postern password."],
      }),
    );
  }
  return findings;
}

/** Asks the server itself, past every proxy. */
export async function checkPort(checkup: BegunCheckup, ask: Ask): Promise<Finding[]> {
  const { hosts, port, issuer, key, tls } = checkup;
  const [{ resource } = { resource: issuer }] = checkup.servers;
  const { host, pathname } = new URL(resource);
  const findings: Finding[] = [];
  for (const address of hosts) {
    const near = `${plain(address)}:${port}`;
    const answer = await ask(`${tls ? "https" : "http"}://${near}${pathname}`, {
      method: "POST",
      anyCertificate: true,
      headers: { host, authorization: `Bearer pcu_${key}.seen` },
      body: "{}",
    });
    if (memberOf(jsonOf(answer), "peer") !== undefined) {
      findings.push(good("port", `it answers on ${near}`));
    } else if (answer.status === 0 && address === "::1" && hosts.length > 1) {
      findings.push(
        note("port-family", "it does not answer on [::1]: this machine may have no IPv6"),
      );
    } else {
      const what = `what answers on ${near} is not this server (${inWords(answer)})`;
      const fix = [`Stop the other program on port ${port}, or choose another port with --port.`];
      findings.push(bad("port-foreign", what, { breaks: everyClient, fix }));
    }
  }
  return [...findings, ...(await checkSaving(checkup, ask))];
}

/** The address that reaches a server which listens on all of them. */
const plain = (address: string): string =>
  address === "0.0.0.0"
    ? "127.0.0.1"
    : address.includes(":")
      ? `[${address === "::" ? "::1" : address}]`
      : address;

async function checkSaving(
  { hosts, port, issuer, tls }: BegunCheckup,
  ask: Ask,
): Promise<Finding[]> {
  const base = new URL(issuer).pathname.replace(/\/$/, "");
  const url = `${tls ? "https" : "http"}://${plain(hosts[0] ?? "")}:${port}${base}/readyz`;
  const answer = await ask(url, { anyCertificate: true });
  if (answer.status !== 503) return [];
  return [
    bad("not-saving", "it cannot save changes at the moment", {
      breaks: everyClient,
      fix: ["Make room on its disk, and look at its log."],
    }),
  ];
}
