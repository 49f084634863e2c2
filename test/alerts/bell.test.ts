// Told at once: what is news, how much of it, and that no slow or broken way ever holds anything up.
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Alerts, type BellTiming, createAlerts } from "../../src/alerts/bell.ts";
import type { AuditEvent } from "../../src/audit.ts";
import { readConfig } from "../../src/config.ts";
import type { GivenSettings } from "../../src/settings.ts";
import { temporaryFolder } from "../server.ts";

interface Received {
  readonly event: string;
  readonly text: string;
  readonly content: string;
  readonly count: number;
  readonly news: { readonly text: string; readonly grant?: string }[];
}

let folder: string;
beforeAll(() => {
  folder = temporaryFolder();
});
afterAll(() => rmSync(folder, { recursive: true }));

const open: { stop: () => Promise<void> }[] = [];
afterEach(async () => {
  for (const each of open.splice(0)) await each.stop();
});

/** A webhook on loopback, and what it got. */
function webhook(answer: (request: Request) => Response | Promise<Response>): {
  url: string;
  requests: { headers: Headers; body: string }[];
  received: () => Received[];
} {
  const requests: { headers: Headers; body: string }[] = [];
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    idleTimeout: 60,
    fetch: async (request) => {
      requests.push({ headers: request.headers, body: await request.text() });
      return answer(request);
    },
  });
  open.push({ stop: () => server.stop(true) });
  return {
    url: `http://127.0.0.1:${server.port}/hook?key=topsecret`,
    requests,
    received: () => requests.map(({ body }) => JSON.parse(body) as Received),
  };
}
const ok = (): Response => new Response("ok");

const quick: BellTiming = {
  quiet: { new_client: 60, new_connection: 60, token_reused: 60, failed_logins: 60 },
  patience: 1000,
  again: 5,
};

function ring(settings: GivenSettings, timing = quick): { alerts: Alerts; failures: string[] } {
  const failures: string[] = [];
  const config = readConfig({ data: folder, ...settings });
  const alerts = createAlerts(config, (way, why) => void failures.push(`${way}: ${why}`), timing);
  open.push({ stop: () => alerts.close() });
  return { alerts, failures };
}

const event = (name: AuditEvent["event"], fields: Record<string, string> = {}): AuditEvent => ({
  at: "2026-11-21T10:31:07.000Z",
  event: name,
  client: "c1",
  name: "Claude",
  family: "f1",
  address: "203.0.113.7",
  ...fields,
});

async function until(condition: () => boolean): Promise<void> {
  for (let tries = 0; !condition(); tries++) {
    if (tries > 1000) throw new Error("waited in vain");
    await Bun.sleep(5);
  }
}

