import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type Postern, startPostern, stopProcesses } from "../process.ts";
import { authorizationUrl, callMcp, redeemCode } from "../server.ts";

let server: Postern;
beforeAll(async () => {
  server = await startPostern();
});
afterAll(stopProcesses);

const REDIRECTS: Record<string, string> = {
  claude: "https://claude.ai/api/mcp/auth_callback",
  chatgpt: "https://chatgpt.com/connector_platform_oauth_redirect",
  vscode: "http://127.0.0.1:33418/",
  cursor: "cursor://anysphere.cursor-mcp/oauth/callback",
  codex: "http://127.0.0.1:5555/callback",
  gemini: "http://localhost:7777/oauth/callback",
  inspector: "http://127.0.0.1:6276/oauth/callback",
};

async function codeFor(id: string, redirect: string): Promise<string> {
  const response = await server.browser.authorize(
    authorizationUrl(server, id, { redirect_uri: redirect }),
  );
  const answer = (response.headers.get("location") ?? "") + (await response.text());
  return /code=(pac_[A-Za-z0-9_-]{43})/.exec(answer)?.[1] ?? "";
}

describe.each(Object.keys(REDIRECTS))("clients add --for %s", (name) => {
  test("prints id, secret and where to paste; with and without the secret it logs in", async () => {
    const { stdout, exitCode } = await server.run("clients", "add", "--for", name);
    expect(exitCode).toBe(0);
    const [, id = ""] = /client id +(\S+)/.exec(stdout) ?? [];
    const [, secret = ""] = /client secret +(\S+)/.exec(stdout) ?? [];
    expect(stdout).toContain(server.url);
    const redirect = REDIRECTS[name] ?? "";
    for (const changes of [{}, { client_secret: secret }] as Record<string, string>[]) {
      const response = await redeemCode(server, id, await codeFor(id, redirect), {
        redirect_uri: redirect,
        ...changes,
      });
      expect(response.status).toBe(200);
      const { access_token: token } = (await response.json()) as { access_token: string };
      expect((await callMcp(server, token)).status).toBe(200);
    }
    const wrong = await redeemCode(server, id, await codeFor(id, redirect), {
      redirect_uri: redirect,
      client_secret: "wrong",
    });
    expect(wrong.status).toBe(401);
  });
});

test("clients add --resource-server: its credentials introspect", async () => {
  const made = JSON.parse(
    (await server.run("clients", "add", "--resource-server", "nas", "--json")).stdout,
  );
  const response = await server.fetch("/introspect", {
    method: "POST",
    headers: { authorization: `Basic ${btoa(`${made.client_id}:${made.client_secret}`)}` },
    body: new URLSearchParams({ token: "x" }),
  });
  expect(await response.json()).toEqual({ active: false });
});

test("clients add --redirect: any other client", async () => {
  const made = JSON.parse(
    (await server.run("clients", "add", "--redirect", "https://good.test/cb", "--json")).stdout,
  );
  expect(await codeFor(made.client_id, "https://good.test/cb")).toStartWith("pac_");
});

test.each([
  [["clients", "add"], 2, "which client?"],
  [["clients", "add", "--for", "cloude"], 2, "did you mean claude"],
  [["clients", "add", "--redirect", "http://evil.test/"], 1, "plain http"],
  [["clients", "--for", "claude"], 2, "--for"],
])("%p: exit %d, %s", async (words, exitCode, message) => {
  const outcome = await server.run(...words);
  expect([outcome.exitCode, outcome.stdout]).toEqual([exitCode, ""]);
  expect(outcome.stderr).toContain(message);
});
