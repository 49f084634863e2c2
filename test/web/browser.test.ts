// The pages in a real browser: accessibility, policy, layout, and the ways from a form back to a client.
import { afterAll, beforeAll, describe, expect } from "bun:test";
import type { Browser, Page } from "playwright-core";
import { returnPage } from "../../src/web/return_page.ts";
import { axeIssues, launchBrowser, policyViolations } from "../browser.ts";
import { needs } from "../needs.ts";
import { samples, samplesOf } from "./samples.ts";

const test = needs("chromium");

let browser: Browser | undefined;
const posts: { path: string; origin: string | null; body: string }[] = [];

/** Our pages by name under 127.0.0.1, and a client under localhost, which is another origin and another site. */
const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch: async (request) => {
    const { pathname, searchParams } = new URL(request.url);
    if (request.method === "POST") {
      posts.push({
        path: pathname,
        origin: request.headers.get("origin"),
        body: await request.text(),
      });
      const headers = {
        location: pathname === "/login" ? "/consent" : `${client}/callback?code=c`,
      };
      return new Response(null, { status: 303, headers });
    }
    const hostile = searchParams.get("text");
    const found = (hostile === null ? samples : samplesOf({ text: hostile }))[pathname.slice(1)];
    return found?.() ?? new Response(null, { status: 404 });
  },
});
const origin = server.url.origin;

const clientServer: Bun.Server<undefined> = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch: (request): Response => {
    const { pathname } = new URL(request.url);
    // As hosted clients do: the callback hops on, across origins.
    if (pathname === "/callback") return Response.redirect(`${clientServer.url.origin}/done`, 307);
    const script = pathname === "/done" ? "opener?.postMessage('signed in', '*')" : "";
    return new Response(`<!doctype html><title>client</title><script>${script}</script>`, {
      headers: { "content-type": "text/html" },
    });
  },
});
const client = `http://localhost:${clientServer.port}`;

beforeAll(async () => {
  browser = await launchBrowser();
});
afterAll(async () => {
  await browser?.close();
  await server.stop(true);
  await clientServer.stop(true);
});

async function open(
  options: { colorScheme?: "light" | "dark"; width?: number } = {},
): Promise<Page> {
  if (!browser) throw new Error("no browser");
  const { colorScheme = "light", width = 1000 } = options;
  const context = await browser.newContext({ colorScheme, viewport: { width, height: 700 } });
  return context.newPage();
}

const names = Object.keys(samples);

describe.each(["light", "dark"] as const)("in %s", (colorScheme) => {
  test("every page passes axe, keeps its policy and loads nothing", async () => {
    const page = await open({ colorScheme });
    const violations = policyViolations(page);
    const requests: string[] = [];
    page.on("request", (request) => requests.push(request.url()));
    for (const name of names) {
      requests.length = 0;
      await page.goto(`${origin}/${name}`);
      await page.evaluate("for (const d of document.querySelectorAll('details')) d.open = true");
      expect(await axeIssues(page), name).toEqual([]);
      const foreign = requests.filter(
        (url) => !url.startsWith("data:") && !url.startsWith("cursor:") && url !== page.url(),
      );
      expect(foreign, name).toEqual([]);
      // The stylesheet was taken: the policy's hash is that of the text the browser has.
      expect(
        await page.evaluate("getComputedStyle(document.querySelector('main')).borderRadius"),
        name,
      ).not.toBe("0px");
    }
    expect(violations).toEqual([]);
    await page.context().close();
  });
});

test("every page fits a screen of 360 px", async () => {
  const page = await open({ width: 360 });
  for (const name of names) {
    await page.goto(`${origin}/${name}?text=${"W".repeat(400)}`);
    expect(await page.evaluate("document.documentElement.scrollWidth"), name).toBe(360);
    await page.goto(`${origin}/${name}`);
    expect(await page.evaluate("document.documentElement.scrollWidth"), name).toBe(360);
  }
  await page.context().close();
});

test("hostile text runs nothing and loads nothing", async () => {
  const page = await open();
  const seen: string[] = [];
  page.on("dialog", (dialog) => seen.push(dialog.message()));
  page.on("request", (request) => {
    if (
      request.url() !== page.url() &&
      !/^(?:data|cursor):/.test(request.url()) &&
      !request.isNavigationRequest()
    )
      seen.push(request.url());
  });
  const text = encodeURIComponent(
    `"><img src=https://evil.test/1 onerror=alert(1)></title><script>alert(2)</script><svg onload=alert(3)>`,
  );
  for (const name of names) {
    await page.goto(`${origin}/${name}?text=${text}`);
    expect(await page.evaluate("document.querySelectorAll('img, script').length"), name).toBe(0);
  }
  expect(seen).toEqual([]);
  await page.context().close();
});

