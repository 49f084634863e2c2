// What the running server prints where no person looks: JSON, an object a line, as loud as it was asked for.
import { afterAll, expect, test } from "bun:test";
import { join } from "node:path";
import { writeFileSync } from "node:fs";
import { type Postern, startPostern, stopProcesses } from "../process.ts";
import {
  Browser,
  type Tokens,
  authorizationUrl,
  redeemCode,
  refreshWith,
  registerClient,
  temporaryFolder,
} from "../server.ts";

afterAll(stopProcesses);

type Line = Readonly<Record<string, unknown>>;

/** Every line of both outputs, each of which must be JSON. */
const lines = (postern: Postern): Line[] =>
  [postern.stdout(), postern.stderr()]
    .join("")
    .trimEnd()
    .split("\n")
    .map((text) => JSON.parse(text) as Line);
const events = (postern: Postern): unknown[] => lines(postern).map(({ event }) => event);

async function start(settings: Record<string, string>): Promise<Postern> {
  const passwordFile = join(temporaryFolder(), "password");
  writeFileSync(passwordFile, "correct horse battery");
  return startPostern({ owner: false, settings: { passwordFile, ...settings } });
}

async function logIn(postern: Postern): Promise<void> {
  const { client_id: id } = await registerClient(postern, { client_name: 'Cl"au\nde\u001b[2J' });
  const answer = await postern.browser.authorize(authorizationUrl(postern, id));
  const code = new URL(answer.headers.get("location") ?? "").searchParams.get("code") ?? "";
  const tokens = (await (await redeemCode(postern, id, code)).json()) as Tokens;
  await refreshWith(postern, id, tokens.refresh_token);
}

test("without a terminal every line is an object with its time and level", async () => {
  const postern = await start({ logFormat: "auto" });
  await logIn(postern);
  await postern.kill("SIGTERM");
  const all = lines(postern);
  for (const line of all) {
    expect(line["at"]).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
    expect(line["level"]).toMatch(/^(info|warn|error)$/);
  }
  expect(all.find(({ event }) => event === "ready")).toMatchObject({
    urls: postern.url,
    folder: postern.folder,
    new: true,
  });
  expect(all.find(({ event }) => event === "grant_created")).toMatchObject({
    level: "info",
    name: 'Cl"au\ufffdde\ufffd[2J',
    request: expect.any(String),
  });
  expect(events(postern)).not.toContain("grant_refreshed");
  expect(all.at(-1)).toMatchObject({ event: "stop" });
});

test("the setup link is in the line that says where the server is", async () => {
  const postern = await startPostern({ owner: false, settings: { logFormat: "json" } });
  const link = String(lines(postern).find(({ event }) => event === "ready")?.["setup"]);
  await postern.browser.setUp(link);
  expect((await postern.browser.get("/account")).status).toBe(200);
});

test("--log-level debug tells what happens all the time, warn only what is worth a look", async () => {
  const loud = await start({ logFormat: "json", logLevel: "debug" });
  await logIn(loud);
  expect(events(loud)).toContain("grant_refreshed");
  const quiet = await start({ logFormat: "json", logLevel: "warn" });
  await logIn(quiet);
  expect(quiet.stdout()).toBe("");
  await new Browser(quiet).signIn(undefined, "wrong password");
  expect(events(quiet)).toEqual(["login_failed"]);
});

test("text is text, whatever stdout is; both can be changed while it runs", async () => {
  const postern = await start({ logFormat: "text" });
  expect(postern.stdout()).toContain("Paste into your client");
  await postern.kill("SIGTERM");
  const json = await start({});
  writeFileSync(join(json.folder, "config.json"), JSON.stringify({ logLevel: "debug" }));
  process.kill(json.pid, "SIGHUP");
  for (let tries = 0; !json.stdout().includes("settings taken up") && tries < 200; tries++)
    await Bun.sleep(20);
  await logIn(json);
  expect(json.stdout()).toContain("grant refreshed");
});
