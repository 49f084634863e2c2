// The owner's way through the real program in a real browser: setup, connect, login, consent, and back to the client.
import { afterAll, beforeAll, describe, expect } from "bun:test";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { axeIssues, launchBrowser, policyViolations } from "../browser.ts";
import { needs } from "../needs.ts";
import { type Postern, startPostern, stopProcesses } from "../process.ts";
import { authorizationUrl, callMcp, redeemCode, registerClient } from "../server.ts";

const test = needs("chromium");
const PASSWORD = "correct horse battery";
const CURSOR = "cursor://anysphere.cursor-mcp/oauth/callback";

let browser: Browser | undefined;
let server: Postern;
/** What arrived at the client's loopback port. */
const arrived: URL[] = [];
const callback = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch: (request) => {
    const url = new URL(request.url);
    if (url.pathname === "/callback") arrived.push(url);
    return new Response("<!doctype html><title>client</title>You can close this window.", {
      headers: { "content-type": "text/html" },
    });
  },
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

interface Watched {
  readonly page: Page;
  /** Fails when a page so far broke its policy or is not accessible. */
  readonly check: () => Promise<void>;
}

async function watched(context: BrowserContext): Promise<Watched> {
  const page = await context.newPage();
  const violations = policyViolations(page);
  const check = async (): Promise<void> => {
    expect(await axeIssues(page)).toEqual([]);
    expect(violations).toEqual([]);
  };
  return { page, check };
}

const register = async (redirectUri: string): Promise<string> =>
  (
    await registerClient(server, {
      client_name: "Cursor",
      redirect_uris: [redirectUri, "https://claude.ai/api/mcp/auth_callback"],
    })
  ).client_id;

async function signIn(page: Page, password = PASSWORD): Promise<void> {
  await page.getByLabel("Owner’s password").fill(password);
  await page.getByRole("button", { name: "Sign in" }).click();
}

