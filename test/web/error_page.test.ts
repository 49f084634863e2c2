// How refusals and other ends are told: status, headers, words, and who can do what now.
import { describe, expect, test } from "bun:test";
import { OAuthError } from "../../src/errors.ts";
import { errorPage, messagePage } from "../../src/web/error_page.ts";
import { homePage, loginPage, setupPage } from "../../src/web/pages.ts";
import { elements, textOf } from "./read.ts";

const base = "";
const hidden = { request: "sealed" };
const show = (error: OAuthError): Response => errorPage({ base, error, requestId: "r-1" });

describe("an error page", () => {
  test.each([400, 401, 403, 404, 405, 413, 418, 421, 429, 500, 502, 503])(
    "has the status %d, a title, advice and the request's id",
    async (status) => {
      const answer = show(new OAuthError("invalid_request", "it is wrong", { status }));
      expect(answer.status).toBe(status);
      const text = await textOf(answer);
      expect(text).toContain("It is wrong. What to do now");
      expect(text).toMatch(
        /What to do now \S.* Error \d+\. The server’s log has it under request r-1\.$/,
      );
      expect(text).not.toContain("undefined");
    },
  );

  test("says which client sent what, what was expected, and each step", async () => {
    const text = await textOf(
      show(
        new OAuthError("invalid_request", "the redirect URI is not registered", {
          detail: "for the log only",
          advice: "First this.\nThen that.",
          facts: {
            clientName: "Cl\u200baude",
            sent: ["http://a/\u202e"],
            expected: ["http://b/", "http://c/"],
          },
        }),
      ),
    );
    expect(text).toContain("Client Claude Sent http://a/\ufffd Expected http://b/ http://c/");
    expect(text).toContain("First this. Then that.");
    expect(text).not.toContain("log only");
  });

  test("counts what is too much to show, and cuts what is too long", async () => {
    const expected = Array.from(
      { length: 20 },
      (_, index) => `https://x.test/${index}/${"y".repeat(2000)}`,
    );
    const answer = show(
      new OAuthError("invalid_request", "no", { facts: { sent: [expected[0] ?? ""], expected } }),
    );
    const text = await textOf(answer);
    expect(text).toContain("https://x.test/4/yyy");
    expect(text).toContain("… and 15 more");
    expect(text).not.toContain("https://x.test/5/");
    expect(text.length).toBeLessThan(2500);
  });

  test("shows commands as such, and only those", async () => {
    const advice = "Run `postern password`.\nThen `a` <b>b</b>`";
    const html = await show(new OAuthError("invalid_request", "no", { advice })).text();
    expect(html).toContain("<li>Run <code>postern password</code>.</li>");
    expect(html).toContain("<li>Then <code>a</code> &lt;b&gt;b&lt;/b&gt;<code></code></li>");
  });

  test("keeps the headers of the error", () => {
    const { headers } = show(
      new OAuthError("invalid_request", "no", { status: 405, headers: { allow: "GET, POST" } }),
    );
    expect(headers.get("allow")).toBe("GET, POST");
  });
});

describe("the login page", () => {
  test("is 200, 403 with what was wrong, 429 with how long to wait", async () => {
    expect(loginPage({ base, hidden, forClient: false }).status).toBe(200);
    const wrong = loginPage({ base, hidden, forClient: false, problem: "No." });
    expect(wrong.status).toBe(403);
    expect(await textOf(wrong)).toContain("No.");
    const wait = loginPage({ base, hidden, forClient: false, wait: 29.2 });
    expect([wait.status, wait.headers.get("retry-after")]).toEqual([429, "30"]);
    expect(await textOf(wait)).toContain("Wait 29 seconds");
  });

  test("names the client that waits, and only then", async () => {
    const waiting = loginPage({ base, hidden, forClient: true, clientName: "Cur\u202esor" });
    expect(await textOf(waiting)).toContain("To decide about Cursor, sign in first.");
    expect(await textOf(loginPage({ base, hidden, forClient: false }))).not.toContain("decide");
  });

  test("suits password managers", async () => {
    const inputs = (await elements(loginPage({ base, hidden, forClient: false })))
      .filter(({ tag }) => tag === "input")
      .map(({ attributes }) => [attributes.get("name"), attributes.get("autocomplete")]);
    expect(inputs).toEqual([
      ["request", undefined],
      ["username", "username"],
      ["password", "current-password"],
    ]);
  });
});

test("the setup page asks for the password twice and says what it takes", async () => {
  const answer = setupPage({ base, hidden: { token: "t" }, minLength: 8 });
  expect(answer.status).toBe(200);
  const inputs = (await elements(answer)).filter(({ tag }) => tag === "input");
  expect(inputs.map(({ attributes }) => attributes.get("name"))).toEqual([
    "token",
    "username",
    "password",
    "password_again",
  ]);
  const wrong = setupPage({ base, hidden: {}, minLength: 8, problem: "They differ." });
  expect(wrong.status).toBe(400);
  expect(await textOf(wrong)).toMatch(/They differ\..*At least 8 characters/);
});

test.each([
  [
    messagePage({ base, title: "Signed out", lines: ["One.", "Two."] }),
    200,
    "Signed out One. Two.",
  ],
])("page %#: status and words", async (answer, status, words) => {
  expect(answer.status).toBe(status);
  expect(await textOf(answer)).toContain(words);
});

test("the home page shows each address and the way in, and nothing about the software", async () => {
  const servers = [{ name: "Notes", resource: "https://mcp.example.com/mcp" }];
  const stranger = await textOf(homePage({ base, servers, signedIn: false }));
  expect(stranger).toContain("https://mcp.example.com/mcp");
  expect(stranger).toContain("Owner: sign in");
  expect(stranger).not.toMatch(/\d+\.\d+\.\d+|bun\b|h3/i);
  expect(await textOf(homePage({ base, servers, signedIn: true }))).toContain("Connect a client");
});
