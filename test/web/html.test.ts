// The html tag, links, and the headers that page() gives.
import { describe, expect, test } from "bun:test";
import { type Html, href, html, local, page } from "../../src/web/html.ts";

const render = async (main: Html): Promise<string> => {
  const text = await page({ base: "", title: "t" }, main).text();
  return /<main>\s*([\s\S]*?)\s*<\/main>/.exec(text)?.[1] ?? "";
};

describe("html escapes", () => {
  const cases: [string, Html, string][] = [
    ["text", html`<p>${`<b>&"'`}</p>`, "<p>&lt;b&gt;&amp;&quot;&#x27;</p>"],
    [
      "attributes",
      html`<i title="${`"><script>`}"></i>`,
      `<i title="&quot;&gt;&lt;script&gt;"></i>`,
    ],
    ["not what is HTML already", html`<p>${html`<b>${"<"}</b>`}</p>`, "<p><b>&lt;</b></p>"],
    ["in arrays", html`${[html`<i></i>`, "<", ["&"]]}`, "<i></i>&lt;&amp;"],
    ["nothing for nothing", html`${false}${null}${undefined}${""}`, ""],
    ["numbers", html`${0}${42}`, "042"],
    [
      "links",
      html`<a href="${href("https://a.test/?a=1&b=2")}"></a>`,
      `<a href="https://a.test/?a=1&amp;b=2"></a>`,
    ],
  ];
  test.each(cases)("%s", async (_title, made, expected) => {
    expect(await render(made)).toBe(expected);
  });

  test("an object that only looks like Html is no Html", () => {
    const forged = JSON.parse(`{"markup":"<script>","Symbol(markup)":"<script>"}`);
    expect(() => html`<p>${forged}</p>`).toThrow();
  });

  test("a value in an attribute without double quotes is refused", () => {
    // Under its own name the formatter would put the quotes right.
    const tag = html;
    expect(() => tag`<p class=${"x"}></p>`).toThrow("quotes");
    expect(() => tag`<p class='${"x"}'></p>`).toThrow("quotes");
    expect(() => tag`<p class = ${"x"}></p>`).toThrow("quotes");
  });

  test("an address in a link is refused unless href() or local() made it", () => {
    const address = "https://a.test/";
    expect(() => html`<a href="${address}"></a>`).toThrow("href");
    expect(() => html`<a class="b" HREF="${address}"></a>`).toThrow("href");
    expect(() => html`<form action="/x${address}"></form>`).toThrow("action");
    expect(() => html`<img src="${address}" />`).toThrow("src");
    expect(() => html`<a href="${href("javascript:alert(1)")}"></a>`).toThrow("href");
  });
});

describe("href", () => {
  const schemes = ["cursor", "vscode", "com.example.app", "javascript", "data"];
  test.each([
    "https://a.test/cb?x=1&y=%2e#f",
    "http://127.0.0.1:80/",
    "HTTPS://a.test",
    "cursor://anysphere.cursor-mcp/oauth/callback",
    "vscode:mcp/install?%7B%7D",
    "com.example.app:/cb",
  ])("takes %s", async (text) => {
    const link = href(text, schemes);
    expect(link).toBeDefined();
    expect(await render(html`<a href="${link}"></a>`)).toBe(
      `<a href="${text.replaceAll("&", "&amp;")}"></a>`,
    );
  });
  test.each([
    "javascript:alert(1)",
    "JavaScript:alert(1)",
    " javascript:alert(1)",
    "java\tscript:alert(1)",
    "java\nscript:alert(1)",
    "\u0001javascript:alert(1)",
    "javascript&colon;alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "vbscript:x",
    "blob:https://a.test/1",
    "file:///etc/passwd",
    "view-source:https://a.test",
    "about:blank",
    "intent://x#Intent;end",
    "cursor2://a",
    "//a.test/",
    "/path",
    "a.test",
    "",
    "https://",
    "https://a.test/\u202e",
    "https://a.test/ b",
  ])("refuses %j", (text) => {
    expect(href(text, schemes)).toBeUndefined();
  });
  test("takes no scheme of an app that the caller did not name", () => {
    expect(href("cursor://a")).toBeUndefined();
    expect(href("cursor://a", ["vscode"])).toBeUndefined();
  });
});

test("local puts the path of the public URL in front", async () => {
  expect(await render(html`<a href="${local("/x", "/login")}"></a>`)).toBe(
    `<a href="/x/login"></a>`,
  );
});

test("headers of the answer are added, the page's own stay", () => {
  const answer = page(
    { base: "", title: "t", status: 429, headers: { "retry-after": "7" } },
    html``,
  );
  expect(answer.status).toBe(429);
  expect(answer.headers.get("retry-after")).toBe("7");
  expect(answer.headers.get("content-type")).toBe("text/html; charset=utf-8");
});
