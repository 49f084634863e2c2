// The account in a real browser against the real program: with mouse and keyboard, on a phone, without a script.
import { afterAll, beforeAll, describe, expect } from "bun:test";
import type { Browser, Page } from "playwright-core";
import { axeIssues, launchBrowser, policyViolations } from "../browser.ts";
import { needs } from "../needs.ts";
import { type Postern, startPostern, stopProcesses } from "../process.ts";
import {
  type Login,
  PASSWORD,
  REDIRECT,
  authorizationUrl,
  callMcp,
  redeemCode,
  registerClient,
} from "../server.ts";

const test = needs("chromium");
let browser: Browser | undefined;
let server: Postern;

beforeAll(async () => {
  browser = await launchBrowser();
  if (browser) server = await startPostern();
});
afterAll(async () => {
  await browser?.close();
  await stopProcesses();
});

async function logIn(name: string): Promise<Login> {
  const { client_id: clientId } = await registerClient(server, { client_name: name });
  const response = await server.browser.authorize(authorizationUrl(server, clientId));
  const code = new URL(response.headers.get("location") ?? REDIRECT).searchParams.get("code") ?? "";
  return { clientId, tokens: await (await redeemCode(server, clientId, code)).json() };
}

const status = async ({ tokens }: Login): Promise<number> =>
  (await callMcp(server, tokens.access_token)).status;

/** A page without JavaScript of its own, signed in, on the account; `check` fails on what axe or the policy finds. */
async function openAccount(width = 1000): Promise<{ page: Page; check: () => Promise<void> }> {
  if (!browser) throw new Error("no browser");
  const context = await browser.newContext({ viewport: { width, height: 800 } });
  const page = await context.newPage();
  const violations = policyViolations(page);
  await page.goto(`${server.config.issuer}/account`);
  await page.getByLabel("Owner’s password").fill(PASSWORD);
  await page.keyboard.press("Enter");
  await page.waitForURL("**/account");
  const check = async (): Promise<void> => {
    expect(await axeIssues(page)).toEqual([]);
    expect(violations).toEqual([]);
  };
  return { page, check };
}

describe("the owner", () => {
  test("finds a connection, names it, and ends it; the other one stays", async () => {
    const [one, two] = [await logIn("Notes app"), await logIn("Other app")];
    const { page, check } = await openAccount();
    await check();
    const section = () => page.locator("section", { hasText: "Notes app" });
    await section().getByRole("link", { name: "Rename" }).click();
    await check();
    await page.getByLabel("Your name for it").fill("The <i>old</i> laptop");
    await page.getByRole("button", { name: "Rename" }).click();
    expect(await page.getByRole("status").textContent()).toBe("Renamed.");
    await section().getByRole("link", { name: "End The <i>old</i> laptop" }).click();
    expect(await page.textContent("h1")).toBe("End this connection of Notes app?");
    await check();
    await page.getByRole("link", { name: "Keep" }).click();
    expect(await status(one)).toBe(200);
    await section().getByRole("link", { name: "End The" }).click();
    await page.getByRole("button", { name: "End the connection" }).click();
    expect(await page.getByRole("status").textContent()).toBe("One connection ended.");
    await check();
    expect([await status(one), await status(two)]).toEqual([401, 200]);
    // Going back asks anew, and there is nothing to ask any more.
    await page.goBack();
    expect(await page.getByRole("status").textContent()).toContain("over already");
    expect(await status(two)).toBe(200);
    await page.context().close();
  });

  test("does it all with the keyboard", async () => {
    const login = await logIn("Keyboard app");
    const { page } = await openAccount();
    const focus = async (name: RegExp): Promise<void> => {
      for (let presses = 0; presses < 60; presses++) {
        await page.keyboard.press("Tab");
        const label = await page.evaluate(
          "document.activeElement.closest('section')?.innerText + ' / ' + document.activeElement.innerText",
        );
        if (name.test(String(label))) return;
      }
      throw new Error(`no way to ${name}`);
    };
    await focus(/Keyboard app[\s\S]* \/ End…$/);
    await page.keyboard.press("Enter");
    await page.waitForURL("**/end?**");
    await focus(/ \/ End the connection$/);
    await page.keyboard.press("Enter");
    await page.waitForURL("**/account?**");
    expect(await status(login)).toBe(401);
    await page.context().close();
  });

  test("sees cards on a phone that name their lines, and nothing is cut off", async () => {
    await logIn("Phone app");
    const { page, check } = await openAccount(390);
    const card = page.getByRole("row", { name: /Since/ }).first();
    const box = await card.boundingBox();
    expect(box?.width).toBeLessThan(390);
    const label = "getComputedStyle(document.querySelectorAll('td')[2], '::before').content";
    expect(await page.evaluate(label)).toBe('"Last used"');
    expect(await page.evaluate("document.documentElement.scrollWidth")).toBe(390);
    await check();
    await page.context().close();
  });

  test("ends everything, and is asked to sign in again", async () => {
    const login = await logIn("Last app");
    const { page, check } = await openAccount();
    await page.getByRole("link", { name: "End everything…" }).click();
    await check();
    await page.getByRole("button", { name: "End everything" }).click();
    expect(await page.textContent("h1")).toBe("Everything has ended");
    await check();
    expect(await status(login)).toBe(401);
    await page.getByRole("link", { name: "Sign in" }).click();
    await page.waitForURL("**/login");
    await page.context().close();
  });
});
