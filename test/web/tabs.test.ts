// What people do with tabs, with the back button and with links they have used before, in a real browser.
import { afterAll, beforeAll, expect } from "bun:test";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { launchBrowser } from "../browser.ts";
import { needs } from "../needs.ts";
import { type Postern, startPostern, stopProcesses } from "../process.ts";
import { authorizationUrl, redeemCode, registerClient } from "../server.ts";

const test = needs("chromium");
const PASSWORD = "correct horse battery";

let browser: Browser | undefined;
let server: Postern;
const callback = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch: () =>
    new Response("<!doctype html><title>client</title>", {
      headers: { "content-type": "text/html" },
    }),
});
const redirect = `http://127.0.0.1:${callback.port}/callback`;

beforeAll(async () => {
  browser = await launchBrowser();
  if (browser) server = await startPostern({ owner: false });
});
afterAll(async () => {
  await browser?.close();
  await callback.stop(true);
  await stopProcesses();
});

async function newContext(): Promise<BrowserContext> {
  if (!browser) throw new Error("no browser");
  return browser.newContext();
}

const requestOf = async (name: string): Promise<{ id: string; url: string }> => {
  const metadata = { client_name: name, redirect_uris: [redirect] };
  const { client_id: id } = await registerClient(server, metadata);
  return { id, url: authorizationUrl(server, id, { redirect_uri: redirect, state: name }) };
};

async function signIn(page: Page): Promise<void> {
  await page.getByLabel("Owner’s password").fill(PASSWORD);
  await page.getByRole("button", { name: "Sign in" }).click();
}

const allow = (page: Page): Promise<void> =>
  page.getByRole("button", { name: "Allow", exact: true }).click();

/** The code that has arrived at the client of a page. */
async function codeAt(page: Page): Promise<string> {
  await page.waitForURL(`${redirect}**`);
  return new URL(page.url()).searchParams.get("code") ?? "";
}

test("the setup link: once more, and back, lead the new owner on; a stranger is told to sign in", async () => {
  const context = await newContext();
  const page = await context.newPage();
  const link = await server.setupLink();
  await page.goto(link);
  await page.getByLabel("Password", { exact: true }).fill(PASSWORD);
  await page.getByLabel("The same password again").fill(PASSWORD);
  await page.getByRole("button").click();
  await page.waitForURL("**/connect");
  await page.goBack();
  await page.waitForURL("**/connect");
  await page.goto(link);
  expect(page.url()).toEndWith("/connect");
  const stranger = await (await newContext()).newPage();
  await stranger.goto(link);
  expect(await stranger.textContent("h1")).toBe("This server is already set up");
  await stranger.getByRole("link", { name: "Sign in" }).click();
  await signIn(stranger);
  await stranger.waitForURL("**/account");
  // No password is asked for again on the way back.
  await stranger.goBack();
  await stranger.waitForURL(/\/(account|setup.*)$/);
  expect(await stranger.locator("input[type=password]").count()).toBe(0);
  await context.close();
});

test("two tabs with two clients at once: one login is enough, each code goes to its own client", async () => {
  const context = await newContext();
  const [one, two] = [await requestOf("One"), await requestOf("Two")];
  const [first, second] = [await context.newPage(), await context.newPage()];
  await Promise.all([first.goto(one.url), second.goto(two.url)]);
  await signIn(second);
  expect(await second.textContent("h1")).toContain("Let Two use");
  // The other tab still shows its login; whatever is typed there, the session counts.
  await first.getByLabel("Owner’s password").fill("anything");
  await first.getByRole("button", { name: "Sign in" }).click();
  expect(await first.textContent("h1")).toContain("Let One use");
  await Promise.all([allow(first), allow(second)]);
  for (const [page, { id }, state] of [
    [first, one, "One"],
    [second, two, "Two"],
  ] as const) {
    const code = await codeAt(page);
    expect(new URL(page.url()).searchParams.get("state")).toBe(state);
    expect((await redeemCode(server, id, code, { redirect_uri: redirect })).status).toBe(200);
  }
  await context.close();
});

test("back after the consent asks anew, and a page from before the answer decides nothing twice", async () => {
  const context = await newContext();
  const { id, url } = await requestOf("Back");
  const page = await context.newPage();
  await page.goto(url);
  await signIn(page);
  await allow(page);
  const code = await codeAt(page);
  expect((await redeemCode(server, id, code, { redirect_uri: redirect })).status).toBe(200);
  await page.goBack();
  expect(await page.textContent("h1")).toMatch(/Let Back use|Already answered/);
  expect(await page.locator("input[type=password]").count()).toBe(0);
  await allow(page);
  const second = await codeAt(page);
  expect(second).not.toBe(code);
  expect((await redeemCode(server, id, second, { redirect_uri: redirect })).status).toBe(200);
  await context.close();
});

test("a session that ended in another tab: the request is shown again after the login", async () => {
  const context = await newContext();
  const { url } = await requestOf("Again");
  const [page, other] = [await context.newPage(), await context.newPage()];
  await page.goto(url);
  await signIn(page);
  await page.getByRole("button", { name: "Allow", exact: true }).waitFor();
  await other.goto(`${server.config.issuer}/connect`);
  await other.getByRole("button", { name: "Sign out" }).click();
  await other.getByRole("heading", { name: "Signed out" }).waitFor();
  await allow(page);
  await page.getByRole("link", { name: "Show the request again" }).click();
  expect(await page.textContent("main")).toContain("To decide about Again, sign in first.");
  await signIn(page);
  await allow(page);
  expect(await codeAt(page)).toStartWith("pac_");
  await context.close();
});

test("a double click on Allow ends at the client with one code", async () => {
  const context = await newContext();
  const { id, url } = await requestOf("Double");
  const page = await context.newPage();
  await page.goto(url);
  await signIn(page);
  await page.getByRole("button", { name: "Allow", exact: true }).dblclick();
  const code = await codeAt(page);
  expect((await redeemCode(server, id, code, { redirect_uri: redirect })).status).toBe(200);
  await context.close();
});

test("password managers find a name, and the right kind of password, on both forms", async () => {
  const fieldsOf = async (page: Page): Promise<unknown> =>
    page.evaluate(
      `[...document.querySelectorAll("form input:not([type=hidden])")].map((input) => [input.name, input.autocomplete, input.value])`,
    );
  const page = await (await newContext()).newPage();
  await page.goto(`${server.config.issuer}/login`);
  expect(await fieldsOf(page)).toEqual([
    ["username", "username", "owner"],
    ["password", "current-password", ""],
  ]);
  // With the keyboard alone: the field has the focus, Enter sends.
  await page.keyboard.type(PASSWORD);
  await page.keyboard.press("Enter");
  await page.waitForURL("**/account");
  const fresh = await startPostern({ owner: false });
  const setup = await (await newContext()).newPage();
  await setup.goto(await fresh.setupLink());
  expect(await fieldsOf(setup)).toEqual([
    ["username", "username", "owner"],
    ["password", "new-password", ""],
    ["password_again", "new-password", ""],
  ]);
});
