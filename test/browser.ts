// The real browser for tests: the only file that knows playwright-core and axe-core.
import axe from "axe-core";
import { type Browser, type Page, chromium } from "playwright-core";
import { chromiumPath } from "./needs.ts";

/** Headless Chromium, or undefined when the machine has none. The caller closes it. */
export async function launchBrowser(): Promise<Browser | undefined> {
  const executablePath = chromiumPath();
  if (executablePath === undefined) return undefined;
  return chromium.launch({
    executablePath,
    args: [
      "--headless",
      // Root, as in containers, has no sandbox; the tests open nothing but our own pages.
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}

/** What axe-core finds wrong with the page as it stands, one line a finding. The page's own policy stays in force. */
export async function axeIssues(page: Page): Promise<string[]> {
  await page.evaluate(`${axe.source}; undefined`);
  const results = (await page.evaluate(
    "axe.run({ preload: false, resultTypes: ['violations'] })",
  )) as axe.AxeResults;
  return results.violations.flatMap(({ id, impact, nodes }) =>
    nodes.map((node) => `${impact} ${id}: ${node.target.join(" ")} ${node.failureSummary}`),
  );
}

/** Fills with every violation of a Content-Security-Policy that the page reports from now on. */
export function policyViolations(page: Page): readonly string[] {
  const found: string[] = [];
  page.on("console", (message) => {
    if (message.text().includes("Content Security Policy")) found.push(message.text());
  });
  return found;
}