test("P50: on a consent page nothing is written larger than the place the access goes to", async () => {
  const page = await open();
  for (const name of names.filter((candidate) => candidate.startsWith("consent"))) {
    await page.goto(`${origin}/${name}?text=${"Claude".repeat(20)}`);
    const sizes = (await page.evaluate(
      `["main *:not(.host, .host *)", ".host"].map((selector) =>
        Math.max(...[...document.querySelectorAll(selector)].map((element) => parseFloat(getComputedStyle(element).fontSize))))`,
    )) as number[];
    expect(sizes[1], name).toBeGreaterThan(sizes[0] ?? Number.NaN);
  }
  await page.context().close();
});

test("on the consent page the keyboard comes to Deny before Allow", async () => {
  const page = await open();
  await page.goto(`${origin}/consent`);
  const order: unknown[] = [];
  for (let presses = 0; presses < 5; presses++) {
    await page.keyboard.press("Tab");
    order.push(await page.evaluate("document.activeElement.textContent.trim()"));
  }
  const tools = "Narrow what it may use";
  expect(order).toEqual(["Postern", "Details", tools, "Deny", "Allow"]);
  await page.context().close();
});

test("a click that was under way when the consent page appeared decides nothing", async () => {
  const page = await open();
  await page.goto(`${origin}/consent`);
  const states =
    await page.evaluate(`[...document.querySelectorAll("form button")].flatMap((button) => {
    const [settling] = button.getAnimations();
    const state = () => getComputedStyle(button).pointerEvents;
    settling.pause();
    settling.currentTime = 0;
    const first = state();
    settling.finish();
    return [first, state()];
  })`);
  expect(states).toEqual(["none", "auto", "none", "auto"]);
  await page.context().close();
});

test("pain 36: Allow leads through every redirect to the client, and its popup still knows who opened it", async () => {
  const opener = await open();
  await opener.goto(`${client}/app`);
  const heard = opener.evaluate(
    "new Promise((resolve) => addEventListener('message', (event) => resolve(event.data)))",
  );
  const [popup] = await Promise.all([
    opener.waitForEvent("popup"),
    opener.evaluate(`void open("${origin}/login-client")`),
  ]);
  const violations = policyViolations(popup);
  await popup.fill("input[type=password]", "correct horse");
  await popup.click("button");
  await popup.waitForURL(`${origin}/consent`);
  await popup.click("button[value=allow]");
  await popup.waitForURL(`${clientServer.url.origin}/done`);
  expect(await heard).toBe("signed in");
  expect(violations).toEqual([]);
  await opener.context().close();
});

test("forms are sent with the real origin of the page, and with what was pressed", async () => {
  const page = await open();
  for (const [name, press] of [
    ["login", "button"],
    ["login-client", "button"],
    ["setup", "button"],
    ["connect", "form button"],
    ["consent", "button[value=deny]"],
    ["consent-loopback", "button[value=show]"],
  ] as const) {
    posts.length = 0;
    await page.goto(`${origin}/${name}`);
    for (const field of await page.locator("input[type=password]").all())
      await field.fill("correct horse");
    const sent = page.waitForRequest((request) => request.method() === "POST");
    await page.click(press);
    await sent;
    await page.waitForLoadState();
    expect(
      posts.map((post) => post.origin),
      name,
    ).toEqual([origin]);
    const body = new URLSearchParams(posts[0]?.body);
    expect(body.get("request"), name).toBe("c2VhbGVk.1790000600.dGFn");
    if (name.startsWith("consent"))
      expect(body.get("decision")).toBe(/value=(\w+)/.exec(press)?.[1] ?? "");
    else if (name !== "connect") expect(body.get("password"), name).toBe("correct horse");
  }
  await page.context().close();
});

test("the way back to an app tries the app at once and stays on screen with a button", async () => {
  const page = await open();
  const violations = policyViolations(page);
  const location = "cursor://anysphere.cursor-mcp/oauth/callback?code=c&state=a%2Fb";
  const answer = returnPage({
    base: "",
    clientName: "Cursor",
    location,
    outcome: { kind: "allowed" },
  });
  expect(answer.headers.get("refresh")).toBe(`0; url=${location}`);
  const tried = page.waitForRequest((request) => request.url().startsWith("cursor:"));
  await page.goto(`${origin}/return`);
  expect((await tried).url()).toStartWith("cursor://anysphere.cursor-mcp/oauth/callback?code=");
  expect(await page.textContent("h1")).toBe("You can close this window");
  expect(await page.getAttribute("main a", "href")).toStartWith("cursor://anysphere.cursor-mcp/");
  expect(violations).toEqual([]);
  await page.context().close();
});
