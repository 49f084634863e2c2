// Every page at once: markup, policy and headers; hostile text in every field that a page shows.
import { describe, expect, test } from "bun:test";
import accountStyle from "../../src/web/account.css" with { type: "text" };
import style from "../../src/web/style.css" with { type: "text" };
import { elements } from "./read.ts";
import { samples, samplesOf } from "./samples.ts";

const tags = new Set(
  (
    "html head meta title link style body header main svg path circle a h1 h2 p strong bdi span br wbr code pre " +
    "ul ol li dl dt dd details summary div form input label button nav section footer select option fieldset legend table thead tbody tr th td small time"
  ).split(" "),
);
const attributes = new Set(
  (
    "lang charset name content rel href class viewbox width height aria-hidden d cx cy r role id action method type value " +
    "for autocomplete minlength maxlength required autofocus aria-invalid aria-describedby aria-label aria-current checked selected placeholder hidden open scope " +
    "data-label datetime title"
  ).split(" "),
);
const links =
  /^(?:\/[a-z/]*(?:\?(?:id|all-but)=\w+|\?before=[\w%.+=&-]+)?|\/authorize\?client_id=x|https:\/\/claude\.ai\/customize\/connectors|cursor:\/\/anysphere\.[\x21-\x7e]+|vscode:mcp\/install\?[\w%.-]+)$/;

/** What a page must never hold, whatever is in its fields. */
async function expectHarmless(response: Response): Promise<void> {
  for (const { tag, attributes: given } of await elements(response)) {
    expect(tags).toContain(tag);
    for (const name of given.keys()) expect(attributes).toContain(name.toLowerCase());
    const address = given.get("href") ?? given.get("action");
    if (tag === "link") expect(address).toStartWith("data:image/svg+xml,");
    else if (address !== undefined) expect(address.replaceAll("&amp;", "&")).toMatch(links);
  }
}

const names = Object.keys(samples);
const make = (name: string): Response => samples[name]!();

describe.each(names)("the page %s", (name) => {
  test("has one heading, landmarks, a language and a title, and nothing live or foreign", async () => {
    const found = await elements(make(name));
    const count = (tag: string) => found.filter((element) => element.tag === tag).length;
    expect([count("h1"), count("main"), count("header"), count("title")]).toEqual([1, 1, 1, 1]);
    expect(found.find(({ tag }) => tag === "html")?.attributes.get("lang")).toBe("en");
    await expectHarmless(make(name));
    const text = await make(name).text();
    expect(text).not.toMatch(/<script|\sstyle=|\son[a-z]+=|javascript:|@import|url\(/i);
  });

  test("allows its one stylesheet by hash and nothing else", async () => {
    const answer = make(name);
    const policy = answer.headers.get("content-security-policy") ?? "";
    const inline = /<style>([\s\S]*?)<\/style>/.exec(await answer.text())?.[1] ?? "";
    const hash = new Bun.CryptoHasher("sha256").update(inline).digest("base64");
    const directives = new Map(
      policy.split("; ").map((part) => [part.split(" ")[0], part.split(" ").slice(1).join(" ")]),
    );
    expect(directives.get("default-src")).toBe("'none'");
    expect(directives.get("style-src")).toBe(`'sha256-${hash}'`);
    expect(directives.get("img-src")).toBe("data:");
    expect(directives.get("base-uri")).toBe("'none'");
    expect(directives.get("frame-ancestors")).toBe("'none'");
  });

  test("is never stored, framed or sniffed", () => {
    const { headers } = make(name);
    expect(headers.get("content-type")).toBe("text/html; charset=utf-8");
    expect(headers.get("cache-control")).toBe("no-store");
    expect(headers.get("x-frame-options")).toBe("DENY");
    expect(headers.get("x-content-type-options")).toBe("nosniff");
  });

  test("lets its forms end where they have to, and no further", async () => {
    const answer = make(name);
    const policy = answer.headers.get("content-security-policy") ?? "";
    const forms = (await elements(make(name))).some(({ tag }) => tag === "form");
    const backToClient = /^(?:consent|login-client|login-wait)/.test(name);
    expect(/form-action [^;]*/.exec(policy)?.[0]).toBe(
      backToClient ? undefined : `form-action ${forms ? "'self'" : "'none'"}`,
    );
    expect(answer.headers.get("cross-origin-opener-policy")).toBe(
      backToClient || name === "error-old" ? null : "same-origin",
    );
    expect(answer.headers.get("referrer-policy")).toBe(forms ? "same-origin" : "no-referrer");
  });

  test("links and posts under the path of the public URL", async () => {
    for (const { tag, attributes: given } of await elements(samplesOf({ base: "/x" })[name]!())) {
      const address =
        tag === "a" || tag === "form" ? (given.get("href") ?? given.get("action")) : "";
      if (address?.startsWith("/")) expect(address).toStartWith("/x/");
    }
  });
});

describe("P49: hostile text in every field stays text", () => {
  const payloads = [
    `"><svg onload=alert(1)>`,
    `'><img src=x onerror=alert(1)>`,
    `</title></style></textarea></pre><script>alert(1)</script>`,
    `javascript:alert(1)`,
    `" autofocus onfocus="alert(1)`,
    `\` onmouseover=alert(1) x=\``,
    `<!--`,
    `&lt;script&gt;`,
    `{{constructor.constructor('alert(1)')()}}`,
    `<meta http-equiv=refresh content=0;url=https://evil.test>`,
    `<base href=https://evil.test>`,
    `\u202e\u0000<a href=//evil.test>`,
    `${"A".repeat(10_240)}<b>`,
  ];
  test.each(payloads)("%j", async (payload) => {
    for (const [name, sample] of Object.entries(samplesOf({ text: payload }))) {
      await expectHarmless(sample());
      const text = await sample().text();
      if (/[<>]/.test(payload)) expect(text, name).not.toContain(payload);
      // The payload reached the page at all: what is tested is escaping, not absence.
      if (/^(?:consent|login-client|return|error$|message)/.test(name))
        expect(text, name).toContain(
          Bun.escapeHTML(payload.replace("\u202e\u0000", "")).slice(0, 12),
        );
    }
  });
});

test.each([
  ["of every page", style],
  ["of the account", accountStyle],
])("the stylesheet %s is small, cannot end its element and loads nothing", (_, text) => {
  expect(text.length).toBeLessThan(6 * 1024);
  expect(text).not.toMatch(/<|@import|url\(|expression/i);
});