describe("news", () => {
  test.each([
    ["client_registered", "new_client", /“Claude” registered itself from 203\.0\.113\.0\/24/],
    ["grant_created", "new_connection", /“Claude” was let in .* postern grants revoke f1$/],
    ["refresh_reused", "token_reused", /came back .* ended/],
    ["code_replayed", "token_reused", /came back .* ended/],
  ] as const)("%s is told as %s", async (name, kind, text) => {
    const { url, received } = webhook(ok);
    ring({ alertWebhook: url }).alerts.hear(event(name));
    await until(() => received().length > 0);
    const [message] = received();
    expect(message).toMatchObject({
      event: kind,
      count: 1,
      news: [{ text: expect.stringMatching(text) }],
    });
    expect(JSON.stringify(message)).not.toContain("203.0.113.7");
  });

  test("all else is none", async () => {
    const { url, received } = webhook(ok);
    const { alerts } = ring({ alertWebhook: url });
    for (const name of ["grant_refreshed", "login", "alert_failed", "request_refused"] as const) {
      alerts.hear(event(name));
    }
    alerts.hear(event("client_registered", { by: "owner" }));
    await alerts.close();
    expect(received()).toEqual([]);
  });

  test("five wrong passwords within ten minutes are news, four are not, five over an hour are not", async () => {
    const { url, received } = webhook(ok);
    const { alerts } = ring({ alertWebhook: url });
    const fail = (minute: number): void =>
      alerts.hear(event("login_failed", { at: new Date(minute * 60_000).toISOString() }));
    for (const minute of [0, 12, 24, 36, 48]) fail(minute);
    for (const minute of [100, 101, 102, 103]) fail(minute);
    await Bun.sleep(20);
    expect(received()).toEqual([]);
    fail(104);
    await until(() => received().length > 0);
    expect(received()).toMatchObject([{ event: "failed_logins" }]);
  });

  test("a client's name steers nothing", async () => {
    const { url, requests, received } = webhook(ok);
    ring({ alertWebhook: url }).alerts.hear(
      event("client_registered", { name: "a\r\nX-Evil: 1\u202egnp.exe\u0007" }),
    );
    await until(() => requests.length > 0);
    expect(requests[0]?.headers.has("x-evil")).toBe(false);
    expect(received()[0]?.text).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u202e]/);
  });

  test.each([
    ["<!channel> urgent", "‹!channel› urgent"],
    ["@everyone", "(at)everyone"],
    ["<https://evil.test/login|Sign in again>", "‹https: //evil. test/login|Sign in again›"],
    ["[Sign in](https://evil.test)", "(Sign in)(https: //evil. test)"],
    ["evil.test", "evil. test"],
    ["mcp-remote 0.1 (a, b: c)", "mcp-remote 0.1 (a, b: c)"],
  ])("no chat program makes a mention or a link of %p", async (name, shown) => {
    const { url, received } = webhook(ok);
    ring({ alertWebhook: url }).alerts.hear(event("client_registered", { name }));
    await until(() => received().length > 0);
    const [message] = received();
    for (const text of [message?.text, message?.content]) expect(text).toContain(`“${shown}”`);
    expect(message).toMatchObject({ news: [{ client_name: name }] });
  });
});

describe("many at once", () => {
  test("the first is told at once, the others together, spelled out up to five", async () => {
    const { url, received } = webhook(ok);
    const { alerts } = ring({ alertWebhook: url });
    for (let index = 0; index < 1000; index++) {
      alerts.hear(event("client_registered", { name: `client ${index}` }));
    }
    await until(() => received().length === 2);
    expect(received().map(({ count, news }) => [count, news.length])).toEqual([
      [1, 1],
      [999, 5],
    ]);
    expect(received()[1]?.text).toMatch(/client 1”[\s\S]*client 5”[\s\S]*And 994 more\./);
  });

  test("one kind does not hold up another", async () => {
    const { url, received } = webhook(ok);
    const { alerts } = ring({ alertWebhook: url });
    alerts.hear(event("client_registered"));
    alerts.hear(event("client_registered"));
    alerts.hear(event("refresh_reused"));
    await until(() => received().length === 3);
    expect(received().map((each) => each.event)).toEqual([
      "new_client",
      "token_reused",
      "new_client",
    ]);
  });

  test("a way that hangs keeps a few messages and gives up the oldest", async () => {
    const { url, requests } = webhook(() => new Promise<Response>(() => undefined));
    const timing = { ...quick, quiet: { ...quick.quiet, new_client: 0 }, patience: 60_000 };
    const { alerts, failures } = ring({ alertWebhook: url }, timing);
    for (let index = 0; index < 20; index++) {
      alerts.hear(event("client_registered"));
      await Bun.sleep(2);
    }
    await until(() => failures.length > 0);
    expect(failures[0]).toMatch(/webhook: too many messages wait/);
    expect(requests).toHaveLength(1);
  });

  test("stopping takes along what waits", async () => {
    const { url, received } = webhook(ok);
    const { alerts } = ring(
      { alertWebhook: url },
      { ...quick, quiet: { ...quick.quiet, new_connection: 60_000 } },
    );
    alerts.hear(event("grant_created"));
    alerts.hear(event("grant_created"));
    await alerts.close();
    expect(received().map(({ count }) => count)).toEqual([1, 1]);
  });
});