describe("the owner", () => {
  test("opens the setup link, chooses a password, and ends on the connect page, signed in", async () => {
    const { page, check } = await watched(await newContext());
    await page.goto(await server.setupLink());
    await check();
    await page.getByLabel("Password", { exact: true }).fill(PASSWORD);
    await page.getByLabel("The same password again").fill("something else");
    await page.getByRole("button").click();
    expect(await page.getByRole("alert").textContent()).toContain("differ");
    await check();
    await page.getByLabel("Password", { exact: true }).fill(PASSWORD);
    await page.getByLabel("The same password again").fill(PASSWORD);
    await page.getByRole("button").click();
    await page.waitForURL("**/connect");
    expect(await page.textContent("pre")).toBe(server.url);
    await check();
    await page.getByRole("button", { name: "Sign out" }).click();
    expect(await page.getByRole("heading").first().textContent()).toBe("Signed out");
    await page.goto(`${server.config.issuer}/connect`);
    expect(page.url()).toEndWith("/login");
  });

  test("lets a client in: login, consent, and the code arrives at its loopback port", async () => {
    const { page, check } = await watched(await newContext());
    const clientId = await register(redirect);
    await page.goto(authorizationUrl(server, clientId, { redirect_uri: redirect }));
    await check();
    await signIn(page, "not the password");
    expect(await page.getByRole("alert").textContent()).toContain("not the password");
    await check();
    await signIn(page);
    await page.getByRole("button", { name: "Allow", exact: true }).waitFor();
    await check();
    expect(await page.textContent("main")).toContain("Cursor");
    await page.getByRole("button", { name: "Allow", exact: true }).click();
    await page.waitForURL(`${redirect}**`);
    const url = arrived.at(-1);
    expect(url?.searchParams.get("state")).toBe("st4te");
    expect(url?.searchParams.get("iss")).toBe(server.config.issuer);
    const response = await redeemCode(server, clientId, url?.searchParams.get("code") ?? "", {
      redirect_uri: redirect,
    });
    const { access_token: token } = (await response.json()) as { access_token: string };
    expect((await callMcp(server, token)).status).toBe(200);
  });

  test("keeps a client out", async () => {
    const { page } = await watched(await newContext());
    await page.goto(authorizationUrl(server, await register(redirect), { redirect_uri: redirect }));
    await signIn(page);
    await page.getByRole("button", { name: "Deny" }).click();
    await page.waitForURL(`${redirect}**`);
    expect(arrived.at(-1)?.searchParams.get("error")).toBe("access_denied");
  });

  test("sends an app its own address, and the page stays with a button", async () => {
    const { page, check } = await watched(await newContext());
    const asked: string[] = [];
    page.on("request", (request) => asked.push(request.url()));
    const clientId = await register(CURSOR);
    await page.goto(authorizationUrl(server, clientId, { redirect_uri: CURSOR }));
    await signIn(page);
    await page.getByRole("button", { name: "Allow", exact: true }).click();
    const button = page.getByRole("link", { name: /Cursor/ });
    await button.waitFor();
    await check();
    const address = (await button.getAttribute("href")) ?? "";
    expect(address).toStartWith(`${CURSOR}?code=pac_`);
    const code = new URL(address).searchParams.get("code") ?? "";
    expect((await redeemCode(server, clientId, code, { redirect_uri: CURSOR })).status).toBe(200);
  });

  test("shows the address for a client on another machine", async () => {
    const { page, check } = await watched(await newContext());
    const clientId = await register(redirect);
    const before = arrived.length;
    await page.goto(authorizationUrl(server, clientId, { redirect_uri: redirect }));
    await signIn(page);
    await page.getByRole("button", { name: /another machine/ }).click();
    await page.getByRole("heading").first().waitFor();
    await check();
    const shown = (await page.textContent("pre")) ?? "";
    expect(shown).toStartWith(`${redirect}?code=pac_`);
    expect(arrived).toHaveLength(before);
  });

  test("is asked once more after a restart in the middle of the login, and goes on", async () => {
    const { page, check } = await watched(await newContext());
    const url = authorizationUrl(server, await register(redirect), { redirect_uri: redirect });
    await page.goto(url);
    await server.restart({ signal: "SIGKILL" });
    await signIn(page);
    expect(await page.textContent("main")).toContain("Sign in once more");
    await check();
    await signIn(page);
    await page.getByRole("button", { name: "Allow", exact: true }).click();
    await page.waitForURL(`${redirect}**`);
    expect(arrived.at(-1)?.searchParams.get("code")).toStartWith("pac_");
  });

  test("sees what to do about an unknown client and a wrong redirect", async () => {
    const { page, check } = await watched(await newContext());
    for (const url of [
      authorizationUrl(server, "nobody", { redirect_uri: redirect }),
      authorizationUrl(server, await register(redirect), { redirect_uri: "https://evil.test/cb" }),
    ]) {
      const response = await page.goto(url);
      expect(response?.status()).toBe(400);
      expect(await page.textContent("main")).toContain("Claude Code");
      await check();
    }
  });

  test("cannot be framed", async () => {
    const { page } = await watched(await newContext());
    await page.route("http://attacker.test/", (route) =>
      route.fulfill({
        contentType: "text/html",
        body: `<iframe src="${server.config.issuer}/login"></iframe>`,
      }),
    );
    await page.goto("http://attacker.test/");
    await page.waitForTimeout(300);
    const framed = page.frames().at(-1);
    expect(
      await framed
        ?.locator("input[type=password]")
        .count()
        .catch(() => 0),
    ).toBe(0);
  });

  test("is not signed in by another site's form", async () => {
    const { page } = await watched(await newContext());
    const body = `<form method="post" action="${server.config.issuer}/login"><input name="password" value="${PASSWORD}"><button>go</button></form>`;
    await page.route("http://attacker.test/", (route) =>
      route.fulfill({ contentType: "text/html", body }),
    );
    await page.goto("http://attacker.test/");
    await page.getByRole("button").click();
    await page.waitForURL("**/login");
    expect(await page.textContent("main")).toContain("not sent from a page of this server");
    await page.goto(`${server.config.issuer}/connect`);
    expect(page.url()).toEndWith("/login");
  });
});
