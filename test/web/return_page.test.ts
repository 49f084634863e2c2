// The pages on the way back to a client.
import { expect, test } from "bun:test";
import { type Outcome, addressPage, returnPage } from "../../src/web/return_page.ts";
import { textOf } from "./read.ts";

const app = "cursor://anysphere.cursor-mcp/oauth/callback";
const refused = { kind: "refused", problem: "none of the scopes is offered", requestId: "r-1" };

test.each<[Outcome, string]>([
  [{ kind: "allowed" }, "You can close this window You let Cursor in. The app should open"],
  [{ kind: "denied" }, "You can close this window You did not let Cursor in. The app should open"],
  [
    refused as Outcome,
    "Nothing was allowed Cursor asked for something that this server does not do: none of the scopes is offered.",
  ],
])("%p: opens the app and says how it ended", async (outcome, words) => {
  // What the redirect URI says of itself decides nothing.
  for (const own of ["?", "?code=mine&", "?error=access_denied&"]) {
    const location = `${app}${own}state=s`;
    const answer = returnPage({ base: "", clientName: "Cursor", location, outcome });
    expect(answer.status).toBe(200);
    expect(answer.headers.get("refresh")).toBe(`0; url=${location}`);
    expect(await textOf(answer)).toStartWith(words);
  }
});

test("a refusal can be found in the log by its request", async () => {
  const options = { base: "", clientName: "Cursor", location: app, outcome: refused as Outcome };
  expect(await textOf(returnPage(options))).toEndWith("Request r-1");
});

test("the whole address is shown, and nothing is opened, for a client on another machine", async () => {
  const location = "http://127.0.0.1:4/cb?code=c&state=a%20b";
  const answer = addressPage({ base: "", clientName: "Codex", location });
  expect(answer.headers.has("refresh")).toBe(false);
  expect(await textOf(answer)).toContain(location);
});

test.each(["javascript:alert(1)", "data:text/html,x", "cursor://a/\r\nset-cookie: a=b"])(
  "leads nowhere for %j",
  (location) => {
    const options = { base: "", clientName: "x", location, outcome: { kind: "allowed" } as const };
    expect(() => returnPage(options)).toThrow(TypeError);
  },
);