describe("ways that fail", () => {
  test.each([
    ["an error", () => new Response("no", { status: 500 }), /^webhook: status 500$/],
    [
      "a redirect, which is not followed",
      () => Response.redirect("http://127.0.0.1:1/elsewhere", 307),
      /^webhook: status 307, redirects are not followed$/,
    ],
    ["no answer in time", () => new Promise<Response>(() => undefined), /no answer in time/],
  ])("%s is tried once more, then said without the address", async (_name, answer, wanted) => {
    const { url, requests } = webhook(answer);
    const { alerts, failures } = ring({ alertWebhook: url }, { ...quick, patience: 100 });
    alerts.hear(event("grant_created"));
    await until(() => failures.length > 0);
    expect(failures[0]).toMatch(wanted);
    expect(failures.join()).not.toMatch(/topsecret|127\.0\.0\.1/);
    expect(requests).toHaveLength(2);
  });

  test("a host that is not there", async () => {
    const { alerts, failures } = ring({ alertWebhook: "http://127.0.0.1:9/key-topsecret" });
    alerts.hear(event("grant_created"));
    await until(() => failures.length > 0);
    expect(failures[0]).toMatch(/^webhook: no connection/);
    expect(failures[0]).not.toContain("topsecret");
  });

  test("what works the second time was never a failure", async () => {
    let times = 0;
    const { url, received } = webhook(
      () => new Response("", { status: times++ === 0 ? 503 : 200 }),
    );
    const { alerts, failures } = ring({ alertWebhook: url });
    alerts.hear(event("grant_created"));
    await until(() => received().length === 2);
    await alerts.close();
    expect(failures).toEqual([]);
  });
});

describe("other ways", () => {
  test("ntfy gets the sentence as the body, title and priority as headers", async () => {
    const { url, requests } = webhook(ok);
    ring({ alertNtfy: url }).alerts.hear(event("refresh_reused", { name: "Größe 🙂" }));
    await until(() => requests.length > 0);
    expect(requests[0]?.body).toMatch(/^A token that “Größe 🙂” had used/);
    expect(requests[0]?.headers.get("title")).toMatch(/^A login was ended/);
    expect(requests[0]?.headers.get("priority")).toBe("high");
  });

  test("a command is run without a shell, with the event on standard input and in its environment", async () => {
    const program = join(folder, "tell me; touch broken");
    const out = join(folder, "told");
    writeFileSync(
      program,
      `#!/bin/sh\ncat > '${out}.json'\nenv > '${out}.env'\nmv '${out}.env' '${out}'\n`,
    );
    chmodSync(program, 0o700);
    ring({ alertCommand: program }).alerts.hear(event("grant_created", { name: "$(id) `id`" }));
    await until(() => existsSync(out));
    const environment = readFileSync(out, "utf8");
    expect(environment).toContain("ALERT_EVENT=new_connection");
    expect(environment).toContain("ALERT_TEXT=“$(id) `id`” was let in");
    expect(environment).not.toContain("POSTERN_");
    expect(JSON.parse(readFileSync(`${out}.json`, "utf8"))).toMatchObject({
      event: "new_connection",
    });
    expect(existsSync(join(folder, "broken"))).toBe(false);
  });

  test.each([
    ["is not there", "no-such-program-here", undefined, /^command: /],
    ["fails", "failing", "exit 3", /ended with 3/],
    ["does not end", "endless", "exec sleep 100", /did not end in time/],
  ])("a command that %s is said", async (_name, file, script, wanted) => {
    const program = join(folder, file);
    if (script !== undefined) {
      writeFileSync(program, `#!/bin/sh\n${script}\n`);
      chmodSync(program, 0o700);
    }
    const { alerts, failures } = ring({ alertCommand: program }, { ...quick, patience: 100 });
    alerts.hear(event("grant_created"));
    await until(() => failures.length > 0);
    expect(failures[0]).toMatch(wanted);
  });
});

test("changed settings count from the next message on", async () => {
  const [first, second] = [webhook(ok), webhook(ok)];
  const { alerts } = ring({ alertWebhook: first.url });
  alerts.hear(event("grant_created"));
  await until(() => first.requests.length === 1);
  alerts.use(readConfig({ data: folder, alertWebhook: second.url }));
  alerts.hear(event("refresh_reused"));
  await until(() => second.requests.length === 1);
  expect(first.requests).toHaveLength(1);
});
